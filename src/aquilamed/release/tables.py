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
    """A written data file; `path` is relative to the released folder."""

    path: str
    config: str
    split: str
    rows: int
    format: str


@dataclass
class Written:
    """What of a set was written: its files, and how many records of each kind."""

    files: list[DataFile] = field(default_factory=list)
    schemas: dict[str, pa.Schema] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Column ("split", "kind", "lang", "domain", and "tokens by …" sums) → value → records (or tokens)."""

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
    for name in ("kind", "lang", "domain", "source"):
        if name not in frame.columns:
            continue
        values = frame.with_columns(pl.col(name).fill_null(""))
        counts[name].update(dict(values[name].value_counts().iter_rows()))
        if "tokens" in frame.columns:
            counts[f"tokens by {name}"].update(dict(values.group_by(name).agg(pl.col("tokens").sum()).iter_rows()))


class _Sinks:
    """The files of one form, one series per split; shards get their final names when their number is known."""

    def __init__(self, out: Path, form: Form) -> None:
        self.folder, self.form = out / form.folder, form
        self.out = out
        self.shards: dict[str, list[tuple[Path, int]]] = {split: [] for split in SPLITS}
        self.open: dict[str, Any] = {}

    def add(self, split: str, frame: pl.DataFrame) -> None:
        rows = self.form.rows(frame)
        writer = self.open.get(split) or self._next(split)
        path, count = self.shards[split][-1]
        if isinstance(rows, pa.Table):
            writer.write_table(rows)
        else:
            lines = (json.dumps(row, ensure_ascii=False, separators=(", ", ": ")) for row in rows)
            writer.write("".join(f"{line}\n" for line in lines).encode())
        self.shards[split][-1] = (path, count + frame.height)
        if path.stat().st_size >= SHARD_BYTES:
            self.open.pop(split).close()

    def _next(self, split: str) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{split}-{len(self.shards[split]):05d}.unfinished"
        parquet = self.form.format == "parquet"
        self.open[split] = pq.ParquetWriter(path, self.form.schema, compression="zstd") if parquet else path.open("wb")
        self.shards[split].append((path, 0))
        return self.open[split]

    def close(self) -> list[DataFile]:
        for writer in self.open.values():
            writer.close()
        files = []
        for split in SPLITS:
            for n, (path, rows) in enumerate(self.shards[split]):
                name = f"{split}-{n:05d}-of-{len(self.shards[split]):05d}.{self.form.format}"
                path.replace(self.folder / name)
                relative = (self.folder / name).relative_to(self.out).as_posix()
                files.append(DataFile(relative, self.form.name, split, rows, self.form.format))
        return files
