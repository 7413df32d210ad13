"""Packed and padded token losses equal one row at a time, whatever the architecture."""

from pathlib import Path
from typing import Any

import pytest

import tiny_model
from aquilamed.losses import SHORT, can_pack, packs, token_losses
from aquilamed.models import ModelConfig, load_model
from aquilamed.train.matmul import packed_products

ROWS = [[5, 9, 11, 40, 7], [8, 3], [100, 20, 31, 44, 45, 46, 47, 48, 9], [12, 13, 14]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    return load_model(ModelConfig(path=str(tiny_model.build(tmp_path_factory.mktemp("m")))))


def test_packs_hold_every_row_once_and_stay_small() -> None:
    lengths = [3, 50, 7, 7, 20, 1, 33, 12]
    found = list(packs(lengths, tokens=40))
    assert [i for pack in found for i in pack] == list(range(8))
    assert all(len(p) == 1 or sum(lengths[i] for i in p) <= 40 for p in found)
    assert len(found) == 5


def plain(model: Any, row: list[int]) -> Any:
    """A row's losses by one pass of the whole model over it alone."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([row])).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]), reduction="none")


def test_losses_equal_those_of_single_rows(model) -> None:
    import torch

    for tokens in (1, 12, 4096):
        for row, losses in zip(ROWS, token_losses(model, ROWS, tokens=tokens), strict=True):
            assert torch.allclose(losses, plain(model, row), atol=2e-6)


def test_what_rows_begin_with_in_common_runs_once(model) -> None:
    import torch

    rows = [
        [1, 2, 3, *range(9, 30)],
        [1, 2, 3, 50],
        [1, 2, 3, 60, 61, 62],
        [1, 2, 3, *range(70, 70 + SHORT)],
        [1, 2, 4, 8],
    ]
    inputs: list[int] = []
    seen = model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: inputs.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    found = token_losses(model, rows, tokens=4096)
    seen.remove()
    for row, losses in zip(rows, found, strict=True):
        assert torch.allclose(losses, plain(model, row), atol=2e-6)
    assert inputs[-1] == sum(len(row) - 1 for row in rows) - 3 * 2, (
        "three short rows leave two tokens each to the first"
    )


def test_only_the_wanted_places_are_scored(model) -> None:
    places = [[2, 4], [], [1], [2]]
    told: list[int] = []
    found = token_losses(model, [*ROWS, [7], []], told.append, places=[*places, [], []])
    assert sum(told) == 6
    for row, wanted, losses in zip(ROWS, places, found, strict=False):
        assert losses.tolist() == pytest.approx([float(plain(model, row)[p - 1]) for p in wanted], abs=2e-6)
    assert [len(losses) for losses in found[4:]] == [0, 0]


def tiny(kind: str) -> Any:
    """A random two-layer model of an architecture that packs differently or not at all."""
    import torch
    import transformers

    torch.manual_seed(1)
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2}
    heads = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    configs = {
        "qwen2": lambda: transformers.Qwen2Config(**sizes, **heads),
        "mistral": lambda: transformers.MistralConfig(**sizes, **heads, sliding_window=6),
        "gemma2": lambda: transformers.Gemma2Config(**sizes, **heads),
        "granite": lambda: transformers.GraniteConfig(**sizes, **heads, logits_scaling=3.0),
        "mamba": lambda: transformers.MambaConfig(**sizes),
    }
    return transformers.AutoModelForCausalLM.from_config(configs[kind](), attn_implementation=None).eval()


@pytest.mark.parametrize(
    ("kind", "packs_rows"),
    [("qwen2", True), ("mistral", True), ("gemma2", False), ("granite", False), ("mamba", False)],
)
def test_an_architecture_packs_only_where_its_losses_stay(kind: str, packs_rows: bool) -> None:
    """A sliding window packs; capped or scaled logits and a running state do not, and take padded passes."""
    import torch

    model = tiny(kind)
    before = model.config._attn_implementation
    assert can_pack(model) is packs_rows
    for row, losses in zip(ROWS, token_losses(model, ROWS), strict=True):
        assert torch.allclose(losses, plain(model, row), atol=1e-5)
    assert model.config._attn_implementation == before


def test_products_with_packed_weights_are_gone_afterwards_and_follow_the_weights(tmp_path: Path) -> None:
    import torch

    model = load_model(ModelConfig(path=str(tiny_model.build(tmp_path))))
    ids = torch.tensor([ROWS[2]])
    with torch.inference_mode():
        before = model(ids).logits
        with packed_products(model):
            assert torch.allclose(model(ids).logits, before, atol=1e-5)
    assert not any("forward" in vars(m) for m in model.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(3)
    assert token_losses(model, [ROWS[2]])[0].tolist() == pytest.approx(plain(model, ROWS[2]).tolist(), abs=1e-5)
    assert not torch.allclose(model(ids).logits, before, atol=1e-3)
