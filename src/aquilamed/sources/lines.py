"""Bytes, lines and encodings of raw files: streamed, of bounded memory, and never stopped by one bad byte."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa

from aquilamed.config import Invalid

Encoding = Literal["auto", "utf-8", "gb18030"]

COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
SNIFF = 1 << 20
_PLAIN_CHUNK = 1 << 20
# What stands in the last chunk of a damaged file is lost with it: a small chunk loses little.
_PACKED_CHUNK = 1 << 14
# Overrides make a text read otherwise than it is stored; proper Arabic and Hebrew need none.
_NOT_TEXT = re.compile("[\x00\u202d\u202e\ud800-\udfff]")


class Damaged(Exception):
    """A file's tail cannot be read: a truncated or corrupt compressed stream."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a plain file's bytes: the lines that start in it. `number` is that of the first of them."""

    start: int
    end: int
    number: int


@dataclass(frozen=True, slots=True)
class Line:
    """A physical line without its line feed. `damage` says why the file ends here; `cut` that the line was too long."""

    number: int
    data: bytes
    cut: bool = False
    damage: str = ""


def chunks(path: Path) -> Iterator[bytes]:
    """A file's bytes, decompressed by its suffix.

    Raises:
        Damaged: the compressed stream is truncated or corrupt; what came before was yielded.
        Invalid: the file cannot be opened.
    """
    compression = COMPRESSION.get(path.suffix.lower())
    try:
        stream = pa.input_stream(str(path), compression=compression)
    except OSError as error:
        raise Invalid(f"{path}: cannot be read ({error})") from error
    with stream:
        while True:
            try:
                data = stream.read(_PACKED_CHUNK if compression else _PLAIN_CHUNK)
            except OSError as error:
                raise Damaged(str(error)) from error
            if not data:
                return
            yield data


def spans(path: Path, size: int) -> list[Span]:
    """A plain file in stretches of `size` bytes. Reads it once, to number the lines."""
    found = [Span(0, size, 1)]
    breaks = 0
    with path.open("rb") as file:
        for start in range(size, path.stat().st_size, size):
            # The line feed that ends the line before a stretch's first one may be the last byte before the stretch.
            breaks += _count(file, start - 1 - file.tell())
            found.append(Span(start, start + size, breaks + 2))
    return found


def _count(file: IO[bytes], size: int) -> int:
    breaks = 0
    while size > 0 and (data := file.read(min(size, _PLAIN_CHUNK))):
        breaks += data.count(b"\n")
        size -= len(data)
    return breaks


def _span_chunks(path: Path, span: Span) -> Iterator[bytes]:
    with path.open("rb") as file:
        if span.start:
            file.seek(span.start - 1)
            while (piece := file.readline(_PLAIN_CHUNK)) and not piece.endswith(b"\n"):
                pass
        piece = b"\n"
        while (room := span.end - file.tell()) > 0 and (data := file.read(min(_PLAIN_CHUNK, room))):
            piece = data
            yield data
        while not piece.endswith(b"\n") and (piece := file.readline(_PLAIN_CHUNK)):
            yield piece


def lines(path: Path, limit: int, span: Span | None = None) -> Iterator[Line]:
    """The lines of a file, or of a span of it. At most about `limit` bytes of a line are held; a longer one comes cut.

    A damaged file ends with a line that says so and holds what was left.
    """
    number, rest = span.number if span else 1, b""
    try:
        for chunk in _span_chunks(path, span) if span else chunks(path):
            *whole, rest = (rest + chunk).split(b"\n")
            for data in whole:
                yield Line(number, data[:limit], len(data) > limit)
                number += 1
            rest = rest[: limit + 1]
    except Damaged as error:
        yield Line(number, rest[:limit], damage=str(error))
        return
    if rest:
        yield Line(number, rest[:limit], len(rest) > limit)


def head(path: Path, size: int = SNIFF) -> bytes:
    """The first bytes of a file, decompressed; of a damaged file, what can be read of them."""
    found = b""
    try:
        for chunk in chunks(path):
            found += chunk
            if len(found) >= size:
                break
    except Damaged:
        return found
    return found[:size]


def choose_encoding(path: Path, encoding: Encoding) -> str:
    """The codec of a file. "auto": UTF-8 unless most lines of the first MB that are not ASCII are GB18030 instead.

    Lines decide by majority, because one broken byte must not turn a UTF-8 file into mojibake.
    """
    if encoding != "auto":
        return encoding
    sample = head(path)
    found = sample.split(b"\n")
    if len(found) > 1 and len(sample) == SNIFF:
        found.pop()  # cut in the middle
    found = [line for line in found if not line.isascii()]
    broken = [line for line in found if not _decodes(line, "utf-8")]
    chinese = [line for line in broken if _looks_like_gb18030(line)]
    return "gb18030" if 2 * len(chinese) > len(found) else "utf-8"


def _decodes(data: bytes, codec: str) -> bool:
    try:
        data.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _looks_like_gb18030(data: bytes) -> bool:
    """Whether the decoded characters are mostly everyday ones: any two bytes decode, but seldom to GB2312."""
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return False
    wide = [c for c in text if not c.isascii()]
    common = sum(c.encode("gb2312", "ignore") != b"" for c in wide)
    alone = sum(a.isascii() and b.isascii() for a, b in pairwise(text))  # a broken accent stands among Latin letters
    return 2 * common > len(wide) and len(wide) * 8 > alone


def decode(data: bytes, codec: str) -> str:
    """Text of a line; bytes that do not decode become lone surrogates, which `not_text` finds."""
    return data.decode(codec, "surrogateescape").removeprefix("\ufeff").rstrip("\r")


def not_text(text: str) -> str | None:
    """What keeps a string from being text: a NUL, an undecodable byte, a lone surrogate, an override of direction."""
    hit = _NOT_TEXT.search(text)
    if hit is None:
        return None
    code = ord(hit[0])
    if code == 0:
        return f"NUL at character {hit.start() + 1}"
    if code < 0xD800:
        return f"direction override U+{code:04X} at character {hit.start() + 1}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"byte 0x{code - 0xDC00:02x} at character {hit.start() + 1} does not decode"
    return f"lone surrogate U+{code:04X} at character {hit.start() + 1}"


def safe(text: str) -> str:
    """The text with everything that is no text replaced by U+FFFD: for showing what was dropped."""
    return _NOT_TEXT.sub("\ufffd", text)
