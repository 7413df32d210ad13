"""Checkpoints: which one counts, and the mean of the last ones.

They lie below `ctx.work`; one counts only with its marker, which is written after everything else of it.
"""

import shutil
from pathlib import Path
from typing import Any

from aquilamed.config import StageFailed
from aquilamed.stage import Context

COMPLETE = "complete.json"


def complete_checkpoints(ctx: Context) -> list[tuple[int, Path]]:
    """(step, folder) of every complete checkpoint, oldest first."""
    found = (ctx.work / "checkpoints").glob("checkpoint-*")
    return sorted((int(p.name.split("-")[1]), p) for p in found if (p / COMPLETE).exists())


def newest_checkpoint(ctx: Context) -> str | None:
    """The newest complete checkpoint of an interrupted training; half-written ones are removed and reported."""
    for folder in sorted((ctx.work / "checkpoints").glob("checkpoint-*")):
        if not (folder / COMPLETE).exists():
            ctx.progress.say(f"{folder.name} is half-written and was removed; an older one is used, if there is one.")
            shutil.rmtree(folder)
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
    import torch
    from safetensors import safe_open

    found = complete_checkpoints(ctx)[-count:]
    if len(found) < count:
        raise StageFailed(f"average_last is {count}, but only {len(found)} checkpoints were written; lower save_steps")
    files = [sorted(folder.glob("model*.safetensors")) for _, folder in found]
    sums: dict[str, Any] = {}
    for parts in files:
        for part in parts:
            with safe_open(part, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    tensor = tensors.get_tensor(name).double()
                    sums[name] = sums[name].add_(tensor) if name in sums else tensor
    own = model.state_dict()
    with torch.no_grad():
        for name, total in sums.items():
            own[name].copy_(total / count)
    return [step for step, _ in found]
