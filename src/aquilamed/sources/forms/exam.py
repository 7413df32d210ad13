"""Multiple choice: {"question", "options": {"A": …} or […], "answer": "B" or "AC", "rationale"?} as a dialogue
about options."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import pair, text
from aquilamed.sources.raw import Misfit

LETTERS = "ABCDEFGHIJ"


def parse(value: Any) -> list[Message]:
    """The question with its options, answered by letter and wording, the rationale behind."""
    question, chosen = text(value, "question").strip(), options(value)
    if not question:
        raise Misfit("no_question", "the question is empty")
    answer = letters(text(value, "answer"), chosen)
    listed = "\n".join(f"{letter}. {option}" for letter, option in chosen.items())
    right = "\n".join(f"{letter}. {chosen[letter]}" for letter in answer)
    rationale = text(value, "rationale", "").strip()
    return pair(f"{question}\n{listed}", f"{right}\n{rationale}".strip())


def options(value: Any) -> dict[str, str]:
    """Letter → wording of at least two options. Raises `Misfit` when they are not texts under A, B, C …"""
    found = value.get("options") if isinstance(value, dict) else None
    if isinstance(found, list):
        found = dict(zip(LETTERS, found, strict=False)) if len(found) <= len(LETTERS) else None
    if not isinstance(found, dict) or len(found) < 2:
        raise Misfit("options", "field 'options' holds no two options")
    if list(found) != list(LETTERS[: len(found)]) or not all(isinstance(o, str) and o.strip() for o in found.values()):
        raise Misfit("options", f"options must be texts under A, B, C … in order, not {list(found)[:10]}")
    return {letter: option.strip() for letter, option in found.items()}


def letters(answer: str, chosen: dict[str, str]) -> str:
    """The right letters in order. Raises `Misfit` when one is no option or is given twice."""
    found = answer.strip().upper()
    if not found:
        raise Misfit("no_answer", "the answer is empty")
    if not set(found) <= set(chosen) or len(set(found)) != len(found):
        raise Misfit("answer", f"answer {answer[:40]!r} is not made of the letters {', '.join(chosen)}")
    return "".join(sorted(found))
