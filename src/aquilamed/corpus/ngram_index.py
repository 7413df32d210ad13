"""The index of benchmark questions' n-grams that `overlap.py` builds and searches, and its file."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aquilamed.corpus.ngrams import Hashes

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Unit:
    """What is looked for: a question, with its options or without. `grams` is sorted, `weights` add up to 1."""

    benchmark: str
    id: str
    length: int
    least: float
    size: int
    grams: Hashes
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rare:
    """The rare n-grams of one size, sorted and distinct. Entries `starts[i]` to `starts[i + 1]` are those of n-gram i.

    Entry e belongs to unit `owners[e]` and counts `weights[e]` of its 1.0. Searching is slow and misses are many: the
    sieves say by the first and by the last bits of a hash where it is worth it.
    """

    size: int
    grams: Hashes
    starts: Ints
    owners: Ints
    weights: npt.NDArray[np.float64]
    sieves: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]

    def look_up(self, grams: Hashes) -> tuple[Ints, Ints]:
        """Places of n-grams that are in the index, and their numbers there."""
        bits = np.uint64(len(self.sieves[0]).bit_length() - 1)
        places = np.flatnonzero(self.sieves[0][grams >> (np.uint64(64) - bits)])
        places = places[self.sieves[1][grams[places] & ((np.uint64(1) << bits) - np.uint64(1))]]
        numbers = np.minimum(np.searchsorted(self.grams, grams[places]), len(self.grams) - 1)
        right = self.grams[numbers] == grams[places]
        return places[right], numbers[right]


@dataclass(frozen=True)
class Index:
    """The benchmarks' n-grams."""

    units: list[Unit]
    rare: list[Rare]

    def save(self, path: Path) -> None:
        """Write it as plain arrays (.npz)."""
        names = json.dumps([(u.benchmark, u.id, u.length, u.least, u.size) for u in self.units])
        arrays = {
            "units": np.frombuffer(names.encode(), np.uint8),
            "starts": np.cumsum([0, *(len(u.grams) for u in self.units)]),
            "grams": np.concatenate([np.empty(0, np.uint64), *(u.grams for u in self.units)]),
            "weights": np.concatenate([np.empty(0), *(u.weights for u in self.units)]),
        }
        for r in self.rare:
            fields = {"grams": r.grams, "starts": r.starts, "owners": r.owners, "weights": r.weights}
            sieves = {"first": r.sieves[0], "last": r.sieves[1]}
            arrays |= {f"{r.size}.{name}": array for name, array in {**fields, **sieves}.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "Index":
        """Read what `save` wrote."""
        with np.load(path) as found:
            names, starts = json.loads(found["units"].tobytes()), found["starts"].tolist()
            grams, weights = found["grams"], found["weights"]
            cuts = list(pairwise(starts))
            units = [
                Unit(benchmark, identity, length, least, size, grams[a:b], weights[a:b])
                for (benchmark, identity, length, least, size), (a, b) in zip(names, cuts, strict=True)
            ]
            sizes = sorted(int(name.split(".")[0]) for name in found.files if name.endswith(".first"))
            rare = []
            for size in sizes:
                first, last, *rest = (
                    found[f"{size}.{n}"] for n in ("first", "last", "grams", "starts", "owners", "weights")
                )
                rare.append(Rare(size, rest[0], rest[1], rest[2], rest[3], (first, last)))
        return cls(units, rare)
