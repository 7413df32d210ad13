"""Continued pre-training (stages pretrain/stage1 and pretrain/stage2; paper, section 2).

Trains on packed rows with attention kept inside each document, and measures the loss of every held-out document before and
after (`train/heldout.py`).
"""

from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.corpus.pack import PackedRows
from aquilamed.records import read_parts, write_part
from aquilamed.stage import Context, Result
from aquilamed.train import heldout, ranks
from aquilamed.train.batches import Row, collator
from aquilamed.train.checks import check_data
from aquilamed.train.common import TrainConfig, adapted, arguments, finish, once, placed, start, train
from aquilamed.train.fast import make_fast
from aquilamed.train.guard import guarded
from aquilamed.train.spread import Rows


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
    name = next(name for name in ("corpus/pack1", "corpus/pack2") if name in ctx.inputs)
    pack = ctx.inputs[name].path
    model, tokenizer, base = start(ctx, "pretrain/stage1")
    pad = tokenizer.pad_token_id
    make_fast(model, compiled=config.compiled)
    rows = NamedRows(pack / "train", name)
    counts = _check(ctx, config, ctx.inputs[name].manifest["metrics"], rows)
    model = placed(ctx, adapted(ctx, config, model))
    before = once(ctx, "heldout", lambda: heldout.measure(ctx, model, pack, pad))
    trainer = _trainer(ctx, config, model, tokenizer, rows)
    measured = train(ctx, config, trainer, "pretrain")
    model = finish(ctx, trainer, tokenizer)
    losses = heldout.table(before, heldout.measure(ctx, model, pack, pad))
    if ranks.index() == 0:
        write_part(ctx.out / heldout.FOLDER / "part-00000.parquet", losses)
    return Result(
        metrics={
            **measured,
            "data": counts,
            "perplexity": heldout.figures(losses) | {"comparisons": _compared(ctx, losses)},
            "parameters": sum(p.numel() for p in model.parameters()),
            "method": config.method,
            "base": base,
        }
    )


def _trainer(ctx: Context, config: PretrainConfig, model: Any, tokenizer: Any, rows: PackedRows) -> Any:
    from transformers import Trainer, TrainingArguments

    return guarded(Trainer)(
        model=model,
        args=TrainingArguments(**arguments(ctx, config)),
        train_dataset=Rows(rows),
        data_collator=collator(model, tokenizer.pad_token_id),
        processing_class=tokenizer,
    )


class NamedRows(PackedRows):
    """A pack's rows, each with its name for a message: packs know tokens, not records."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self.name = name

    def __getitem__(self, index: int) -> Row:
        return {**super().__getitem__(index), "records": [f"{self.name} row {index}"]}


def _compared(ctx: Context, losses: pl.DataFrame) -> list[dict[str, Any]]:
    """The model against the one before it, and against the base model where stage 1 measured that on the same documents."""
    earlier = ctx.inputs.get("pretrain/stage1")
    against = "stage 1" if earlier else "base"
    found = [{"against": against} | told for told in heldout.compare(losses, losses, ("before", "after"))]
    if earlier:
        first = read_parts(earlier.path / heldout.FOLDER)
        found += [{"against": "base"} | told for told in heldout.compare(first, losses, ("before", "after"))]
    return found


def _check(ctx: Context, config: PretrainConfig, packed: dict[str, Any], rows: PackedRows) -> dict[str, Any]:
    # Long documents were split and duplicates removed before packing; what is left to say is how full the rows are.
    counts = {"records": packed["documents"]}
    tokens = packed["tokens"]
    padding = packed["padding_share"] if len(rows) > 8 else 0.0  # a handful of rows may well be half empty
    told = check_data(ctx, config.limits, counts, tokens, tokens - packed["documents"], padding, "document")
    return {**told, "rows": len(rows)}
