"""Stage sample: a small bilingual raw corpus, SFT set and exam with known dirt, for trying and testing every filter.

Our own clean texts (data/) are multiplied and dirtied; truth.parquet says of every record where it stands and what is
wrong with it, so that a filter's precision and recall can be measured. Same seed, same bytes.
"""

import csv
import gzip
import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence

import polars as pl
import zstandard
from pydantic import Field

from aquilamed.config import Config
from aquilamed.records import write_atomic, write_part
from aquilamed.sample.build import LANGS, Item, Row, dialogue_rows, document_rows, generator, load
from aquilamed.stage import SAMPLE, Context, Result


class DocumentDirt(Config):
    """Dirty documents per clean one, by defect."""

    advert: float = Field(default=0.36, ge=0)
    """Marketing pages, and marketing behind a part of a real text."""
    pii: float = Field(default=0.26, ge=0)
    """Phone and resident numbers, e-mail addresses, medical record numbers (all made up) inside a text."""
    toxic: float = Field(default=0.12, ge=0)
    """Abuse inside a text."""
    exact_duplicate: float = Field(default=0.36, ge=0)
    """Copies."""
    near_duplicate: float = Field(default=0.4, ge=0)
    """Copies with a few words changed."""
    spliced: float = Field(default=0.24, ge=0)
    """The halves of two unrelated texts run together."""
    leak: float = Field(default=0.18, ge=0)
    """Exam questions of the test split: verbatim, with other punctuation, or inside a text."""
    too_short: float = Field(default=0.12, ge=0)
    """Fragments of a page's furniture."""
    symbols: float = Field(default=0.12, ge=0)
    """Symbol soup."""
    empty: float = Field(default=0.04, ge=0)
    """Records whose text is blank."""
    malformed: float = Field(default=0.04, ge=0)
    """Lines that are no JSON."""
    undecodable: float = Field(default=0.04, ge=0)
    """Lines with bytes that are no text."""


class DialogueDirt(Config):
    """Dirty dialogues per clean one, by defect."""

    exact_duplicate: float = Field(default=0.3, ge=0)
    """Copies."""
    near_duplicate: float = Field(default=0.2, ge=0)
    """Copies whose last answer has a few words changed."""
    unsafe: float = Field(default=0.1, ge=0)
    """Harmful advice."""
    shuffled: float = Field(default=0.2, ge=0)
    """Rounds of three unrelated dialogues in one."""
    leak: float = Field(default=0.2, ge=0)
    """Exam questions of the test split."""
    advert: float = Field(default=0.2, ge=0)
    """Marketing for an answer."""
    no_answer: float = Field(default=0.04, ge=0)
    """An empty answer."""


class SampleConfig(Config):
    """How much dirt the sample gets."""

    copies: float = Field(default=1.0, ge=0, le=50)
    """Multiplies all rates of dirt: 0 gives the clean texts alone."""
    documents: DocumentDirt = DocumentDirt()
    """Dirty documents per clean one."""
    dialogues: DialogueDirt = DialogueDirt()
    """Dirty dialogues per clean one."""
    heldout: float = Field(default=0.15, ge=0, le=0.5)
    """The share of clean dialogues kept out of files/sft, in files/exam/dialogues.jsonl, for evaluation."""


_TRUTH = ("file", "record", "origin", "defect", "of", "domain", "lang", "detail")
_BROKEN = {"malformed", "undecodable", "empty"}
_NOTES = "corpus/notes.txt"
# Where the documents of a language go, by turns: a file that stands twice gets twice as many.
_FILES = {
    "zh": ("web.zh.jsonl", "portal.csv", "crawl.jsonl.gz", "web.zh.jsonl", "archive.jsonl.zst", "web.zh.jsonl"),
    "en": ("web.en.jsonl", "crawl.jsonl.gz", "web.en.jsonl", "archive.jsonl.zst"),
}


