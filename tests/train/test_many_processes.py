"""Two processes over gloo train as one does: same steps, same losses, and each goes on from the other's checkpoints."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import many
import pytest
from killed import STAGES

import tiny_model as tiny

LAYOUTS = ("ddp", "fsdp")
STOPPED = {"pretrain": "fsdp", "finetune": "ddp", "align": "fsdp"}
RESUMED = {"pretrain": "ddp", "finetune": "fsdp", "align": "fsdp"}


def together(folder: Path, runs: list[str], count: int = 2) -> None:
    """Do runs in `count` processes."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, many.__file__, str(folder), *runs],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said[-3000:]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """All runs: in one process, in two, begun by two and ended by one, and the reverse."""
    folder = tmp_path_factory.mktemp("many")
    alone = (
        [f"{s}-ddp-one" for s in STAGES]
        + ["finetune-ddp-lora1", "align-ddp-lora1"]
        + [f"{s}-ddp-reverse-stop" for s in STAGES]
    )
    found = {run: many.train(folder, run) for run in alone}
    two = [f"{s}-{layout}-{layout}" for s in STAGES for layout in LAYOUTS] + ["finetune-fsdp-lora2", "align-fsdp-lora2"]
    two += ["pretrain-zero2-zero2", "align-zero2-zero2"]
    two += [f"{s}-{RESUMED[s]}-reverse" for s in STAGES] + [f"{s}-{STOPPED[s]}-forward-stop" for s in STAGES]
    together(folder, two)
    found |= {run: json.loads((folder / f"{run}.json").read_text()) for run in two}
    rest = [f"{s}-ddp-forward" for s in STAGES]
    return folder, found | {run: many.train(folder, run) for run in rest}


def compare(found: dict[str, dict[str, Any]], folder: Path, run: str, alone: str) -> None:
    """A run's losses, and its model, are those of a run in one process."""
    one, other = found[alone], found[run]
    assert other["steps"] == one["steps"] == len(other["loss"])
    assert [x for _, x in other["loss"]] == pytest.approx([x for _, x in one["loss"]], abs=1e-5)
    if "eval_loss" in one:
        assert [x for _, x in other["eval_loss"]] == pytest.approx([x for _, x in one["eval_loss"]], abs=1e-5)
        assert other["best_step"] == one["best_step"]
    for part in ("before", "after"):
        if "perplexity" in one:
            assert other["perplexity"][part] == pytest.approx(one["perplexity"][part], rel=1e-4)
        if part in one:
            assert other[part]["train"] == pytest.approx(one[part]["train"], abs=1e-4)
    (stage, _, place), (_, _, where) = run.split("-"), alone.split("-")
    mine, theirs = (tiny.weights(folder / f"{stage}-{p}" / "model") for p in (place, where))
    assert mine.keys() == theirs.keys()
    assert max(float((mine[k] - theirs[k]).abs().max()) for k in theirs) <= 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_train_as_one(done: Any, stage: str, layout: str) -> None:
    folder, found = done
    compare(found, folder, f"{stage}-{layout}-{layout}", f"{stage}-ddp-one")


@pytest.mark.parametrize("stage", ["pretrain", "align"])
def test_zero2_keeps_gathered_weights_for_the_backward_pass(done: Any, stage: str) -> None:
    folder, found = done
    compare(found, folder, f"{stage}-zero2-zero2", f"{stage}-ddp-one")
    assert found[f"{stage}-zero2-zero2"]["parameters"] == ["DTensor"]


@pytest.mark.parametrize("stage", STAGES)
def test_fsdp_is_real(done: Any, stage: str) -> None:
    """Trainer's own `fsdp` silently is DDP on a CPU."""
    _, found = done
    assert found[f"{stage}-fsdp-fsdp"]["parameters"] == ["DTensor"]
    assert found[f"{stage}-ddp-ddp"]["parameters"] == ["Parameter"]


@pytest.mark.parametrize("stage", STAGES)
def test_one_process_goes_on_where_two_stopped(done: Any, stage: str) -> None:
    folder, found = done
    assert found[f"{stage}-{STOPPED[stage]}-forward-stop"] == {}
    assert found[f"{stage}-ddp-forward"]["began"] == 5
    compare(found, folder, f"{stage}-ddp-forward", f"{stage}-ddp-one")


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_go_on_where_one_stopped(done: Any, stage: str) -> None:
    folder, found = done
    run = f"{stage}-{RESUMED[stage]}-reverse"
    assert found[f"{stage}-ddp-reverse-stop"] == {}
    assert found[run]["began"] == 5
    compare(found, folder, run, f"{stage}-ddp-one")


@pytest.mark.parametrize("stage", ["finetune", "align"])
def test_sharded_adapters_are_switched_off_reloaded_and_merged(done: Any, stage: str) -> None:
    """DPO's reference is the model without them; fine-tuning loads its best checkpoint at the end."""
    folder, found = done
    compare(found, folder, f"{stage}-fsdp-lora2", f"{stage}-ddp-lora1")
