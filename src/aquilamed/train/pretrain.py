"""Continued pre-training (stages pretrain/stage1 and pretrain/stage2; paper, section 2).

Trains on packed rows with attention kept inside each document, and measures the perplexity of held-out documents of
each language before and after.
"""

import math
from pathlib import Path
from typing import Any

from aquilamed.corpus.pack import PackedRows
from aquilamed.stage import Context, Result
from aquilamed.train.batches import collate, mean_loss
from aquilamed.train.common import TrainConfig, arguments, finish, lora_config, once, start, train


class PretrainConfig(TrainConfig):
    """Continued pre-training; the sequence length is the pack's."""

    epochs: float = 1
    """Passes over the pack."""


class Stage1Config(PretrainConfig):
    """Stage 1: rule-filtered domain and general text."""

    batch: int = 768
    """Rows per optimiser step."""
    lr: float = 1e-4
    """Peak learning rate."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises."""


class Stage2Config(PretrainConfig):
    """Stage 2: quality-filtered domain text and SFT dialogues."""

    batch: int = 384
    """Rows per optimiser step."""
    lr: float = 1e-5
    """Peak learning rate."""
    warmup: float = 0.01
    """Share of the steps in which the learning rate rises."""


def run(ctx: Context, config: PretrainConfig) -> Result:
    """Train on the pack among the inputs; stage 2 continues from stage 1's model where the recipe has one."""
    from transformers import Trainer, TrainingArguments

    pack = next(ctx.inputs[name].path for name in ("corpus/pack1", "corpus/pack2") if name in ctx.inputs)
    model, tokenizer, base = start(ctx, "pretrain/stage1")
    pad = tokenizer.pad_token_id
    before = once(ctx, "perplexity", lambda: perplexity(ctx, model, pack, pad))
    if config.method == "lora":
        from peft import get_peft_model
        from transformers import set_seed

        set_seed(ctx.seed)
        model = get_peft_model(model, lora_config(config))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(ctx, config)),
        train_dataset=PackedRows(pack / "train"),
        data_collator=lambda rows: collate(rows, pad),
        processing_class=tokenizer,
    )
    measured = train(ctx, trainer, "pretrain")
    model = finish(ctx, trainer, tokenizer)
    after = perplexity(ctx, model, pack, pad)
    return Result(
        metrics={
            **measured,
            "perplexity": {"before": before, "after": after},
            "parameters": sum(p.numel() for p in model.parameters()),
            "method": config.method,
            "base": base,
        }
    )


def perplexity(ctx: Context, model: Any, pack: Path, pad: int) -> dict[str, float]:
    """Perplexity per token of the pack's held-out documents, by language; a language without any is left out."""
    result = {}
    for folder in sorted((pack / "heldout").glob("*")):
        rows = PackedRows(folder)
        with ctx.progress.track(f"held-out {folder.name}", total=len(rows), unit="row") as bar:

            def told(rows: PackedRows = rows, bar: Any = bar) -> Any:
                for i in range(len(rows)):
                    yield rows[i]
                    bar.advance()

            result[folder.name] = round(math.exp(mean_loss(model, told(), pad)[0]), 4)
    return result
