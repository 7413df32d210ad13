"""Exam questions: sound ones are read, anything else is named by file, line and field."""

import json
from pathlib import Path
from typing import Any

import pytest

from aquilamed.config import Invalid
from aquilamed.sources.questions import read_exam

GOOD: dict[str, Any] = {
    "id": "q1",
    "lang": "en",
    "topic": "cardiology",
    "question": "Which?",
    "options": {"A": "one", "B": "two"},
    "answer": "B",
    "rationale": "Because.",
    "split": "test",
}


def write(path: Path, *items: Any) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_a_question(tmp_path: Path) -> None:
    question = read_exam(write(tmp_path / "e.jsonl", GOOD), "exam/e.jsonl")[0]
    assert (question.options, question.answer, question.subject) == (["one", "two"], "B", "cardiology")
    assert question.origin == "exam/e.jsonl:1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "C"}, "answer 'C'"),
        ({"answer": ""}, "answer is empty"),
        ({"options": {"A": "one"}}, "options"),
        ({"options": {"A": "one", "B": " "}}, "options"),
        ({"question": 3}, "'question' is int"),
        ({"question": " "}, "'question' is empty"),
        ({"lang": "fr"}, "'lang'"),
        ({"id": "q1"}, "used before"),
    ],
)
def test_a_bad_question_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "e.jsonl", GOOD, GOOD | {"id": "q2"} | change)
    with pytest.raises(Invalid, match=r"exam/e\.jsonl:2") as error:
        read_exam(path, "exam/e.jsonl")
    assert message in str(error.value)


def test_broken_line_and_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps(GOOD) + "\n{broken\n")
    with pytest.raises(Invalid, match=r"exam/e\.jsonl:2: not JSON"):
        read_exam(path, "exam/e.jsonl")
    path.write_text("")
    with pytest.raises(Invalid, match="no questions"):
        read_exam(path, "exam/e.jsonl")
