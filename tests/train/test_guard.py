"""Bad steps are stopped or left out and say which records they held; averages and frozen embeddings are what they say."""

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tiny_model as tiny
from aquilamed.config import StageFailed
from aquilamed.models import ModelConfig, load_model
from aquilamed.train import finetune, guard
from aquilamed.train.checkpoints import complete_checkpoints
from aquilamed.train.finetune import FinetuneConfig

CONFIG = FinetuneConfig(
    length=128, batch=1, lr=3e-3, warmup=0.0, epochs=3, validation=0, dropout=0, max_steps=6, save_steps=2
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    return {"instruct/select": tiny.table(tmp_path, "instruct/select", tiny.dialogues())}


def broken_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loss of one step be no number, its gradients included."""
    real = guard.guarded

    def guarded(trainer: type[Any]) -> type[Any]:
        class Broken(real(trainer)):  # type: ignore[misc]
            def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
                loss = super().compute_loss(*args, **kwargs)
                return loss * math.nan if self.state.global_step == step - 1 else loss

        return Broken

    monkeypatch.setattr(finetune, "guarded", guarded)


def test_a_loss_that_is_no_number_stops_and_names_the_records(
    base: Path, inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at(3, monkeypatch)
    ctx = tiny.context(tmp_path, base, inputs)
    with pytest.raises(StageFailed, match=r"step 3: the loss is nan; its records: t0\d\d.*on_spike: skip"):
        finetune.run(ctx, CONFIG)
    assert [step for step, _ in complete_checkpoints(ctx)] == [2], "the bad step was taken"


def test_a_bad_step_can_be_left_out(
    base: Path, inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    broken_at(3, monkeypatch)
    ctx = tiny.context(tmp_path, base, inputs)
    said: list[str] = []
    monkeypatch.setattr(ctx.progress, "say", said.append)
    metrics = finetune.run(ctx, CONFIG.model_copy(update={"on_spike": "skip"})).metrics
    assert metrics["skipped_steps"] == [3]
    assert metrics["loss"][2] == [3, None]
    assert all(math.isfinite(loss) for step, loss in metrics["loss"] if step != 3)
    assert any("step 3: the loss is nan" in s and "left out" in s for s in said)
    assert all(torch.isfinite(t).all() for t in tiny.weights(ctx.out / "model").values())
    assert "NaN" not in (ctx.out / "loss.jsonl").read_text()


def test_a_spike_is_measured_against_the_recent_median() -> None:
    steady = [2.0, 2.1, 1.9, 2.0, 2.0, 2.05, 1.95, 2.0]
    assert guard.trouble(2.5, steady, 2.0) is None
    assert "over 2 times the usual 2.0000" in str(guard.trouble(4.1, steady, 2.0))
    assert guard.trouble(4.1, steady, None) is None
    assert guard.trouble(4.1, steady[:5], 2.0) is None, "too few steps to know what is usual"
    assert guard.trouble(math.inf, [], None) == "the loss is inf"


def test_the_mean_of_the_last_checkpoints(base: Path, inputs: dict[str, Any], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    ctx = tiny.context(tmp_path, base, inputs)
    metrics = finetune.run(ctx, CONFIG.model_copy(update={"average_last": 3})).metrics
    assert metrics["averaged_steps"] == [2, 4, 6]
    found = [load_file(folder / "model.safetensors") for _, folder in complete_checkpoints(ctx)]
    kept = tiny.weights(ctx.out / "model")
    for name, value in kept.items():
        assert torch.allclose(value, sum(f[name] for f in found) / 3, atol=1e-7)
    with pytest.raises(ValueError, match="average_last needs"):
        FinetuneConfig(average_last=2, method="lora")


def test_frozen_embeddings_stay_and_noise_does_not_reach_the_result(
    base: Path, inputs: dict[str, Any], tmp_path: Path
) -> None:
    import torch

    ctx = tiny.context(tmp_path, base, inputs)
    finetune.run(ctx, CONFIG.model_copy(update={"frozen_embeddings": True, "neftune": 5.0}))
    before, after = tiny.weights(base), tiny.weights(ctx.out / "model")
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(before[name], after[name])


def test_data_beyond_a_limit_is_refused_before_training(base: Path, tmp_path: Path) -> None:
    table = tiny.dialogues(4)
    double = pl.concat([table, table.with_columns(id=pl.col("id") + "again")])
    inputs = {"instruct/select": tiny.table(tmp_path, "instruct/select", double)}
    ctx = tiny.context(tmp_path, base, inputs)
    config = CONFIG.model_copy(update={"length": 256})
    with pytest.raises(StageFailed, match=r"50\.0% duplicates is above the limit of 20\.0%.*limits\.duplicates"):
        finetune.run(ctx, config)
    loose = config.model_copy(update={"limits": CONFIG.limits.model_copy(update={"duplicates": 1.0})})
    data = finetune.run(ctx, loose).metrics["data"]
    assert (data["records"], data["duplicates"], data["too_long"], data["unsupervised"]) == (8, 4, 0, 0)
    assert data["tokens_per_epoch"] > data["supervised_per_epoch"] > 0


def test_out_of_memory_names_what_to_change(base: Path) -> None:
    model = load_model(ModelConfig(path=str(base)))
    config = CONFIG.model_copy(update={"micro_batch": 4})
    with (
        pytest.raises(StageFailed, match=r"out of memory; .*micro_batch 1 instead of 4 saves about .*method lora"),
        guard.memory_explained(model, config, 8192),
    ):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    with pytest.raises(RuntimeError, match="other"), guard.memory_explained(model, config, 1):
        raise RuntimeError("other")
