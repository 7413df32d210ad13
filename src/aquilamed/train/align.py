"""Direct preference optimisation (stage align; paper, section 4).

The reference is the model that training starts from: its log-probabilities are computed once, before the first step,
in the same way as the policy's. So the first loss must be ln 2; anything else means a wrong reference, and stops.
"""

import math
from typing import Any

import polars as pl
from pydantic import Field

from aquilamed.config import StageFailed
from aquilamed.models import prompt_ids
from aquilamed.records import read_parts
from aquilamed.stage import Context, Result
from aquilamed.train.common import TrainConfig, arguments, finish, is_heldout, lora_config, once, start, train

Scores = dict[str, list[float]]


class AlignConfig(TrainConfig):
    """Direct preference optimisation (DPO)."""

    beta: float = Field(default=0.03, gt=0)
    """How strongly the policy is held to the reference."""
    length: int = Field(default=2048, ge=8)
    """Most tokens of a prompt with an answer; longer pairs are left out and counted."""
    batch: int = 64
    """Pairs per optimiser step."""
    lr: float = 2e-7
    """Peak learning rate."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises; the paper says warm-up and no number."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay; the paper names none."""
    epochs: float = 2
    """Passes over the pairs."""
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pairs held out to measure accuracy and margin."""
    measured_pairs: int = Field(default=256, ge=1)
    """Most training pairs whose accuracy and margin are measured after training (the first in seeded order)."""


def run(ctx: Context, config: AlignConfig) -> Result:
    """Align the fine-tuned model (else the base model) with the preference pairs among the inputs.

    Raises `StageFailed` when there is no pair, or when the first loss is not ln 2.
    """
    model, tokenizer, base = start(ctx, "finetune")
    pairs, counts = _pairs(ctx, config, tokenizer)
    trainer = _trainer(ctx, config, model, tokenizer, pairs)
    training, validation = trainer.train_dataset, trainer.eval_dataset
    # On a GPU both passes run in bfloat16, whose rounding depends on how a batch is padded.
    most = 1e-4 if trainer.args.use_cpu else 5e-3

    def check(step: int, logs: dict[str, float]) -> None:
        if step == 1 and abs(logs["loss"] - math.log(2)) > most:
            raise StageFailed(
                f"the loss before the first step is {logs['loss']:.6f}, not ln 2 = {math.log(2):.6f}: "
                "the reference is not the model that training started from; nothing was kept"
            )

    measured = train(ctx, trainer, "align", check)
    sets = {"validation": validation} if validation is not None else {}
    sets["train"] = training.select(range(min(len(training), config.measured_pairs)))
    after = {name: pair_scores(trainer, data) for name, data in sets.items()}
    before = {name: {k: data[f"ref_{k}_logps"] for k in ("chosen", "rejected")} for name, data in sets.items()}
    finish(ctx, trainer, tokenizer)
    told = {
        when: {name: summary(s[name], before[name], config.beta) for name in sets}
        for when, s in (("before", before), ("after", after))
    }
    first = "validation" if validation is not None else "train"
    return Result(
        metrics={
            **measured,
            **counts,
            "step0_loss": measured["loss"][0][1],
            "before": {**told["before"][first], "train": told["before"]["train"]},
            "after": {**told["after"][first], "train": told["after"]["train"]},
            "measured_on": first,
            "beta": config.beta,
            "method": config.method,
            "base": base,
        }
    )


def summary(scores: Scores, reference: Scores, beta: float) -> dict[str, float]:
    """Accuracy and mean margin of pairs.

    `margin` is β·(log-ratio of the chosen − log-ratio of the rejected answer); `accuracy` the share of pairs where it
    is positive, a tie counting half (before training all are ties). `likelihood_accuracy` needs no reference: the
    share of pairs whose chosen answer is the likelier one.
    """
    import numpy as np

    policy = np.array(scores["chosen"]) - np.array(scores["rejected"])
    margins = beta * (policy - (np.array(reference["chosen"]) - np.array(reference["rejected"])))
    return {
        "accuracy": round(float(np.mean((margins > 0) + 0.5 * (margins == 0))), 6),
        "margin": round(float(margins.mean()), 6),
        "likelihood_accuracy": round(float(np.mean(policy > 0)), 6),
    }


def _pairs(ctx: Context, config: AlignConfig, tokenizer: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    """All pairs short enough, with `heldout`, in seeded order; and what is to be reported about them."""
    columns = ["id", "kind", "lang", "prompt", "chosen", "rejected"]
    table = read_parts(ctx.inputs["prefer/select"].kept, columns).sort("id")
    if not table.height:
        raise StageFailed("prefer/select kept no pair: nothing to align with")
    sizes: dict[str, list[int]] = {"prompt": [], "chosen": [], "rejected": []}
    for prompt, chosen, rejected in zip(*(table[c].to_list() for c in ("prompt", "chosen", "rejected")), strict=True):
        sizes["prompt"].append(len(prompt_ids(tokenizer, prompt)))
        for name, answer in (("chosen", chosen), ("rejected", rejected)):
            whole = tokenizer.apply_chat_template(prompt + answer, tokenize=False)
            sizes[name].append(len(tokenizer(whole, add_special_tokens=False)["input_ids"]))
    table = table.with_columns(pl.Series(f"{k}_tokens", v) for k, v in sizes.items())
    fits = table.filter(pl.max_horizontal("chosen_tokens", "rejected_tokens") <= config.length)
    if fits.is_empty():
        raise StageFailed(f"all {table.height} pairs are longer than {config.length} tokens; raise align.length")
    if dropped := table.height - fits.height:
        ctx.progress.say(f"  Left out of training: {dropped} pairs longer than {config.length} tokens.")
    heldout = is_heldout(ctx.seed, config.validation, fits["id"].to_list())
    fits = fits.with_columns(pl.Series("heldout", heldout))
    held = sum(heldout)
    means = {
        name: round(float((fits[f"{name}_tokens"] - fits["prompt_tokens"]).mean()), 2)  # type: ignore[arg-type]
        for name in ("chosen", "rejected")
    }
    kinds = fits.group_by("kind").len().sort("kind")
    counts = {
        "pairs": {"train": fits.height - held, "validation": held, "dropped_too_long": dropped},
        "answer_tokens": means,
        "kinds": dict(zip(kinds["kind"].to_list(), kinds["len"].to_list(), strict=True)),
    }
    return fits, counts


def _trainer(ctx: Context, config: AlignConfig, model: Any, tokenizer: Any, pairs: pl.DataFrame) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Trainer(DPOTrainer):  # type: ignore[misc]
        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            # TRL's own takes batches in the data's order (much padding) and does not survive an interruption.
            scores = once(ctx, f"reference-{name}", lambda: pair_scores(self, dataset, reference=True))
            for key in ("chosen", "rejected"):
                dataset = dataset.add_column(f"ref_{key}_logps", scores[key])
            return dataset

    columns = ["prompt", "chosen", "rejected"]
    held = pairs.filter(pl.col("heldout")).select(columns).to_dicts()
    return Trainer(
        model=model,
        args=DPOConfig(
            **arguments(ctx, config),
            beta=config.beta,
            max_length=None,
            precompute_ref_log_probs=True,
        ),
        train_dataset=Dataset.from_list(pairs.filter(~pl.col("heldout")).select(columns).to_dicts()),
        eval_dataset=Dataset.from_list(held) if held else None,
        processing_class=tokenizer,
        peft_config=lora_config(config),
    )


def pair_scores(trainer: Any, dataset: Any, reference: bool = False) -> Scores:
    """Summed log-probabilities of every pair's answers, in the data's order; pairs of like length share a batch.

    Args:
        reference: with adapters switched off.
    """
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    size = [len(r["prompt_ids"]) + max(len(r["chosen_ids"]), len(r["rejected_ids"])) for r in dataset]
    order = sorted(range(len(size)), key=lambda i: (size[i], i))
    scores: Scores = {"chosen": [0.0] * len(size), "rejected": [0.0] * len(size)}
    width = trainer.args.per_device_eval_batch_size
    for at in range(0, len(order), width):
        chosen = order[at : at + width]
        batch = trainer.data_collator([dataset[i] for i in chosen])
        batch = {k: v.to(model.device) for k, v in batch.items() if not k.startswith("ref_")}
        labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
        adapters = model.disable_adapter if reference and hasattr(model, "disable_adapter") else torch.no_grad
        with torch.no_grad(), adapters(), trainer.accelerator.autocast():
            sums = model(**batch, labels=labels, use_cache=False, fused_lm_head=True).log_probs.sum(dim=1)
        for name, half in zip(("chosen", "rejected"), sums.float().chunk(2), strict=True):
            for i, value in zip(chosen, half.tolist(), strict=True):
                scores[name][i] = value
    return scores
