"""The review store: one SQLite file in WORKSPACE/review/, in WAL mode, that any number of servers may share.

A verdict is committed, and synced to the disk, before `add` returns; a killed server loses nothing that it acknowledged.
Verdicts are never deleted: undoing one sets its `undone`. A reviewer has one standing verdict per item and wording, which a
unique index holds, so that a double click or a second tab cannot give two.
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from aquilamed.config import Invalid
from aquilamed.records import canonical
from aquilamed.sources.lines import safe
from aquilamed.sqlite import transaction

Kind = Literal["pair", "answer", "comparison"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILE = "review/review.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,             -- UTC
    rater TEXT NOT NULL,
    kind TEXT NOT NULL,
    item TEXT NOT NULL,           -- the pair's, answer's or comparison's id
    texts TEXT NOT NULL,          -- hash of the texts, whatever their order
    swapped INTEGER NOT NULL,     -- 1: the second answer was shown as A
    said TEXT NOT NULL,           -- the judgement (JSON)
    undone TEXT                   -- UTC; null while it stands
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS verdicts_once ON verdicts (rater, kind, item, texts) WHERE undone IS NULL;
CREATE TABLE IF NOT EXISTS comparisons (
    id TEXT PRIMARY KEY,
    at TEXT NOT NULL,
    prompt TEXT NOT NULL,         -- messages (JSON)
    models TEXT NOT NULL,         -- the two models' names (JSON)
    answers TEXT NOT NULL,        -- their answers (JSON)
    settings TEXT NOT NULL        -- how they were generated (JSON)
) STRICT;
"""


class Twice(Invalid):
    """The reviewer has judged this item already."""


@dataclass(frozen=True)
class Verdict:
    """A row of the store. `said` is the judgement's JSON object; `undone` is None while the verdict stands."""

    id: int
    at: str
    rater: str
    kind: Kind
    item: str
    texts: str
    swapped: bool
    said: dict[str, Any]
    undone: str | None


@dataclass(frozen=True)
class Comparison:
    """Two models' answers to one prompt; `models` and `answers` are in the same order."""

    id: str
    at: str
    prompt: list[dict[str, str]]
    models: list[str]
    answers: list[str]
    settings: dict[str, Any]


class ReviewStore:
    """One connection, shared by a process's threads."""

    def __init__(self, root: Path) -> None:
        self.path = root / FILE
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        self._lock = threading.RLock()
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def add(self, rater: str, kind: Kind, item: str, texts: str, swapped: bool, said: dict[str, Any]) -> int:
        """Commit a verdict; returns its id. Raises `Twice` while another one of the reviewer stands on these texts."""
        row = (now(), rater, kind, item, texts, int(swapped), canonical(_text(said)))
        columns = "at, rater, kind, item, texts, swapped, said"
        try:
            with self._lock:
                added = self._db.execute(f"INSERT INTO verdicts ({columns}) VALUES (?,?,?,?,?,?,?)", row)  # noqa: S608
        except sqlite3.IntegrityError as error:
            raise Twice(f"{rater!r} has judged {kind} {item} already; undo that verdict first") from error
        assert added.lastrowid is not None
        return added.lastrowid

    def undo(self, rater: str, kinds: Sequence[Kind] = KINDS) -> Verdict | None:
        """Take back the reviewer's last standing verdict of these kinds; returns it, or None when there is none."""
        marks = ",".join("?" * len(kinds))
        with self._lock, transaction(self._db):
            query = f"{_SELECT} WHERE rater = ? AND kind IN ({marks}) AND undone IS NULL ORDER BY id DESC LIMIT 1"
            row = self._db.execute(query, (rater, *kinds)).fetchone()
            if row is None:
                return None
            self._db.execute("UPDATE verdicts SET undone = ? WHERE id = ?", (now(), row[0]))
        return _verdict(row)

    def verdicts(self, kind: Kind, rater: str | None = None, standing: bool = True) -> list[Verdict]:
        """Verdicts in the order they were given, of one reviewer or of all.

        Args:
            standing: leave out those that were undone.
        """
        where, given = "kind = ?", [str(kind)]
        if rater is not None:
            where, given = f"{where} AND rater = ?", [*given, rater]
        if standing:
            where += " AND undone IS NULL"
        return [_verdict(row) for row in self._all(f"{_SELECT} WHERE {where} ORDER BY id", given)]

    def counts(self, kind: Kind) -> dict[tuple[str, str], int]:
        """(item, texts) → how many standing verdicts it has that are no skip."""
        query = """SELECT item, texts, COUNT(*) FROM verdicts WHERE kind = ? AND undone IS NULL
                   AND json_extract(said, '$.verdict') != 'skip' GROUP BY item, texts"""
        return {(item, texts): count for item, texts, count in self._all(query, (kind,))}

    def judged(self, rater: str, kind: Kind) -> set[tuple[str, str]]:
        """(item, texts) of the reviewer's standing verdicts."""
        query = "SELECT item, texts FROM verdicts WHERE rater = ? AND kind = ? AND undone IS NULL"
        return set(self._all(query, (rater, kind)))

    def compare(
        self, prompt: Sequence[Any], models: Sequence[str], answers: Sequence[str], settings: dict[str, Any]
    ) -> Comparison:
        """Commit two models' answers to one prompt."""
        made = Comparison(
            secrets.token_hex(8), now(), _text(list(prompt)), list(models), _text(list(answers)), settings
        )
        row = (made.id, made.at, *map(canonical, (made.prompt, made.models, made.answers, made.settings)))
        with self._lock:
            self._db.execute("INSERT INTO comparisons VALUES (?,?,?,?,?,?)", row)
        return made

    def comparisons(self) -> list[Comparison]:
        """All comparisons in the order they were made."""
        rows = self._all("SELECT * FROM comparisons ORDER BY rowid")
        return [Comparison(row[0], row[1], *map(json.loads, row[2:])) for row in rows]

    def comparison(self, name: str) -> Comparison:
        """One comparison. Raises `Invalid` when there is no such id."""
        row = self._one("SELECT * FROM comparisons WHERE id = ?", (name,))
        if row is None:
            raise Invalid("this comparison is not in the workspace; make a new one")
        return Comparison(row[0], row[1], *map(json.loads, row[2:]))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _one(self, query: str, given: Sequence[Any]) -> Any:
        with self._lock:
            return self._db.execute(query, given).fetchone()

    def _all(self, query: str, given: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(query, given).fetchall()


_SELECT = "SELECT id, at, rater, kind, item, texts, swapped, said, undone FROM verdicts"


def _verdict(row: Any) -> Verdict:
    number, at, rater, kind, item, texts, swapped, said, undone = row
    return Verdict(number, at, rater, kind, item, texts, bool(swapped), json.loads(said), undone)


def now() -> str:
    """The time as it is kept: UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _text(value: Any) -> Any:
    """With U+FFFD for what no reader of ours takes for text: lone surrogates, NUL, overrides of direction."""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, dict):
        return {key: _text(v) for key, v in value.items()}
    return [_text(v) for v in value] if isinstance(value, list) else value
