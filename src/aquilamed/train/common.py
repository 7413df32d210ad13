"""What the three trainings share: their settings, the model to start from, the run with its checkpoints and its log.

The trainings themselves are Hugging Face's Trainer and TRL's; here is what those leave open.
"""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from aquilamed.config import Config, Invalid
from aquilamed.corpus.proportions import hash_share
from aquilamed.models import ModelConfig, fit_embeddings, load_model, load_tokenizer, save_model
from aquilamed.records import write_atomic, write_json
from aquilamed.stage import Context
from aquilamed.train import ranks
from aquilamed.train.checkpoints import average_last, newest_checkpoint
from aquilamed.train.checks import Limits
from aquilamed.train.guard import memory_explained
from aquilamed.train.shard import is_sharded, merge_adapters, shard, whole_state
from aquilamed.train.trackers import Tracker, tracked
from aquilamed.train.watch import watching


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
    frozen_embeddings: bool = False
    """Whether the embeddings (and a head tied to them) stay as they are."""
    neftune: float | None = Field(default=None, gt=0)
    """Strength of uniform noise on the embeddings (NEFTune, usually 5); none adds none."""
    on_spike: Literal["stop", "skip"] = "stop"
    """At a loss that is no number, or a spike: stop with the batch's record ids, or leave that step out and say so."""
    spike: float | None = Field(default=None, gt=1)
    """A loss over this many times the median of the last 32 steps is a spike; none only looks for no-numbers."""
    average_last: int = Field(default=1, ge=1)
    """Checkpoints whose weights' mean becomes the model, the last one included; 1 takes the last (or best) as it is."""
    limits: Limits = Limits()
    """With how much left out, doubled or padded a training still starts."""
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    """Whether a GPU recomputes activations to save memory: `auto` where the plan says that it must. Never on a CPU, where
    it only costs time."""
    compile: bool = True
    """Whether a GPU compiles the layers in the first step (some ten seconds); not with gradient_checkpointing, whose
    second forward pass PyTorch cannot compile around attention by document."""
    save_steps: int | None = Field(default=200, ge=1)
    """Steps between checkpoints; none writes none, and an interrupted training starts again."""

    keep_checkpoints: int = Field(default=2, ge=2)
    """Newest checkpoints that are kept (and the best one); two, so that one is whole while the next is written."""

    report_to: Tracker = "tensorboard"
    """The experiment tracker that follows the training beside our own log; it writes into WORKSPACE/tracking."""
    report_online: bool = False
    """Whether the tracker may send what it is told to its server (W&B, MLflow, Trackio), as its own variables say."""

    volatile: ClassVar[frozenset[str]] = frozenset({"keep_checkpoints", "report_to", "report_online"})

    @model_validator(mode="after")
    def _averages(self) -> Self:
        if self.average_last > 1 and (self.method == "lora" or self.save_steps is None):
            raise ValueError("average_last needs method: full and save_steps")
        return self

    @property
    def compiled(self) -> bool:
        """Whether layers are compiled where there is a GPU."""
        return self.compile and self.gradient_checkpointing is False

    def identity(self) -> dict[str, Any]:
        """The values that decide the result: how often it is saved does only where checkpoints are averaged."""
        values = super().identity()
        if self.average_last == 1:
            del values["save_steps"]
        return values


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
    # What is measured before training must not crawl on the CPU; a model that is to be sharded may not fit one GPU.
    if torch.cuda.is_available() and ctx.layout == "ddp":
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


def adapted(ctx: Context, config: TrainConfig, model: Any) -> Any:
    """The model with adapters where the recipe asks for them (the same on every attempt), embeddings frozen or not."""
    if config.method == "lora":
        from peft import get_peft_model
        from transformers import set_seed

        set_seed(ctx.seed)
        return get_peft_model(model, lora_config(config))
    if config.frozen_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    return model


def placed(ctx: Context, model: Any) -> Any:
    """The model as this training's processes hold it: whole, or sharded over them."""
    return model if ctx.layout == "ddp" else shard(model, ctx.layout == "fsdp", ctx.offload)


