"""Supervised fine-tuning (stage finetune; paper, section 3).

Only the assistant's words and the token that ends them are learned. Dialogues are packed into rows with attention kept
inside each dialogue; one that is longer than `length` is reported and left out, never cut. The model with the lowest
validation loss is kept.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from aquilamed.config import StageFailed
from aquilamed.control_tokens import divided, plain_ids
from aquilamed.corpus.pack import best_fit
from aquilamed.records import Message, read_parts, write_part
from aquilamed.stage import Context, Result
from aquilamed.train import heldout, ranks
from aquilamed.train.batches import Row, collator, mean_loss
from aquilamed.train.checks import check_data
from aquilamed.train.common import TrainConfig, adapted, arguments, finish, is_heldout, once, placed, start, train
from aquilamed.train.fast import make_fast
from aquilamed.train.guard import guarded
from aquilamed.train.spread import Rows


class FinetuneConfig(TrainConfig):
    """Supervised fine-tuning."""

    length: int = Field(default=2048, ge=8)
    """Tokens of a row; longer dialogues are left out and counted."""
    batch: int = 128
    """Rows per optimiser step."""
    lr: float = 2e-6
    """Peak learning rate."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises; the paper names none."""
    epochs: float = 2
    """Passes over the SFT set."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout wherever the architecture has it (for Llama: on the attention weights)."""
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of the dialogues held out to choose the best checkpoint; 0 keeps the last one."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Steps between validations, and between checkpoints; none validates after every epoch."""
    packing: bool = True
    """Whether a row holds several dialogues, each with its own attention; off gives one dialogue per row."""


