"""ShareGPT's form with two answers: {"conversations": [{"from", "value"}, …], "chosen", "rejected"}; an answer is a text
or one {"from": "gpt", "value"}."""

from typing import Any

from aquilamed.sources.forms import sharegpt
from aquilamed.sources.forms.contract import Pair, answered, text


def parse(value: Any) -> Pair:
    """The conversation up to the answer, and both answers."""
    return answered(sharegpt.parse(value), _answer(value, "chosen"), _answer(value, "rejected"))


def _answer(value: Any, name: str) -> str:
    found = value[name] if isinstance(value, dict) and isinstance(value.get(name), dict) else None
    return text(found, "value") if found is not None else text(value, name)
