"""Stage corpus/dedup: exact and near duplicates (paper, section 2, step 3).

Exact: equal hash of the normalised text. Near: MinHash signatures (rensa), LSH buckets, then the *true* Jaccard of the
shingle sets. Latin text is shingled by `word_shingle` words, Chinese by `character_shingle` characters.

Of duplicates the longest stays, then the lowest id. A document goes only if it is itself similar to one that stays;
plain union-find would also drop the far end of a chain A~B~C, which nothing kept resembles.

Memory: 4 × `permutations` bytes per document for signatures, plus the shingles of documents with a candidate.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, model_validator

from aquilamed.config import Config
from aquilamed.corpus.ngrams import Hashes, is_han, ngram_hashes, normalise, token_hashes, tokens
from aquilamed.engine import Counts, no_reason
from aquilamed.records import iter_parts, write_atomic, write_part
from aquilamed.stage import Context, Result

Texts = Callable[[pl.DataFrame], list[str]]
_SEED = 42  # of the permutations; candidates are verified, so it decides nothing that the recipe's seed should
_SLACK = 0.15
"""A signature may underestimate the Jaccard: with 128 permutations its standard error is 0.035 at 0.8."""
_NEIGHBOURS = 12
"""In an LSH bucket each document is compared with the best 12 and with the 12 before it: linear, also in huge buckets."""


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


@dataclass(frozen=True)
class Signatures:
    """What is known of texts without having them: rows in the order of reading."""

    ids: list[str]
    lengths: npt.NDArray[np.int64]
    exact: Hashes
    minhash: npt.NDArray[np.uint32]
    """[texts, permutations]"""
    shingles: npt.NDArray[np.int64]
    """How many different shingles each text has."""


def shingles(text: str, config: DedupConfig) -> Hashes:
    """The sorted, distinct shingle hashes of a normalised text; a text shorter than a shingle is one itself."""
    hashes = token_hashes(tokens(text))
    sizes = (config.word_shingle, config.character_shingle)
    han = is_han(hashes)
    grams = []
    for n, mine in zip(sizes, (~han, han), strict=True):
        found = ngram_hashes(hashes, n)
        grams.append(found[mine[: len(found)]])
    both = np.unique(np.concatenate(grams))
    return both if len(both) else ngram_hashes(hashes, max(len(hashes), 1))


def sign(ids: Sequence[str], texts: Sequence[str], config: DedupConfig) -> Signatures:
    """The signatures of some texts."""
    clean = [" ".join(normalise(t).split()) for t in texts]
    digests = [hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=8).digest() for t in clean]
    exact = np.frombuffer(b"".join(digests), dtype=np.uint64).copy()
    sets = [shingles(t, config) for t in clean] if config.near else [np.empty(0, np.uint64) for _ in clean]
    return Signatures(
        list(ids),
        np.array([len(t) for t in clean], dtype=np.int64),
        exact,
        _minhash(sets, config.permutations),
        np.array([len(s) for s in sets], dtype=np.int64),
    )


def _minhash(sets: list[Hashes], permutations: int) -> npt.NDArray[np.uint32]:
    from rensa import RMinHash

    offsets = np.zeros(len(sets) + 1, dtype=np.uint64)
    np.cumsum([len(s) for s in sets], out=offsets[1:])
    flat = np.concatenate(sets) if sets else np.empty(0, np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, permutations, _SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(sets), permutations)


def find_duplicates(ids: Sequence[str], texts: Sequence[str], config: DedupConfig | None = None) -> list[Duplicate]:
    """The duplicates among texts in memory, each dropped id once."""
    config = config or DedupConfig()
    by_id = dict(zip(ids, texts, strict=True))
    return resolve(sign(ids, texts, config), config, lambda wanted: ((i, by_id[i]) for i in wanted))


def resolve(
    signatures: Signatures, config: DedupConfig, fetch: Callable[[set[str]], Iterable[tuple[str, str]]]
) -> list[Duplicate]:
    """Decide from signatures; `fetch` gives (id, text) of the few texts that must be compared truly."""
    ids = signatures.ids
    order = sorted(range(len(ids)), key=lambda i: (-int(signatures.lengths[i]), ids[i]))
    first: dict[int, int] = {}
    found = []
    unique = []
    for i in order:
        leader = first.setdefault(int(signatures.exact[i]), i)
        if leader == i:
            unique.append(i)
        else:
            found.append((i, Duplicate(ids[i], ids[leader], "exact", 1.0)))
    near = _near(signatures, np.array(unique, dtype=np.int64), config, fetch) if config.near else {}
    # What an exact copy stood for may itself be near to something better: name the one that really stays.
    final = {ids[d]: Duplicate(ids[d], ids[k], "near", j) for d, (k, j) in near.items()}
    for _, duplicate in found:
        better = final.get(duplicate.kept)
        final[duplicate.dropped] = duplicate._replace(kept=better.kept) if better else duplicate
    return [final[i] for i in sorted(final)]


def _near(
    signatures: Signatures,
    order: npt.NDArray[np.int64],
    config: DedupConfig,
    fetch: Callable[[set[str]], Iterable[tuple[str, str]]],
) -> dict[int, tuple[int, float]]:
    """Row that goes → (row that stays, Jaccard)."""
    pairs = _candidates(signatures, order, config)
    wanted = {signatures.ids[int(i)] for i in np.unique(pairs)}
    sets = {i: shingles(" ".join(normalise(t).split()), config) for i, t in fetch(wanted)} if wanted else {}
    better: dict[int, list[int]] = {}
    for a, b in pairs.tolist():
        better.setdefault(b, []).append(a)
    dropped: dict[int, tuple[int, float]] = {}
    for row in order.tolist():
        best: tuple[int, float] | None = None
        for other in sorted(better.get(row, ())):
            if other not in dropped:
                similarity = jaccard(sets[signatures.ids[row]], sets[signatures.ids[other]])
                if similarity >= config.threshold and (best is None or similarity > best[1]):
                    best = (other, similarity)
        if best:
            dropped[row] = best
    return dropped


def jaccard(a: Hashes, b: Hashes) -> float:
    """Shared among all shingles of two sorted, distinct sets."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / max(len(a) + len(b) - shared, 1)


