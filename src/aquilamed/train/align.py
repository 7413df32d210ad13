"""Direct preference optimisation (stage align; paper, section 4).

The reference is the model that training starts from: its log-probabilities are computed once, before the first step,
in the same way as the policy's, and kept. So the first loss must be ln 2; anything else means a wrong reference, and
stops. The losses are TRL's; on a CPU a pair's prompt is run once for both answers (pairs.py).
"""

import math
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from aquilamed.config import StageFailed
from aquilamed.evaluate.statistics import NOISE, sign_test
from aquilamed.models import prompt_ids
from aquilamed.records import Message, read_parts
from aquilamed.stage import Context, Result
from aquilamed.train import ranks
from aquilamed.train.checks import check_data
from aquilamed.train.common import TrainConfig, adapted, arguments, finish, is_heldout, once, placed, start, train
from aquilamed.train.fast import make_fast, takes_documents
from aquilamed.train.finetune import encode
from aquilamed.train.guard import guarded
from aquilamed.train.pairs import share_prompts
from aquilamed.train.shard import is_sharded, let_go

Scores = dict[str, list[float]]
IDS = ["prompt_ids", "chosen_ids", "rejected_ids"]


class AlignConfig(TrainConfig):
    """Direct preference optimisation (DPO)."""

    beta: float = Field(default=0.03, gt=0)
    """How strongly the policy is held to the reference."""
    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "robust", "hinge"] = "sigmoid"
    """TRL's name of the loss: DPO, DPO by the token (length-normalised), IPO, robust DPO, hinge."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs whose labels are taken to be wrong; for `robust`."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of a next-token loss on the chosen answers, added to the preference loss; 0 adds none."""
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

    @model_validator(mode="after")
    def _no_noise(self) -> Self:
        if self.neftune is not None:
            raise ValueError("neftune is for pretrain and finetune: with noise a policy never equals its reference")
        return self


def run(ctx: Context, config: AlignConfig) -> Result:
    """Align the fine-tuned model (else the base model) with the preference pairs among the inputs.

    Raises `StageFailed` when there is no pair, or when the first loss is not ln 2.
    """
    model, tokenizer, base = start(ctx, "finetune")
    pairs, counts = _pairs(ctx, config, tokenizer)
    first_loss = expected_first_loss(config)
    trainer = _trainer(ctx, config, model, tokenizer, pairs)
    training, validation = trainer.train_dataset, trainer.eval_dataset
    # On a GPU both passes run in bfloat16, whose rounding depends on how a batch is padded.
    most = 1e-4 if trainer.args.use_cpu else 5e-3

    def check(step: int, logs: dict[str, float]) -> None:
        if step == 1 and wrong_reference(logs, first_loss, config.sft_weight > 0, most):
            raise StageFailed(
                f"the loss before the first step is {logs['loss']:.6f}, not {'' if config.loss in ('ipo', 'hinge') else 'ln 2 = '}"
                f"{first_loss:.6f} as of equal models (mean margin {logs['rewards/margins']:.6f}): "
                "the reference is not the model that training started from; nothing was kept"
            )

    measured = train(ctx, config, trainer, "align", check)
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
            "comparison": against_reference(after[first], before[first]),
            "measured_on": first,
            "beta": config.beta,
            "loss_type": config.loss,
            "method": config.method,
            "base": base,
        }
    )


def expected_first_loss(config: AlignConfig) -> float:
    """The preference loss of a policy that equals its reference: ln 2, and for IPO and hinge what their formula gives."""
    return {"ipo": (1 / (2 * config.beta)) ** 2, "hinge": 1.0}.get(config.loss, math.log(2))


def wrong_reference(logs: dict[str, float], expected: float, with_sft: bool, most: float) -> bool:
    """Whether the first step's log shows a policy that differs from its reference.

    With a next-token loss on top the loss has no known value, and the margin alone must be zero.
    """
    off = abs(logs["rewards/margins"]) if with_sft else abs(logs["loss"] - expected) / max(1.0, expected)
    return not off <= most


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


def against_reference(scores: Scores, reference: Scores) -> dict[str, Any]:
    """Whether training moved more pairs towards their chosen answer than away from it: a sign test over the margins.

    Returns `n`, `gained` and `lost` (pairs of positive and of negative margin), `p`, and `noise` (p above 0.05).
    """
    moved = [
        (c - r) - (c0 - r0)
        for c, r, c0, r0 in zip(*(s[k] for s in (scores, reference) for k in ("chosen", "rejected")), strict=True)
    ]
    gained, lost = sum(m > 0 for m in moved), sum(m < 0 for m in moved)
    p = sign_test(gained, lost)
    return {"n": len(moved), "gained": gained, "lost": lost, "p": p, "noise": p > NOISE}


