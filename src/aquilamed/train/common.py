"""What the three trainings share: their settings, the model to start from, packed batches, checkpoints and the log.

The trainings themselves are Hugging Face's Trainer and TRL's; here is what those leave open. Checkpoints go below
`ctx.work`; one counts only with its marker, which is written after everything else of it.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from aquilamed.config import Config, Invalid, StageFailed
from aquilamed.corpus.proportions import hash_share
from aquilamed.models import ModelConfig, fit_embeddings, load_model, load_tokenizer, save_model
from aquilamed.records import write_atomic, write_json
from aquilamed.stage import Context

COMPLETE = "complete.json"


class LoraSettings(Config):
    """Low-rank adapters; merged into the model at the end."""

    rank: int = Field(default=16, ge=1)
    """The adapters' rank."""
    alpha: int = Field(default=32, ge=1)
    """Scale of the adapters' output, divided by the rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in front of the adapters."""
    targets: str | list[str] = "all-linear"
    """Which layers get adapters: names, or "all-linear" for all but the head."""


class TrainConfig(Config):
    """Settings of every training."""

    batch: int = Field(ge=1)
    """Sequences (packed rows, or preference pairs) per optimiser step, over all devices."""
    micro_batch: int = Field(default=1, ge=1)
    """Sequences per forward pass and device; gradients are accumulated up to `batch`."""
    lr: float = Field(gt=0)
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's weight decay."""
    epochs: float = Field(gt=0)
    """Passes over the data."""
    max_steps: int | None = Field(default=None, ge=1)
    """Most optimiser steps; none trains for `epochs`."""
    method: Literal["full", "lora"] = "full"
    """All weights, or low-rank adapters that are merged at the end."""
    lora: LoraSettings = LoraSettings()
    """The adapters' settings."""
    gradient_checkpointing: bool = True
    """Whether a GPU recomputes activations to save memory; never on a CPU, where it only costs time."""
    save_steps: int | None = Field(default=200, ge=1)
    """Steps between checkpoints; none writes none, and an interrupted training starts again."""

    volatile: ClassVar[frozenset[str]] = frozenset({"save_steps"})


def start(ctx: Context, *stages: str) -> tuple[Any, Any, str]:
    """Model, tokenizer and name of the last of these stages that is among the inputs, else of the base model."""
    import warnings

    import datasets
    import torch

    datasets.disable_progress_bars()
    # Renamed in transformers 5.2x; TRL and the oldest transformers we allow know the old name only.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
    config: ModelConfig = ctx.recipe.base_model
    name = config.path
    for stage in stages:
        if stage in ctx.inputs:
            changed = {"path": str(ctx.inputs[stage].path / "model"), "revision": None}
            config, name = ctx.recipe.base_model.model_copy(update=changed), stage
    tokenizer = load_tokenizer(config)
    model = load_model(config)
    fit_embeddings(model, tokenizer)
    if torch.cuda.is_available():  # what is measured before training must not crawl on the CPU
        model = model.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    # A local base model goes by its folder's name: no path of this machine belongs into a manifest.
    return model, tokenizer, Path(name).name if Path(name).is_absolute() else name


def lora_config(config: TrainConfig) -> Any:
    """PEFT's config for the adapters; None for full training."""
    if config.method == "full":
        return None
    from peft import LoraConfig

    lora = config.lora
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )


def arguments(ctx: Context, config: TrainConfig) -> dict[str, Any]:
    """Arguments for Trainer and TRL alike: no network, no bars of their own, seeds fixed, bf16 only on a GPU.

    Raises `Invalid` when `batch` cannot be reached with `micro_batch` on this number of devices.
    """
    import torch

    gpu = torch.cuda.is_available()
    devices = int(os.environ.get("WORLD_SIZE", "1"))
    accumulate, rest = divmod(config.batch, config.micro_batch * devices)
    if rest:
        raise Invalid(
            f"batch {config.batch} is not a multiple of micro_batch {config.micro_batch} × {devices} devices; "
            "change one of them"
        )
    return {
        "output_dir": str(ctx.work / "checkpoints"),
        "per_device_train_batch_size": config.micro_batch,
        "per_device_eval_batch_size": config.micro_batch,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": config.lr,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "optim": "adamw_torch_fused",
        "seed": ctx.seed,
        "data_seed": ctx.seed,
        "bf16": gpu,
        "use_cpu": not gpu,
        "gradient_checkpointing": gpu and config.gradient_checkpointing,
        "dataloader_pin_memory": gpu,
        "remove_unused_columns": False,
        "include_num_input_tokens_seen": "all",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if config.save_steps else "no",
        "save_steps": config.save_steps or 1,
        "save_total_limit": 2,
    }


