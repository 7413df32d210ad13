"""What a run will cost, from the recipe alone, and what this machine has."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

from aquilamed.models import home
from aquilamed.pipeline import enabled, versions
from aquilamed.recipe import Recipe
from aquilamed.train.common import TrainConfig


def estimates(recipe: Recipe) -> dict[str, Any]:
    """Upper bounds that the recipe fixes: LLM calls, training steps, tokens per step.

    What depends on the data (documents kept, tokens) is known only once its stage is done; it is not guessed here.
    """
    on = enabled(recipe)
    numbers: dict[str, Any] = {"stages": len(on)}
    calls: dict[str, int] = {}
    if "corpus/domain_labels" in on:
        calls["corpus/domain_labels"] = 2 * recipe.corpus.domain_labels.seeds
    if "corpus/quality_labels" in on:
        calls["corpus/quality_labels"] = 2 * recipe.corpus.quality_labels.seeds
    if recipe.prefer.subjective and "prefer/subjective" in on:
        calls["prefer/subjective"] = (3 if recipe.prefer.subjective.answers == "annotator" else 2) * recipe.prefer.subjective.prompts
    for stage, most in calls.items():
        numbers[f"{stage}: judgements at most"] = most
    if recipe.annotator.kind == "openai":
        numbers["annotator budget"] = recipe.annotator.budget or "none"
    trainings = {
        "pretrain/stage1": recipe.pretrain.stage1,
        "pretrain/stage2": recipe.pretrain.stage2,
        "finetune": recipe.finetune,
        "align": recipe.align,
    }
    for name, config in trainings.items():
        if name in on and isinstance(config, TrainConfig):
            numbers[f"{name}: tokens per step at most"] = config.batch * config.length
            numbers[f"{name}: steps at most"] = config.max_steps or "by data"
    return numbers


def machine() -> dict[str, Any]:
    """Versions, cores, memory, disk, accelerators, and fetched models."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    models = home() / "models"
    found: dict[str, Any] = {
        **versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory, 1),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "models": ", ".join(sorted(p.name for p in models.iterdir())) if models.is_dir() else "none fetched",
    }
    import torch

    found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return found
