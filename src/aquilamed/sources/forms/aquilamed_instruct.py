"""AquilaMed-Instruct: {"instruction": "问:…", "input": "", "output": "答:…"}, several rounds in "history" where there are any,
and in our own releases a "system" text.

The marks 问 and 答 before a text say who speaks, as roles do here, and go.
"""

import re
from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, history, pair, text

PUBLISHED = Published(
    "https://huggingface.co/datasets/BAAI/AquilaMed-Instruct", "BAAI/AquilaMed-Instruct", "Apache-2.0"
)

_MARK = re.compile(r"\s*[问答]\s*[:：]\s*")


def parse(value: Any) -> list[Message]:
    """The system text, the rounds of the history, then the question and its answer."""
    question, answer = asked(value), unmarked(text(value, "output"))
    return [*earlier(value), *pair(question, answer)]


def earlier(value: Any) -> list[Message]:
    """What stands before the last question."""
    system = text(value, "system", "")
    start: list[Message] = [{"role": "system", "content": system}] if system else []
    rounds: list[Message] = [{"role": m["role"], "content": unmarked(m["content"])} for m in history(value)]
    return start + rounds


def asked(value: Any) -> str:
    """The instruction and its input without the mark of a question."""
    return unmarked(f"{text(value, 'instruction', '')}\n{text(value, 'input', '')}".strip())


def unmarked(said: str) -> str:
    """A text without the mark of who speaks at its start."""
    return _MARK.sub("", said, count=1) if _MARK.match(said) else said
