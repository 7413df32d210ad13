"""Stage prefer/subjective: judged pairs (paper, section 4).

A prompt of the SFT set is answered anew; a judge compares that answer with the original one on fluency, relevance,
completeness and proficiency in medicine, in both orders. Where both orders name the same winner it is chosen and the other
rejected; the original may win. Everything else is dropped with its reason: a tie, orders that disagree, a failed call.
"""

import hashlib
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aquilamed.annotate import ANSWER, COMPARE, Annotator, CallError
from aquilamed.config import Config, StageFailed
from aquilamed.evaluate.contestants import Answers, dialogue_text
from aquilamed.instruct.rounds import mean
from aquilamed.models import ModelConfig
from aquilamed.prefer.pairs import write_pairs
from aquilamed.records import Message, read_parts, record_id
from aquilamed.stage import Context, Result


class SubjectiveConfig(Config):
    """Judged pairs."""

    prompts: int = Field(default=9019, ge=1)
    """How many prompts are drawn from the SFT set (the paper ended with 9,019 pairs)."""
    answers: Literal["annotator", "model"] = "annotator"
    """Who answers anew: the recipe's annotator as a professional, helpful doctor, or the fine-tuned model."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Length of a model's answer."""
    batch_size: int = Field(default=8, ge=1)
    """Conversations generated together."""


def run(ctx: Context, config: SubjectiveConfig) -> Result:
    """Kept: preference pairs. Dropped: prompts without a clear winner, in the same form, the new answer as `chosen`."""
    rows = _prompts(ctx, config)
    judge = ctx.annotator()
    answers = _answer(ctx, config, judge, [r["prompt"] for r in rows])
    decided = _decide(judge, rows, answers)
    records = [_record(row, answer, outcome) for row, answer, outcome in zip(rows, answers, decided, strict=True)]
    kept = write_pairs(ctx, records)
    return Result(_metrics(judge, rows, decided, kept), records_in=len(rows))


def _prompts(ctx: Context, config: SubjectiveConfig) -> list[dict[str, Any]]:
    """A seeded draw of dialogues: the prompt is everything before the last answer, which is the original one."""
    columns = ["id", "source", "license", "origin", "kind", "lang", "messages"]
    rows = read_parts(ctx.inputs["instruct/select"].kept, columns).to_dicts()
    rows = [r for r in rows if "option" not in r["kind"]]  # those have a truth: prefer/objective
    rows.sort(key=lambda r: hashlib.blake2b(f"{ctx.seed}\0{r['id']}".encode(), digest_size=8).digest())
    chosen = sorted(rows[: config.prompts], key=lambda r: r["id"])
    return [r | {"prompt": r["messages"][:-1], "original": r["messages"][-1]["content"]} for r in chosen]


def _answer(
    ctx: Context, config: SubjectiveConfig, judge: Annotator, prompts: list[list[Message]]
) -> list[str | CallError]:
    if config.answers == "model":
        base = ctx.recipe.base_model
        model = base
        if "finetune" in ctx.inputs:
            model = ModelConfig(path=str(ctx.inputs["finetune"].path / "model"), dtype=base.dtype)
        writer = Answers(ctx, "model", model, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)
        return list(writer.get(prompts, "subjective"))
    if judge.kind == "offline":
        raise StageFailed(
            "the offline annotator writes no answers; set prefer.subjective.answers: model, or another annotator.kind"
        )
    answers = judge.annotate(ANSWER, [{"dialogue": dialogue_text(p)} for p in prompts])
    return [a if isinstance(a, CallError) else a.answer for a in answers]


Outcome = tuple[Literal["original", "answer"] | None, str, str]
"""(winner or None, reason, detail)"""


def _decide(judge: Annotator, rows: list[dict[str, Any]], answers: list[str | CallError]) -> list[Outcome]:
    outcomes: list[Outcome | None] = []
    forward: list[dict[str, str]] = []
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, CallError):
            outcomes.append((None, "subjective.call_failed", f"answer: {answer.kind}: {answer.detail}"))
        elif not answer.strip():
            outcomes.append((None, "subjective.empty_answer", "the new answer is empty"))
        elif answer.strip() == row["original"].strip():
            outcomes.append((None, "subjective.identical", "the new answer is the original one"))
        else:
            outcomes.append(None)
            forward.append({"dialogue": dialogue_text(row["prompt"]), "answer_a": answer, "answer_b": row["original"]})
    backward = [f | {"answer_a": f["answer_b"], "answer_b": f["answer_a"]} for f in forward]
    verdicts = zip(judge.annotate(COMPARE, forward), judge.annotate(COMPARE, backward), strict=True)
    return [o if o is not None else _outcome(*next(verdicts)) for o in outcomes]


def _outcome(first: Any, second: Any) -> Outcome:
    for verdict in (first, second):
        if isinstance(verdict, CallError):
            return None, "subjective.call_failed", f"judge: {verdict.kind}: {verdict.detail}"
    one = {"A": "answer", "B": "original", "tie": "tie"}[first.winner]
    two = {"A": "original", "B": "answer", "tie": "tie"}[second.winner]
    if one != two:
        return None, "subjective.order_disagreement", f"{one} in the first order, {two} in the second"
    if one == "answer":
        return "answer", "", ""
    if one == "original":
        return "original", "", ""
    return None, "subjective.tie", "a tie in both orders"


def _record(row: dict[str, Any], answer: str | CallError, outcome: Outcome) -> dict[str, Any]:
    winner, reason, detail = outcome
    new = [{"role": "assistant", "content": "" if isinstance(answer, CallError) else answer}]
    original = [{"role": "assistant", "content": row["original"]}]
    chosen, rejected = (original, new) if winner == "original" else (new, original)
    return {
        "id": record_id("subjective", row["id"]),
        "source": row["source"],
        "license": row["license"],
        "origin": row["origin"],
        "kind": "subjective",
        "lang": row["lang"],
        "prompt": row["prompt"],
        "chosen": chosen,
        "rejected": rejected,
        "margin": 1.0 if winner else 0.0,  # a verdict without scores: one step between winner and loser
        "reason": reason or None,
        "detail": detail or None,
    }


def _metrics(
    judge: Annotator, rows: list[dict[str, Any]], decided: list[Outcome], kept: pl.DataFrame
) -> dict[str, Any]:
    lengths = [(len(c[0]["content"]), len(r[0]["content"])) for c, r in kept.select("chosen", "rejected").iter_rows()]
    return {
        "judge": {"kind": judge.kind, "name": judge.name, "rubric": COMPARE.hash, **judge.statistics()},
        "prompts": len(rows),
        "pairs": kept.height,
        "original_wins": sum(d[0] == "original" for d in decided),
        "answer_wins": sum(d[0] == "answer" for d in decided),
        "order_disagreement": sum(d[1] == "subjective.order_disagreement" for d in decided),
        "length": {
            "chosen_mean": mean([float(c) for c, _ in lengths]),
            "rejected_mean": mean([float(r) for _, r in lengths]),
            "chosen_longer_share": mean([float(c > r) for c, r in lengths]),
        },
    }
