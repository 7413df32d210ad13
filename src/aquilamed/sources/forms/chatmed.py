"""ChatMed-Consult: {"query", "response"}, a patient's question from the web and a model's answer (JSONL named .json)."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, pair, text

PUBLISHED = Published("https://github.com/michael-wzhu/ChatMed", "michaelwzhu/ChatMed_Consult_Dataset", "CC-BY-4.0")


def parse(value: Any) -> list[Message]:
    """The question and its answer."""
    return pair(text(value, "query"), text(value, "response"))
