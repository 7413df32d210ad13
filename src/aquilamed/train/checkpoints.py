"""Checkpoints: which one counts, and the mean of the last ones.

They lie below `ctx.work`; one counts only with its marker, which is written after everything else of it.
"""

import shutil
from pathlib import Path
from typing import Any

from aquilamed.config import StageFailed
from aquilamed.stage import Context
from aquilamed.train import ranks
from aquilamed.train.shard import load_whole, weights_of

COMPLETE = "complete.json"


def complete_checkpoints(ctx: Context) -> list[tuple[int, Path]]:
    """(step, folder) of every complete checkpoint, oldest first."""
    found = (ctx.work / "checkpoints").glob("checkpoint-*")
    return sorted((int(p.name.split("-")[1]), p) for p in found if (p / COMPLETE).exists())


def newest_checkpoint(ctx: Context) -> str | None:
    """The newest complete checkpoint of an interrupted training; half-written ones are removed and reported."""
    for folder in sorted((ctx.work / "checkpoints").glob("checkpoint-*")) if ranks.index() == 0 else []:
        if not (folder / COMPLETE).exists():
            ctx.progress.say(f"{folder.name} is half-written and was removed; an older one is used, if there is one.")
            shutil.rmtree(folder)
    ranks.wait()
    found = complete_checkpoints(ctx)
    if not found:
        return None
    step, folder = found[-1]
    ctx.progress.say(f"Continuing from the checkpoint of step {step}.")
    return str(folder)


def average_last(ctx: Context, model: Any, count: int) -> list[int]:
    """Give a model the mean of the last `count` checkpoints' weights; returns their steps.

    Raises `StageFailed` when there are fewer.
    """
    found = complete_checkpoints(ctx)[-count:]
    if len(found) < count:
        raise StageFailed(f"average_last is {count}, but only {len(found)} checkpoints were written; lower save_steps")
    sums: dict[str, Any] = {}
    for _, folder in found:
        for name, tensor in weights_of(folder):
            sums[name] = sums[name].add_(tensor.double()) if name in sums else tensor.double()
    load_whole(model, ((name, total / count) for name, total in sums.items()))
    return [step for step, _ in found]
