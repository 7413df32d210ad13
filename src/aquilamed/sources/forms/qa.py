"""Question and answer under two field names: {"question", "answer"}; other names by the source's `fields`."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import pair, text


def parse(value: Any) -> list[Message]:
    """One question and its answer."""
    return pair(text(value, "question"), text(value, "answer"))