def arguments(ctx: Context, config: TrainConfig) -> dict[str, Any]:
    """Arguments for Trainer and TRL alike: no network, no bars of their own, seeds fixed, bf16 only on a GPU.

    Raises `Invalid` when `batch` cannot be reached with `micro_batch` on this number of devices.
    """
    import torch

    gpu = torch.cuda.is_available()
    devices = ranks.count()
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
        "gradient_checkpointing": gpu and config.gradient_checkpointing is not False,
        "dataloader_pin_memory": gpu,
        "remove_unused_columns": False,
        "include_num_input_tokens_seen": "all",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if config.save_steps else "no",
        "save_steps": config.save_steps or 1,
        "save_total_limit": max(config.keep_checkpoints, config.average_last),
        "neftune_noise_alpha": config.neftune,
        "ddp_find_unused_parameters": False,
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


def train(
    ctx: Context,
    config: TrainConfig,
    trainer: Any,
    label: str,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Run a trainer (of a `guarded` class) to its end, from the newest complete checkpoint where there is one.

    Returns the metrics all trainings share: `loss` ([[step, loss], …]), `steps`, `skipped_steps`, `tokens` (those of
    padding included), `tokens_per_second` and `seconds` (of this attempt), `averaged_steps` where weights are averaged.

    Raises `StageFailed` at a loss that is not a number or a spike (unless the recipe skips such steps), and when memory
    runs out.
    """
    import torch
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to --json
    checkpoint = newest_checkpoint(ctx)
    tokens = config.micro_batch * int(getattr(config, "length", 0) or 2048)
    with ExitStack() as stack:
        watch = watching(ctx, config, trainer, label, stack, on_log)
        trainer.add_callback(watch)
        stack.enter_context(tracked(ctx, trainer, config.report_to, config.report_online))
        stack.enter_context(memory_explained(trainer.model, config, tokens))
        torch.manual_seed(ctx.seed + ranks.index())  # dropout and noise must differ between processes
        trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - watch.started
    history = trainer.state.log_history
    seen = int(trainer.state.num_input_tokens_seen)
    lines = (json.dumps(_finite(h), sort_keys=True) for h in history)
    if ranks.index() == 0:
        write_atomic(ctx.out / "loss.jsonl", "".join(f"{line}\n" for line in lines).encode())
    averaged = {}
    if config.average_last > 1:
        averaged = {
            "averaged_steps": average_last(ctx, trainer.accelerator.unwrap_model(trainer.model), config.average_last)
        }
    return {
        "loss": [[h["step"], _finite(h)["loss"]] for h in history if "loss" in h],
        "steps": int(trainer.state.global_step),
        "skipped_steps": [h["step"] for h in history if h.get("skipped")],
        "tokens": seen,
        "tokens_per_second": round((seen - watch.seen) / seconds, 1),
        "seconds": round(seconds, 1),
        **averaged,
    }


def _finite(entry: dict[str, Any]) -> dict[str, Any]:
    """A log entry with null for what is no number: JSON has no other word for it."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}


def finish(ctx: Context, trainer: Any, tokenizer: Any) -> Any:
    """Merge adapters, write `model/` (in the first process), and return the trained model in evaluation mode.

    A sharded model is returned as it is.
    """
    model, state = trainer.accelerator.unwrap_model(trainer.model), None
    if sharded := is_sharded(model):
        state = whole_state(model)
    elif hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    if ranks.index() == 0:
        base = model.get_base_model() if sharded and hasattr(model, "get_base_model") else model
        save_model(base, tokenizer, ctx.out / "model", state and merge_adapters(model, state))
    return model.eval()


def once(ctx: Context, name: str, compute: Callable[[], Any]) -> Any:
    """A JSON-able value that is computed before training and must not be computed again by a continued attempt.

    With several processes all must compute it together: then none looks for the file after another has written it.
    """
    path = ctx.work / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    value = compute()
    if ranks.index() == 0:
        write_json(path, value)
    return value
