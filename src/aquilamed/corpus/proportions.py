"""Which documents make a mix: token ratios of its sides, weights and caps of its sources, a cap of the whole.

Of each document a few numbers are held (about 30 bytes); texts stay on disk. Documents are taken in the order of a seeded
hash of their ids until their part is full, so the choice does not depend on files, parts or their order.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from aquilamed.config import StageFailed

FIELDS = ["id", "source", "lang", "domain", "tokens"]
KEPT, OVER_RATIO, OVER_CAP, OVER_SOURCE, OFF = range(5)
Codes = npt.NDArray[np.uint16]


def hash_number(purpose: str, seed: int, record_id: str) -> int:
    """A number from 0 to 2^64 - 1 drawn from a purpose, the recipe's seed and a record's id."""
    data = hashlib.blake2b(f"{purpose}\0{seed}\0{record_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(data, "big")


def hash_share(purpose: str, seed: int, record_id: str) -> float:
    """`hash_number` as a number in [0, 1)."""
    return hash_number(purpose, seed, record_id) / 2**64


class Pool:
    """What a mix chooses from. `side` is the number of a document's side, or OFF."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.heights: list[int] = []
        self._names: dict[str, dict[str | None, int]] = {name: {} for name in ("source", "lang", "domain")}
        self._arrays: dict[str, list[npt.NDArray[Any]]] = {
            name: [] for name in ("draw", "tokens", "side", *self._names)
        }

    def add(self, part: pl.DataFrame, side: npt.NDArray[np.uint8]) -> None:
        """Take a part's documents (columns FIELDS)."""
        self.heights.append(part.height)
        draws = (hash_number("mix", self.seed, i) for i in part["id"].to_list())
        self._arrays["draw"].append(np.fromiter(draws, np.uint64, part.height))
        self._arrays["tokens"].append(part["tokens"].cast(pl.Int64).to_numpy())
        self._arrays["side"].append(side)
        for name, known in self._names.items():
            codes = (known.setdefault(value, len(known)) for value in part[name].to_list())
            self._arrays[name].append(np.fromiter(codes, np.uint16, part.height))

    def _all(self, name: str, dtype: Any) -> npt.NDArray[Any]:
        arrays = self._arrays[name]
        if len(arrays) != 1:
            arrays[:] = [np.concatenate([np.empty(0, dtype), *arrays])]
        return arrays[0]

    def __len__(self) -> int:
        return sum(self.heights)

    @property
    def draw(self) -> npt.NDArray[np.uint64]:
        """The seeded hash of each document's id."""
        return self._all("draw", np.uint64)

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Tokens of each document."""
        return self._all("tokens", np.int64)

    @property
    def side(self) -> npt.NDArray[np.uint8]:
        """The side of each document."""
        return self._all("side", np.uint8)

    @property
    def lang(self) -> Codes:
        """Place of each document's language in `names("lang")`."""
        return self._all("lang", np.uint16)

    @property
    def domain(self) -> Codes:
        """Place of each document's domain in `names("domain")`."""
        return self._all("domain", np.uint16)

    @property
    def source(self) -> Codes:
        """Place of each document's source in `names("source")`."""
        return self._all("source", np.uint16)

    def names(self, field: str) -> list[str | None]:
        """The values of source, lang or domain."""
        return list(self._names[field])

    def summary(self, kept: npt.NDArray[np.bool_], held: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Tokens and documents of a mix by split, language, domain and source."""
        tokens = self.tokens[kept]
        splits = {"heldout": held[kept], "train": ~held[kept]}
        result: dict[str, Any] = {"documents": int(kept.sum()), "tokens": int(tokens.sum())}
        result["tokens_by_split"] = {n: int(tokens[m].sum()) for n, m in splits.items() if m.any()}
        for field, codes in (("lang", self.lang), ("domain", self.domain), ("source", self.source)):
            sums = np.bincount(codes[kept], tokens, minlength=len(self.names(field)))
            there = np.bincount(codes[kept], minlength=len(sums)) > 0
            named = {n or "unknown": int(v) for n, v, t in zip(self.names(field), sums, there, strict=False) if t}
            result[f"tokens_by_{field}"] = dict(sorted(named.items()))
        result["documents_by_split"] = {n: int(m.sum()) for n, m in splits.items() if m.any()}
        return result


@dataclass(frozen=True)
class Wanted:
    """The choice: each document's verdict and part (`cell`), and the tokens that each part asked for."""

    verdict: npt.NDArray[np.uint8]
    cell: Codes
    tokens: list[int]


def choose(
    pool: Pool,
    shares: Mapping[str, float],
    weights: Mapping[str, float],
    caps: Mapping[str, int],
    max_tokens: int | None,
    what: str,
) -> Wanted:
    """Take documents so that sides have their shares and, within a side, weighted sources theirs.

    Args:
        shares: side → share of the tokens, in the order of the sides' numbers.
        weights: source → weight; without any, sources are taken as they come.
        caps: source → most tokens.
        max_tokens: most tokens in all.
        what: the mix, for errors.

    Raises `StageFailed` when a part with a share has no document.
    """
    verdict = np.full(len(pool), OFF, np.uint8)
    verdict[pool.side < len(shares)] = KEPT
    for name, most in caps.items():
        if name not in pool.names("source"):
            raise StageFailed(f"{what}: caps names the source {name!r}, but no document of it is left")
        mine = np.flatnonzero((pool.source == pool.names("source").index(name)) & (verdict == KEPT))
        verdict[mine[_upto(pool, mine) > most]] = OVER_SOURCE
    sources = len(pool.names("source")) if weights else 1
    cell = (pool.side.astype(np.uint16) * sources + (pool.source if weights else np.uint16(0))).astype(np.uint16)
    asked = _asked(pool, shares, weights, sources)
    have = np.bincount(cell[verdict == KEPT], pool.tokens[verdict == KEPT], minlength=len(asked))
    if empty := [
        label
        for label, share, n in zip(_labels(pool, shares, weights), asked, have, strict=False)
        if share > 0 and not n
    ]:
        raise StageFailed(
            f"{what}: a share of the mix is asked of {empty[0]}, but the corpus kept no {empty[0]} document; "
            "add such text or change the shares"
        )
    whole = min((n / share for n, share in zip(have, asked, strict=False) if share > 0), default=0.0)
    target = min(whole, max_tokens or whole)
    for number, share in enumerate(asked):
        mine = np.flatnonzero((cell == number) & (verdict == KEPT))
        upto = _upto(pool, mine)
        # Half a token of slack: the targets are ratios of sums and carry rounding errors.
        verdict[mine[upto > share * target + 0.5]] = OVER_CAP
        verdict[mine[upto > share * whole + 0.5]] = OVER_RATIO
    return Wanted(
        verdict, cell, [round(share * whole) for share in asked] + [0] * (int(cell.max(initial=0)) + 1 - len(asked))
    )


def _upto(pool: Pool, mine: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Tokens of each document and those before it, in the order of their draws."""
    order = np.argsort(pool.draw[mine], kind="stable")
    upto = np.empty(len(mine), np.int64)
    upto[order] = np.cumsum(pool.tokens[mine][order])
    return upto


def _asked(pool: Pool, shares: Mapping[str, float], weights: Mapping[str, float], sources: int) -> list[float]:
    """The share of the tokens that each cell is asked for."""
    if not weights:
        return list(shares.values())
    if unknown := sorted(set(weights) - set(pool.names("source"))):
        raise StageFailed(f"weights name the source {unknown[0]!r}, but no document of it is left")
    result = []
    for side, share in enumerate(shares.values()):
        there = set(pool.source[pool.side == side].tolist())
        mine = [weights.get(name or "", 1.0) if n in there else 0.0 for n, name in enumerate(pool.names("source"))]
        result += [share * w / (sum(mine) or 1.0) for w in mine]
    return result


def _labels(pool: Pool, shares: Mapping[str, float], weights: Mapping[str, float]) -> list[str]:
    return [f"{side} {source}" for side in shares for source in pool.names("source")] if weights else list(shares)
