"""Batched token losses and next-token probabilities equal one row at a time."""

import pytest

import tiny_model
from aquilamed.models import ModelConfig, load_model
from aquilamed.scoring import batches, next_logprobs, shared_start

ROWS = [[5, 9, 11, 40, 7], [8, 3], [100, 20, 31, 44, 45, 46, 47, 48, 9], [12, 13, 14]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    return load_model(ModelConfig(path=str(tiny_model.build(tmp_path_factory.mktemp("m")))))


def test_batches_hold_every_row_once_and_stay_small() -> None:
    rows = [[0] * n for n in (3, 50, 7, 7, 20, 1)]
    found = list(batches(rows, tokens=40))
    assert sorted(i for batch in found for i in batch) == list(range(6))
    assert all(len(b) == 1 or len(b) * max(len(rows[i]) for i in b) <= 40 for b in found)


@pytest.mark.parametrize("share", [1, 8, 99])
def test_next_logprobs_equal_those_of_single_rows(model, share: int) -> None:
    import torch

    choices = [3, 250, 17]
    start = [60, 61, 62, 63, 64, 65, 66, 67, 68]
    for rows in (ROWS, [start + row for row in ROWS], [start, start]):
        found = next_logprobs(model, rows, choices, tokens=24, share=share)
        for row, logprobs in zip(rows, found, strict=True):
            with torch.no_grad():
                expected = model(torch.tensor([row])).logits[0, -1].log_softmax(-1)[choices]
            assert torch.allclose(logprobs, expected, atol=1e-5)
    assert next_logprobs(model, [], choices).shape == (0, 3)


def test_the_shared_start_leaves_a_token_of_every_row() -> None:
    assert shared_start([[1, 2, 3, 4], [1, 2, 9], [1, 2, 3, 5]]) == 2
    assert shared_start([[1, 2], [1, 2], [1, 2, 3]]) == 1
    assert shared_start([[5], [1, 2]]) == 0