def _pairs(ctx: Context, config: AlignConfig, tokenizer: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    """All pairs short enough, with `heldout`, in seeded order; and what is to be reported about them."""
    columns = ["id", "kind", "lang", "prompt", "chosen", "rejected"]
    table = read_parts(ctx.inputs["prefer/select"].kept, columns).sort("id")
    if not table.height:
        raise StageFailed("prefer/select kept no pair: nothing to align with")
    rows = [
        token_pair(tokenizer, prompt, chosen, rejected)
        for prompt, chosen, rejected in zip(
            *(table[c].to_list() for c in ("prompt", "chosen", "rejected")), strict=True
        )
    ]
    table = table.with_columns(pl.Series(name, [r[name] for r in rows], dtype=pl.List(pl.Int64)) for name in IDS)
    table = table.with_columns(
        pl.col(name).list.len().cast(pl.Int64).alias(name.replace("ids", "tokens")) for name in IDS
    )
    longest = pl.col("prompt_tokens") + pl.max_horizontal("chosen_tokens", "rejected_tokens")
    fits = table.filter(longest <= config.length)
    if fits.is_empty():
        raise StageFailed(f"all {table.height} pairs are longer than {config.length} tokens; raise align.length")
    dropped = table.height - fits.height
    heldout = is_heldout(ctx.seed, config.validation, fits["id"].to_list())
    fits = fits.with_columns(pl.Series("heldout", heldout))
    held = sum(heldout)
    means = {
        name: round(float(fits[f"{name}_tokens"].mean()), 2)  # type: ignore[arg-type]
        for name in ("chosen", "rejected")
    }
    kinds = fits.group_by("kind").len().sort("kind")
    training = fits.filter(~pl.col("heldout"))
    answers = int(training["chosen_tokens"].sum()) + int(training["rejected_tokens"].sum())
    counted = {"records": table.height, "too_long": dropped, "duplicates": fits.height - fits.select(IDS).n_unique()}
    tokens = int(training["prompt_tokens"].sum()) + answers
    data = check_data(ctx, config.limits, counted, tokens, answers, 0.0, "pair")
    counts = {
        "data": data,
        "pairs": {"train": fits.height - held, "validation": held, "dropped_too_long": dropped},
        "answer_tokens": means,
        "kinds": dict(zip(kinds["kind"].to_list(), kinds["len"].to_list(), strict=True)),
    }
    return fits, counts


def token_pair(tokenizer: Any, prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> dict[str, Any]:
    """A pair's token ids: `prompt_ids` as in evaluation and serving, and of each answer what fine-tuning would learn."""
    start = prompt_ids(tokenizer, prompt)
    found = {"prompt_ids": start}
    for name, answer in (("chosen_ids", chosen), ("rejected_ids", rejected)):
        ids, labels = encode(tokenizer, prompt + answer)
        end = max(i for i, label in enumerate(labels) if label != -100) + 1
        if ids[: len(start)] != start:
            raise StageFailed("the chat template writes a prompt otherwise when an answer follows it")
        found[name] = ids[len(start) : end]
    return found


def _trainer(ctx: Context, config: AlignConfig, model: Any, tokenizer: Any, pairs: pl.DataFrame) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    class Trainer(guarded(DPOTrainer)):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset  # comes tokenised by us, as fine-tuning has it

        def _move_model_to_device(self, model: Any, device: Any) -> None:
            if ctx.layout == "ddp":  # sharding moves it, layer by layer
                super()._move_model_to_device(model, device)

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            # TRL's own takes batches in the data's order (much padding) and does not survive an interruption.
            # DPOTrainer has hashed the weights, which shards do not allow, and added its head, which ours replaces.
            if not is_sharded(self.model):
                make_fast(self.model, one_weight=False, compiled=config.compiled)
                placed(ctx, self.model)
            scores = once(ctx, f"reference-{name}", lambda: pair_scores(self, dataset, reference=True))
            for key in ("chosen", "rejected"):
                dataset = dataset.add_column(f"ref_{key}_logps", scores[key])
            return dataset

    standard = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = {**standard(rows), "records": [r["id"] for r in rows]}
        return {**batch, "shared": share_prompts(rows)} if takes_documents(model) else batch

    columns = ["id", *IDS]
    held = pairs.filter(pl.col("heldout")).select(columns).to_dicts()
    loss = {"loss_type": [config.loss], "label_smoothing": config.label_smoothing}
    if config.sft_weight:
        loss |= {"loss_type": [config.loss, "sft"], "loss_weights": [1.0, config.sft_weight]}
    model = adapted(ctx, config, model)
    return Trainer(
        model=model,
        args=DPOConfig(
            **arguments(ctx, config),
            **loss,
            beta=config.beta,
            max_length=None,
            precompute_ref_log_probs=True,
        ),
        train_dataset=Dataset.from_list(pairs.filter(~pl.col("heldout")).select(columns).to_dicts()),
        eval_dataset=Dataset.from_list(held) if held else None,
        data_collator=collate,
        processing_class=tokenizer,
    )


def pair_scores(trainer: Any, dataset: Any, reference: bool = False) -> Scores:
    """Summed log-probabilities of every pair's answers, in the data's order; pairs of like length share a batch.

    Processes that train together share the batches; all must call this.

    Args:
        reference: with adapters switched off.
    """
    import torch
    from accelerate.utils import send_to_device

    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    size = [len(r["prompt_ids"]) + max(len(r["chosen_ids"]), len(r["rejected_ids"])) for r in dataset]
    order = sorted(range(len(size)), key=lambda i: (size[i], i))
    width = trainer.args.per_device_eval_batch_size
    found: list[tuple[int, list[float]]] = []
    for chosen, counts in ranks.share([order[at : at + width] for at in range(0, len(order), width)]):
        batch = trainer.data_collator([dataset[i] for i in chosen])
        del batch["records"]
        batch = send_to_device({k: v for k, v in batch.items() if not k.startswith("ref_")}, model.device)
        labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
        adapters = model.disable_adapter if reference and hasattr(model, "disable_adapter") else torch.no_grad
        with torch.no_grad(), adapters(), trainer.accelerator.autocast():
            sums = model(**batch, labels=labels, use_cache=False, fused_lm_head=True).log_probs.sum(dim=1)
        if counts:
            found += zip(chosen, sums.float().view(2, -1).t().tolist(), strict=True)
    let_go(model)
    pairs = [pair for _, pair in sorted(p for part in ranks.gathered(found) for p in part)]
    return {"chosen": [c for c, _ in pairs], "rejected": [r for _, r in pairs]}