def encode(tokenizer: Any, messages: list[Message]) -> tuple[list[int], list[int]]:
    """A dialogue's token ids and its labels: the id where the assistant speaks or ends its turn, else -100."""
    from transformers.utils.chat_template_utils import render_jinja_template

    spans: dict[str, list[tuple[int, int]]] = {}  # of a rendered text: from where to where the assistant speaks

    def rendered(said: Sequence[Message]) -> str:
        (text,), (found,) = render_jinja_template(
            [list(said)],
            chat_template=tokenizer.chat_template,
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
        spans[text] = found
        return str(text)

    ids: list[int] = []
    labels: list[int] = []
    at = 0
    pieces = divided(tokenizer, messages, rendered)
    said = spans["".join(text for text, _ in pieces)]
    for text, n in pieces:
        if n is None:
            found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            new = found["input_ids"]
            learned = [any(at + b > start and at + a < end for start, end in said) for a, b in found["offset_mapping"]]
        else:
            new = plain_ids(tokenizer, messages[n]["content"])
            learned = [messages[n]["role"] == "assistant"] * len(new)
        at += len(text)
        ids += new
        labels += [i if mine else -100 for i, mine in zip(new, learned, strict=True)]
    return ids, labels


def pack_rows(
    encoded: Sequence[tuple[list[int], list[int]]], length: int, packing: bool, names: Sequence[str] = ()
) -> list[Row]:
    """Rows of whole dialogues with `input_ids`, `labels`, `position_ids` that restart with every dialogue, `records`."""
    groups = best_fit([len(ids) for ids, _ in encoded], length) if packing else [[i] for i in range(len(encoded))]
    return [
        {
            "input_ids": [t for i in group for t in encoded[i][0]],
            "labels": [t for i in group for t in encoded[i][1]],
            "position_ids": [p for i in group for p in range(len(encoded[i][0]))],
            "records": [names[i] for i in group] if names else [],
        }
        for group in groups
    ]


def run(ctx: Context, config: FinetuneConfig) -> Result:
    """Fine-tune the newest pre-trained model (else the base model) on the selected dialogues.

    Raises `StageFailed` when no dialogue has a token to learn.
    """
    model, tokenizer, base = start(ctx, "pretrain/stage1", "pretrain/stage2")
    training, validation, counts = _rows(ctx, config, tokenizer)
    make_fast(model, compiled=config.compiled)
    _set_dropout(model, config.dropout)
    pad = tokenizer.pad_token_id
    model = placed(ctx, adapted(ctx, config, model))
    before = once(ctx, "heldout", lambda: heldout.measure_rows(model, validation, pad)) if validation else []
    trainer = _trainer(ctx, config, model, tokenizer, training, validation)
    measured = train(ctx, config, trainer, "finetune")
    evals = [[0, heldout.mean(before)]] if validation else []
    evals += [[h["step"], h["eval_loss"]] for h in trainer.state.log_history if "eval_loss" in h]
    best = trainer.state.best_global_step or measured["steps"]
    after = heldout.measure_rows(trainer.model, validation, pad) if validation else []
    if config.average_last > 1 and validation:
        measured["averaged_eval_loss"] = heldout.mean(after)
    losses = heldout.table(before, after)
    if ranks.index() == 0:
        write_part(ctx.out / heldout.FOLDER / "part-00000.parquet", losses)
    model = finish(ctx, trainer, tokenizer)
    return Result(
        metrics={
            **measured,
            **counts,
            "eval_loss": evals,
            "comparison": next(iter(heldout.compare(losses, losses, ("before", "after"))), None),
            "best_step": best,
            "parameters": sum(p.numel() for p in model.parameters()),
            "method": config.method,
            "base": base,
        }
    )


def _rows(ctx: Context, config: FinetuneConfig, tokenizer: Any) -> tuple[list[Row], list[Row], dict[str, Any]]:
    """Training rows, validation rows, and how many dialogues went where."""
    table = read_parts(ctx.inputs["instruct/select"].kept).sort("id")
    if table.is_empty():
        raise StageFailed("instruct/select kept no dialogue: nothing to fine-tune on")
    groups: dict[bool, list[tuple[list[int], list[int]]]] = {True: [], False: []}
    names: dict[bool, list[str]] = {True: [], False: []}
    too_long = unsupervised = 0
    heldout = is_heldout(ctx.seed, config.validation, table["id"].to_list())
    for name, messages, held in zip(table["id"].to_list(), table["messages"].to_list(), heldout, strict=True):
        ids, labels = encode(tokenizer, messages)
        if len(ids) > config.length:
            too_long += 1
        elif all(label == -100 for label in labels):
            unsupervised += 1
        else:
            groups[held].append((ids, labels))
            names[held].append(name)
    if not groups[False]:
        raise StageFailed(
            f"no dialogue to train on: of {table.height}, {too_long} are longer than {config.length} tokens, "
            f"{unsupervised} have no word of the assistant; raise finetune.length"
        )
    supervised = sum(label != -100 for _, labels in groups[False] for label in labels)
    counts: dict[str, Any] = {
        "rows": {
            "train": len(groups[False]),
            "validation": len(groups[True]),
            "dropped_too_long": too_long,
            "no_supervised_tokens": unsupervised,
        },
        "supervised_tokens": supervised,
    }
    training = pack_rows(groups[False], config.length, config.packing, names[False])
    counts["packed_rows"] = len(training)
    tokens = sum(len(ids) for ids, _ in groups[False])
    told = {"records": table.height, "too_long": too_long, "unsupervised": unsupervised}
    told["duplicates"] = sum(len(g) - len({tuple(ids) for ids, _ in g}) for g in groups.values())
    padding = 1 - tokens / (len(training) * max(len(r["input_ids"]) for r in training))
    counts["data"] = check_data(ctx, config.limits, told, tokens, supervised, padding, "dialogue")
    return training, pack_rows(groups[True], config.length, config.packing, names[True]), counts


def _set_dropout(model: Any, share: float) -> None:
    """Set every dropout of an architecture, for training only: the saved config keeps its own values."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = share


def _trainer(
    ctx: Context, config: FinetuneConfig, model: Any, tokenizer: Any, training: list[Row], validation: list[Row]
) -> Any:
    from transformers import Trainer, TrainingArguments

    pad = tokenizer.pad_token_id

    class Chosen(guarded(Trainer)):  # type: ignore[misc]
        control: Any

        def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            # Trainer would average the means of batches; rows differ in how many tokens are learned, so count tokens.
            with self.compute_loss_context_manager():
                metrics = {"eval_loss": mean_loss(self.model, validation, pad)[0]}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    values = arguments(ctx, config)
    if validation:
        strategy = "steps" if config.eval_steps else "epoch"
        steps = config.eval_steps or 1
        values |= {"eval_strategy": strategy, "eval_steps": steps, "save_strategy": strategy, "save_steps": steps}
        values |= {"load_best_model_at_end": config.average_last == 1}
        values |= {"metric_for_best_model": "eval_loss", "greater_is_better": False}
    return Chosen(
        model=model,
        args=TrainingArguments(**values),
        train_dataset=Rows(training),
        eval_dataset=training[:1] if validation else None,
        data_collator=collator(model, pad),
        processing_class=tokenizer,
    )