def is_heldout(seed: int, share: float, ids: Sequence[str]) -> list[bool]:
    """Which records are for validation, by seeded hash: at least one (unless the share is 0), and never all."""
    draws = [hash_share("validation", seed, i) for i in ids]
    chosen = [d < share for d in draws]
    if share > 0 and len(ids) > 1 and not any(chosen):
        chosen[draws.index(min(draws))] = True
    if all(chosen) and chosen:
        chosen[draws.index(max(draws))] = False
    return chosen


def newest_checkpoint(ctx: Context) -> str | None:
    """The newest complete checkpoint of an interrupted training; half-written ones are removed and reported."""
    found: list[tuple[int, Path]] = []
    for folder in (ctx.work / "checkpoints").glob("checkpoint-*"):
        if (folder / COMPLETE).exists():
            found.append((int(folder.name.split("-")[1]), folder))
        else:
            ctx.progress.say(f"{folder.name} is half-written and was removed; an older one is used, if there is one.")
            shutil.rmtree(folder)
    if not found:
        return None
    step, folder = max(found)
    ctx.progress.say(f"Continuing from the checkpoint of step {step}.")
    return str(folder)


def train(
    ctx: Context, trainer: Any, label: str, on_log: Callable[[int, dict[str, float]], None] | None = None
) -> dict[str, Any]:
    """Run a trainer to its end, from the newest complete checkpoint where there is one.

    Returns the metrics all trainings share: `loss` ([[step, loss], …]), `steps`, `tokens` (those of padding included),
    `tokens_per_second` and `seconds` (of this attempt).

    Raises `StageFailed` when the loss is not a number.
    """
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to --json
    checkpoint = newest_checkpoint(ctx)
    with ExitStack() as stack:
        watch = _watch(ctx, label, stack, on_log)
        trainer.add_callback(watch)
        trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - watch.started
    losses = [[h["step"], h["loss"]] for h in trainer.state.log_history if "loss" in h]
    seen = int(trainer.state.num_input_tokens_seen)
    lines = (json.dumps(h, sort_keys=True) for h in trainer.state.log_history)
    write_atomic(ctx.out / "loss.jsonl", "".join(f"{line}\n" for line in lines).encode())
    return {
        "loss": losses,
        "steps": int(trainer.state.global_step),
        "tokens": seen,
        "tokens_per_second": round((seen - watch.seen) / seconds, 1),
        "seconds": round(seconds, 1),
    }


def _watch(ctx: Context, label: str, stack: ExitStack, on_log: Callable[[int, dict[str, float]], None] | None) -> Any:
    """The callback that shows progress, marks checkpoints as complete and stops at a loss that is not a number."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        started = 0.0
        seen = 0
        note = ""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.started, self.seen = time.perf_counter(), int(state.num_input_tokens_seen)
            self.bar = stack.enter_context(
                ctx.progress.track(label, total=state.max_steps, unit="step", done=state.global_step)
            )

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            speed = (state.num_input_tokens_seen - self.seen) / (time.perf_counter() - self.started)
            self.bar.advance(note=f"{self.note}  {speed:,.0f} tokens/s")

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is None:
                return
            if not math.isfinite(loss):
                raise StageFailed(f"the loss at step {state.global_step} is {loss}; lower the learning rate")
            self.note = f"loss {loss:.4f}"
            if on_log is not None:
                on_log(int(state.global_step), logs)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            write_json(
                Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE, {"step": state.global_step}
            )

    return Watch()


def finish(ctx: Context, trainer: Any, tokenizer: Any) -> Any:
    """Merge adapters, write `model/`, and return the trained model in evaluation mode."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    save_model(model, tokenizer, ctx.out / "model")
    return model.eval()


def once(ctx: Context, name: str, compute: Callable[[], Any]) -> Any:
    """A JSON-able value that is computed before training and must not be computed again by a continued attempt."""
    path = ctx.work / f"{name}.json"
    if not path.exists():
        write_json(path, compute())
    return json.loads(path.read_text(encoding="utf-8"))
