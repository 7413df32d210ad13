"""Jobs for schedulers: a recipe's machines, GPUs and layouts as a SLURM script or a Kubernetes manifest."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aquilamed.config import Invalid
from aquilamed.planned_trainings import check_hardware, known_shape, machine_of, planned_choice, trainings
from aquilamed.recipe import Recipe

TEMPLATES = {"slurm": "slurm.sh.j2", "kubernetes": "kubernetes.yaml.j2"}


def script(
    scheduler: str,
    recipe: Recipe,
    path: Path,
    workspace: str,
    overrides: list[str],
    hours: int,
    image: str,
    claim: str,
    mount: str = "/shared",
) -> str:
    """The text of a job that runs a recipe.

    Args:
        scheduler: a key of `TEMPLATES`.
        path: the recipe's file.
        workspace: the folder that all machines share; for Kubernetes this and `path` are as the pods see them, relative
            ones below `mount`.

    Raises `Invalid` for a recipe without `hardware` or without a training, and for one that its hardware cannot run.
    """
    hardware = recipe.hardware
    planned = _trainings(recipe)
    if hardware is None or not planned:
        raise Invalid(f"{path}: a job needs a hardware section and a training: see docs/training.md")
    nodes, per_node = max(hardware.nodes(t["devices"]) for t in planned)
    cluster = scheduler == "kubernetes"
    root = Path(mount) if cluster else Path.cwd()
    place, file = str(root / workspace), str(root / path)
    command = ["aquilamed", "run", file, "--workspace", place, *(w for o in overrides for w in ("--set", o))]
    gpu = hardware.device == "gpu"
    limits = {"nvidia.com/gpu": per_node} if gpu else {"cpu": per_node, "memory": f"{per_node * hardware.memory_gb:g}G"}
    quote = json.dumps if cluster else shlex.quote
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 (no HTML: every word is quoted for its shell or for YAML)
        keep_trailing_newline=False,
    )
    return environment.get_template(TEMPLATES[scheduler]).render(
        name=recipe.name,
        label=re.sub(r"[^a-z0-9]+", "-", recipe.name.lower()).strip("-")[:50],
        nodes=nodes,
        per_node=per_node,
        gpu=gpu,
        trainings=planned,
        hours=hours,
        workspace=quote(place),
        command=[quote(word) for word in command] if cluster else shlex.join(command),
        image=quote(image),
        claim=quote(claim),
        mount=quote(mount),
        limits=json.dumps(limits),
    )


def _trainings(recipe: Recipe) -> list[dict[str, Any]]:
    """Every training with its processes, layout and batch; the layout is open while the base model is not known."""
    check_hardware(recipe)
    known, _ = known_shape(recipe)
    found = []
    for stage, config in trainings(recipe).items():
        devices = machine_of(recipe, stage).devices
        choice = planned_choice(recipe, stage) if known else None
        found.append(
            {
                "stage": stage,
                "devices": devices,
                "layout": choice.layout if choice else "layout not known yet",
                "offload": bool(choice and choice.offload),
                "batch": config.batch,
                "micro_batch": config.micro_batch,
                "accumulate": config.batch // (config.micro_batch * devices),
            }
        )
    return found
