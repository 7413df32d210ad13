"""CSV and Parquet files as raw records: one row, one record."""

import csv
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aquilamed.sources.lines import Line, decode, lines
from aquilamed.sources.raw import RAW_KEPT, BadRecord, Record, bad, checked, unreadable

# A quote that is never closed would swallow the rest of a file: a row of more lines is quarantined instead.
_MAX_ROW_LINES = 500
_FIELD_LIMIT = 2**31 - 1  # the lines are bounded already


def read_csv(
    path: Path, name: str, codec: str, max_bytes: int, columns: list[str] | None, delimiter: str
) -> Iterator[Record]:
    csv.field_size_limit(_FIELD_LIMIT)
    header = columns
    for number, fields, raw in _rows(path, name, codec, max_bytes, delimiter):
        if isinstance(fields, BadRecord):
            yield fields
        elif header is None:
            header = fields
        elif len(fields) != len(header):
            yield bad(name, number, "malformed", f"{len(fields)} fields where the header has {len(header)}", raw)
        else:
            yield checked(name, number, dict(zip(header, fields, strict=True)), raw)


def _rows(
    path: Path, name: str, codec: str, max_bytes: int, delimiter: str
) -> Iterator[tuple[int, list[str] | BadRecord, str]]:
    """(first line, fields, text) of every row. A row whose quote never closes gives back all lines but its first."""
    source = lines(path, max_bytes)
    ahead: deque[Line] = deque()

    while True:
        if not ahead:
            ahead.extend(islice(source, 1))
        if not ahead:
            return
        first = ahead[0]
        unread = unreadable(name, first, codec)
        if unread is not None or not first.data.strip():
            ahead.popleft()
            if unread is not None:
                yield first.number, unread, unread.raw
            continue
        row = _Row(ahead, source, codec, max_bytes)
        try:
            fields = next(csv.reader(row, delimiter=delimiter), [])
            problem = "a quote is opened and never closed" if row.short else ""
        except csv.Error as error:
            problem = f"not CSV: {error}"
        raw = "".join(row.taken[:1] if problem else row.taken)
        for _ in row.taken[: 1 if problem else None]:
            ahead.popleft()
        yield first.number, bad(name, first.number, "malformed", problem, raw) if problem else fields, raw


class _Row:
    """Feeds the CSV parser the lines of one row and remembers how many it took, and whether it wanted more."""

    def __init__(self, ahead: deque[Line], source: Iterator[Line], codec: str, max_bytes: int) -> None:
        self.ahead, self.source, self.codec, self.room = ahead, source, codec, max_bytes
        self.taken: list[str] = []
        self.short = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        position = len(self.taken)
        if position == len(self.ahead) and (line := next(self.source, None)) is not None:
            self.ahead.append(line)
        if position == len(self.ahead) or position == _MAX_ROW_LINES or self.room < 0:
            self.short = True
            raise StopIteration
        line = self.ahead[position]
        if line.damage or line.cut:
            self.short = True
            raise StopIteration
        self.taken.append(decode(line.data, self.codec) + "\n")
        self.room -= len(line.data)
        return self.taken[-1]


def read_parquet(path: Path, name: str) -> Iterator[Record]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    number += 1
                    yield checked(name, number, value, repr(value)[:RAW_KEPT])
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        detail = f"not readable Parquet from here: {str(error)[:200]}"
        yield bad(name, number + 1, "truncated" if number else "malformed", detail, "")
