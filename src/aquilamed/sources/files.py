"""Raw records of JSONL, JSON, CSV, TXT and Parquet files, plain or .gz / .zst; what cannot be read is quarantined.

We parse line by line: no engine's JSON reader skips one bad line. A malformed line, a wrong byte, an over-long line or
a truncated tail is a `BadRecord` with file, number and reason, and reading goes on behind it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from aquilamed.config import Invalid
from aquilamed.sources.jsonlist import read_json
from aquilamed.sources.lines import COMPRESSION, Encoding, Line, Span, choose_encoding, decode, head, lines, not_text
from aquilamed.sources.raw import BadRecord, RawRecord, Record, bad, checked, unreadable
from aquilamed.sources.tables import read_csv, read_parquet

__all__ = ["BadRecord", "Encoding", "Format", "RawRecord", "Record", "choose_format", "read_records"]

Format = Literal["auto", "jsonl", "json", "csv", "tsv", "txt", "parquet"]

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "txt",
    ".text": "txt",
    ".md": "txt",
    ".parquet": "parquet",
}
MAX_BYTES = 16 << 20


def read_records(
    path: Path,
    name: str,
    format: Format = "auto",
    encoding: Encoding = "auto",
    *,
    columns: list[str] | None = None,
    paragraphs: bool = False,
    block: re.Pattern[str] | None = None,
    max_bytes: int = MAX_BYTES,
    span: Span | None = None,
) -> Iterator[Record]:
    """The records of one file, in order.

    Args:
        name: the file's logical name; record origins are "name:number".
        columns: names of a CSV file's columns when it has no header line.
        paragraphs: a TXT file holds one record per blank-line paragraph instead of one.
        block: a TXT file's records begin at the lines that match this.
        max_bytes: a longer line, paragraph or JSON item is quarantined.
        span: read only these lines (JSONL).

    Raises:
        Invalid: the file cannot be opened, or its name does not tell its format.
    """
    kind = choose_format(path, name) if format == "auto" else format
    if kind == "parquet":
        return read_parquet(path, name)
    codec = choose_encoding(path, encoding)
    if kind == "jsonl":
        return _jsonl(path, name, codec, max_bytes, span)
    if kind == "json":
        return read_json(path, name, codec, max_bytes)
    if kind == "txt" and block is not None:
        return _blocks(path, name, codec, max_bytes, block)
    if kind == "txt":
        return _txt(path, name, codec, max_bytes, paragraphs)
    return read_csv(path, name, codec, max_bytes, columns, "\t" if kind == "tsv" else ",")


def choose_format(path: Path, name: str) -> Format:
    """The format by suffix; a .json file of one object per line is JSONL. Raises `Invalid` for an unknown suffix."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSION:
        suffixes.pop()
    kind = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise Invalid(
            f"{name}: the suffix does not tell the format; set `format` to one of {', '.join(set(_SUFFIXES.values()))}"
        )
    if kind == "json":
        first, feed, rest = head(path).lstrip(b"\xef\xbb\xbf \r\n\t").partition(b"\n")
        if feed and rest.strip() and first.startswith(b"{") and first.rstrip().endswith(b"}"):
            return "jsonl"
    return kind


def _jsonl(path: Path, name: str, codec: str, max_bytes: int, span: Span | None) -> Iterator[Record]:
    for line in lines(path, max_bytes, span):
        unread = unreadable(name, line, codec)
        if unread is not None:
            yield unread
            continue
        text = decode(line.data, codec)
        if not text.strip():
            continue
        problem = not_text(text)
        if problem is not None:
            yield bad(name, line.number, "undecodable" if problem.startswith("byte") else "malformed", problem, text)
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield bad(name, line.number, "malformed", f"not JSON: {str(error)[:200]}", text)
            continue
        # Only an escape can still hide a NUL or a lone surrogate.
        yield checked(name, line.number, value, text) if "\\u" in text else RawRecord(f"{name}:{line.number}", value)


def _txt(path: Path, name: str, codec: str, max_bytes: int, paragraphs: bool) -> Iterator[Record]:
    held: list[Line] = []
    size = 0

    def finish() -> Iterator[Record]:
        text = "\n".join(decode(line.data, codec) for line in held)
        if size > max_bytes:
            yield bad(name, held[0].number, "too_long", f"text of more than {max_bytes:,} bytes", text)
        elif held:
            yield checked(name, held[0].number, text, text)
        held.clear()

    for line in lines(path, max_bytes):
        unread = unreadable(name, line, codec)
        if unread is not None or (paragraphs and not line.data.strip()):
            yield from finish()
            size = 0
            if unread is not None:
                yield unread
            continue
        if size <= max_bytes:
            held.append(line)
        size += len(line.data) + 1
    yield from finish()


def _blocks(path: Path, name: str, codec: str, max_bytes: int, begins: re.Pattern[str]) -> Iterator[Record]:
    """One record per block. A line that cannot be read makes its whole block bad: half a block would look like one."""
    held: list[str] = []
    first, size = 1, 0
    trouble: BadRecord | None = None

    def finish() -> Iterator[Record]:
        block = "\n".join(held)
        if trouble is not None:
            yield bad(name, first, trouble.reason.removeprefix("sources."), f"line {trouble.detail}", block)
        elif size > max_bytes:
            yield bad(name, first, "too_long", f"a block of more than {max_bytes:,} bytes", block)
        elif block.strip():
            yield checked(name, first, block, block)

    for line in lines(path, max_bytes):
        text = decode(line.data, codec)
        if begins.fullmatch(text):
            yield from finish()
            held, first, size, trouble = [], line.number, 0, None
        trouble = trouble or unreadable(name, line, codec)
        if size <= max_bytes:
            held.append(text)
        size += len(line.data) + 1
    yield from finish()
