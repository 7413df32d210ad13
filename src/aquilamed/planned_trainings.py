"""What the trainings of a recipe will take: steps, tokens, arithmetic, hours, disk, and memory by layout.

Nothing is read but configs, manifests and the base model's config; no weights. A number that nobody knows yet is None.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from aquilamed.config import Invalid
from aquilamed.recipe import Recipe
from aquilamed.stages import MODELS, enabled
from aquilamed.terminal import table
from aquilamed.train.align import AlignConfig
from aquilamed.train.budget import disk, flops
from aquilamed.train.common import TrainConfig
from aquilamed.train.finetune import FinetuneConfig
from aquilamed.train.hardware import ArchitectureConfig, HardwareConfig
from aquilamed.train.layouts import Choice, Machine, choices, first_fit, learned, too_small
from aquilamed.train.shape import Shape, base_shape, shape_of

if TYPE_CHECKING:
    from aquilamed.pipeline import StageState


@dataclass(frozen=True)
class PlannedTraining:
    """A training of the plan; rows, tokens and what follows from them are upper bounds."""

    stage: str
    model: str
    parameters: int | None
    trained: int | None
    rows: int | None
    steps: int | None
    tokens: int | None
    basis: str
    flops: float | None
    devices: int
    hours: float | None
    disk: int | None
    choice: Choice | None
    """The first that the recipe allows and that fits; None when the model is unknown or nothing fits."""
    choices: list[Choice]


def planned_trainings(recipe: Recipe, states: "Iterable[StageState]") -> list[PlannedTraining]:
    """Every training of the recipe, done or not."""
    artifacts = {s.name: s.artifact.manifest for s in states if s.artifact}
    shape, model = known_shape(recipe)
    return [_planned(recipe, name, config, artifacts, shape, model) for name, config in trainings(recipe).items()]


def trainings(recipe: Recipe) -> dict[str, TrainConfig]:
    """The trainings that a recipe switches on."""
    sections = (recipe.pretrain.stage1, recipe.pretrain.stage2, recipe.finetune, recipe.align)
    on = enabled(recipe)
    return {name: c for name, c in zip(MODELS, sections, strict=True) if c is not None and name in on}


def check_hardware(recipe: Recipe) -> None:
    """Raise `Invalid` for a training that the recipe's hardware cannot run, with what to change.

    Without a `hardware` section nothing is refused: the machine of the plan need not be the one that trains.
    """
    if recipe.hardware is None:
        return
    shape, _ = known_shape(recipe)
    wrong = []
    for stage, config in trainings(recipe).items():
        machine = machine_of(recipe, stage)
        if config.batch % (config.micro_batch * machine.devices):
            wrong.append(
                f"{stage.replace('/', '.')}: batch {config.batch} is not a multiple of micro_batch {config.micro_batch} × "
                f"{machine.devices} GPUs; change one of them, or give hardware.gpus_of for this training"
            )
        elif shape is not None:
            found = choices(shape, config, length_of(recipe, stage), machine)
            if first_fit(found, config, machine) is None:
                wrong.append(too_small(stage, config, machine, found))
    if wrong:
        raise Invalid("\n".join(wrong))


def planned_choice(recipe: Recipe, stage: str) -> Choice:
    """How a training is spread (`first_fit`).

    Raises `Invalid` when none does, and while nobody knows the base model.
    """
    config, machine = trainings(recipe)[stage], machine_of(recipe, stage)
    shape, why = known_shape(recipe)
    if shape is None:
        raise Invalid(why)
    found = choices(shape, config, length_of(recipe, stage), machine)
    chosen = first_fit(found, config, machine)
    if chosen is None:
        raise Invalid(too_small(stage, config, machine, found))
    return chosen


def settled(recipe: Recipe, stage: str, config: TrainConfig) -> TrainConfig:
    """A training's settings with `gradient_checkpointing: auto` decided by the plan: the same in all of its processes.

    Where the plan knows no model, or nothing fits by it, memory is saved.
    """
    if config.gradient_checkpointing != "auto" or not machine_of(recipe, stage).gpu:
        return config
    try:
        again = planned_choice(recipe, stage).checkpointing
    except Invalid:
        again = True
    return config.model_copy(update={"gradient_checkpointing": again})


def known_shape(recipe: Recipe) -> tuple[Shape | None, str]:
    """The base model's shape and where it comes from; None, and why, while nobody knows it."""
    try:
        return base_shape(recipe.base_model), recipe.base_model.path
    except Invalid as error:
        if recipe.hardware is None or recipe.hardware.architecture is None:
            return None, str(error)
        return _stated(recipe.hardware.architecture), "hardware.architecture, until the base model is fetched"


