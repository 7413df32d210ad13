"""Seed samples and their two-round annotation: what the domain and the quality labels have in common."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import polars as pl

from aquilamed.annotate import Annotator, Rubric
from aquilamed.annotate.agreement import TwoRounds, two_rounds
from aquilamed.annotate.contract import T
from aquilamed.config import StageFailed
from aquilamed.corpus.student import first_by_hash
from aquilamed.engine import Counts
from aquilamed.records import write_json, write_parts
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


def fetch(ctx: Context, artifact: Artifact, ids: Iterable[str], name: str) -> pl.DataFrame:
    """The kept records with these ids, in the corpus' order; workers look through the parts.

    Args:
        name: of this selection, different from others of the stage: it names its files below `ctx.work`.
    """
    folder = ctx.work / f"fetch-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "ids.json", sorted(ids))
    sources = artifact.kept_parts()
    jobs = [(source, folder / f"{n:05d}.parquet", folder / "ids.json") for n, source in enumerate(sources)]
    ctx.engine.run(_pick, jobs, folder / "done", f"{name}: fetching")
    found = [f for f in (pl.read_parquet(job[1], glob=False) for job in jobs) if f.height]
    return pl.concat(found, how="diagonal_relaxed") if found else pl.DataFrame()


def _pick(job: tuple[Path, Path, Path]) -> Counts:
    source, target, wanted = job
    ids = _wanted(wanted)
    here = [i in ids for i in pl.read_parquet(source, columns=["id"], glob=False)["id"].to_list()]
    rows = pl.read_parquet(source, glob=False).filter(pl.Series(here)) if any(here) else pl.DataFrame()
    rows.write_parquet(target)
    return {"found": rows.height}


@lru_cache(maxsize=2)
def _wanted(path: Path) -> frozenset[str]:
    return frozenset(json.loads(path.read_text(encoding="utf-8")))


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
