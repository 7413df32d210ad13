"""What the source stages share: reading files into kept/ and dropped/ parts.

A part's name says where it comes from (source, task, chunk), so any number of workers writes the same files.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.config import Invalid
from aquilamed.engine import Counts
from aquilamed.records import Dialogue, Document, Preference, parts, record_id, to_frame, write_part
from aquilamed.sources.answers import Answers
from aquilamed.sources.cleaning import RULES
from aquilamed.sources.files import BadRecord, RawRecord, Record, choose_format, read_records
from aquilamed.sources.licenses import of_sources, stated
from aquilamed.sources.lines import COMPRESSION, Span, spans
from aquilamed.sources.raw import Misfit, shown
from aquilamed.sources.source import IngestConfig, Source
from aquilamed.stage import Context, Result

# Files of a source share one task up to this size: a folder of tiny texts must not become a folder of tiny parts.
_GROUP_BYTES = 256 << 10
# A larger plain JSONL file is several tasks: one file must not keep one core busy while the others wait.
SPAN_BYTES = 64 << 20
_PART_CHARS = 32 << 20
_SHOWN_BAD = 10


Made = Document | Dialogue | Preference
Kind = type[Document] | type[Dialogue] | type[Preference]
Convert = Callable[[Any, RawRecord], tuple[Made, set[str]]]
"""Makes a record of a raw one with its source's settings, and says which rules of cleaning changed its texts; or raises
`Misfit`. Workers call it: a module's function."""


@dataclass(frozen=True)
class Task:
    """Files of one source, or a span of one file, for one worker. `number` is (source, task)."""

    source: Source
    files: tuple[tuple[str, Path], ...]
    number: tuple[int, int]
    out: Path
    config: IngestConfig
    convert: Convert
    kind: Kind
    span: Span | None = None
    answers: Path | None = None


def ingest(
    ctx: Context,
    config: IngestConfig,
    sources: Sequence[Source],
    convert: Convert,
    kind: Kind,
) -> Result:
    """Read all sources into `ctx.out/kept` and `ctx.out/dropped`.

    Raises:
        Invalid: no file, an unknown format, no record in a source, or more than `max_bad_share` of one unusable.
    """
    tasks = [task for n, source in enumerate(sources) for task in _tasks(ctx, config, n, source, convert, kind)]
    counts = ctx.engine.run(read_task, tasks, ctx.work / "read", "reading")
    per_source, cleaned = {}, {}
    for number, source in enumerate(sources):
        found = {key: counts.get(f"{source.name}/{key}", 0) for key in ("files", "in", "kept", "dropped")}
        _check_share(ctx.out, config, number, source, found)
        per_source[source.name] = found
        cleaned[source.name] = {rule: counts.get(f"{source.name}/cleaned/{rule}", 0) for rule in RULES}
    seen = sum(found["in"] for found in per_source.values())
    metrics = {
        "per_source": per_source,
        "bytes": counts.get("bytes", 0),
        **({} if kind is Document else {"cleaned": cleaned}),
        "licenses": stated(of_sources(sources)),
    }
    return Result(metrics, records_in=seen)


def _tasks(
    ctx: Context,
    config: IngestConfig,
    number: int,
    source: Source,
    convert: Convert,
    kind: Kind,
) -> Iterator[Task]:
    """One task per file or span of a large one; small files share one. A source with a limit is one task: it alone can count."""
    groups: list[tuple[list[tuple[str, Path]], Span | None]] = []
    room = 0
    answers = _answers(ctx, source)
    for name, path in ctx.files(source.path):
        if path == answers:
            continue
        size = path.stat().st_size
        if source.limit is None and size > SPAN_BYTES and _can_split(source, name, path):
            groups += [([(name, path)], span) for span in spans(path, SPAN_BYTES)]
            room = 0
            continue
        if not groups or (source.limit is None and size > room):
            groups.append(([], None))
            room = _GROUP_BYTES
        groups[-1][0].append((name, path))
        room -= size
    for n, (files, span) in enumerate(groups):
        yield Task(source, tuple(files), (number, n), ctx.out, config, convert, kind, span, answers)


def _answers(ctx: Context, source: Source) -> Path | None:
    pattern = getattr(source, "answers", None)
    if pattern is None:
        return None
    found = ctx.files(pattern)
    if len(found) > 1:
        raise Invalid(f"source {source.name}: `answers` {pattern!r} is {len(found)} files; give one")
    return found[0][1]


def _can_split(source: Source, name: str, path: Path) -> bool:
    format = choose_format(path, name) if source.format == "auto" else source.format
    return format == "jsonl" and path.suffix.lower() not in COMPRESSION


