"""Multiple-choice questions of the generic exam form, for preference pairs and evaluation.

One JSON object per line (or a JSON list): {"id", "lang", "topic", "question", "options": {"A": …}, "answer",
"rationale", "split"}; `id`, `topic`, `rationale` and `split` may be absent.
"""

from pathlib import Path

from aquilamed.config import Invalid
from aquilamed.records import Question, record_id
from aquilamed.sources.files import BadRecord, RawRecord, read_records
from aquilamed.sources.forms.contract import text
from aquilamed.sources.forms.exam import letters, options
from aquilamed.sources.raw import Misfit


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
            questions.append(_question(record, name))
        except Misfit as error:
            raise Invalid(f"{record.origin}: {error}") from error
        mark = str(record.value.get("id", record.origin))
        if mark in seen:
            raise Invalid(f"{record.origin}: field 'id' {mark[:80]!r} was used before, at {seen[mark]}")
        seen[mark] = record.origin
    if not questions:
        raise Invalid(f"{name}: no questions in it")
    return questions


def _question(record: RawRecord, name: str) -> Question:
    value = record.value
    wording, chosen = text(value, "question").strip(), options(value)
    if not wording:
        raise Misfit("no_question", "field 'question' is empty")
    lang = text(value, "lang")
    if lang not in ("zh", "en"):
        raise Misfit("language", f"field 'lang' is {lang[:20]!r}, not zh or en")
    return Question(
        id=record_id(name, record.origin),
        source=name,
        license=text(value, "license", ""),
        origin=record.origin,
        lang=lang,
        subject=text(value, "topic", ""),
        split=text(value, "split", ""),
        context=text(value, "context", ""),
        question=wording,
        options=list(chosen.values()),
        answer=letters(text(value, "answer"), chosen),
        rationale=text(value, "rationale", "").strip(),
    )