def _candidates(signatures: Signatures, order: npt.NDArray[np.int64], config: DedupConfig) -> npt.NDArray[np.int64]:
    """Pairs (better row, worse row) that share an LSH bucket and whose signatures agree enough, without repeats."""
    usable = order[signatures.shingles[order] > 0]
    rank = np.arange(len(usable))
    width = config.permutations // config.bands
    found = np.empty((0, 2), dtype=np.int64)
    for band in range(config.bands):
        part = np.ascontiguousarray(signatures.minhash[usable, band * width : (band + 1) * width])
        _, bucket = np.unique(part.view([("", part.dtype)] * width).ravel(), return_inverse=True)
        by_bucket = np.lexsort((rank, bucket))
        pairs = usable[by_bucket[_neighbours(bucket[by_bucket])]]
        # Sieved band by band: templated text fills whole buckets with pairs that are not alike.
        found = np.unique(np.concatenate([found, pairs[_alike(signatures, pairs, config.threshold - _SLACK)]]), axis=0)
    return found


def _neighbours(bucket: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pairs of places (earlier, later) in a sorted list of bucket numbers that are to be compared."""
    place = np.arange(len(bucket))
    starts = np.searchsorted(bucket, bucket)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for step in range(_NEIGHBOURS):
        for other in (starts + step, place - 1 - step):
            good = (other >= starts) & (other < place)
            pairs.append(np.stack([other[good], place[good]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _alike(signatures: Signatures, pairs: npt.NDArray[np.int64], least: float) -> npt.NDArray[np.bool_]:
    """Which pairs' signatures agree in at least that share; in slices, to bound memory."""
    good = np.zeros(len(pairs), dtype=np.bool_)
    for start in range(0, len(pairs), 100_000):
        part = pairs[start : start + 100_000]
        same = signatures.minhash[part[:, 0]] == signatures.minhash[part[:, 1]]
        small, large = np.sort(signatures.shingles[part], axis=1).T
        # Sets of very different sizes cannot reach the threshold, whatever the signatures say.
        good[start : start + 100_000] = (same.mean(axis=1) >= least) & (small >= (least + _SLACK) * large)
    return good


def document_texts(frame: pl.DataFrame) -> list[str]:
    """What of a document is compared: its text."""
    return [t or "" for t in frame["text"].to_list()]


def run(ctx: Context, config: DedupConfig) -> Result:
    """Drop duplicates; reasons dedup.exact and dedup.near, the detail names the record that stays."""
    return dedup_stage(ctx, config, "corpus/toxicity", document_texts)


def dedup_stage(ctx: Context, config: DedupConfig, source: str, texts: Texts) -> Result:
    """Sign each part (resumable), decide once, then write each part's kept and dropped records."""
    inputs = ctx.inputs[source].kept_parts()
    folder = ctx.work / "signatures"
    jobs = [(p, folder / f"{n:05d}.npz", config, texts) for n, p in enumerate(inputs)]
    ctx.engine.run(_sign_part, jobs, ctx.work / "signed", "dedup: signatures")
    signatures = _load([job[1] for job in jobs], config)
    fetch = partial(_fetch, ctx.inputs[source].kept, texts)
    duplicates = {d.dropped: d for d in resolve(signatures, config, fetch)}
    return write_verdicts(ctx, inputs, duplicates)


def _sign_part(job: tuple[Path, Path, DedupConfig, Texts]) -> Counts:
    source, target, config, texts = job
    frame = pl.read_parquet(source, glob=False)
    signed = sign(frame["id"].to_list(), texts(frame), config)
    buffer = io.BytesIO()
    names = np.array(signed.ids, dtype=np.str_)
    np.savez(
        buffer, ids=names, lengths=signed.lengths, exact=signed.exact, minhash=signed.minhash, shingles=signed.shingles
    )
    write_atomic(target, buffer.getvalue())
    return {"signed": frame.height}


def _load(files: list[Path], config: DedupConfig) -> Signatures:
    loaded = [np.load(f) for f in files]
    empty = sign([], [], config)

    def column(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(empty, name), *(part[name] for part in loaded)])

    ids = [i for part in loaded for i in part["ids"].tolist()]
    return Signatures(ids, column("lengths"), column("exact"), column("minhash"), column("shingles"))  # type: ignore[arg-type]