def _stated(config: ArchitectureConfig) -> Shape:
    from transformers import LlamaConfig

    return shape_of(
        LlamaConfig(
            hidden_size=config.hidden,
            intermediate_size=config.ffn,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_size,
            vocab_size=config.vocabulary,
            tie_word_embeddings=config.tied,
        )
    )


def machine_of(recipe: Recipe, stage: str) -> Machine:
    """The recipe's hardware for a training; without that section one GPU of this machine, else its processor."""
    import torch

    weights = 2 if recipe.base_model.dtype == "bfloat16" else 4
    told: HardwareConfig | None = recipe.hardware
    if told is not None:
        devices = {str(k): v for k, v in told.gpus_of.items()}.get(stage, told.gpus)
        rate = told.tflops * 1e12 * told.utilisation if told.tflops else None
        gpu = told.device == "gpu"
        return Machine(devices, told.memory_gb * 1e9, gpu, weights, tuple(told.layouts), told.offload, rate)
    if torch.cuda.is_available():
        size = torch.cuda.get_device_properties(0).total_memory
        return Machine(1, size, True, weights, ("ddp",), False, None)
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(1, size, False, weights, ("ddp",), False, None)


def length_of(recipe: Recipe, stage: str) -> int:
    """Tokens of a training's rows."""
    packs = {"pretrain/stage1": recipe.corpus.pack1, "pretrain/stage2": recipe.corpus.pack2}
    section = packs.get(stage) or (recipe.finetune if stage == "finetune" else recipe.align)
    assert section is not None
    return section.length


def _planned(
    recipe: Recipe,
    stage: str,
    config: TrainConfig,
    artifacts: dict[str, dict[str, Any]],
    shape: Shape | None,
    model: str,
) -> PlannedTraining:
    machine, length = machine_of(recipe, stage), length_of(recipe, stage)
    rows, basis = _rows(recipe, stage, config, artifacts)
    steps = None if rows is None else math.ceil(math.ceil(rows / config.batch) * config.epochs)
    if config.max_steps is not None:
        steps = config.max_steps if steps is None else min(steps, config.max_steps)
        basis = basis if steps < config.max_steps else "max_steps"
    aligned = isinstance(config, AlignConfig)
    seen = None
    if steps is not None:
        seen = steps * config.batch
        seen = seen if rows is None else min(seen, math.ceil(rows * config.epochs))
    tokens = None if seen is None else seen * length * (2 if aligned else 1)
    work = None
    if shape is not None and tokens is not None:
        work = flops(shape, tokens, length, config.method == "full")
        if aligned:  # the reference's forward pass, once
            work += flops(shape, tokens / config.epochs, length) / 3
    trained, adapters = learned(shape, config) if shape else (0, 0)
    found = choices(shape, config, length, machine) if shape else []
    kept = max(config.keep_checkpoints, config.average_last) + (
        isinstance(config, FinetuneConfig) and config.validation > 0
    )
    return PlannedTraining(
        stage=stage,
        model=model,
        parameters=shape.parameters if shape else None,
        trained=trained if shape else None,
        rows=rows,
        steps=steps,
        tokens=tokens,
        basis=basis,
        flops=work,
        devices=machine.devices,
        hours=work / (machine.rate * machine.devices) / 3600 if work and machine.rate else None,
        disk=disk(shape, trained, adapters, machine.weights, kept if config.save_steps else 0) if shape else None,
        choice=first_fit(found, config, machine),
        choices=found,
    )


