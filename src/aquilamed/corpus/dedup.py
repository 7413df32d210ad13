"""Stage corpus/dedup: exact and near duplicates (paper, section 2, step 3).

Exact: equal hash of the normalised text. Near: MinHash signatures, LSH buckets, then the *true* Jaccard similarity of
the shingle sets. Latin text is shingled by `word_shingle` words, Chinese by `character_shingle` characters.

Of duplicates the longest stays, then the one of best quality (a `quality` column), then the lowest id. A text without a
letter or digit is compared with none.

Steps, each a set of tasks for the engine: sign the parts; sort the texts; look through each band's buckets; fetch the
shingles of texts with a candidate; compare; write. Memory per text is about 30 bytes, the rest stays on disk.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, model_validator

from aquilamed.config import Config
from aquilamed.corpus import minhash
from aquilamed.corpus.arrays import append, rows_of
from aquilamed.corpus.by_source import metrics, read_sources, write_sources
from aquilamed.corpus.minhash import NONE, ROW, Numbers, Pairs
from aquilamed.engine import Counts, no_reason
from aquilamed.records import write_part
from aquilamed.stage import Context, Result

Texts = Callable[[pl.DataFrame], list[str]]
"""What of the records is compared; "" for a record that is compared with none."""
Quality = Callable[[pl.DataFrame], list[float] | None]
"""Which of equally long copies is the best: the highest value."""
_SLACK = 0.15
"""A signature may underestimate the Jaccard: with 128 permutations its standard error is 0.035 at 0.8."""
_BUCKET_TEXTS = 1 << 20  # texts whose buckets one task sorts
_VERDICT = np.dtype(
    [("row", "<u4"), ("kept", "S16"), ("jaccard", "<f4"), ("exact", "?"), ("source", "<u2"), ("of", "<u2")]
)
"""A record that goes: its row, the id that stays for it, how alike they are, its source and that of the other."""


class DedupConfig(Config):
    """Deduplication of documents."""

    threshold: float = Field(default=0.8, gt=0, le=1)
    """Smallest Jaccard similarity of near duplicates."""
    permutations: int = Field(default=128, ge=8)
    """Length of the MinHash signatures."""
    bands: int = Field(default=32, ge=1)
    """LSH bands; it divides permutations. 32 bands of 4 find a pair of similarity 0.8 with probability 0.9999."""
    word_shingle: int = Field(default=2, ge=1)
    """Words per shingle of Latin text; 2 finds a 150-word text again after 8 changed words."""
    character_shingle: int = Field(default=2, ge=1)
    """Characters per shingle of Chinese text; 2 is about a word."""
    near: bool = True
    """Look for near duplicates, not only for exact ones."""

    @model_validator(mode="after")
    def _whole_bands(self) -> "DedupConfig":
        if self.permutations % self.bands:
            raise ValueError(f"bands ({self.bands}) must divide permutations ({self.permutations})")
        return self


class Duplicate(NamedTuple):
    """A record that goes, and the one that stays for it."""

    dropped: str
    kept: str
    kind: Literal["exact", "near"]
    jaccard: float


def find_duplicates(ids: Sequence[str], texts: Sequence[str], config: DedupConfig | None = None) -> list[Duplicate]:
    """The duplicates among texts in memory, each dropped id once, sorted by it."""
    config = config or DedupConfig()
    signed = minhash.sign(ids, texts, None, config)
    order, ranks, leaders = _sort(signed.rows)
    pairs = np.empty(0, dtype=np.uint64)
    for keys in signed.bands if config.near else ():
        usable = (keys > 0) & (ranks != NONE)
        found = minhash.bucket_pairs(keys[usable], ranks[usable])
        alike = minhash.alike(found, order, lambda rows: signed.sketch[rows], config.threshold - _SLACK)
        pairs = minhash.distinct(np.concatenate([pairs, alike]))
    wanted, left, right = _numbered(pairs, order)
    shingles, starts = minhash.distinct_shingles([texts[i] for i in wanted.tolist()], config)
    near = minhash.decide(pairs, minhash.similarities(left, right, shingles, starts), config.threshold)
    verdicts = _verdicts(signed.rows, np.zeros(len(ids), np.uint16), order, leaders, near)
    found_ = [
        Duplicate(ids[v["row"]], v["kept"].decode(), "exact" if v["exact"] else "near", float(v["jaccard"]))
        for v in verdicts
    ]
    return sorted(found_)


def _sort(rows: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The rows best first, each row's rank (NONE for exact copies), and for each row the one that stays for it."""
    order = minhash.best_first(rows)
    leaders = minhash.exact_leaders(rows["text"], order)
    empty = np.flatnonzero(rows["length"] == 0).astype(np.uint32)
    leaders[empty] = empty
    ranks = np.empty(len(rows), dtype=np.uint32)
    ranks[order] = np.arange(len(rows), dtype=np.uint32)
    ranks[leaders != np.arange(len(rows), dtype=np.uint32)] = NONE
    return order, ranks, leaders


