"""Dialogues as rounds (a question and its answer), and the loop that scores a stage's parts once each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from aquilamed.records import Message, parts, write_part
from aquilamed.stage import Context


@dataclass(frozen=True)
class Round:
    """One round of a dialogue."""

    question: str
    answer: str


def rounds(messages: list[Message]) -> list[Round]:
    """The rounds of a dialogue; a system message is left out."""
    turns = [m for m in messages if m["role"] != "system"]
    return [Round(q["content"], a["content"]) for q, a in zip(turns[::2], turns[1::2], strict=False)]


def score_parts(
    ctx: Context, source: str, score: Callable[[pl.DataFrame], pl.DataFrame], label: str
) -> list[pl.DataFrame]:
    """Run `score` (records → the same with `reason`, `detail` and new columns) over the kept parts of an input.

    Every finished part is kept in `ctx.work/scored`, so that a crash never scores one twice; then kept/ and dropped/ are
    written. For scores that need a model in this process; batch kernels use `ctx.flow`.
    """
    results = []
    for path in ctx.inputs[source].kept_parts():
        done = ctx.work / "scored" / path.name
        if not done.exists():
            write_part(done, score(pl.read_parquet(path, glob=False)))
        frame = pl.read_parquet(done, glob=False)
        kept = pl.col("reason").is_null()
        write_part(ctx.out / "dropped" / path.name, frame.filter(~kept))
        write_part(ctx.out / "kept" / path.name, frame.filter(kept).drop("reason", "detail"))
        results.append(frame)
    if len(parts(ctx.out / "kept")) != len(results):
        raise AssertionError(f"{label}: {ctx.out} holds parts that this run did not write")
    return results


def histogram(values: list[float], bins: int = 20) -> list[list[float]]:
    """[lower edge, count] of equal bins over the values' range; [] when there are none."""
    if not values:
        return []
    low, high = min(values), max(values)
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for v in values:
        counts[min(int((v - low) / width), bins - 1)] += 1
    return [[low + i * width, c] for i, c in enumerate(counts)]


def mean(values: list[float]) -> float | None:
    """The mean, or None of nothing."""
    return sum(values) / len(values) if values else None


def spread(frames: list[pl.DataFrame], column: str) -> dict[str, Any]:
    """Count, mean and histogram of a numeric column over frames, nulls left out."""
    values = [v for f in frames if column in f.columns for v in f[column].drop_nulls().to_list()]
    return {"n": len(values), "mean": mean(values), "histogram": histogram(values)}
