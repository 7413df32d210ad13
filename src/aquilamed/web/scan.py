"""Looking through a table of millions of records, a row group at a time.

Nothing is indexed and nothing is loaded whole: a look reads the columns that its filter needs, skips row groups whose
statistics rule them out, and stops when its page is full or its time is up. It says where it stopped; the next one goes on there.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from aquilamed.records import parts

_MESSAGES = ("prompt", "messages", "chosen", "rejected")
_WORDS = ("text", "raw", *_MESSAGES)
"""Columns that hold a record's words."""


class Place(NamedTuple):
    """Where a look stopped: part, row group in it, row in that."""

    part: int = 0
    group: int = 0
    row: int = 0


START = Place()


@dataclass(frozen=True)
class Filter:
    """What is looked for; None (and "") lets everything through."""

    reason: str | None = None
    source: str | None = None
    lang: str | None = None
    score: str | None = None
    """A numeric column; a list of numbers counts with its mean."""
    low: float | None = None
    high: float | None = None
    words: str = ""
    """Every one of these must occur in the record's text, in upper or lower case."""
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A page: records, how many were looked at for it, and where to go on (None: that was the end)."""

    rows: list[dict[str, Any]]
    looked_at: int
    rest: Place | None


@lru_cache(maxsize=256)
def listed(folder: Path) -> tuple[Path, ...]:
    """The parts of a finished artefact's table, which do not change."""
    return tuple(parts(folder))


def columns(folder: Path) -> dict[str, pl.DataType]:
    """The columns of a table, from its first and last part (a stage adds some only where needed)."""
    files = listed(folder)
    found: dict[str, pl.DataType] = {}
    for file in dict.fromkeys((*files[:1], *files[-1:])):
        found |= pl.read_parquet_schema(file)
    return found


def look(folder: Path, wanted: Filter, start: Place = START, limit: int = 20, seconds: float = 2.0) -> Found:
    """The next `limit` records that fit, in the order in which they were written.

    Args:
        seconds: after this long the page is returned as it is; the row group at hand, at least one, is finished first.
    """
    rows: list[dict[str, Any]] = []
    looked, until = 0, time.monotonic() + seconds
    if wanted.ids:
        limit = min(limit, len(wanted.ids))
    for place, file, group in _groups(folder, start):
        if len(rows) == limit or (looked and time.monotonic() > until):
            return Found(rows, looked, place)
        size = file.metadata.row_group(group).num_rows
        if _ruled_out(file, group, wanted):
            looked += size - place.row
            continue
        fitting = [row for row in _fitting(file, group, wanted) if row >= place.row]
        taken = fitting[: limit - len(rows)]
        if taken:
            rows += _frame(file, group, file.schema_arrow.names)[taken].to_dicts()
        if len(taken) < len(fitting):
            looked += taken[-1] + 1 - place.row
            return Found(rows, looked, place._replace(row=taken[-1] + 1))
        looked += size - place.row
    return Found(rows, looked, None)


def by_ids(folder: Path, ids: Sequence[str], seconds: float = 5.0) -> dict[str, dict[str, Any]]:
    """Records by id, as many as are found in time."""
    distinct = tuple(dict.fromkeys(ids))
    if not distinct:
        return {}
    found = look(folder, Filter(ids=distinct), limit=len(distinct), seconds=seconds)
    return {row["id"]: row for row in found.rows}


def values(folder: Path, column: str, wanted: Filter) -> Iterator[pl.Series]:
    """A numeric column of the records that fit, row group by row group, without nulls."""
    for _, file, group in _groups(folder, Place()):
        if column not in file.schema_arrow.names or _ruled_out(file, group, wanted):
            continue
        names = [column, *(n for n in _cheap(wanted) if n in file.schema_arrow.names and n != column)]
        frame = _frame(file, group, names)
        mask = _cheap_mask(frame, wanted)
        chosen = frame if mask is None else frame.filter(mask)
        yield chosen.select(_number(chosen, column))[column].drop_nulls()


def extent(folder: Path, column: str) -> tuple[float, float] | None:
    """The lowest and highest finite value of a numeric column, from statistics where they tell; None when there is none."""
    ends: list[float] = []
    for _, file, group in _groups(folder, START):
        if column not in file.schema_arrow.names:
            continue
        about = file.metadata.row_group(group)
        told = (about.column(i) for i in range(about.num_columns))
        known = next((c.statistics for c in told if c.path_in_schema == column), None)
        if known is not None and known.has_min_max and math.isfinite(known.min) and math.isfinite(known.max):
            ends += [float(known.min), float(known.max)]
            continue
        frame = _frame(file, group, [column])
        read = frame.select(_number(frame, column).cast(pl.Float64))[column].drop_nulls().to_numpy()
        if len(finite := read[np.isfinite(read)]):
            ends += [float(finite.min()), float(finite.max())]
    return (min(ends), max(ends)) if ends else None


