"""Stage corpus/decontaminate: documents that hold a benchmark's question (paper, section 2, step 6; method ours).

How a question is found stands in `overlap.py`.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.corpus.dedup import Texts, document_texts
from aquilamed.corpus.overlap import Index, Overlap, build_index, find
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts
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
    return decontaminate_stage(ctx, config, "corpus/dedup", document_texts)


def decontaminate_stage(ctx: Context, config: DecontaminateConfig, source: str, texts: Texts) -> Result:
    """The stage for any kind of record; metrics say per benchmark what leaked."""
    from aquilamed.evaluate.tasks import benchmark_texts

    benchmarks = benchmark_texts(ctx)
    index = build_index(benchmarks, config)
    ctx.flow(partial(check, index=index, texts=texts), source, "decontaminate")
    counts = {name: {"questions": 0, "leaked_questions": 0, "documents_dropped": 0} for name in _names(benchmarks)}
    leaked: set[tuple[str, str]] = set()
    for question in benchmarks:
        counts[question.benchmark]["questions"] += 1
    for part in iter_parts(ctx.out / "dropped"):
        for found in find(texts(part), index):
            leaked.update((o.benchmark, o.id) for o in found)
            for name in {o.benchmark for o in found}:
                counts[name]["documents_dropped"] += 1
    for name, _ in leaked:
        counts[name]["leaked_questions"] += 1
    return Result({"benchmarks": counts})


def _names(benchmarks: "Sequence[BenchmarkText]") -> list[str]:
    return sorted({b.benchmark for b in benchmarks})


def check(frame: pl.DataFrame, index: Index, texts: Texts) -> pl.DataFrame:
    """The kernel."""
    details = pl.Series("detail", leaks(texts(frame), index), pl.String)
    return (
        no_reason(frame)
        .with_columns(details)
        .with_columns(pl.when(pl.col("detail").is_not_null()).then(pl.lit(REASON)).alias("reason"))
    )