def run(ctx: Context, config: SampleConfig) -> Result:
    """Write files/ and truth.parquet below `ctx.out`. Metrics: records per defect, of documents and of dialogues."""
    dirty = {name: rate * config.copies for name, rate in config.documents.model_dump().items()}
    spoilt = {name: rate * config.copies for name, rate in config.dialogues.model_dump().items()}
    files: dict[str, list[Row]] = defaultdict(list)
    held: list[Item] = []
    for lang in LANGS:
        for name, row in _placed(document_rows(dirty, lang, ctx.seed), lang, ctx.seed):
            files[name].append(row)
        rows, kept_out = dialogue_rows(spoilt, lang, ctx.seed, config.heldout)
        generator(ctx.seed, "order", "dialogue", lang).shuffle(rows)
        files[f"sft/dialogues.{lang}.jsonl"] = rows
        held += kept_out
    for name in ("corpus/crawl.jsonl.gz", "corpus/archive.jsonl.zst"):
        generator(ctx.seed, "order", name).shuffle(files[name])
    numbers = {}
    for name in sorted(files):
        data, numbers[name] = _written(name, files[name])
        write_atomic(ctx.out / "files" / name, _packed(name, data))
    _write_exam(ctx, held)
    write_part(ctx.out / "truth.parquet", _truth(files, numbers))
    return Result(
        {
            "documents": _counted([r for name, rows in files.items() if name.startswith("corpus/") for r in rows]),
            "dialogues": _counted([r for name, rows in files.items() if name.startswith("sft/") for r in rows]),
            "heldout_dialogues": len(held),
        }
    )


def _placed(rows: list[Row], lang: str, seed: int) -> list[tuple[str, Row]]:
    """Every row with its file.

    Broken ones go to JSONL files, in turns of their own, so that each file stays below the readers' `max_bad_share`.
    """
    generator(seed, "order", "document", lang).shuffle(rows)
    note = next(row for row in rows if row.defect == "clean")
    placed = []
    turns: Counter[bool] = Counter()
    for row in rows:
        names = [n for n in _FILES[lang] if row.defect not in _BROKEN or not n.endswith(".csv")]
        broken = row.defect in _BROKEN
        name = f"corpus/{names[turns[broken] % len(names)]}"
        turns[broken] += 1
        placed.append((_NOTES if row is note and lang == "en" else name, row))
    return placed


def _written(name: str, rows: Sequence[Row]) -> tuple[bytes, list[int]]:
    """A file's bytes before compression, and the number by which the reader will name each record."""
    if name.endswith(".txt"):
        return "\n".join(row.content for row in rows).encode() + b"\n", [1] * len(rows)
    if name.endswith(".csv"):
        return _csv(rows)
    field = "messages" if name.startswith("sft/") else "text"
    lines = [row.line or json.dumps({field: row.content}, ensure_ascii=False).encode() for row in rows]
    return b"".join(line + b"\n" for line in lines), list(range(1, len(rows) + 1))


def _csv(rows: Sequence[Row]) -> tuple[bytes, list[int]]:
    """A table in GB18030, as older Chinese sets are published; a record's number is the line it starts on."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["number", "text"])
    numbers = []
    for number, row in enumerate(rows, 1):
        numbers.append(buffer.getvalue().count("\n") + 1)
        writer.writerow([number, row.content])
    return buffer.getvalue().encode("gb18030"), numbers


def _packed(name: str, data: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return zstandard.compress(data) if name.endswith(".zst") else data


def _write_exam(ctx: Context, held: list[Item]) -> None:
    """The questions by split, and the dialogues held out for evaluation."""
    items = [item | {"license": "CC0-1.0"} for lang in LANGS for item in load(f"exam.{lang}")]
    for split in ("train", "test"):
        chosen = [item for item in items if item["split"] == split]
        write_atomic(ctx.out / "files" / "exam" / f"{split}.jsonl", _json_lines(chosen))
    write_atomic(ctx.out / "files" / "exam" / "dialogues.jsonl", _json_lines(held))


def _json_lines(items: list[Item]) -> bytes:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items).encode()


def _truth(files: dict[str, list[Row]], numbers: dict[str, list[int]]) -> pl.DataFrame:
    """One line per record; `of` is the origin of a duplicate's original."""
    placed = [
        (SAMPLE + name, n, row) for name in sorted(files) for n, row in zip(numbers[name], files[name], strict=True)
    ]
    origins = {row.key: f"{name}:{number}" for name, number, row in placed}
    lines = [
        (name, number, origins[row.key], row.defect, origins.get(row.of, ""), row.domain, row.lang, row.detail)
        for name, number, row in placed
    ]
    return pl.DataFrame(
        lines, schema=dict(zip(_TRUTH, [pl.String, pl.Int64] + [pl.String] * 6, strict=True)), orient="row"
    )


def _counted(rows: list[Row]) -> dict[str, int]:
    return dict(sorted(Counter(row.defect for row in rows).items()))
