"""Huatuo-26M: JSONL with "questions" (a text, a list of wordings, or a list of such lists) and "answers" (a text or a list).
Its consultation part gives links instead of answers; its Lite part calls the fields "question" and "answer"."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, pair, text
from aquilamed.sources.raw import Misfit

PUBLISHED = Published(
    "https://github.com/FreedomIntelligence/Huatuo-26M", "FreedomIntelligence/huatuo_encyclopedia_qa", "Apache-2.0"
)


def parse(value: Any) -> list[Message]:
    """The first wording of the question and the first answer."""
    many = isinstance(value, dict) and "questions" in value
    answer = text(value, "answers" if many else "answer").strip()
    if answer.startswith(("http://", "https://")) and " " not in answer:
        raise Misfit("no_answer", f"the answer is a link: {answer[:80]}")
    return pair(text(value, "questions" if many else "question"), answer)