def _numbered(pairs: Pairs, order: npt.NDArray[np.uint32]) -> tuple[Numbers, Numbers, Numbers]:
    """The rows that occur in pairs, sorted, and each pair's two places among them."""
    better, worse = (order[side].astype(np.int64) for side in minhash.split(pairs))
    wanted = np.union1d(better, worse)
    return wanted, np.searchsorted(wanted, better), np.searchsorted(wanted, worse)


def _verdicts(
    rows: npt.NDArray[np.void],
    sources: npt.NDArray[np.uint16],
    order: npt.NDArray[np.uint32],
    leaders: npt.NDArray[np.uint32],
    near: dict[int, tuple[int, float]],
) -> npt.NDArray[np.void]:
    """`_VERDICT` of every row that goes, in row order."""
    kept = leaders.astype(np.int64)
    jaccard = np.ones(len(rows), dtype=np.float32)
    for rank, (other, similarity) in near.items():
        kept[order[rank]], jaccard[order[rank]] = order[other], similarity
    gone = np.flatnonzero(kept != np.arange(len(rows)))
    result = np.zeros(len(gone), dtype=_VERDICT)
    result["row"], result["jaccard"] = gone, jaccard[gone]
    result["exact"] = leaders[gone] != gone
    # What an exact copy stood for may itself be near to something better: name the one that really stays.
    stays = kept[kept[gone]]
    result["kept"], result["source"], result["of"] = rows["id"][stays], sources[gone], sources[stays]
    return result


def document_texts(frame: pl.DataFrame) -> list[str]:
    """What of a document is compared: its text."""
    return [t or "" for t in frame["text"].to_list()]


def column_quality(frame: pl.DataFrame) -> list[float] | None:
    """The records' `quality`, where they have one."""
    return frame["quality"].to_list() if "quality" in frame.columns else None


def run(ctx: Context, config: DedupConfig) -> Result:
    """Drop duplicates; reasons dedup.exact and dedup.near, the detail names the record that stays."""
    return dedup_stage(ctx, config, "corpus/toxicity", document_texts)


def dedup_stage(
    ctx: Context,
    config: DedupConfig,
    source: str,
    texts: Texts,
    quality: Quality = column_quality,
    name: str = "dedup",
) -> Result:
    """The stage for any kind of record; every step resumes where it was stopped.

    Args:
        name: the first part of the reasons.

    Metrics: exact, near; within and across sources; `sources` (source that stays → source that goes → records).
    """
    inputs, work = ctx.inputs[source].kept_parts(), ctx.work
    signed = [work / "signatures" / f"{n:05d}" for n in range(len(inputs))]
    jobs = [(p, folder, config, texts, quality) for p, folder in zip(inputs, signed, strict=True)]
    ctx.engine.run(_sign_part, jobs, work / "signed", f"{name}: signatures")
    starts = np.cumsum([0, *(len(np.load(f / "rows.npy", mmap_mode="r")) for f in signed)]).tolist()
    append(work / "rows.npy", (starts[-1],), ROW, work.glob("signatures/*/rows.npy"))
    rows = np.load(work / "rows.npy", mmap_mode="r")
    order, ranks, leaders = _sort(rows)
    near: dict[int, tuple[int, float]] = {}
    if config.near and len(rows):
        near = _near(ctx, config, inputs, texts, starts, order, ranks)
    sources, names = read_sources(signed)
    verdicts = _verdicts(rows, sources, order, leaders, near)
    np.save(work / "verdicts.npy", verdicts)
    writes = [
        (p, ctx.out, n, work / "verdicts.npy", start, name, names)
        for n, (p, start) in enumerate(zip(inputs, starts, strict=False))
    ]
    ctx.engine.run(_write_part, writes, work / "written", f"{name}: writing")
    return Result(metrics(verdicts, names))


def _sign_part(job: tuple[Path, Path, DedupConfig, Texts, Quality]) -> Counts:
    source, folder, config, texts, quality = job
    frame = pl.read_parquet(source, glob=False)
    signed = minhash.sign(frame["id"].to_list(), texts(frame), quality(frame), config)
    folder.mkdir(parents=True, exist_ok=True)
    write_sources(folder, frame["source"].to_list())
    for name, array in (("rows", signed.rows), ("bands", signed.bands), ("sketch", signed.sketch)):
        np.save(folder / f"{name}.npy", array)
    return {"signed": frame.height}