def _fetch(folder: Path, texts: Texts, wanted: set[str]) -> Iterable[tuple[str, str]]:
    for part in iter_parts(folder):
        mine = part.filter(pl.col("id").is_in(list(wanted)))
        yield from zip(mine["id"].to_list(), texts(mine), strict=True)


def write_verdicts(ctx: Context, inputs: list[Path], duplicates: dict[str, Duplicate]) -> Result:
    """Write every part's kept and dropped records; metrics count the kinds."""
    reasons = {i: f"dedup.{d.kind}" for i, d in duplicates.items()}
    details = {i: f"copy of {d.kept}, Jaccard {d.jaccard:.2f}" for i, d in duplicates.items()}
    with ctx.progress.track("dedup: writing", total=len(inputs), unit="part") as bar:
        for number, path in enumerate(inputs):
            frame = no_reason(pl.read_parquet(path, glob=False))
            ids = frame["id"].to_list()
            frame = frame.with_columns(
                pl.Series("reason", [reasons.get(i) for i in ids], pl.String),
                pl.Series("detail", [details.get(i) for i in ids], pl.String),
            )
            name = f"part-{number:05d}.parquet"
            write_part(ctx.out / "dropped" / name, frame.filter(pl.col("reason").is_not_null()))
            write_part(ctx.out / "kept" / name, frame.filter(pl.col("reason").is_null()).drop("reason", "detail"))
            bar.advance()
    kinds = [d.kind for d in duplicates.values()]
    return Result({"exact": kinds.count("exact"), "near": kinds.count("near")})