class _Parts:
    """Writes records of one task as kept or dropped parts of bounded size; the first part is written in any case."""

    def __init__(self, task: Task, folder: str) -> None:
        self.task, self.folder = task, task.out / folder
        self.with_reason = folder == "dropped"
        self.records: list[Any] = []
        self.extra: list[tuple[str, str, str]] = []
        self.chars = self.count = self.chunk = 0

    def add(self, record: Made, size: int, reason: str = "", detail: str = "", raw: str = "") -> None:
        self.records.append(record)
        self.extra.append((reason, detail, raw))
        self.count += 1
        self.chars += size
        if len(self.records) >= self.task.config.rows_per_part or self.chars > _PART_CHARS:
            self.flush()

    def flush(self) -> None:
        frame = to_frame(self.records, self.task.kind)
        if self.with_reason:
            names = ("reason", "detail", *(() if self.task.kind is Document else ("raw",)))
            columns = [pl.Series(n, [e[i] for e in self.extra], pl.String) for i, n in enumerate(names)]
            frame = frame.with_columns(columns)
        source, task = self.task.number
        write_part(self.folder / f"part-{source:03d}-{task:05d}-{self.chunk:05d}.parquet", frame)
        self.records, self.extra, self.chars = [], [], 0
        self.chunk += 1

    def close(self) -> None:
        if self.records or not self.chunk:
            self.flush()


def read_task(task: Task) -> Counts:
    """Read the files of one task (runs in a worker process)."""
    kept, dropped = _Parts(task, "kept"), _Parts(task, "dropped")
    cleaned = Counter[str]()
    answers = Answers(task.answers) if task.answers else None
    for item in islice(_records(task), task.source.limit):
        if isinstance(item, RawRecord):
            try:
                record, rules = task.convert(task.source, answers.join(item) if answers else item)
                cleaned.update(rules)
                kept.add(record, _size(record))
                continue
            except Misfit as error:
                detail = f"{item.origin}: {error}"
                item = BadRecord(item.origin, f"sources.{error.rule}", detail, shown(item.value))
        dropped.add(_blank(task, item), len(item.raw), item.reason, item.detail, item.raw)
    kept.close()
    dropped.close()
    name = task.source.name
    return {
        f"{name}/files": 0 if task.span and task.span.start else len(task.files),
        f"{name}/in": kept.count + dropped.count,
        f"{name}/kept": kept.count,
        f"{name}/dropped": dropped.count,
        "bytes": _bytes(task),
        **{f"{name}/cleaned/{rule}": n for rule, n in cleaned.items()},
    }


def _size(record: Made) -> int:
    """Characters of a record's texts: what its part takes in memory."""
    if isinstance(record, Document):
        return len(record.text)
    turns = record.messages if isinstance(record, Dialogue) else [*record.prompt, *record.chosen, *record.rejected]
    return sum(len(turn["content"]) for turn in turns)


def _bytes(task: Task) -> int:
    total = sum(path.stat().st_size for _, path in task.files)
    return total if task.span is None else min(task.span.end, total) - task.span.start


def _records(task: Task) -> Iterator[Record]:
    source = task.source
    for name, path in task.files:
        yield from read_records(
            path,
            name,
            source.format,
            source.encoding,
            columns=source.columns,
            paragraphs=getattr(source, "paragraphs", False),
            block=source.block(),
            max_bytes=task.config.max_bytes,
            span=task.span,
        )


def _blank(task: Task, bad: BadRecord) -> Made:
    """A dropped record in its kind's columns."""
    source = task.source
    common = (record_id(source.name, bad.origin), source.name, source.terms().name, bad.origin)
    if task.kind is Document:
        return Document(*common, text=bad.raw)
    if task.kind is Dialogue:
        return Dialogue(*common, kind="", lang="", messages=[])
    return Preference(*common, kind="", lang="", prompt=[], chosen=[], rejected=[], margin=0.0)


def _check_share(out: Path, config: IngestConfig, number: int, source: Source, found: Counts) -> None:
    if not found["in"]:
        raise Invalid(f"source {source.name}: no records in {source.path}")
    share = found["dropped"] / found["in"]
    if share <= config.max_bad_share:
        return
    first: list[str] = []
    for part in (p for p in parts(out / "dropped") if p.name.startswith(f"part-{number:03d}-")):
        frame = pl.read_parquet(part, columns=["reason", "detail"], glob=False)
        first += [f"  {reason}: {detail}" for reason, detail in frame.head(_SHOWN_BAD - len(first)).iter_rows()]
    raise Invalid(
        f"source {source.name}: {found['dropped']:,} of {found['in']:,} records ({share:.1%}) are unusable, more than "
        f"max_bad_share {config.max_bad_share:.1%}; mend the files or the source's settings, or raise it. The first:\n"
        + "\n".join(first)
    )
