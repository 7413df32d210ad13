"""What a model thinks of a given text: of every token its log-probability behind those before it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

CHUNK = 256  # tokens in one pass: bounds the logits to 256 × vocabulary × 4 bytes
Entry = tuple[int, float | None, list[tuple[int, float]]]
"""A token's id, its natural log-probability, and the likeliest tokens in its place with theirs."""


def beside(model: Any) -> Any:
    """Another model object with the same weights in memory, for passes beside the batch's.

    While transformers' continuous batching runs a pass it sets `config.is_causal` of its model to False; another thread's
    pass through that model would look ahead.
    """
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def prompt_logprobs(
    model: Any, prompt: Sequence[int], top: int, gone: Callable[[], bool] = lambda: False
) -> list[Entry]:
    """Every token of a prompt with its log-probability; the first has none, since nothing stands before it.

    Args:
        top: how many of the likeliest tokens to name.
        gone: asked between passes whether nobody waits any more; the rest is then left out.
    """
    import torch

    found: list[Entry] = [(prompt[0], None, [])]
    cache: dict[str, Any] = {}
    with torch.inference_mode():
        for start in range(0, len(prompt) - 1, CHUNK):
            if gone():
                break
            ids = torch.tensor([prompt[start : start + CHUNK]], device=model.device)
            told = model(input_ids=ids, use_cache=True, **cache)
            key = "cache" if hasattr(told, "cache") else "past_key_values"  # transformers renamed it in 5.2x
            cache = {key: told[key]}
            following = torch.tensor(prompt[start + 1 : start + CHUNK + 1], device=model.device)
            logs = told.logits[0, : len(following)].float().log_softmax(-1)
            chosen = logs.gather(1, following[:, None])[:, 0].tolist()
            best = logs.topk(min(top, logs.shape[1]))
            likeliest = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            for token, value, (ids_, values) in zip(following.tolist(), chosen, likeliest, strict=True):
                found.append((token, value, list(zip(ids_, values, strict=True))))
    return found
