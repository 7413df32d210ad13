"""Stage evaluate/pairwise: single-turn answers judged in pairs (paper, section 5: Huatuo MedicalQA, 500 sampled).

Every pair is judged in both orders; a win or a loss counts only when both verdicts agree, else it is a tie. A judgement
that failed leaves its pair *unscored*: it is no tie, and no part of the shares. What is counted of the verdicts, and with
what uncertainty, is in evaluate/verdicts.py.
"""

import json
from typing import Any

import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.evaluate.contestants import Answers, ModelName, contestants
from aquilamed.evaluate.tasks import read_dialogues
from aquilamed.evaluate.verdicts import judge_pairs, outcome_figures
from aquilamed.records import write_json, write_part
from aquilamed.stage import Context, Result


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
                comparisons.append(
                    {"model": name, "against": other, "benchmark": benchmark.task, "n": len(items)}
                    | outcome_figures(verdicts, answers[name], answers[other])
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
