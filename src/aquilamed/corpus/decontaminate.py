"""Stage corpus/decontaminate: documents that hold a benchmark's question (paper, section 2, step 6; method ours).

How a question is found stands in `overlap.py`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.corpus.dedup import Texts, document_texts
from aquilamed.corpus.ngram_index import Index
from aquilamed.corpus.overlap import Overlap, build_index, find
from aquilamed.engine import map_parts, no_reason
from aquilamed.records import iter_parts, write_json
from aquilamed.stage import Context, Result

if TYPE_CHECKING:
    from aquilamed.evaluate.tasks import BenchmarkText

__all__ = [
    "DecontaminateConfig",
    "Index",
    "Overlap",
    "build_index",
    "check",
    "decontaminate_stage",
    "find",
    "leaks",
    "run",
]

REASON = "decontaminate.benchmark_overlap"


class DecontaminateConfig(Config):
    """When a text holds a benchmark's question."""

    share: float = Field(default=0.6, gt=0, le=1)
    """Smallest weighted share of a question's n-grams in a text."""
    short_share: float = Field(default=0.7, gt=0, le=1)
    """The same for short questions that are not Chinese: their formulas take up more of them."""
    short_words: int = Field(default=11, ge=1)
    """Questions of fewer words are short."""
    min_words: int = Field(default=8, ge=1)
    """Shorter benchmark texts (1.5 Chinese characters count as one word) are formulas and are not looked for."""


def leaks(texts: Sequence[str], index: Index) -> list[str | None]:
    """A detail sentence for each text that holds a benchmark's question, None for the others."""
    return [_detail(found) if found else None for found in find(texts, index)]


def _detail(found: list[Overlap]) -> str:
    best = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{best.share:.0%} of the {best.size}-grams of {best.benchmark} question {best.id}{more}"


def run(ctx: Context, config: DecontaminateConfig) -> Result:
    """Drop documents that hold a question of a benchmark of the recipe."""
    return decontaminate_stage(ctx, config, ["corpus/dedup"], document_texts)


def decontaminate_stage(ctx: Context, config: DecontaminateConfig, sources: Sequence[str], texts: Texts) -> Result:
    """The stage for any kind of record, over the kept records of the inputs `sources`.

    Writes `contamination.json`, which is also in the metrics: benchmark → questions, too_short (not
    looked for), leaked_questions, leaked_share, documents_dropped.
    """
    from aquilamed.evaluate.tasks import benchmark_texts

    benchmarks = benchmark_texts(ctx)
    # The index of large benchmarks is much larger than a part: workers read it once instead of getting it with each part.
    path = ctx.work / "index.npz"
    build_index(benchmarks, config).save(path)
    kept = [part for name in sources for part in ctx.inputs[name].kept_parts()]
    map_parts(ctx.engine, partial(check, index=path, texts=texts), kept, ctx.out, "decontaminate")
    table = contamination(benchmarks, read_index(path), iter_parts(ctx.out / "dropped"), texts)
    write_json(ctx.out / "contamination.json", table)
    return Result({"benchmarks": table})


@lru_cache(maxsize=1)
def read_index(path: Path) -> Index:
    """The index that this run has written."""
    return Index.load(path)


def contamination(
    benchmarks: "Sequence[BenchmarkText]", index: Index, dropped: Iterable[pl.DataFrame], texts: Texts
) -> dict[str, dict[str, float]]:
    """What of each benchmark is in the dropped records: how many questions, their share, and in how many records."""
    records: Counter[str] = Counter()
    leaked: set[tuple[str, str]] = set()
    for part in dropped:
        for found in find(texts(part), index):
            leaked.update((o.benchmark, o.id) for o in found)
            records.update({o.benchmark for o in found})
    questions = Counter(b.benchmark for b in benchmarks)
    hit = Counter(name for name, _ in leaked)
    searched = Counter(name for name, _ in {(unit.benchmark, unit.id) for unit in index.units})
    return {
        name: {
            "questions": count,
            "too_short": count - searched[name],
            "leaked_questions": hit[name],
            "leaked_share": round(hit[name] / count, 6),
            "documents_dropped": records[name],
        }
        for name, count in sorted(questions.items())
    }


def check(frame: pl.DataFrame, index: Path, texts: Texts) -> pl.DataFrame:
    """The kernel; `index` is a file of `read_index`."""
    details = pl.Series("detail", leaks(texts(frame), read_index(index)), pl.String)
    return (
        no_reason(frame)
        .with_columns(details)
        .with_columns(pl.when(pl.col("detail").is_not_null()).then(pl.lit(REASON)).alias("reason"))
    )
