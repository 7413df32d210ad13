"""How many tokens a call will have, before it is sent: for `aquilamed plan`, and so that no batch is sent over the budget.

Measured on the call store's own calls where there are enough of them, else the rough sizes below.
"""

import re

from pydantic import BaseModel

from aquilamed.annotate.store import Answered

_DENSE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_OTHER = 3.5  # characters of other scripts per token; tokenizers of 2024 and later take about 4
_FIELD, _TEXT = 10, 200  # answer tokens: a label or number with its name, a free text
_ENOUGH = 20  # answered calls whose mean says more than these sizes


def text_tokens(text: str) -> int:
    """About how many tokens a text has: one per Chinese character, one per 3.5 others."""
    dense = len(_DENSE.findall(text))
    return dense + round((len(text) - dense) / _OTHER)


def answer_tokens(schema: type[BaseModel], max_tokens: int) -> int:
    """About how many tokens an answer of this form has."""
    properties = schema.model_json_schema()["properties"].values()
    return min(max_tokens, sum(_FIELD if "enum" in p or p.get("type") == "integer" else _TEXT for p in properties))


def measured(answered: Answered | None) -> tuple[float, float] | None:
    """The store's mean tokens of prompts and answers, where they rest on enough calls."""
    if answered is None or answered.calls < _ENOUGH or answered.tokens_in is None or answered.tokens_out is None:
        return None
    return answered.tokens_in, answered.tokens_out
