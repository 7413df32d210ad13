"""Reward models' sets: {"question", "response_chosen", "response_rejected"}, with rounds in "history" and a "system" text
where there are any."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Pair, answered, history, text


def parse(value: Any) -> Pair:
    """The question and both answers."""
    system = text(value, "system", "").strip()
    start: list[Message] = [{"role": "system", "content": system}] if system else []
    prompt: list[Message] = [*start, *history(value), {"role": "user", "content": text(value, "question")}]
    return answered(prompt, text(value, "response_chosen"), text(value, "response_rejected"))