def text_of(frame: pl.DataFrame) -> pl.Expr:
    """A record's words as one string."""
    found = []
    for name in _WORDS:
        if name in frame.columns:
            column = pl.col(name)
            if name in _MESSAGES:
                column = column.list.eval(pl.element().struct.field("content")).list.join("\n")
            found.append(column)
    return pl.concat_str(found, separator="\n", ignore_nulls=True) if found else pl.lit("")


def _groups(folder: Path, start: Place) -> Iterator[tuple[Place, pq.ParquetFile, int]]:
    for part, path in enumerate(listed(folder)[start.part :], start.part):
        with pq.ParquetFile(path) as file:
            first = start.group if part == start.part else 0
            for group in range(first, file.num_row_groups):
                yield (start if (part, group) == start[:2] else Place(part, group)), file, group


def _frame(file: pq.ParquetFile, group: int, names: Sequence[str]) -> pl.DataFrame:
    frame = pl.from_arrow(file.read_row_group(group, columns=list(names)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _cheap(wanted: Filter) -> list[str]:
    """The columns that a filter without words needs."""
    asked = {"reason": wanted.reason, "source": wanted.source, "lang": wanted.lang, "id": wanted.ids}
    return [*(name for name, value in asked.items() if value), *([wanted.score] if wanted.score else [])]


def _fitting(file: pq.ParquetFile, group: int, wanted: Filter) -> list[int]:
    """The rows of a row group that fit."""
    there = set(file.schema_arrow.names)
    names = _cheap(wanted)
    if not set(names) <= there:
        return []  # what it is asked for, none of its records has
    rows = list(range(file.metadata.row_group(group).num_rows))
    if names and (mask := _cheap_mask(_frame(file, group, names), wanted)) is not None:
        rows = mask.arg_true().to_list()
    words = wanted.words.split()
    if words and rows:
        frame = _frame(file, group, [n for n in _WORDS if n in there])[rows]
        texts = frame.select(text_of(frame).alias("words"))["words"]
        mask = pl.Series([True]).new_from_index(0, len(texts))
        for word in words:
            mask &= _contains(texts, word)
        rows = [row for row, fits in zip(rows, mask, strict=True) if fits]
    return rows


def _contains(texts: pl.Series, word: str) -> pl.Series:
    if word.lower() == word.upper():  # Chinese, digits: the quick way
        return texts.str.contains(word, literal=True).fill_null(False)
    return texts.str.contains("(?i)" + pl.escape_regex(word)).fill_null(False)


def _cheap_mask(frame: pl.DataFrame, wanted: Filter) -> pl.Series | None:
    tests = [
        pl.col(n) == v for n, v in (("reason", wanted.reason), ("source", wanted.source), ("lang", wanted.lang)) if v
    ]
    if wanted.ids:
        tests.append(pl.col("id").is_in(list(wanted.ids)))
    if wanted.score:
        score = _number(frame, wanted.score)
        tests.append(score.is_not_null())
        tests += [score >= wanted.low] if wanted.low is not None else []
        tests += [score <= wanted.high] if wanted.high is not None else []
    if not tests:
        return None
    return frame.select(pl.all_horizontal(tests).fill_null(False).alias("fits"))["fits"]


def _number(frame: pl.DataFrame, column: str) -> pl.Expr:
    listed_ = isinstance(frame.schema[column], pl.List)
    return pl.col(column).list.mean() if listed_ else pl.col(column)


def _ruled_out(file: pq.ParquetFile, group: int, wanted: Filter) -> bool:
    """Whether the statistics of a row group say that nothing in it fits."""
    asked = {"reason": wanted.reason, "source": wanted.source, "lang": wanted.lang}
    about = file.metadata.row_group(group)
    for index in range(about.num_columns):
        column = about.column(index)
        name, statistics = column.path_in_schema, column.statistics
        if statistics is None or not statistics.has_min_max:
            continue
        if (value := asked.get(name)) and not statistics.min <= value <= statistics.max:
            return True
        if name == wanted.score and (
            (wanted.low is not None and statistics.max < wanted.low)
            or (wanted.high is not None and statistics.min > wanted.high)
        ):
            return True
    return False
