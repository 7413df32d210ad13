"""The four kinds of record, their Arrow schemas, and how they are read from and written to Parquet.

Every record has `id` (stable: source, file and record number decide it, never the order of processing), `source`,
`license` and `origin` ("file:record number"). A stage may add columns behind the schema's; it never removes one.
A dropped record keeps all columns it had and gets `reason` (machine-readable) and `detail` (for people).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq


class Message(TypedDict):
    """One turn of an OpenAI-style dialogue."""

    role: Literal["system", "user", "assistant"]
    content: str


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_COMMON = [("id", pa.string()), ("source", pa.string()), ("license", pa.string()), ("origin", pa.string())]

DOCUMENT = pa.schema([*_COMMON, ("text", pa.string())])
DIALOGUE = pa.schema([*_COMMON, ("kind", pa.string()), ("lang", pa.string()), ("messages", MESSAGES)])
PREFERENCE = pa.schema(
    [
        *_COMMON,
        ("kind", pa.string()),
        ("lang", pa.string()),
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("margin", pa.float64()),
    ]
)
QUESTION = pa.schema(
    [
        *_COMMON,
        ("lang", pa.string()),
        ("subject", pa.string()),
        ("split", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("rationale", pa.string()),
    ]
)
REASON = [("reason", pa.string()), ("detail", pa.string())]


@dataclass(frozen=True, slots=True)
class Document:
    """A text of the pre-training corpus."""

    id: str
    source: str
    license: str
    origin: str
    text: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue of the SFT set. `kind` is one of the paper's (section 3): single_turn_QA, single_turn_option,
    multi_turn_QA; with `_zh` or `_en` behind it once the language is known."""

    id: str
    source: str
    license: str
    origin: str
    kind: str
    lang: str
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Preference:
    """A pair in TRL's conversational form. `margin` says by how much the chosen answer is better: -1 to 1 where we judged, the
    difference of the source's own scores where it is published with some, 0.0 where there is none."""

    id: str
    source: str
    license: str
    origin: str
    kind: str
    lang: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    margin: float


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice question. `answer` holds the right letters ("B", or "AC" where several are right);
    `context` is text that comes before the question (PubMedQA's abstract), else ""."""

    id: str
    source: str
    license: str
    origin: str
    lang: str
    subject: str
    split: str
    context: str
    question: str
    options: list[str]
    answer: str
    rationale: str


Record = Document | Dialogue | Preference | Question
SCHEMAS: dict[type, pa.Schema] = {Document: DOCUMENT, Dialogue: DIALOGUE, Preference: PREFERENCE, Question: QUESTION}


def record_id(source: str, origin: str) -> str:
    """16 hex digits that depend only on where the record stands in its source."""
    return hashlib.blake2b(f"{source}\0{origin}".encode(), digest_size=8).hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spare blanks: what is hashed, and what is compared."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


def digest(value: Any) -> str:
    """32 hex digits of a JSON-able value."""
    return hashlib.blake2b(canonical(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def to_schema(schema: pa.Schema) -> pl.Schema:
    """An Arrow schema as Polars'."""
    frame = pl.from_arrow(schema.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame.schema


def to_frame(records: Sequence[Record], kind: type) -> pl.DataFrame:
    """Records of one kind as a data frame with that kind's schema (also when there are none)."""
    table = pa.Table.from_pylist([asdict(r) for r in records], schema=SCHEMAS[kind])
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with tmp.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    tmp.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode())


def write_part(path: Path, frame: pl.DataFrame) -> None:
    """Write a data frame as one Parquet file (zstd), atomically; equal frames give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(frame.rechunk().to_arrow(), tmp, compression="zstd", row_group_size=8192)
    with tmp.open("rb") as f:
        os.fsync(f.fileno())
    tmp.replace(path)


def write_parts(folder: Path, frame: pl.DataFrame, rows: int = 2000) -> None:
    """Write a data frame as `part-00000.parquet` … of at most `rows` rows; an empty frame gives one empty part."""
    for number, start in enumerate(range(0, max(frame.height, 1), rows)):
        write_part(folder / f"part-{number:05d}.parquet", frame.slice(start, rows))


def parts(folder: Path) -> list[Path]:
    """The Parquet parts of a table in order."""
    return sorted(folder.glob("part-*.parquet"))


def read_parts(folder: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """A whole table. Parts whose columns differ (a stage adds one only where needed) are aligned with nulls."""
    files = parts(folder)
    if not files:
        return pl.DataFrame()
    return pl.concat([pl.read_parquet(p, columns=columns, glob=False) for p in files], how="diagonal_relaxed")


def iter_parts(folder: Path, columns: list[str] | None = None) -> Iterator[pl.DataFrame]:
    """A table part by part: bounded memory."""
    for p in parts(folder):
        yield pl.read_parquet(p, columns=columns, glob=False)


def count_rows(files: Iterable[Path]) -> int:
    """Rows of Parquet files, from their footers."""
    return sum(pq.read_metadata(f).num_rows for f in files)
