"""CMB-Exam as published: CMB-test-choice-question-merge.json with its answers in a second file, CMB-test-choice-answer.json.

    - task: cmb_exam
      path: CMB/CMB-Exam/CMB-*/CMB-*.json
      answers: CMB/CMB-test-choice-answer.json

Files named …-val-… (with answers of their own) are few-shot examples; …-train-… is left out. The exam_type is the subject.
"""

import re
from pathlib import Path

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, once
from aquilamed.records import Question, record_id
from aquilamed.sources.answers import Answers
from aquilamed.sources.files import read_records
from aquilamed.sources.forms.cmb_exam import to_exam
from aquilamed.sources.forms.contract import text
from aquilamed.sources.forms.exam import letters, options
from aquilamed.sources.raw import BadRecord, Misfit, RawRecord


def read(files: Files) -> list[Question]:
    """All questions, with one right letter or several.

    Raises `Invalid` naming file, record and field: no answer, an id used twice, an answer "AC" to a question with one answer.
    """
    found: list[Question] = []
    answers = [path for name, path in files if _part(path) == "answer"]
    if len(answers) > 1:
        raise Invalid(f"{', '.join(p.name for p in answers)}: several files of answers; give one")
    joined = Answers(answers[0]) if answers else None
    for name, path in files:
        if (part := _part(path)) in ("answer", "train"):
            continue
        seen: dict[str, str] = {}
        for record in read_records(path, name):
            if isinstance(record, BadRecord):
                raise Invalid(f"{record.detail}; mend the file")
            try:
                if not isinstance(record.value, dict):
                    raise Misfit("wrong_type", f"an object is needed, this is {type(record.value).__name__}")
                if "id" in record.value:
                    once(seen, str(record.value["id"]), record.origin)
                given = part == "val" or "answer" in record.value
                if joined is None and not given:
                    raise Misfit(
                        "no_answer", "no field 'answer'; name the file of answers in the benchmark's `answers`"
                    )
                known = record if given or joined is None else joined.join(record)
                found.append(_question(known, "dev" if part == "val" else "test"))
            except Misfit as error:
                raise Invalid(f"{record.origin}: {error}") from error
    return found


def _part(path: Path) -> str:
    words = re.split(r"[-_.]", path.stem.lower())
    return next((part for part in ("answer", "train", "val") if part in words), "test")


def _question(record: RawRecord, split: str) -> Question:
    value = to_exam(record.value)
    chosen = options(value)
    if not value["question"]:
        raise Misfit("no_question", "field 'question' is empty")
    return Question(
        id=record_id("cmb_exam", record.origin),
        source="cmb_exam",
        license="Apache-2.0",
        origin=record.origin,
        lang="zh",
        subject=text(record.value, "exam_type", ""),
        split=split,
        context="",
        question=value["question"],
        options=list(chosen.values()),
        answer=letters(value["answer"], chosen),
        rationale=value["rationale"],
    )
