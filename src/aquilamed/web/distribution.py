"""How a score is spread over a stage's records, what a threshold would keep, and the recipe line that sets it."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from aquilamed.web.scan import Filter, columns, extent, values
from aquilamed.workspace import Artifact

_BINS = 200

# (stage, column) → the recipe's key. A record stays whose score is the threshold or more.
KEYS = {
    ("corpus/rules", "tokens"): "corpus.rules.min_tokens",
    ("corpus/domain", "domain_score"): "corpus.domain.threshold",
    ("corpus/quality", "quality"): "corpus.quality.threshold",
    ("instruct/deita", "deita"): "instruct.select.deita_threshold",
    ("instruct/relevance", "deita"): "instruct.select.deita_threshold",
    ("instruct/select", "deita"): "instruct.select.deita_threshold",
}
FIRST = {
    "corpus/quality": "quality",
    "corpus/domain": "domain_score",
    "instruct/deita": "deita",
    "instruct/select": "deita",
}


@dataclass(frozen=True)
class Distribution:
    """Counts between `edges` (one more than counts), kept and dropped; the last bin holds its upper edge too."""

    column: str
    edges: npt.NDArray[np.float64]
    kept: npt.NDArray[np.int64]
    dropped: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """Records with a score."""
        return int(self.kept.sum() + self.dropped.sum())

    def at_least(self, threshold: float) -> int:
        """Records whose score is the threshold or more; exact where the threshold is an edge."""
        first = int(np.searchsorted(self.edges[:-1], threshold, side="left"))
        return int((self.kept + self.dropped)[first:].sum())


def numeric(artifact: Artifact) -> list[str]:
    """The columns of a stage's records that hold a number, or numbers, per record."""
    both = columns(artifact.dropped) | columns(artifact.kept)
    found = [n for n, t in both.items() if t.is_numeric() or (isinstance(t, pl.List) and _of_numbers(t))]
    first = FIRST.get(artifact.stage)
    return sorted(found, key=lambda name: name != first)


def _of_numbers(type_: pl.List) -> bool:
    inner = type_.inner
    return (inner() if isinstance(inner, type) else inner).is_numeric()


@lru_cache(maxsize=64)
def _spread(kept: Path, dropped: Path, column: str) -> Distribution | None:
    ends = [found for folder in (kept, dropped) if (found := extent(folder, column))]
    if not ends:
        return None
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    both = columns(dropped) | columns(kept)
    whole = both[column].is_integer() if column in both else False
    edges = _edges(low, high, whole)
    return Distribution(column, edges, _counted(kept, column, edges), _counted(dropped, column, edges))


def spread(artifact: Artifact, column: str) -> Distribution | None:
    """A column's distribution over all records of a stage; None when no record has a finite value. Reads that column alone."""
    return _spread(artifact.kept, artifact.dropped, column)


def _edges(low: float, high: float, whole: bool) -> npt.NDArray[np.float64]:
    """About 200 bins with edges of few digits, so that a threshold read off the page is the one that was counted."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9) / _BINS))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _BINS)
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step), math.floor(high / step) + 1
    digits = max(0, -math.floor(math.log10(step)))
    return np.array([round(n * step, digits) for n in range(first, last + 1)])


def _counted(folder: Path, column: str, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    total = np.zeros(len(edges) - 1, dtype=np.int64)
    for series in values(folder, column, Filter()):
        # What `>=` says, not what a division says: an edge's own value belongs above it.
        place = np.searchsorted(edges, series.to_numpy(), side="right") - 1
        total += np.bincount(place[(place >= 0) & (place < len(total))], minlength=len(total))
    return total
