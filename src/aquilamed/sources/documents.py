"""Stage sources/documents: the raw pre-training corpus as DOCUMENT records (paper, section 1, input).

Whatever cannot be read as a text goes to dropped/ with file, line and reason.

    aquilamed run RECIPE --until sources/documents
"""

from typing import Any, Self

from pydantic import Field, model_validator

from aquilamed.records import Document, record_id
from aquilamed.sources.ingest import ingest
from aquilamed.sources.raw import Misfit, RawRecord
from aquilamed.sources.source import IngestConfig, Source, distinct_names
from aquilamed.stage import Context, Result


class DocumentSource(Source):
    """Files of texts."""

    text: str | list[str] = "text"
    """The field that holds the text, or several whose texts are joined by a line feed (those absent are left out)."""
    paragraphs: bool = False
    """A TXT file holds one document per blank-line paragraph instead of one in all."""


class DocumentsConfig(IngestConfig):
    """The sources of the pre-training corpus."""

    sources: list[DocumentSource] = Field(min_length=1)
    """What is read, in this order."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        distinct_names(self.sources)
        return self


def run(ctx: Context, config: DocumentsConfig) -> Result:
    """Read every file of every source. Metrics: `per_source` (files, in, kept, dropped), `bytes` on disk, `licenses`.

    Raises:
        Invalid: no file, or more than `max_bad_share` of a source is unusable (with the first ten).
    """
    return ingest(ctx, config, config.sources, to_document, Document)


def to_document(source: DocumentSource, raw: RawRecord) -> tuple[Document, set[str]]:
    """A raw record as a document; corpus/rules cleans it. Raises `Misfit` for a wrong type or an empty text."""
    text = _text(raw.value, source.text).replace("\r\n", "\n").strip()
    if not text:
        raise Misfit("empty", "the text is empty")
    return Document(record_id(source.name, raw.origin), source.name, source.terms().name, raw.origin, text), set()


def _text(value: Any, fields: str | list[str]) -> str:
    if not isinstance(value, dict):
        return _joined(value, "the record")
    names = [fields] if isinstance(fields, str) else fields
    texts = [_joined(value[name], f"field {name!r}") for name in names if value.get(name) is not None]
    if not texts:
        found = ", ".join(map(repr, list(value)[:8])) or "none"
        raise Misfit("wrong_type", f"no field {' or '.join(map(repr, names))}; the record's fields: {found}")
    return "\n".join(text for text in texts if text)


def _joined(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    raise Misfit("wrong_type", f"{where} is neither a text nor a list of texts but {type(value).__name__}")
