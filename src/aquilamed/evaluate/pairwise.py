"""Stage evaluate/pairwise: single-turn answers judged in pairs (paper, section 5: Huatuo MedicalQA, 500 sampled).

Every pair is judged in both orders; a win or a loss counts only when both verdicts agree, else it is a tie. A judgement
that failed leaves its pair *unscored*: it is no tie, and no part of the shares. What is counted of the verdicts, and with
what uncertainty, is in evaluate/verdicts.py.
"""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import Field

from aquilamed.annotate import Annotator
from aquilamed.config import Config
from aquilamed.evaluate.contestants import Answers, Contestant, asked_endpoints, contestants
from aquilamed.evaluate.endpoint_calls import EndpointConfig
from aquilamed.evaluate.judging import open_judges
from aquilamed.evaluate.panel import UNSCORED, judges_agree, majority, self_preference
from aquilamed.evaluate.tasks import read_dialogues
from aquilamed.evaluate.verdicts import Judged, Said, judge_figures, judge_pairs, outcome_figures
from aquilamed.records import Dialogue, write_json, write_part
from aquilamed.stage import Context, Result


class PairwiseConfig(Config):
    """Single-turn judging; the benchmarks are those of kind "single" in `evaluate.benchmarks`."""

    limit: int | None = Field(default=500, ge=1)
    """Questions per benchmark, chosen by seeded hash (the paper: 500)."""
    models: list[str] = ["finetune", "align"]
    """Whose answers are judged: base, pretrain, finetune, align, and names of `evaluate.endpoints`."""
    against: list[str] = ["reference", "finetune"]
    """What they are judged against: "reference" (the set's answer) or such a name; never against itself."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Length of a generated answer."""
    batch_size: int = Field(default=8, ge=1)
    """Conversations generated together."""


def run(ctx: Context, config: PairwiseConfig) -> Result:
    """Generate, judge in both orders, count; answers and verdicts go to answers/."""
    judges = open_judges(ctx)
    benchmarks = [b for b in ctx.recipe.evaluate.benchmarks if b.kind == "single"]
    names = [*config.models, *(a for a in config.against if a != "reference" and a not in config.models)]
    models = contestants(ctx, names)
    own = {judge.name: [c.name for c in models.values() if _is(c, judge)] for judge in judges}
    writers = {
        name: Answers(ctx, c, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)
        for name, c in models.items()
    }
    comparisons: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for benchmark in benchmarks:
        items = read_dialogues(ctx, benchmark, config.limit)
        answers: dict[str, list[Said]] = {"reference": [d.messages[1]["content"] for d in items]}
        for name, writer in writers.items():
            answers[name] = writer.get([d.messages[:1] for d in items], benchmark.task)
        for name in config.models:
            for other in config.against:
                if name == other or name not in answers or other not in answers:
                    continue
                sides = answers[name], answers[other]
                said = {judge.name: judge_pairs(judge, items, *sides) for judge in judges}
                about = {"benchmark": benchmark.task, "model": name, "against": other}
                comparisons.append(about | {"n": len(items)} | _figures(said, sides, own, name, other))
                rows += [about | row for row in _rows(items, sides, said)]
    write_json(ctx.out / "results.json", comparisons)
    if rows:
        table = pl.DataFrame(rows, schema_overrides=dict.fromkeys(("answer", "other", "verdicts"), pl.String))
        write_part(ctx.out / "answers" / "part-00000.parquet", table)
    told = [{"kind": judge.kind, "name": judge.name, **judge.statistics()} for judge in judges]
    return Result({"judge": told[0], "panel": told[1:], "comparisons": comparisons} | asked_endpoints(writers))


def _is(contestant: Contestant, judge: Annotator) -> bool:
    """Whether a contestant is the judge: the same local model, or the same model of a service."""
    if isinstance(contestant.model, EndpointConfig):
        return judge.kind == "openai" and contestant.model.model == judge.name
    return judge.kind == "local" and contestant.model.path == judge.name


def _figures(
    said: dict[str, list[Judged]],
    sides: tuple[list[Said], list[Said]],
    own: dict[str, list[str]],
    name: str,
    other: str,
) -> dict[str, Any]:
    """One judge's figures; with several the majority's, then each judge's, their agreement and self-preference."""
    each = {judge: judge_figures(verdicts, *sides) for judge, verdicts in said.items()}
    if len(said) == 1:
        return next(iter(each.values()))
    outcomes = {judge: [outcome for outcome, _, _ in verdicts] for judge, verdicts in said.items()}
    scored = {judge: [None if o == UNSCORED else o for o in found] for judge, found in outcomes.items()}
    partial = [
        {"own": side} | self_preference(judge, outcomes, mirrored=side == other)
        for judge, models in own.items()
        for side in (name, other)
        if side in models
    ]
    return outcome_figures([majority(found)[0] for found in zip(*outcomes.values(), strict=True)], *sides) | {
        "judges": [{"judge": judge, **figures} for judge, figures in each.items()],
        "agreement": judges_agree(scored),
        "self_preference": partial,
    }


def _rows(
    items: list[Dialogue], sides: tuple[list[Said], list[Said]], said: dict[str, list[Judged]]
) -> Iterator[dict[str, Any]]:
    """What the audit keeps of every pair; `verdicts` is one judge's, or with several each one's by name."""
    for number, (dialogue, answer, other) in enumerate(zip(items, *sides, strict=True)):
        given = {judge: verdicts[number] for judge, verdicts in said.items()}
        spoken = {judge: both.as_said("answer", "other") if both else None for judge, (_, _, both) in given.items()}
        if len(given) == 1:
            ((outcome, detail, _),) = given.values()
            (kept,) = spoken.values()
        else:
            outcome, detail = majority([o for o, _, _ in given.values()])
            kept = {j: {"outcome": o, "detail": d, "orders": spoken[j]} for j, (o, d, _) in given.items()}  # type: ignore[assignment]
        yield {
            "id": dialogue.id,
            "question": dialogue.messages[0]["content"],
            "answer": answer if isinstance(answer, str) else None,
            "other": other if isinstance(other, str) else None,
            "outcome": outcome,
            "detail": detail,
            "verdicts": json.dumps(kept, ensure_ascii=False) if kept else None,
        }
