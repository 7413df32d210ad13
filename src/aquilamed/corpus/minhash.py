"""Near duplicates by arithmetic: MinHash signatures (rensa), LSH buckets, true Jaccard similarities, and who stays.

Everything here works on arrays, in memory or memory-mapped, and knows no files; `dedup.py` brings them together.
Texts are numbered by *rank*: 0 is the best of all copies (the longest, then the best quality, then the lowest id).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from aquilamed.corpus.ngrams import Hashes, TokenBatch, is_han, mix, ngram_hashes, slices, tokenise

Numbers = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.uint64]
"""Pairs of ranks, the better one in the upper 32 bits."""
ROW = np.dtype([("id", "S16"), ("length", "<u4"), ("quality", "<f4"), ("text", "<u8")])
"""What is kept of each text: its id, its characters that are not blanks, its quality, and the hash of the whole."""
NONE = np.uint32(0xFFFFFFFF)  # the rank of a text that is not compared
_SEED = 42  # of the permutations; candidates are verified, so it decides nothing that the recipe's seed should
_NEIGHBOURS = 12
"""In an LSH bucket each text is compared with the best 12 and with the 12 before it: linear, also in huge buckets."""
_SLICE = 1 << 14  # pairs looked at together: bounds memory, also the pages touched of a memory-mapped file
_MOST_SHINGLES = 1 << 21  # elements compared together
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


class Shingling(Protocol):
    """How texts are shingled and signed: the fields of `DedupConfig`."""

    word_shingle: int
    character_shingle: int
    permutations: int
    bands: int


@dataclass(frozen=True)
class Signatures:
    """What is remembered of texts without having them.

    Args:
        rows: `ROW` (texts).
        bands: uint32 (bands, texts), the LSH bucket of each band; 0 for a text without a token.
        sketch: uint8 (texts, permutations), the low byte of each MinHash.
    """

    rows: npt.NDArray[np.void]
    bands: npt.NDArray[np.uint32]
    sketch: npt.NDArray[np.uint8]


def sign(ids: Sequence[str], texts: Sequence[str], quality: Sequence[float] | None, how: Shingling) -> Signatures:
    """The signatures of some texts. Raises ValueError for an id of more than 16 ASCII characters."""
    from rensa import RMinHash

    minhash = np.empty((len(texts), how.permutations), dtype=np.uint32)
    rows = np.zeros(len(texts), dtype=ROW)
    rows["id"] = _ascii(ids)
    rows["quality"] = 0 if quality is None else np.nan_to_num(np.array(quality, dtype=np.float32))
    empty = np.zeros(len(texts), dtype=np.bool_)
    at = 0
    for some in slices(texts):
        tokens = tokenise(some)
        here, at = slice(at, at + len(some)), at + len(some)
        flat, offsets = _shingles(tokens, how)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets.astype(np.uint64), how.permutations, _SEED)
        minhash[here] = matrix.to_rows()
        rows["length"][here], rows["text"][here], empty[here] = tokens.lengths, tokens.texts, tokens.counts == 0
    buckets = np.zeros((len(texts), how.bands), dtype=np.uint64)
    for place in range(how.permutations // how.bands):
        buckets = mix(buckets + minhash[:, place :: how.permutations // how.bands])
    keys = np.maximum(buckets >> _HALF, 1).astype(np.uint32)
    keys[empty] = 0
    return Signatures(rows, np.ascontiguousarray(keys.T), minhash.astype(np.uint8))


def _ascii(ids: Sequence[str]) -> npt.NDArray[np.bytes_]:
    if any(len(i) > 16 or not i.isascii() for i in ids):
        raise ValueError("a record's id must have at most 16 ASCII characters")
    return np.array([i.encode() for i in ids], dtype="S16")


def _shingles(tokens: TokenBatch, how: Shingling) -> tuple[Hashes, Numbers]:
    """All shingle hashes, text by text and not distinct, and where each text's begin; a short text is one shingle."""
    ends = np.repeat(tokens.starts[1:], tokens.counts)
    han = is_han(tokens.hashes)
    grams = np.zeros(len(tokens.hashes), dtype=np.uint64)
    good = np.zeros(len(tokens.hashes), dtype=np.bool_)
    for n, mine in ((how.word_shingle, ~han), (how.character_shingle, han)):
        found = ngram_hashes(tokens.hashes, n)
        fits = mine[: len(found)] & (np.arange(n, n + len(found)) <= ends[: len(found)])
        grams[: len(found)][fits] = found[fits]
        good[: len(found)] |= fits
    shortest = max(how.word_shingle, how.character_shingle)
    for number in np.flatnonzero((tokens.counts < shortest) & (tokens.counts > 0)).tolist():
        start, end = tokens.starts[number : number + 2]
        if not good[start:end].any():
            grams[start], good[start] = ngram_hashes(tokens.hashes[start:end], end - start)[0], True
    places = np.flatnonzero(good)
    return grams[places], np.searchsorted(places, tokens.starts)


def distinct_shingles(texts: Sequence[str], how: Shingling) -> tuple[npt.NDArray[np.uint32], Numbers]:
    """The distinct shingles of each text as 32-bit hashes, text by text, and where each text's begin (texts + 1)."""
    flat, offsets = _shingles(tokenise(texts), how)
    owner = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(offsets))
    keys = distinct((owner << _HALF) | (flat >> _HALF))
    starts = np.searchsorted(keys, np.arange(len(texts) + 1, dtype=np.uint64) << _HALF)
    return (keys & _LOW).astype(np.uint32), starts