def _near(
    ctx: Context,
    config: DedupConfig,
    inputs: list[Path],
    texts: Texts,
    starts: list[int],
    order: npt.NDArray[np.uint32],
    ranks: npt.NDArray[np.uint32],
) -> dict[int, tuple[int, float]]:
    """Rank that goes → (rank that stays, Jaccard)."""
    work = ctx.work
    np.save(work / "order.npy", order)
    np.save(work / "ranks.npy", ranks)
    signed = work / "signatures"
    append(work / "sketch.npy", (len(order), config.permutations), np.uint8, signed.glob("*/sketch.npy"))
    buckets = -(-len(order) // _BUCKET_TEXTS)
    jobs = [(work, band, bucket, buckets, config) for band in range(config.bands) for bucket in range(buckets)]
    ctx.engine.run(_find_pairs, jobs, work / "banded", "dedup: candidates")
    pairs = np.empty(0, dtype=np.uint64)
    for job in jobs:
        pairs = minhash.distinct(np.concatenate([pairs, np.load(_pairs_file(*job[:3]))]))
    wanted, left, right = _numbered(pairs, order)
    np.save(work / "wanted.npy", wanted)
    cuts = zip(inputs, starts[:-1], starts[1:], strict=True)
    fetch = [(p, work, n, a, b, config, texts) for n, (p, a, b) in enumerate(cuts)]
    ctx.engine.run(_shingle_part, fetch, work / "shingled", "dedup: shingles")
    sizes = [np.load(f) for f in sorted((work / "shingles").glob("*.sizes.npy"))]
    begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(sizes))])
    append(work / "shingles.npy", (int(begins[-1]),), np.uint32, (work / "shingles").glob("*.shingles.npy"))
    jaccard = np.zeros(len(pairs))
    with ctx.progress.track("dedup: comparing", total=len(pairs), unit="pair") as bar:
        for at in range(0, len(pairs), 1 << 13):
            # Opened anew for each slice: pages that were read are given back.
            shingles = np.load(work / "shingles.npy", mmap_mode="r")
            cut = slice(at, at + (1 << 13))
            jaccard[cut] = minhash.similarities(left[cut], right[cut], shingles, begins)
            bar.advance(len(left[cut]))
    return minhash.decide(pairs, jaccard, config.threshold)


def _pairs_file(work: Path, band: int, bucket: int) -> Path:
    return work / "pairs" / f"{band:04d}-{bucket:05d}.npy"


def _find_pairs(job: tuple[Path, int, int, int, DedupConfig]) -> Counts:
    """The pairs of one band whose bucket number falls to this task."""
    work, band, bucket, buckets, config = job
    ranks, order = (np.load(work / f"{n}.npy", mmap_mode="r") for n in ("ranks", "order"))
    keys, mine = [np.empty(0, np.uint32)], [np.empty(0, np.uint32)]
    start = 0
    for folder in sorted((work / "signatures").iterdir()):
        part = np.array(np.load(folder / "bands.npy", mmap_mode="r")[band])
        rank = ranks[start : start + len(part)]
        good = (part > 0) & (rank != NONE) & (part % buckets == bucket)
        keys.append(part[good])
        mine.append(rank[good])
        start += len(part)
    pairs = minhash.bucket_pairs(np.concatenate(keys), np.concatenate(mine))
    target = _pairs_file(work, band, bucket)
    target.parent.mkdir(parents=True, exist_ok=True)
    np.save(
        target,
        minhash.alike(pairs, order, partial(rows_of, work / "sketch.npy"), config.threshold - _SLACK),
    )
    return {"pairs": len(pairs)}


def _shingle_part(job: tuple[Path, Path, int, int, int, DedupConfig, Texts]) -> Counts:
    """The distinct shingles of the texts of a part that have a candidate."""
    source, work, number, start, end, config, texts = job
    wanted = np.load(work / "wanted.npy", mmap_mode="r")
    rows = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, end)] - start
    chosen = texts(pl.read_parquet(source, glob=False)[rows.tolist()]) if len(rows) else []
    shingles, starts = minhash.distinct_shingles(chosen, config)
    folder = work / "shingles"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{number:05d}.shingles.npy", shingles)
    np.save(folder / f"{number:05d}.sizes.npy", np.diff(starts))
    return {"texts": len(rows)}


def _write_part(job: tuple[Path, Path, int, Path, int, str, list[str]]) -> Counts:
    source, out, number, verdicts, start, stage, names = job
    frame = pl.read_parquet(source, glob=False)
    found = np.load(verdicts, mmap_mode="r")
    mine = found[np.searchsorted(found["row"], start) : np.searchsorted(found["row"], start + frame.height)]
    reasons: list[str | None] = [None] * frame.height
    details: list[str | None] = [None] * frame.height
    for verdict in mine:
        row = int(verdict["row"]) - start
        reasons[row] = f"{stage}.exact" if verdict["exact"] else f"{stage}.near"
        other = f" of source {names[verdict['of']]}" if verdict["of"] != verdict["source"] else ""
        details[row] = f"copy of {verdict['kept'].decode()}{other}, Jaccard {verdict['jaccard']:.2f}"
    frame = no_reason(frame).with_columns(
        pl.Series("reason", reasons, pl.String), pl.Series("detail", details, pl.String)
    )
    name = f"part-{number:05d}.parquet"
    write_part(out / "dropped" / name, frame.filter(pl.col("reason").is_not_null()))
    write_part(out / "kept" / name, frame.filter(pl.col("reason").is_null()).drop("reason", "detail"))
    return {"records": frame.height}
