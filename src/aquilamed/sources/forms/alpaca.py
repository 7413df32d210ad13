"""Alpaca's form: {"instruction", "input", "output"}; the input, where there is one, stands below the instruction."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import pair, text


def parse(value: Any) -> list[Message]:
    """One question and its answer."""
    question = f"{text(value, 'instruction', '')}\n{text(value, 'input', '')}".strip()
    return pair(question, text(value, "output"))