def _rows(
    recipe: Recipe, stage: str, config: TrainConfig, artifacts: dict[str, dict[str, Any]]
) -> tuple[int | None, str]:
    """Rows of a training at most (pairs for DPO), and what says so."""
    if isinstance(config, FinetuneConfig):
        done = artifacts.get("instruct/select")
        count = done["records_kept"] if done else recipe.instruct.select.target
        basis = "instruct/select" if done else "instruct.select.target"
        return _training_share(count, config.validation), f"{basis}, one dialogue a row"
    if isinstance(config, AlignConfig):
        done = artifacts.get("prefer/select")
        if done:
            return _training_share(done["records_kept"], config.validation), "prefer/select"
        subjective, objective = recipe.prefer.subjective, recipe.prefer.objective
        if recipe.sources.preferences:
            return None, "prefer/select is not done"
        count = (subjective.prompts if subjective else 0) + (objective.limit if objective else 0)
        return _training_share(count, config.validation), "prefer's prompts and limit"
    number = stage[-1]
    done = artifacts.get(f"corpus/pack{number}")
    if done:
        return int(done["metrics"]["rows"]), f"corpus/pack{number}"
    pack = recipe.corpus.pack1 if number == "1" else recipe.corpus.pack2
    if pack.max_tokens is None:
        return None, f"corpus/pack{number} is not done"
    return math.ceil(pack.max_tokens / pack.length), f"corpus.pack{number}.max_tokens"


def _training_share(count: int | None, validation: float) -> int | None:
    return None if count is None else round(count * (1 - validation))


def training_table(rows: list[PlannedTraining]) -> list[dict[str, Any]]:
    """The trainings for people."""
    unknown = "not known yet"

    def shown(value: float | None, unit: float = 1.0, digits: int = 1) -> Any:
        return unknown if value is None else f"{value / unit:,.{digits}f}"

    return [
        {
            "training": r.stage,
            "parameters, M": shown(r.parameters, 1e6),
            "trained, M": shown(r.trained, 1e6),
            "steps": shown(r.steps, 1, 0),
            "tokens, M": shown(r.tokens, 1e6, 2),
            "from": r.basis,
            "10¹⁵ FLOPs": shown(r.flops, 1e15, 1 if (r.flops or 0) > 1e16 else 3),
            "devices": r.devices,
            "hours": shown(r.hours),
            "disk, GB": shown(r.disk, 1e9),
        }
        for r in rows
    ]


def memory_table(rows: list[PlannedTraining]) -> list[dict[str, Any]]:
    """Memory per device in GB, for people: as the recipe trains, whatever its layout; LoRA and offload in --json."""
    shown = []
    for r in rows:
        for c in r.choices:
            if r.choice and (c.offload or c.method != r.choice.method or c.checkpointing != r.choice.checkpointing):
                continue
            m = c.memory.gigabytes()
            shown.append(
                {
                    "training": r.stage,
                    "layout": f"{'one device' if r.devices == 1 else c.layout}{', LoRA' if c.method == 'lora' else ''}"
                    f"{', offload' if c.offload else ''}{', checkpointing' if c.checkpointing else ''}",
                    **{k: m[k] for k in ("weights", "gradients", "optimizer", "activations", "logits", "total")},
                    "fits": ("chosen" if c == r.choice else "yes") if c.fits else "no",
                }
            )
    return shown


def print_trainings(rows: list[PlannedTraining]) -> None:
    """Both tables on the terminal, or why there are none."""
    if rows:
        table(f"Trainings of {rows[0].model}" if rows[0].parameters else "Trainings", training_table(rows))
    if rows and rows[0].parameters is None:
        typer.echo(f"Parameters and memory are not known until the base model is fetched: {rows[0].model}")
    elif rows:
        table("Memory of one device, GB", memory_table(rows))


def as_json(row: PlannedTraining) -> dict[str, Any]:
    """A row of the plan with everything in it, memory in GB."""

    def one(choice: Choice | None) -> dict[str, Any] | None:
        return None if choice is None else {**asdict(choice), "memory": choice.memory.gigabytes()}

    return {**asdict(row), "choice": one(row.choice), "choices": [one(c) for c in row.choices]}
