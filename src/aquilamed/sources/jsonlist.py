"""JSON files as raw records: the items of a list, or the one value, parsed as the text comes in.

An object that begins with a list of objects, {"data": [{…}, …]}, is that list: so some sets are published.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aquilamed.sources.lines import Damaged, chunks
from aquilamed.sources.raw import RAW_KEPT, Record, bad, checked

_WRAPPED = re.compile(r'\{\s*"data"\s*:\s*\[\s*(?=\{)')
_BLANK = re.compile("[ \t\r\n\ufeff]*")


def read_json(path: Path, name: str, codec: str, max_bytes: int) -> Iterator[Record]:
    """Yield a record per item. Memory holds one item and one chunk.

    Behind a mistake in the syntax no item's start is certain: the rest of the file is one bad record.
    """
    items = _Items(path, codec, max_bytes)
    number = 0
    try:
        for number, (value, raw) in enumerate(items, 1):
            yield checked(name, number, value, raw)
    except _Broken as error:
        detail = f"{error}; the rest of the file was not read"
        yield bad(name, number + 1, error.rule, detail, items.buffer[items.at : items.at + RAW_KEPT])


class _Broken(Exception):
    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule


class _Items:
    """Iterates over the items of a JSON file, pulling text only when an item is not complete."""

    def __init__(self, path: Path, codec: str, max_bytes: int) -> None:
        self.source = chunks(path)
        self.decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
        self.json = json.JSONDecoder()
        self.limit = max_bytes
        self.buffer, self.at = "", 0
        self.ended = False

    def pull(self) -> bool:
        """Put a chunk behind what is left of the buffer; False at the end of the file."""
        try:
            data = next(self.source, None)
        except Damaged as error:
            raise _Broken("truncated", f"the file cannot be read on: {error}") from error
        self.ended = data is None
        self.buffer = self.buffer[self.at :] + self.decoder.decode(data or b"", final=self.ended)
        self.at = 0
        return not self.ended

    def peek(self) -> str:
        """The next character that is not blank, "" at the end; `at` points to it."""
        while True:
            self.at = self._behind_blanks(self.at)
            if self.at < len(self.buffer) or not self.pull():
                return self.buffer[self.at : self.at + 1]

    def _behind_blanks(self, start: int) -> int:
        match = _BLANK.match(self.buffer, start)
        return match.end() if match else start

    def item(self, inside: bool) -> tuple[Any, str]:
        """Take one value; inside a list something must stand behind it in the buffer, else it may be cut."""
        while True:
            try:
                value, end = self.json.raw_decode(self.buffer, self.at)
                if self.ended or (inside and self._behind_blanks(end) < len(self.buffer)):
                    break
            except RecursionError as error:
                raise _Broken("malformed", "nested too deeply") from error
            except ValueError as error:
                if self.ended:
                    raise _Broken("malformed", f"not JSON: {str(error)[:200]}") from error
            if len(self.buffer) - self.at > self.limit:
                raise _Broken("too_long", f"an item of more than {self.limit:,} characters, or not JSON")
            self.pull()
        raw = self.buffer[self.at : min(end, self.at + RAW_KEPT)]
        self.at = end
        return value, raw

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        first = self.peek()
        wrapped = _WRAPPED.match(self.buffer, self.at) if first == "{" else None
        if wrapped:
            self.at = wrapped.end()
            yield from self._list()
            return
        if first != "[":
            if first:
                yield self.item(inside=False)
            if self.peek():
                raise _Broken("malformed", "more text behind the value")
            return
        self.at += 1
        yield from self._list()

    def _list(self) -> Iterator[tuple[Any, str]]:
        """The items up to the list's end; what stands behind it is not looked at."""
        while self.peek() != "]":
            yield self.item(inside=True)
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != "]":
                raise _Broken("malformed", "neither a comma nor the list's end behind an item")
