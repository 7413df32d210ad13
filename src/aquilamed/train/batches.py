"""Packed rows as batches whose documents cannot see each other, and the loss on such rows."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from aquilamed.config import StageFailed
from aquilamed.train import ranks
from aquilamed.train.fast import takes_documents
from aquilamed.train.flash import Documents
from aquilamed.train.shard import let_go

Row = dict[str, Any]
Loss = tuple[float, int]
"""Of one document: nats in all, and how many labels they are of."""


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


def flatten(rows: Sequence[Row]) -> dict[str, Any]:
    """Packed rows as one row without padding, with `documents`, for a model that `takes_documents`."""
    import torch

    ids, positions, labels = (
        torch.cat([torch.as_tensor(r.get(name, r["input_ids"])).long() for r in rows])[None]
        for name in ("input_ids", "position_ids", "labels")
    )
    starts = [*torch.where(positions[0] == 0)[0].tolist(), ids.shape[1]]
    return {
        "input_ids": ids,
        "position_ids": positions,
        "labels": labels.masked_fill(positions == 0, -100),
        **Documents((a, b, 0, 0) for a, b in pairwise(starts)).inputs(),
    }


def batch_for(model: Any, rows: Sequence[Row], pad: int) -> dict[str, Any]:
    """Packed rows as the batch that suits a model: flat where it takes documents, else padded."""
    return flatten(rows) if takes_documents(model) else collate(rows, pad)


def collator(model: Any, pad: int) -> Callable[[Sequence[Row]], dict[str, Any]]:
    """What makes a training batch of packed rows, with the `records` that are in it."""
    return lambda rows: {
        **batch_for(model, rows, pad),
        "fused_lm_head": True,
        "records": [name for r in rows for name in r["records"]],
    }


def mean_loss(
    model: Any, rows: ranks.Indexed, pad: int, on_row: Callable[[], None] = lambda: None
) -> tuple[float, int]:
    """Mean negative log-likelihood (nats per label) of packed rows, and the number of labels.

    Processes that train together share the rows; all must call this.

    Args:
        on_row: called after each row of this process.

    Raises `StageFailed` when there is no label: a mean of nothing is not a number.
    """
    mine = [loss for _, row in _own_losses(model, rows, pad, on_row) for loss in row]
    total, labels = ranks.total(sum(nats for nats, _ in mine), sum(n for _, n in mine))
    if not labels:
        raise StageFailed("there is no token to measure the loss on")
    return total / labels, int(labels)


def document_losses(
    model: Any, rows: ranks.Indexed, pad: int, on_row: Callable[[], None] = lambda: None
) -> list[list[Loss]]:
    """The loss of every document of packed rows, row by row; see `mean_loss`."""
    found = [row for part in ranks.gathered(list(_own_losses(model, rows, pad, on_row))) for row in part]
    return [losses for _, losses in sorted(found)]


def _own_losses(
    model: Any, rows: ranks.Indexed, pad: int, on_row: Callable[[], None]
) -> Iterator[tuple[int, list[Loss]]]:
    """(number of a row, its documents' losses) of this process' rows."""
    import torch

    model.eval()
    fused = getattr(model, "fused_head", False)
    device = model.device.type
    half = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")  # as in training
    with torch.no_grad(), half:  # what a sharded model gathers in inference mode could not be trained with
        for number, (row, counts) in enumerate(ranks.share(rows)):
            batch = {k: v.to(model.device) if hasattr(v, "to") else v for k, v in batch_for(model, [row], pad).items()}
            labels = batch.pop("labels")
            wanted = labels[:, 1:] != -100
            if fused:
                losses = -model(**batch, labels=labels, fused_lm_head=True).log_probs[wanted]
            else:
                logits, targets = model(**batch).logits[:, :-1], labels[:, 1:]
                losses = torch.nn.functional.cross_entropy(logits[wanted].float(), targets[wanted], reduction="none")
            if counts:
                document = (batch["position_ids"] == 0).cumsum(1)[:, 1:][wanted] - 1
                sums = torch.zeros(int((batch["position_ids"] == 0).sum()), dtype=torch.float64, device=losses.device)
                nats = sums.index_add(0, document, losses.double()).tolist()
                labelled = document.bincount(minlength=len(nats)).tolist()
                yield ranks.index() + number * ranks.count(), list(zip(nats, labelled, strict=True))
                on_row()
    let_go(model)
