"""Seed samples and their two-round annotation: what the domain and the quality labels have in common."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import polars as pl

from aquilamed.annotate import Annotator, Rubric
from aquilamed.annotate.agreement import TwoRounds, two_rounds
from aquilamed.annotate.contract import T
from aquilamed.config import StageFailed
from aquilamed.corpus.student import first_by_hash
from aquilamed.records import write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact

V = TypeVar("V", str, int)


def draw(groups: Mapping[str, Iterable[str]], count: int, seed: int, purpose: str) -> list[str]:
    """`count` ids, the same number from every group, without replacement and by seeded hash.

    What a small group lacks is filled up from the others, so that the sample is as big as asked while there is text.
    Memory is bounded by `count`: groups may be streams.
    """
    queues = {name: first_by_hash(ids, count, seed, purpose) for name, ids in groups.items()}
    chosen: list[str] = []
    open_groups = sorted(queues)
    while open_groups and len(chosen) < count:
        share, more = divmod(count - len(chosen), len(open_groups))
        for position, name in enumerate(open_groups):
            take = share + (position < more)
            chosen += queues[name][:take]
            queues[name] = queues[name][take:]
        open_groups = [name for name in open_groups if queues[name]]
    return chosen


def fetch(artifact: Artifact, ids: Iterable[str]) -> pl.DataFrame:
    """The kept records with these ids, in the corpus' order, part by part."""
    wanted = list(ids)
    found = [pl.read_parquet(p, glob=False).filter(pl.col("id").is_in(wanted)) for p in artifact.kept_parts()]
    return pl.concat(found, how="diagonal_relaxed") if found else pl.DataFrame()


def annotate_twice(
    annotator: Annotator, rubric: Rubric[T], frame: pl.DataFrame, value: Callable[[T], V], max_failed: float
) -> list[TwoRounds[V]]:
    """Both rounds for every record's text. Raises `StageFailed` when more than `max_failed` of them got no answer."""
    rounds = two_rounds(annotator, rubric, [{"text": t} for t in frame["text"].to_list()], value)
    failed = [r.failed for r in rounds if r.failed]
    if len(failed) > max_failed * len(rounds):
        raise StageFailed(
            f"{len(failed)} of {len(rounds)} seeds got no answer in both rounds (most allowed: {max_failed:.0%}), "
            f"first: {failed[0]}; the answers that came are stored, run again"
        )
    return rounds


def write_verdicts(ctx: Context, frame: pl.DataFrame, reasons: list[str | None], details: list[str | None]) -> int:
    """Write kept and dropped records; returns how many are kept."""
    marked = frame.with_columns(
        pl.Series("reason", reasons, dtype=pl.String), pl.Series("detail", details, dtype=pl.String)
    )
    kept = marked.filter(pl.col("reason").is_null()).drop("reason", "detail")
    write_parts(ctx.out / "dropped", marked.filter(pl.col("reason").is_not_null()))
    write_parts(ctx.out / "kept", kept)
    return kept.height
