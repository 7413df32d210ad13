"""Multiple-choice questions, for preference pairs and evaluation.

The generic exam form is one JSON object per line (or a JSON list): {"id", "lang", "topic", "question", "options": {"A": …}, "answer",
"rationale", "split"}; `id`, `topic`, `rationale` and `split` may be absent.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from aquilamed.config import Invalid
from aquilamed.records import Question, record_id
from aquilamed.sources.files import BadRecord, RawRecord, read_records
from aquilamed.sources.forms import cmb_exam
from aquilamed.sources.forms.contract import text
from aquilamed.sources.forms.exam import letters, options
from aquilamed.sources.licenses import License
from aquilamed.sources.raw import Misfit, shown
from aquilamed.sources.source import Source


class QuestionSource(Source):
    """Files of multiple-choice questions with known answers, never a benchmark's."""

    form: Literal["exam", "cmb_exam"] = "exam"
    """The generic exam form, or CMB-Exam's train and validation parts as published."""

    def terms(self) -> License:
        """The licence of the questions; one that a question states itself comes first."""
        return self.license_or(cmb_exam.PUBLISHED if self.form == "cmb_exam" else None)


def read_source(source: QuestionSource, files: Sequence[tuple[str, Path]]) -> Iterator[Question | BadRecord]:
    """Every question of a source; what is no sound question comes with its reason, "sources.<rule>"."""
    license = source.terms().name
    for record in islice(_records(source, files), source.limit):
        if isinstance(record, BadRecord):
            yield record
            continue
        try:
            value = cmb_exam.to_exam(record.value) if source.form == "cmb_exam" else record.value
            yield _question(value, record.origin, source.name, license)
        except Misfit as error:
            detail = f"{record.origin}: {error}"
            yield BadRecord(record.origin, f"sources.{error.rule}", detail, shown(record.value))


def _records(source: QuestionSource, files: Sequence[tuple[str, Path]]) -> Iterator[RawRecord | BadRecord]:
    for name, path in files:
        yield from read_records(path, name, source.format, source.encoding, columns=source.columns)


def read_exam(path: Path, name: str) -> list[Question]:
    """All questions of a file; `name` is its logical name, the source of the records.

    Raises:
        Invalid: naming file, line and field, for anything that is no sound question: a benchmark with a hole in it
            would give a score that looks like one.
    """
    questions: list[Question] = []
    seen: dict[str, str] = {}
    for record in read_records(path, name):
        if isinstance(record, BadRecord):
            raise Invalid(f"{record.detail}; mend the line")
        try:
            questions.append(_question(record.value, record.origin, name, ""))
        except Misfit as error:
            raise Invalid(f"{record.origin}: {error}") from error
        mark = str(record.value.get("id", record.origin))
        if mark in seen:
            raise Invalid(f"{record.origin}: field 'id' {mark[:80]!r} was used before, at {seen[mark]}")
        seen[mark] = record.origin
    if not questions:
        raise Invalid(f"{name}: no questions in it")
    return questions


def _question(value: Any, origin: str, source: str, license: str) -> Question:
    wording, chosen = text(value, "question").strip(), options(value)
    if not wording:
        raise Misfit("no_question", "field 'question' is empty")
    lang = text(value, "lang")
    if lang not in ("zh", "en"):
        raise Misfit("language", f"field 'lang' is {lang[:20]!r}, not zh or en")
    return Question(
        id=record_id(source, origin),
        source=source,
        license=text(value, "license", "") or license,
        origin=origin,
        lang=lang,
        subject=text(value, "topic", ""),
        split=text(value, "split", ""),
        context=text(value, "context", ""),
        question=wording,
        options=list(chosen.values()),
        answer=letters(text(value, "answer"), chosen),
        rationale=text(value, "rationale", "").strip(),
    )
