"""Stage prefer/subjective: judged pairs (paper, section 4).

A prompt of the SFT set is answered anew; a judge compares that answer with the original one on fluency, relevance,
completeness and proficiency in medicine, in both orders. Where both orders name the same winner it is chosen and the other
rejected; the original may win. Everything else is dropped with its reason: a tie, orders that disagree, a failed call.

`margin` is (aspects won - aspects lost) / 4, the mean of both orders; `verdicts` holds what both orders said, as JSON.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aquilamed.annotate import ANSWER, Annotator, CallError
from aquilamed.annotate.both_orders import BothOrders, compare_in_both_orders
from aquilamed.config import Config, StageFailed
from aquilamed.evaluate.contestants import Answers, Contestant, dialogue_text
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
    kept = write_pairs(ctx, records, verdicts=True)
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
        writer = Answers(
            ctx, Contestant("model", model, ""), max_new_tokens=config.max_new_tokens, batch_size=config.batch_size
        )
        return writer.get(prompts, "subjective")
    if judge.kind == "offline":
        raise StageFailed(
            "the offline annotator writes no answers; set prefer.subjective.answers: model, or another annotator.kind"
        )
    answers = judge.annotate(ANSWER, [{"dialogue": dialogue_text(p)} for p in prompts])
    return [a if isinstance(a, CallError) else a.answer for a in answers]


@dataclass(frozen=True)
class Outcome:
    """What became of a prompt: the winner with what was said of it, or the reason why there is none."""

    winner: Literal["original", "answer"] | None = None
    reason: str | None = None
    detail: str | None = None
    said: BothOrders | None = None


def _decide(judge: Annotator, rows: list[dict[str, Any]], answers: list[str | CallError]) -> list[Outcome]:
    outcomes: list[Outcome | None] = []
    dialogues, news, originals = [], [], []
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, CallError):
            detail = f"answer: {answer.kind}: {answer.detail}"
            outcomes.append(Outcome(reason="subjective.call_failed", detail=detail))
        elif not answer.strip():
            outcomes.append(Outcome(reason="subjective.empty_answer", detail="the new answer is empty"))
        elif answer.strip() == row["original"].strip():
            outcomes.append(Outcome(reason="subjective.identical", detail="the new answer is the original one"))
        else:
            outcomes.append(None)
            dialogues.append(dialogue_text(row["prompt"]))
            news.append(answer)
            originals.append(row["original"])
    said = iter(compare_in_both_orders(judge, dialogues, news, originals))
    return [o if o is not None else _outcome(next(said)) for o in outcomes]


def _outcome(said: BothOrders | CallError) -> Outcome:
    if isinstance(said, CallError):
        return Outcome(reason="subjective.call_failed", detail=f"judge: {said.kind}: {said.detail}")
    side = said.both()
    if side == "tie":
        return Outcome(reason="subjective.tie", detail="a tie in both orders", said=said)
    if side is None:
        names = {"first": "answer", "second": "original", "tie": "tie"}
        one, two = (names[order["winner"]] for order in (said.shown_first, said.shown_second))
        detail = f"{one} in the first order, {two} in the second"
        return Outcome(reason="subjective.order_disagreement", detail=detail, said=said)
    return Outcome("answer" if side == "first" else "original", said=said)


def _record(row: dict[str, Any], answer: str | CallError, outcome: Outcome) -> dict[str, Any]:
    new = [{"role": "assistant", "content": "" if isinstance(answer, CallError) else answer}]
    original = [{"role": "assistant", "content": row["original"]}]
    chosen, rejected = (original, new) if outcome.winner == "original" else (new, original)
    margin = 0.0
    if outcome.winner and outcome.said:
        margin = outcome.said.margin("first" if outcome.winner == "answer" else "second")
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
        "margin": margin,
        "verdicts": json.dumps(outcome.said.as_said("answer", "original")) if outcome.said else None,
        "reason": outcome.reason,
        "detail": outcome.detail,
    }


def _metrics(
    judge: Annotator, rows: list[dict[str, Any]], decided: list[Outcome], kept: pl.DataFrame
) -> dict[str, Any]:
    return {
        "judge": {"kind": judge.kind, "name": judge.name, **judge.statistics()},
        "prompts": len(rows),
        "pairs": kept.height,
        "original_wins": sum(d.winner == "original" for d in decided),
        "answer_wins": sum(d.winner == "answer" for d in decided),
        "order_disagreement": sum(d.reason == "subjective.order_disagreement" for d in decided),
        "first_shown_wins": _first_shown(decided),
    }


def _first_shown(decided: list[Outcome]) -> float | None:
    """Share of decided verdicts that went to the answer shown first: 0.5 for a judge without a bias for a position."""
    said = [o.said for o in decided if o.said]
    firsts = [s.shown_first["winner"] == "first" for s in said if s.shown_first["winner"] != "tie"]
    firsts += [s.shown_second["winner"] == "second" for s in said if s.shown_second["winner"] != "tie"]
    return round(sum(firsts) / len(firsts), 4) if firsts else None
