"""What a run will cost, from the recipe alone, and what this machine has."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

from aquilamed.hub import CHECKSUMS
from aquilamed.models import home
from aquilamed.pipeline import versions
from aquilamed.recipe import Recipe
from aquilamed.stages import enabled


def estimates(recipe: Recipe) -> dict[str, Any]:
    """Upper bounds that the recipe fixes: training steps, tokens per step. LLM calls: `planned_calls`.

    What depends on the data (documents kept, tokens) is known only once its stage is done; it is not guessed here.
    """
    on = enabled(recipe)
    numbers: dict[str, Any] = {"stages": len(on)}
    lengths = {
        "pretrain/stage1": (recipe.pretrain.stage1, recipe.corpus.pack1.length),
        "pretrain/stage2": (recipe.pretrain.stage2, recipe.corpus.pack2.length),
        "finetune": (recipe.finetune, recipe.finetune.length if recipe.finetune else 0),
    }
    for name, (config, length) in lengths.items():
        if name in on and config is not None:
            numbers[f"{name}: tokens per step at most"] = config.batch * length
            numbers[f"{name}: steps at most"] = config.max_steps or "by data"
    if recipe.align and "align" in on:
        numbers["align: pairs per step"] = recipe.align.batch
        numbers["align: steps at most"] = recipe.align.max_steps or "by data"
    return numbers


def machine() -> dict[str, Any]:
    """Versions, cores, memory, disk, accelerators, and fetched models and repositories."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    models, hub = home() / "models", home() / "hub"
    found: dict[str, Any] = {
        **versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory, 1),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "models": ", ".join(sorted(p.name for p in models.iterdir())) if models.is_dir() else "none fetched",
        "hub": ", ".join(sorted(p.parent.relative_to(hub).as_posix() for p in hub.glob(f"*/*/{CHECKSUMS}")))
        or "none fetched",
    }
    import torch

    found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return found
