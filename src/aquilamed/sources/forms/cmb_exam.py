"""CMB-Exam: {"exam_type", "exam_class", "exam_subject", "question", "question_type", "option": {"A": …}, "answer": "D" or
"ABCE"}, with "explanation" in the validation part. The test part has its answers in a second file, joined by "id" (the
source's `answers`)."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms import exam
from aquilamed.sources.forms.contract import Published, text
from aquilamed.sources.raw import Misfit

PUBLISHED = Published("https://github.com/FreedomIntelligence/CMB", "FreedomIntelligence/CMB", "Apache-2.0")

SINGLE, MULTIPLE = "单项选择题", "多项选择题"


def parse(value: Any) -> list[Message]:
    """The question with its options, answered by letters and wordings; one with several answers says so."""
    plain = to_exam(value)
    if plain["question"] and text(value, "question_type", SINGLE) == MULTIPLE:
        plain["question"] = f"（{MULTIPLE}）{plain['question']}"
    return exam.parse(plain)


def to_exam(value: Any) -> dict[str, Any]:
    """The record in the generic exam form. Raises `Misfit` when a question with one answer has several."""
    answer = text(value, "answer")
    if text(value, "question_type", SINGLE) == SINGLE and len(answer.strip()) > 1:
        raise Misfit("answer", f"a question with one answer ({SINGLE}) is answered {answer[:40]!r}")
    options = value.get("option")
    if isinstance(options, dict):
        # Questions with fewer options fill up the last letters with nothing.
        options = {k: v for k, v in options.items() if not (v is None or (isinstance(v, str) and not v.strip()))}
    return {
        "lang": "zh",
        "topic": text(value, "exam_subject", ""),
        "question": text(value, "question").strip(),
        "options": options,
        "answer": answer,
        "rationale": text(value, "explanation", ""),
        "split": "train",
    }
