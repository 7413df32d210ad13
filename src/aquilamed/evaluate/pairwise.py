"""Stage evaluate/pairwise: single-turn answers judged in pairs (paper, section 5: Huatuo MedicalQA, 500 sampled).

Every pair is judged in both orders; a win or a loss counts only when both verdicts agree, else it is a tie. A judgement
that failed leaves its pair *unscored*: it is no tie, and no part of the shares.
"""

import json
from collections import Counter
from typing import Any

import polars as pl
from pydantic import Field

from aquilamed.annotate import ASPECTS, Annotator, CallError
from aquilamed.annotate.both_orders import BothOrders, compare_in_both_orders
from aquilamed.config import Config
from aquilamed.evaluate.contestants import Answers, ModelName, contestants, dialogue_text
from aquilamed.evaluate.tasks import read_dialogues
from aquilamed.records import Dialogue, write_json, write_part
from aquilamed.stage import Context, Result

OUTCOMES = ("win", "tie", "loss", "unscored")


class PairwiseConfig(Config):
    """Single-turn judging; the benchmarks are those of kind "single" in `evaluate.benchmarks`."""

    limit: int | None = Field(default=500, ge=1)
    """Questions per benchmark, chosen by seeded hash (the paper: 500)."""
    models: list[ModelName] = ["finetune", "align"]
    """Whose answers are judged."""
    against: list[str] = ["reference", "finetune"]
    """What they are judged against: "reference" (the set's answer) or a model's name; never against itself."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Length of a generated answer."""
    batch_size: int = Field(default=8, ge=1)
    """Conversations generated together."""


def run(ctx: Context, config: PairwiseConfig) -> Result:
    """Generate, judge in both orders, count; answers and verdicts go to answers/."""
    judge = ctx.annotator()
    benchmarks = [b for b in ctx.recipe.evaluate.benchmarks if b.kind == "single"]
    names = [*config.models, *(a for a in config.against if a != "reference" and a not in config.models)]
    models = contestants(ctx, names)
    comparisons: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for benchmark in benchmarks:
        items = read_dialogues(ctx, benchmark, config.limit)
        answers = {"reference": [d.messages[1]["content"] for d in items]}
        for name, (model, _) in models.items():
            writer = Answers(ctx, name, model, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)
            answers[name] = writer.get([d.messages[:1] for d in items], benchmark.task)
        for name in config.models:
            for other in config.against:
                if name == other or name not in answers or other not in answers:
                    continue
                verdicts = judge_pairs(judge, items, answers[name], answers[other])
                counts = Counter(outcome for outcome, _, _ in verdicts)
                comparisons.append(
                    {"model": name, "against": other, "benchmark": benchmark.task, "n": len(items)}
                    | {o: counts[o] for o in OUTCOMES}
                    | {"aspects": _aspects(verdicts)}
                )
                rows += [
                    {
                        "id": d.id,
                        "benchmark": benchmark.task,
                        "model": name,
                        "against": other,
                        "question": d.messages[0]["content"],
                    }
                    | {"answer": mine, "other": theirs, "outcome": outcome, "detail": detail}
                    | {"verdicts": json.dumps(said.as_said("answer", "other")) if said else None}
                    for d, mine, theirs, (outcome, detail, said) in zip(
                        items, answers[name], answers[other], verdicts, strict=True
                    )
                ]
    write_json(ctx.out / "results.json", comparisons)
    if rows:
        table = pl.DataFrame(rows, schema_overrides={"verdicts": pl.String})
        write_part(ctx.out / "answers" / "part-00000.parquet", table)
    return Result({"judge": {"kind": judge.kind, "name": judge.name, **judge.statistics()}, "comparisons": comparisons})


def judge_pairs(
    judge: Annotator, items: list[Dialogue], answers: list[str], others: list[str]
) -> list[tuple[str, str, BothOrders | None]]:
    """(outcome for `answers`, detail, what was said) per item: win, loss, tie, or unscored with what failed."""
    dialogues = [dialogue_text(d.messages[:1]) for d in items]
    judged: list[tuple[str, str, BothOrders | None]] = []
    for said in compare_in_both_orders(judge, dialogues, answers, others):
        if isinstance(said, CallError):
            judged.append(("unscored", f"{said.kind}: {said.detail}", None))
            continue
        one, two = said.shown_first["winner"], said.shown_second["winner"]
        judged.append((_outcome(said, "winner"), "" if one == two else f"the orders disagree: {one} then {two}", said))
    return judged


def _outcome(said: BothOrders, what: str) -> str:
    side = said.both(what)
    return "win" if side == "first" else "loss" if side == "second" else "tie"


def _aspects(verdicts: list[tuple[str, str, BothOrders | None]]) -> dict[str, dict[str, int]]:
    """Win, tie and loss per aspect, of the pairs that were scored."""
    scored = [said for _, _, said in verdicts if said is not None]
    counts = {aspect: Counter(_outcome(said, aspect) for said in scored) for aspect in ASPECTS}
    return {aspect: {o: found[o] for o in ("win", "tie", "loss")} for aspect, found in counts.items()}
