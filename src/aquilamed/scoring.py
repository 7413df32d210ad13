"""Next-token probabilities without generation, in passes batched by length."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

BATCH_TOKENS = 4096
"""Padded tokens per forward pass: bounds the logits to 4096 × vocabulary × 4 bytes (0.8 GB for 49k entries)."""


def batches(rows: Sequence[Sequence[int]], tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Row indices in batches of similar length whose padded size stays below `tokens` (one long row may exceed it)."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * len(rows[index]) > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def next_logprobs(
    model: Any,
    rows: Sequence[Sequence[int]],
    choices: Sequence[int],
    on_batch: Callable[[int], None] | None = None,
    tokens: int = BATCH_TOKENS * 2,
    share: int = 8,
) -> Any:
    """Log-probabilities of the tokens `choices` behind every row; their softmax is that of their logits.

    What all rows begin with is computed once, when it is at least `share` tokens long; the rest is padded on the left,
    so that the last position is every row's and the head runs on it alone.

    Returns:
        A float32 tensor (rows, choices) on the CPU.
    """
    import torch

    where = model.device
    result = torch.empty((len(rows), len(choices)), dtype=torch.float32)
    common = shared_start(rows) if len(rows) > 1 else 0
    common = common if common >= share else 0
    with torch.inference_mode():
        start, key = None, ""
        if common:
            ids = torch.tensor([list(rows[0][:common])], device=where)
            told = model(input_ids=ids, use_cache=True, logits_to_keep=1)
            key = "cache" if hasattr(told, "cache") else "past_key_values"  # transformers renamed it in 5.2x
            start = told[key]
        rests = [row[common:] for row in rows]
        for batch in batches(rests, tokens):
            width = max(len(rests[i]) for i in batch)
            ids = torch.zeros((len(batch), width), dtype=torch.long)
            mask = torch.zeros((len(batch), common + width), dtype=torch.long)
            mask[:, :common] = 1
            for line, i in enumerate(batch):
                ids[line, width - len(rests[i]) :] = torch.tensor(rests[i])
                mask[line, common + width - len(rests[i]) :] = 1
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, common:]
            more: dict[str, Any] = {"use_cache": False}
            if start is not None:
                more = {"use_cache": True, key: repeated(start, len(batch))}
            logits = model(
                input_ids=ids.to(where),
                attention_mask=mask.to(where),
                position_ids=positions.to(where),
                logits_to_keep=1,
                **more,
            ).logits[:, -1]
            result[batch] = logits.float().log_softmax(-1)[:, list(choices)].cpu()
            if on_batch:
                on_batch(len(batch))
    return result


def shared_start(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with; at least one token of every row is left behind it."""
    first, last = min(rows, key=list), max(rows, key=list)  # all others lie between them
    most = min(len(row) for row in rows) - 1
    return next((i for i in range(most) if first[i] != last[i]), max(most, 0))


def repeated(cache: Any, rows: int) -> Any:
    """The key-value cache of one row for so many equal rows: a copy, because a pass writes into it."""
    copied = copy.deepcopy(cache)
    copied.batch_repeat_interleave(rows)
    return copied