def distinct(values: Pairs) -> Pairs:
    """The distinct values, sorted; several times as fast as numpy's `unique`, which hashes."""
    ordered = np.sort(values, kind="stable")  # our arrays consist of sorted or grouped runs: half the time
    new = np.ones(len(ordered), dtype=np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def best_first(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint32]:
    """The rows' numbers in the order of their ranks."""
    keys = [rows["id"], -rows["length"].astype(np.int64)]
    if rows["quality"].any():
        keys.insert(1, -rows["quality"])
    high, low = np.ascontiguousarray(keys[0]).view(">u8").reshape(-1, 2).T
    return np.lexsort((low.astype(np.uint64), high.astype(np.uint64), *keys[1:])).astype(np.uint32)


def exact_leaders(texts: Hashes, order: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """For each row the best row with the same text hash: itself when it stays."""
    hashes = texts[order]
    by_hash = np.argsort(hashes, kind="stable")
    new = np.concatenate([np.ones(1, np.bool_), hashes[by_hash][1:] != hashes[by_hash][:-1]])[: len(by_hash)]
    groups = np.cumsum(new) - 1
    leaders = np.empty(len(order), dtype=np.uint32)
    leaders[order[by_hash]] = order[by_hash][new][groups]
    return leaders


def bucket_pairs(keys: npt.NDArray[np.uint32], ranks: npt.NDArray[np.uint32]) -> Pairs:
    """Pairs of texts that share a bucket and are to be compared."""
    sorted_ = np.sort(keys.astype(np.uint64) << _HALF | ranks)
    bucket, rank = sorted_ >> _HALF, sorted_ & _LOW
    alone = np.ones(len(bucket), dtype=np.bool_)
    same = bucket[1:] == bucket[:-1]
    alone[1:] &= ~same
    alone[:-1] &= ~same
    bucket, rank = bucket[~alone], rank[~alone]
    place = np.arange(len(bucket))
    starts = np.searchsorted(bucket, bucket)
    pairs = [np.empty(0, dtype=np.uint64)]
    for step in range(_NEIGHBOURS):
        for other in (starts + step, place - 1 - step):
            good = (other >= starts) & (other < place)
            pairs.append(rank[other[good]] << _HALF | rank[good])
    return distinct(np.concatenate(pairs))


def split(pairs: Pairs) -> tuple[Numbers, Numbers]:
    """The better and the worse ranks of pairs."""
    return (pairs >> _HALF).astype(np.int64), (pairs & _LOW).astype(np.int64)


def alike(
    pairs: Pairs,
    order: npt.NDArray[np.uint32],
    sketches: Callable[[Numbers], npt.NDArray[np.uint8]],
    least: float,
) -> Pairs:
    """The pairs whose sketches agree in at least that share; `sketches` gives those of some rows."""
    good = np.zeros(len(pairs), dtype=np.bool_)
    for start in range(0, len(pairs), _SLICE):
        better, worse = split(pairs[start : start + _SLICE])
        rows, places = np.unique(np.stack([order[better], order[worse]]), return_inverse=True)
        found = sketches(rows.astype(np.int64))
        left, right = places.reshape(2, -1)
        good[start : start + _SLICE] = (found[left] == found[right]).mean(axis=1) >= least
    return pairs[good]


def similarities(
    left: Numbers, right: Numbers, shingles: npt.NDArray[np.uint32], starts: Numbers
) -> npt.NDArray[np.float64]:
    """The Jaccard similarity of pairs of texts, numbered as in `distinct_shingles`."""
    sizes = np.diff(starts)
    both = sizes[left] + sizes[right]
    result = np.zeros(len(left))
    turn = np.cumsum(both) // _MOST_SHINGLES
    for cut in np.split(np.arange(len(left)), np.flatnonzero(np.diff(turn)) + 1):
        # Two sorted runs: a merge sort joins them 14 times as fast as numpy's default sort orders them.
        keys = np.sort(np.concatenate([_keyed(side[cut], shingles, starts) for side in (left, right)]), kind="stable")
        shared = np.bincount((keys[1:][keys[1:] == keys[:-1]] >> _HALF).astype(np.int64), minlength=len(cut))
        result[cut] = shared / np.maximum(both[cut] - shared, 1)
    return result


def _keyed(texts: Numbers, shingles: npt.NDArray[np.uint32], starts: Numbers) -> Pairs:
    """The shingles of texts, the place in `texts` in the upper half."""
    sizes = starts[texts + 1] - starts[texts]
    ends = np.cumsum(sizes)
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts[texts] - (ends - sizes), sizes)
    keys: Pairs = np.repeat(np.arange(len(texts), dtype=np.uint64), sizes)
    keys <<= _HALF
    keys |= shingles[places]
    return keys


def decide(pairs: Pairs, jaccard: npt.NDArray[np.float64], threshold: float) -> dict[int, tuple[int, float]]:
    """Rank that goes → (the most similar rank that stays, Jaccard).

    Best ranks decide first. A text goes only for one that stays: the far end of a chain A~B~C, which nothing kept
    resembles, would be lost if whole connected components were dropped.
    """
    better, worse = split(pairs)
    dropped: dict[int, tuple[int, float]] = {}
    enough = np.flatnonzero(jaccard >= threshold)
    for at in enough[np.lexsort((better[enough], worse[enough]))].tolist():
        row, other, value = int(worse[at]), int(better[at]), float(jaccard[at])
        if other not in dropped and (row not in dropped or value > dropped[row][1]):
            dropped[row] = (other, value)
    return dropped
