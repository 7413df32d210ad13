"""Stage evaluate/contamination: which questions of the benchmarks the finished training sets still hold.

The filters have dropped what they found before training; here the sets that were really trained on are searched, with a lower
threshold, so that accuracy can be told apart on questions that a model may have seen and on those that it has not. The cases of
the safety probe are searched for too.
"""

import json
from collections import Counter
from pathlib import Path

import polars as pl
from pydantic import Field

from aquilamed.corpus.decontaminate import DecontaminateConfig, build_index, find, read_index
from aquilamed.corpus.dedup import Texts, document_texts
from aquilamed.engine import Counts
from aquilamed.evaluate.probe import cases
from aquilamed.evaluate.tasks import BenchmarkText, benchmark_texts
from aquilamed.instruct.clean import whole_texts
from aquilamed.prefer.decontaminate import pair_texts
from aquilamed.records import write_json
from aquilamed.stage import Context, Result

PROBE = "safety_probe"
"""What the probe is called beside the benchmarks."""
TRAINED_ON: dict[str, Texts] = {
    "corpus/mix1": document_texts,
    "corpus/mix2": document_texts,
    "instruct/select": whole_texts,
    "prefer/select": pair_texts,
}


class ContaminationConfig(DecontaminateConfig):
    """When a training set holds a benchmark's question: earlier than the filters say so."""

    share: float = Field(default=0.5, gt=0, le=1)
    """Smallest weighted share of a question's n-grams in a text."""
    short_share: float = Field(default=0.6, gt=0, le=1)
    """The same for short questions that are not Chinese."""


def run(ctx: Context, config: ContaminationConfig) -> Result:
    """Search every training set; `leaked.json` is benchmark → question id → the sets that hold it."""
    benchmarks = [*benchmark_texts(ctx), *(BenchmarkText(PROBE, case.id, case.text) for case in cases())]
    path = ctx.work / "index.npz"
    build_index(benchmarks, config).save(path)
    jobs = [
        (part, name, path, ctx.work / "hits" / name.replace("/", "-") / f"{n:05d}.json")
        for name in TRAINED_ON
        if name in ctx.inputs
        for n, part in enumerate(ctx.inputs[name].kept_parts())
    ]
    ctx.engine.run(_search, jobs, ctx.work / "searched", "contamination")
    leaked: dict[str, dict[str, list[str]]] = {b.benchmark: {} for b in benchmarks}
    for _, name, _, hits in jobs:
        for benchmark, question in json.loads(hits.read_text("utf-8")):
            held = leaked[benchmark].setdefault(question, [])
            if name not in held:
                held.append(name)
    write_json(ctx.out / "leaked.json", leaked)
    questions = Counter(b.benchmark for b in benchmarks)
    return Result(
        {
            "benchmarks": {
                name: {
                    "questions": questions[name],
                    "leaked": len(held),
                    "sets": dict(sorted(Counter(s for sets in held.values() for s in sets).items())),
                }
                for name, held in sorted(leaked.items())
            }
        }
    )


def leaked_ids(ctx: Context) -> dict[str, frozenset[str]]:
    """Benchmark → ids of its questions that a training set holds; empty where the stage is off."""
    if "evaluate/contamination" not in ctx.inputs:
        return {}
    table = json.loads((ctx.inputs["evaluate/contamination"].path / "leaked.json").read_text("utf-8"))
    return {name: frozenset(ids) for name, ids in table.items()}


def _search(job: tuple[Path, str, Path, Path]) -> Counts:
    """The questions that one part holds, as a sorted JSON list of [benchmark, id]."""
    part, name, index, hits = job
    frame = pl.read_parquet(part, glob=False)
    found = {(o.benchmark, o.id) for overlaps in find(TRAINED_ON[name](frame), read_index(index)) for o in overlaps}
    write_json(hits, sorted(found))
    return {"records": frame.height, "questions": len(found)}
