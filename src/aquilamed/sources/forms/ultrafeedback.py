"""UltraFeedback binarised: {"prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected"};
both answers are whole conversations that begin with the prompt."""

from dataclasses import replace
from typing import Any

from aquilamed.sources.forms import trl_preference
from aquilamed.sources.forms.contract import Pair, Published, number

PUBLISHED = Published(
    "https://huggingface.co/datasets/HuggingFaceH4/ultrafeedback_binarized",
    "HuggingFaceH4/ultrafeedback_binarized",
    "MIT",
)


def parse(value: Any) -> Pair:
    """Prompt and both answers; the margin is the difference of the scores."""
    pair = trl_preference.parse(value)
    return replace(pair, margin=number(value, "score_chosen") - number(value, "score_rejected"))
