"""The call store: what was asked of a paid service and what came back, append-only, so that nothing is paid twice.

A row is committed the moment a response arrives, before anybody looks into it; a crash after that costs nothing. Calls
are never changed or deleted. Failed calls are rows too (for the ledger and the report), but only `answered` rows are
found again, so a failed call is tried again on the next run. No prompt, header or key is stored, only a hash.

A batch is a row before it is sent: first with the mark that it carries as metadata, then with the service's id, at last
closed, in one transaction with all its calls. So there is no moment at which a crash would have it paid twice.
"""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aquilamed.sqlite import transaction

ANSWERED = "answered"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,            -- hash of model, parameters, rubric, prompt and round
    at TEXT NOT NULL,             -- UTC
    model TEXT NOT NULL,
    rubric TEXT NOT NULL,
    rubric_hash TEXT NOT NULL,
    round INTEGER NOT NULL,
    outcome TEXT NOT NULL,        -- 'answered' or a CallError's kind
    content TEXT NOT NULL,        -- the answer as it came, or the error's detail
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    estimated INTEGER NOT NULL,   -- 1: the service gave no usage and the tokens are an upper bound
    cost REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS calls_key ON calls (key);
CREATE TABLE IF NOT EXISTS batches (
    mark TEXT PRIMARY KEY,        -- ours, in the batch's metadata
    batch TEXT,                   -- the service's id; null until it answered
    address TEXT NOT NULL,        -- hash of the service's address
    at TEXT NOT NULL,             -- UTC, when it was begun
    model TEXT NOT NULL,
    estimate REAL NOT NULL,       -- expected cost, part of what is spent until the batch is closed
    state TEXT NOT NULL           -- 'open', then how it ended
) STRICT;
CREATE TABLE IF NOT EXISTS batch_calls (
    mark TEXT NOT NULL,
    key TEXT NOT NULL,
    rubric TEXT NOT NULL,
    rubric_hash TEXT NOT NULL,
    round INTEGER NOT NULL,
    most_in INTEGER NOT NULL,     -- bytes of the prompt: its tokens at most
    PRIMARY KEY (mark, key)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What identifies a call."""

    key: str
    model: str
    rubric: str
    rubric_hash: str
    round: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call cost; zero for calls that brought nothing back."""

    tokens_in: int = 0
    tokens_out: int = 0
    estimated: bool = False
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that was begun and whose answers are not in the store yet; `batch` is None when its id is not known."""

    mark: str
    batch: str | None
    at: str


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A request of a batch, and its prompt's tokens at most."""

    question: Question
    most_in: int


Came = tuple[Question, str, str, Usage]
"""A call and what came back: its outcome, the content or the error's detail, the usage."""


class CallStore:
    """The SQLite file `calls.sqlite` of a workspace."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)  # autocommit: every insert is durable
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def add(self, question: Question, outcome: str, content: str, usage: Usage) -> None:
        """Append and commit one call."""
        at = _now()
        asked = (question.key, at, question.model, question.rubric, question.rubric_hash, question.round)
        # A lone surrogate in an answer (legal in JSON) is not UTF-8; SQLite would refuse the row.
        came = (outcome, content.encode("utf-8", "replace").decode(), usage.tokens_in, usage.tokens_out)
        row = (*asked, *came, int(usage.estimated), usage.cost)
        columns = "key,at,model,rubric,rubric_hash,round,outcome,content,tokens_in,tokens_out,estimated,cost"
        self._db.execute(f"INSERT INTO calls ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", row)  # noqa: S608

    def answers(self, key: str) -> list[str]:
        """The contents that came back for a call, newest first."""
        query = "SELECT content FROM calls WHERE key = ? AND outcome = ? ORDER BY id DESC"
        return [content for (content,) in self._db.execute(query, (key, ANSWERED))]

    def spent(self) -> float:
        """What all calls of this workspace cost so far, and what its open batches are expected to."""
        (cost,) = self._db.execute("SELECT COALESCE(SUM(cost), 0.0) FROM calls").fetchone()
        (waiting,) = self._db.execute(
            "SELECT COALESCE(SUM(estimate), 0.0) FROM batches WHERE state = 'open'"
        ).fetchone()
        return float(cost) + float(waiting)

    def answered(self, model: str) -> dict[str, "Answered"]:
        """Rubric hash → what that model answered so far."""
        told = "AVG(CASE WHEN estimated = 0 THEN {} END)".format
        query = f"""SELECT rubric_hash, COUNT(DISTINCT key), {told("tokens_in")}, {told("tokens_out")} FROM calls
                    WHERE model = ? AND outcome = ? GROUP BY rubric_hash"""  # noqa: S608
        return {mark: Answered(*numbers) for mark, *numbers in self._db.execute(query, (model, ANSWERED))}

    def begin_batch(self, mark: str, address: str, model: str, estimate: float, calls: Sequence[BatchCall]) -> None:
        """Commit that a batch is about to be sent."""
        asked = [
            (c.question.key, c.question.rubric, c.question.rubric_hash, c.question.round, c.most_in) for c in calls
        ]
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO batches VALUES (?, NULL, ?, ?, ?, ?, 'open')", (mark, address, _now(), model, estimate)
            )
            self._db.executemany("INSERT INTO batch_calls VALUES (?,?,?,?,?,?)", [(mark, *row) for row in asked])

    def name_batch(self, mark: str, batch: str) -> None:
        """Commit the service's id of a batch."""
        self._db.execute("UPDATE batches SET batch = ? WHERE mark = ?", (batch, mark))

    def open_batches(self, address: str) -> list[OpenBatch]:
        """The batches at an address that are not closed, oldest first."""
        query = "SELECT mark, batch, at FROM batches WHERE state = 'open' AND address = ? ORDER BY rowid"
        return [OpenBatch(*row) for row in self._db.execute(query, (address,))]

    def batch_calls(self, mark: str) -> Mapping[str, BatchCall]:
        """A batch's requests by key."""
        query = """SELECT key, model, rubric, rubric_hash, round, most_in FROM batch_calls
                   JOIN batches USING (mark) WHERE mark = ?"""
        rows = self._db.execute(query, (mark,))
        return {row[0]: BatchCall(Question(*row[:5]), row[5]) for row in rows}

    def close_batch(self, mark: str, state: str, came: Sequence[Came]) -> None:
        """Commit everything that came back from a batch, and that nothing more will."""
        with transaction(self._db):
            for call in came:
                self.add(*call)
            self._db.execute("UPDATE batches SET state = ? WHERE mark = ?", (state, mark))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


@dataclass(frozen=True, slots=True)
class Answered:
    """Calls that were answered, and the mean of their tokens as the service counted them; None where it did not."""

    calls: int
    tokens_in: float | None
    tokens_out: float | None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
