"""Preference pairs as batches in which a pair's prompt is run once for both answers.

A pair is one stretch of tokens, prompt + chosen + rejected. The rejected answer looks back at the prompt (its shared
prefix) and not at the chosen answer, and its positions go on from the prompt's end.
"""

from collections.abc import Sequence
from typing import Any

from aquilamed.train.flash import Documents, Span

Pair = dict[str, Any]
"""`prompt_ids`, `chosen_ids`, `rejected_ids`, and perhaps `ref_chosen_logps`, `ref_rejected_logps`."""


def share_prompts(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The `shared` argument of a model with our head: what it is called with, and `heads`.

    `heads` holds the places whose states predict the answers' tokens: all chosen answers', then all rejected ones', as
    in TRL's batches.
    """
    import torch

    ids: list[int] = []
    positions: list[int] = []
    spans: list[Span] = []
    heads: dict[str, list[int]] = {"chosen_ids": [], "rejected_ids": []}
    for pair in pairs:
        start, prompt = len(ids), len(pair["prompt_ids"])
        chosen, rejected = len(pair["chosen_ids"]), len(pair["rejected_ids"])
        middle = start + prompt + chosen
        ids += [*pair["prompt_ids"], *pair["chosen_ids"], *pair["rejected_ids"]]
        positions += [*range(prompt + chosen), *range(prompt, prompt + rejected)]
        spans += [(start, middle, 0, 0), (middle, middle + rejected, start, start + prompt)]
        last = start + prompt - 1  # the prompt's last state predicts the first token of both answers
        heads["chosen_ids"] += range(last, last + chosen)
        heads["rejected_ids"] += [last, *range(middle, middle + rejected - 1)]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        **Documents(spans).inputs(),
        "heads": torch.tensor(heads["chosen_ids"] + heads["rejected_ids"]),
    }
