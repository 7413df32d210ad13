"""Whole batches of texts as one array of code points: character classes and counts by table look-up.

A regular expression walks through each text once per pattern at 50 to 500 MB/s; here every character is looked up once
and all classes are bits of one byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

Bits = npt.NDArray[np.uint8]
TABLE = 0x32000  # the basic plane, emoji and all Han extensions; what is above counts as the last entry


@dataclass(frozen=True)
class Batch:
    """Texts one after the other, a line feed behind each.

    Args:
        codes: uint32, the code points of all texts.
        starts: int64, where each text starts in `codes`.
        ends: int64, the place of the line feed behind each text.
    """

    codes: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def count(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """How many chosen code points each text has; the line feeds behind texts must not be chosen."""
        if not len(self.starts):
            return np.zeros(0, np.int64)
        # Five times as fast as adding up 64-bit integers.
        return np.add.reduceat(chosen.view(np.uint8), self.starts, dtype=np.uint32).astype(np.int64)

    def owners(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number of the text that each place lies in."""
        return np.searchsorted(self.starts, places, side="right") - 1


def batch(texts: Sequence[str]) -> Batch:
    """The texts' code points."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    ends = np.cumsum(sizes + 1) - 1
    data = "\n".join([*texts, ""]).encode("utf-32-le", "surrogatepass")
    return Batch(np.frombuffer(data, np.uint32), ends - sizes, ends)


@cache
def classes(patterns: tuple[str, ...]) -> Bits:
    """A table from code point to a byte whose bit i says whether the character matches `patterns[i]` (one character)."""
    assert len(patterns) <= 8
    known = [chr(c) if not 0xD800 <= c < 0xE000 else "\ufffd" for c in range(TABLE)]
    frame = pl.DataFrame({"c": known}).select(
        pl.col("c").str.contains(f"^(?s:{pattern})$").alias(str(bit)) for bit, pattern in enumerate(patterns)
    )
    table = np.zeros(TABLE, np.uint8)
    for bit in range(len(patterns)):
        table |= frame[str(bit)].to_numpy().astype(np.uint8) << np.uint8(bit)
    return table


def classify(codes: npt.NDArray[np.uint32], table: Bits) -> Bits:
    """Each code point's byte of a table of `classes`."""
    found: Bits = table.take(codes, mode="clip")
    return found


def run_starts(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where a run of chosen places begins."""
    found = chosen.copy()
    found[1:] &= ~chosen[:-1]
    return found
