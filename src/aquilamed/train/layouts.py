"""The ways to spread a training over its devices, what each takes of memory, and which of them a recipe allows."""

from dataclasses import dataclass

from aquilamed.train.align import AlignConfig
from aquilamed.train.budget import Memory, Setup, memory
from aquilamed.train.common import TrainConfig
from aquilamed.train.hardware import Layout
from aquilamed.train.shape import Shape

ROOM = 0.9
"""Share of a GPU's memory that a training without checkpointing may fill by the plan where the recipe leaves it open."""


@dataclass(frozen=True)
class Machine:
    """What a training runs on. `memory` is bytes of a GPU, or of the host without one; `weights` the bytes of a weight."""

    devices: int
    memory: float
    gpu: bool
    weights: int
    layouts: tuple[Layout, ...]
    offload: bool
    rate: float | None


@dataclass(frozen=True)
class Choice:
    """A way to spread a training, and its peak memory per device."""

    layout: Layout
    checkpointing: bool
    offload: bool
    method: str
    memory: Memory
    fits: bool


def choices(shape: Shape, config: TrainConfig, length: int, machine: Machine) -> list[Choice]:
    """Every layout with and without checkpointing and offload, as the recipe trains and (for all weights) with LoRA."""
    layouts: tuple[Layout, ...] = ("ddp", "zero2", "fsdp") if machine.devices > 1 else ("ddp",)
    lora = config.model_copy(update={"method": "lora"})
    found = []
    for method in [config] if config.method == "lora" else [config, lora]:
        for layout in layouts:
            for offload in (False, True) if layout != "ddp" else (False,):
                for again in (False, True) if machine.gpu else (False,):
                    size = training_memory(
                        shape,
                        method,
                        length,
                        layout,
                        machine.devices,
                        gpu=machine.gpu,
                        weights=machine.weights,
                        checkpointing=again,
                        offload=offload,
                    )
                    found.append(Choice(layout, again, offload, method.method, size, size.total <= machine.memory))
    return found


def training_memory(
    shape: Shape,
    config: TrainConfig,
    length: int,
    layout: Layout,
    devices: int,
    *,
    gpu: bool,
    weights: int,
    checkpointing: bool,
    offload: bool = False,
) -> Memory:
    """Peak memory of a training on one of its devices.

    Args:
        weights: bytes of a weight.
        checkpointing: instead of the recipe's.
    """
    trained, adapters = learned(shape, config)
    setup = Setup(
        tokens=config.micro_batch * length,
        layout=layout,
        devices=devices,
        gpu=gpu,
        weights=weights,
        accumulates=config.batch > config.micro_batch * devices,
        checkpointing=checkpointing,
        compiled=config.compile and gpu and not checkpointing,
        offload=offload,
        answers=2 if isinstance(config, AlignConfig) else 1,
    )
    return memory(shape, trained, adapters, setup)


def learned(shape: Shape, config: TrainConfig) -> tuple[int, int]:
    """How many parameters a training moves, and how many of them are adapters."""
    if config.method == "lora":
        adapters = shape.lora_parameters(config.lora.rank, config.lora.targets)
        return adapters, adapters
    return shape.parameters - (shape.table if config.frozen_embeddings else 0), 0


def first_fit(found: list[Choice], config: TrainConfig, machine: Machine) -> Choice | None:
    """How a training is spread: of the choices that the recipe allows and that fit the first in order, without offload if
    possible and then, where the recipe leaves it open, without checkpointing (which costs two fifths of the speed)."""
    most = ROOM * machine.memory if machine.gpu and config.gradient_checkpointing == "auto" else machine.memory
    fitting = [
        c for c in found if allowed(c, config, machine) and c.fits and (c.checkpointing or c.memory.total <= most)
    ]
    return min(fitting, key=lambda c: (c.offload, c.checkpointing), default=None)


def allowed(choice: Choice, config: TrainConfig, machine: Machine) -> bool:
    """Whether a recipe trains so."""
    again = config.gradient_checkpointing if machine.gpu else False
    return (
        choice.method == config.method
        and choice.layout in machine.layouts
        and again in ("auto", choice.checkpointing)
        and (machine.offload or not choice.offload)
    )


def too_small(stage: str, config: TrainConfig, machine: Machine, found: list[Choice]) -> str:
    """Why none of a training's choices fits, and the settings to change with what they would give."""
    least = min((c for c in found if allowed(c, config, machine)), key=lambda c: c.memory.total, default=None)
    needs = (
        f"needs {least.memory.total / 1e9:.1f} GB a GPU ({least.layout})"
        if least
        else "has no layout for one GPU but ddp"
    )
    ways = [] if config.micro_batch == 1 else [f"lower micro_batch (it is {config.micro_batch})"]
    for c in sorted((c for c in found if c.fits), key=lambda c: (c.method != config.method, c.offload, c.memory.total)):
        changes = [
            *([f"layouts with {c.layout}"] if c.layout not in machine.layouts else []),
            *(["gradient_checkpointing: true"] if c.checkpointing and config.gradient_checkpointing is False else []),
            *(["offload: true"] if c.offload and not machine.offload else []),
            *(["method: lora"] if c.method != config.method else []),
        ]
        if changes:
            ways.append(f"{' and '.join(changes)} ({c.memory.total / 1e9:.1f} GB)")
            break
    ways.append("more GPUs or larger ones, a shorter length, a smaller base_model")
    return (
        f"{stage.replace('/', '.')}: {needs} and hardware.memory_gb is {machine.memory / 1e9:g}; {'; or '.join(ways)}"
    )
