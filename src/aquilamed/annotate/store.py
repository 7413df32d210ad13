"""The call store: what was asked of a paid service and what came back, append-only, so that nothing is paid twice.

A row is committed the moment a response arrives, before anybody looks into it; a crash after that costs nothing. Rows
are never changed or deleted. Failed calls are rows too (for the ledger and the report), but only `answered` rows are
found again, so a failed call is tried again on the next run. No prompt, header or key is stored, only a hash.
"""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

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
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
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
        """What all calls of this workspace cost so far."""
        (cost,) = self._db.execute("SELECT COALESCE(SUM(cost), 0.0) FROM calls").fetchone()
        return float(cost)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
