"""Batched token losses and next-token logits equal one row at a time."""

import pytest

import tiny_model
from aquilamed.models import ModelConfig, load_model
from aquilamed.scoring import batches, next_logits, token_losses

ROWS = [[5, 9, 11, 40, 7], [8, 3], [100, 20, 31, 44, 45, 46, 47, 48, 9], [12, 13, 14]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    return load_model(ModelConfig(path=str(tiny_model.build(tmp_path_factory.mktemp("m")))))


def test_batches_hold_every_row_once_and_stay_small() -> None:
    rows = [[0] * n for n in (3, 50, 7, 7, 20, 1)]
    found = list(batches(rows, tokens=40))
    assert sorted(i for batch in found for i in batch) == list(range(6))
    assert all(len(b) == 1 or len(b) * max(len(rows[i]) for i in b) <= 40 for b in found)


def test_losses_equal_those_of_single_rows(model) -> None:
    import torch

    for row, losses in zip(ROWS, token_losses(model, ROWS), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([row])).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]), reduction="none")
        assert torch.allclose(losses, expected, atol=1e-5)


def test_next_logits_equal_those_of_single_rows(model) -> None:
    import torch

    choices = [3, 250, 17]
    found = next_logits(model, ROWS, choices)
    for row, logits in zip(ROWS, found, strict=True):
        with torch.no_grad():
            expected = model(torch.tensor([row])).logits[0, -1, choices]
        assert torch.allclose(logits, expected, atol=1e-5)
