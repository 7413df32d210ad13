"""A stage as two processes, started as the runner does: result, errors of a process, a killed process, resume."""

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from launch_stage import prepared, run

import tiny_model as tiny
from aquilamed import launch
from aquilamed.config import Invalid, StageFailed
from aquilamed.stages import BY_NAME


def ranks() -> list[psutil.Process]:
    """The training's processes below this one."""
    return [c for c in psutil.Process().children(recursive=True) if "RANK" in c.environ()]


def test_a_killed_process_is_a_failed_stage_that_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ctx = prepared(tmp_path, steps=24)

    def kill() -> None:
        while not list(ctx.work.glob("checkpoints/checkpoint-*/complete.json")):
            time.sleep(0.01)
        next(c for c in ranks() if c.environ()["RANK"] == "1").send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(StageFailed, match=r"process 1 of 2 was killed by SIGKILL.*go on from the last checkpoint"):
        run(ctx)
    thread.join()
    assert not ranks(), "the other process was stopped"
    assert not (ctx.out / "model").exists()
    capfd.readouterr()
    metrics = run(ctx)
    assert capfd.readouterr().err.count("Continuing from the checkpoint of step") == 1, "only the first process speaks"
    assert (metrics["steps"], metrics["processes"], metrics["layout"]) == (24, 2, "fsdp")
    assert (ctx.out / "model" / "model.safetensors").exists()
    alone = launch.run_stage(
        BY_NAME["finetune"],
        replace(
            tiny.context(tmp_path, tmp_path / "base", ctx.inputs, "alone"),
            recipe=ctx.recipe.model_copy(update={"hardware": None}),
        ),
        ctx.recipe.finetune,
    ).metrics
    assert [x for _, x in metrics["loss"]] == pytest.approx([x for _, x in alone["loss"]], abs=1e-4)


def test_a_process_says_what_the_stage_says(tmp_path: Path) -> None:
    ctx = prepared(tmp_path, "ddp")
    short = ctx.recipe.finetune.model_copy(update={"length": 8})
    long = replace(ctx, recipe=ctx.recipe.model_copy(update={"finetune": short}))
    with pytest.raises(StageFailed, match=r"12 are longer than 8 tokens"):
        launch.run_stage(BY_NAME["finetune"], long, short)


def test_what_this_machine_does_not_have_is_refused(tmp_path: Path) -> None:
    ctx = prepared(tmp_path)
    hardware = ctx.recipe.hardware.model_copy(update={"device": "gpu"})
    with pytest.raises(Invalid, match="wants 2 GPUs of each machine and this one has 0"):
        run(replace(ctx, recipe=ctx.recipe.model_copy(update={"hardware": hardware})))
