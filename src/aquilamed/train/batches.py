"""Packed rows as batches whose documents cannot see each other, and the loss on such rows."""

from collections.abc import Iterable, Sequence
from typing import Any

from aquilamed.config import StageFailed

Row = dict[str, Any]


def collate(rows: Sequence[Row], pad: int) -> dict[str, Any]:
    """Packed rows as one batch: `input_ids`, `position_ids`, `labels`, and on purpose no attention mask.

    Without a mask and without a cache, transformers finds the documents by where positions restart and keeps attention
    inside each; a cache (on by default) silently lets it leak, hence `use_cache`. Padding is one more document.
    A document's first token has no context, so it is never a label.
    """
    import torch

    width = max(len(r["input_ids"]) for r in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    positions, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        size = len(row["input_ids"])
        ids[i, :size] = torch.as_tensor(row["input_ids"])
        positions[i, :size] = torch.as_tensor(row["position_ids"])
        positions[i, size:] = torch.arange(width - size)
        labels[i, :size] = torch.as_tensor(row.get("labels", row["input_ids"]))
        labels[i, :size][positions[i, :size] == 0] = -100
    return {"input_ids": ids, "position_ids": positions, "labels": labels, "use_cache": False}


def mean_loss(model: Any, rows: Iterable[Row], pad: int) -> tuple[float, int]:
    """Mean negative log-likelihood (nats per label) of packed rows, and the number of labels.

    Raises `StageFailed` when there is no label: a mean of nothing is not a number.
    """
    import torch

    total, count = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for row in rows:
            batch = {k: v.to(model.device) if k != "use_cache" else v for k, v in collate([row], pad).items()}
            labels = batch.pop("labels")[:, 1:]
            logits = model(**batch).logits[:, :-1]
            wanted = labels != -100
            losses = torch.nn.functional.cross_entropy(logits[wanted].float(), labels[wanted], reduction="sum")
            total, count = total + float(losses), count + int(wanted.sum())
    if not count:
        raise StageFailed("there is no token to measure the loss on")
    return total / count, count
