"""Writing a set's files: part by part, so that memory stays bounded, in the order in which the parts stand in the workspace."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from aquilamed.config import StageFailed
from aquilamed.release.forms import Form
from aquilamed.release.rights import Rights
from aquilamed.workspace import Artifact, file_hash

SHARD_BYTES = 300 << 20
TRAIN, VALIDATION = "train", "validation"
SPLITS = (TRAIN, VALIDATION)
SplitOf = Callable[[pl.DataFrame], pl.Series]


@dataclass(frozen=True)
class DataFile:
    """A written data file; `path` is relative to the released folder, `bytes` the records' size in memory."""

    path: str
    config: str
    split: str
    rows: int
    bytes: int
    format: str


@dataclass
class Written:
    """What of a set was written: its files, and how many records of each kind."""

    files: list[DataFile] = field(default_factory=list)
    schemas: dict[str, pa.Schema] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """"split", "kind", "lang", "domain", "source", "department", "diseases" → value → records; "tokens by …" → value → tokens."""

    def tables(self) -> dict[tuple[str, str], list[DataFile]]:
        """(config, split) → its Parquet files; JSON lines hold the same records again."""
        found: dict[tuple[str, str], list[DataFile]] = {}
        for file in self.files:
            if file.format == "parquet":
                found.setdefault((file.config, file.split), []).append(file)
        return found

    @property
    def records(self) -> int:
        """All records of the set."""
        return self.counts["split"].total()


def columns_of(artifact: Artifact, hidden: Sequence[str] = ()) -> pl.Schema:
    """The columns of a set over all its parts (stages may have given different ones to different records)."""
    frames = [pl.DataFrame(schema=pl.read_parquet_schema(p)) for p in artifact.kept_parts()]
    whole = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
    return pl.Schema({n: t for n, t in whole.schema.items() if n not in hidden})


def write_set(
    out: Path, artifact: Artifact, columns: pl.Schema, forms: Sequence[Form], split_of: SplitOf, rights: Rights
) -> Written:
    """Write the kept records of a stage that may be passed on, in every form, and count them.

    Raises `StageFailed` when a file of the workspace is no longer what its manifest says.
    """
    sinks = {form.name: _Sinks(out, form) for form in forms}
    written = Written(schemas={form.name: form.schema for form in forms})
    for part in artifact.kept_parts():
        verify(artifact, part)
        frame = pl.read_parquet(part, glob=False)
        missing = [pl.lit(None, t).alias(n) for n, t in columns.items() if n not in frame.columns]
        frame = rights.sift(frame.with_columns(missing))
        splits = split_of(frame)
        _count(written.counts, frame, splits)
        frame = frame.select(pl.col(n).cast(t) for n, t in columns.items())
        for split in SPLITS:
            rows = frame.filter(splits == split)
            for form in forms:
                if rows.height:
                    sinks[form.name].add(split, rows)
    for form in forms:
        written.files += sinks[form.name].close()
    return written


def verify(artifact: Artifact, file: Path) -> None:
    """Hold a workspace file to its manifest. Raises `StageFailed` when it was changed since."""
    name = file.relative_to(artifact.path).as_posix()
    if artifact.manifest["outputs"].get(name) != file_hash(file):
        raise StageFailed(
            f"{file}: not the file that {artifact.stage} wrote (its hash is not the manifest's); "
            f"delete {artifact.path} and run the recipe again"
        )


def _count(counts: dict[str, Counter[str]], frame: pl.DataFrame, splits: pl.Series) -> None:
    counts["split"].update(splits.to_list())
    for name in (n for n in ("kind", "lang", "domain", "source", "department") if n in frame.columns):
        # Sorted: equal counts are shown in the order in which they were first seen, and Polars groups in any order.
        grouped = frame.group_by(pl.col(name).fill_null("")).agg(pl.len(), *_tokens(frame)).sort(name)
        counts[name].update(dict(grouped.select(name, "len").iter_rows()))
        if "tokens" in grouped.columns:
            counts[f"tokens by {name}"].update(dict(grouped.select(name, "tokens").iter_rows()))
    if "diseases" in frame.columns:
        named = frame["diseases"].explode().drop_nulls().value_counts().sort("diseases")
        counts["diseases"].update(dict(named.iter_rows()))


def _tokens(frame: pl.DataFrame) -> list[pl.Expr]:
    return [pl.col("tokens").sum()] if "tokens" in frame.columns else []


class _Sinks:
    """The files of one form, one series per split; shards get their final names when their number is known."""

    def __init__(self, out: Path, form: Form) -> None:
        self.out, self.form = out, form
        self.formats = ["parquet", "jsonl"] if form.jsonl else ["parquet"]
        self.shards: dict[str, list[tuple[int, int]]] = {split: [] for split in SPLITS}
        self.open: dict[str, list[Any]] = {}

    def add(self, split: str, frame: pl.DataFrame) -> None:
        rows = self.form.rows(frame)
        if split not in self.open:
            self._next(split)
        for writer in self.open[split]:
            if isinstance(writer, pq.ParquetWriter):
                writer.write_table(rows)
            else:
                writer.writelines(f"{json.dumps(row, ensure_ascii=False)}\n".encode() for row in rows.to_pylist())
        count, size = self.shards[split][-1]
        self.shards[split][-1] = (count + rows.num_rows, size + rows.nbytes)
        if self._path(split, "parquet").stat().st_size >= SHARD_BYTES:
            self._close(split)

    def _path(self, split: str, format: str, number: int | None = None) -> Path:
        number = len(self.shards[split]) - 1 if number is None else number
        return self.out / self.form.folder / f"{split}-{number:05d}.{format}.unfinished"

    def _next(self, split: str) -> None:
        self.shards[split].append((0, 0))
        first = self._path(split, "parquet")
        first.parent.mkdir(parents=True, exist_ok=True)
        self.open[split] = [pq.ParquetWriter(first, self.form.schema, compression="zstd")]
        if self.form.jsonl:
            self.open[split].append(self._path(split, "jsonl").open("wb"))

    def _close(self, split: str) -> None:
        for writer in self.open.pop(split):
            writer.close()

    def close(self) -> list[DataFile]:
        for split in list(self.open):
            self._close(split)
        files = []
        for format in self.formats:
            for split in SPLITS:
                for n, (rows, size) in enumerate(self.shards[split]):
                    name = f"{split}-{n:05d}-of-{len(self.shards[split]):05d}.{format}"
                    path = self._path(split, format, n)
                    path.replace(path.with_name(name))
                    files.append(DataFile(f"{self.form.folder}/{name}", self.form.name, split, rows, size, format))
        return files
