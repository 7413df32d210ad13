"""What a reader yields: a raw record, or a bad one with the reason why it could not be read."""

from dataclasses import dataclass
from typing import Any

from aquilamed.records import canonical
from aquilamed.sources.lines import Line, decode, not_text, safe

RAW_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record as it stands in a file. `origin` is "name:number": the line it starts on (JSONL, CSV, TXT) or its
    number (JSON, Parquet), from 1."""

    origin: str
    value: Any


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read. `raw` is what stood there, safely decoded, at most 20,000 characters."""

    origin: str
    reason: str
    detail: str
    raw: str


Record = RawRecord | BadRecord


def bad(name: str, number: int, rule: str, detail: str, raw: str) -> BadRecord:
    """A quarantined record; `number` is its line or item number."""
    return BadRecord(f"{name}:{number}", f"sources.{rule}", f"{name}:{number}: {detail}", safe(raw[:RAW_KEPT]))


def unreadable(name: str, line: Line, codec: str) -> BadRecord | None:
    """The quarantined form of a line that is over-long or ends a damaged file."""
    if line.damage:
        return bad(
            name, line.number, "truncated", f"the file cannot be read on: {line.damage}", decode(line.data, codec)
        )
    if line.cut:
        detail = f"line of more than {len(line.data):,} bytes"
        return bad(name, line.number, "too_long", detail, decode(line.data[: 4 * RAW_KEPT], codec))
    return None


def checked(name: str, number: int, value: Any, raw: str) -> Record:
    """The record, or why one of its strings is no text."""
    problem = _problem(value)
    if problem is None:
        return RawRecord(f"{name}:{number}", value)
    return bad(name, number, "undecodable" if problem.startswith("byte") else "malformed", problem, raw)


def _problem(value: Any) -> str | None:
    if isinstance(value, str):
        return not_text(value)
    items: Any = ()
    if isinstance(value, dict):
        items = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        items = value
    return next((p for item in items if (p := _problem(item)) is not None), None)


class Misfit(Exception):
    """A record was read but does not fit: `rule` becomes the reason "sources.<rule>", the message its detail."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule


def shown(value: Any) -> str:
    """A raw value for a dropped record: the text itself or its JSON, at most 20,000 characters."""
    return safe((value if isinstance(value, str) else canonical(value))[:RAW_KEPT])
