"""Trackers: TensorBoard's file holds our losses, nothing secret, and stays in the workspace; others stay at home."""

import importlib.util
import os
from pathlib import Path

import killed
import pytest
from tensorboard.backend.event_processing import event_accumulator

from aquilamed.config import Invalid
from aquilamed.train import finetune
from aquilamed.train.trackers import _settings

CONFIG = finetune.FinetuneConfig(length=128, batch=4, lr=3e-3, warmup=0.0, max_steps=3, validation=0.25, eval_steps=3)
SECRET = "hf_verysecret"


def test_a_tracker_is_no_part_of_a_fingerprint() -> None:
    assert CONFIG.identity() == CONFIG.model_copy(update={"report_to": "wandb", "report_online": True}).identity()


def test_tensorboard_is_told_every_loss_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    ctx = killed.context(tmp_path, "finetune", "out")
    metrics = finetune.run(ctx, CONFIG).metrics
    files = list((tmp_path / "tracking" / "tensorboard").rglob("events.*"))
    assert [f.parent.relative_to(tmp_path).as_posix() for f in files] == ["tracking/tensorboard/finetune-out"]
    assert SECRET.encode() not in files[0].read_bytes()
    found = event_accumulator.EventAccumulator(str(files[0].parent)).Reload()
    told = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in ("train/loss", "eval/loss")}
    assert told["train/loss"] == [(step, pytest.approx(loss, abs=1e-5)) for step, loss in metrics["loss"]]
    assert told["eval/loss"] == [(step, pytest.approx(loss, abs=1e-5)) for step, loss in metrics["eval_loss"] if step]
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ
    assert not list((ctx.out).rglob("events.*")), "an artefact holds no tracker's files"


def test_trackers_stay_at_home_unless_asked(tmp_path: Path) -> None:
    assert _settings("wandb", tmp_path, "run", "project", False)["WANDB_MODE"] == "offline"
    assert _settings("mlflow", tmp_path, "run", "project", False)["MLFLOW_TRACKING_URI"].startswith(
        f"sqlite:///{tmp_path}"
    )
    for tracker, name in (("wandb", "WANDB_MODE"), ("mlflow", "MLFLOW_TRACKING_URI")):
        assert name not in _settings(tracker, tmp_path, "run", "project", True)


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "mlflow" else real(name, *a))
    ctx = killed.context(tmp_path, "finetune", "out")
    with pytest.raises(Invalid, match="mlflow is not installed: pip install mlflow"):
        finetune.run(ctx, CONFIG.model_copy(update={"report_to": "mlflow"}))
