"""AquilaMed-RL: {"instruction", "input", "output": [chosen, rejected]}, several rounds in "history" where there are any."""

from typing import Any

from aquilamed.sources.forms.aquilamed_instruct import asked, earlier, unmarked
from aquilamed.sources.forms.contract import Pair, Published, answered
from aquilamed.sources.raw import Misfit

PUBLISHED = Published("https://huggingface.co/datasets/BAAI/AquilaMed-RL", "BAAI/AquilaMed-RL", "Apache-2.0")


def parse(value: Any) -> Pair:
    """The instruction, its first output and its second."""
    outputs = value.get("output") if isinstance(value, dict) else None
    if not isinstance(outputs, list) or len(outputs) != 2 or not all(isinstance(o, str) for o in outputs):
        raise Misfit("wrong_type", "field 'output' is no list of two texts, [chosen, rejected]")
    chosen, rejected = map(unmarked, outputs)
    return answered([*earlier(value), {"role": "user", "content": asked(value)}], chosen, rejected)
