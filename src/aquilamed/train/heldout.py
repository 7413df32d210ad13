"""Losses of held-out documents, each kept for itself: perplexities with intervals, and paired tests of two models.

heldout/ of a training holds a row per document (dialogue): its `id`, `lang` ("all" where languages are not told apart),
`tokens` (predicted ones), and the nats of all of them under the model `before` and `after` the training.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.config import StageFailed
from aquilamed.corpus.pack import PackedRows, documents
from aquilamed.evaluate.statistics import by_chance, ratio_interval
from aquilamed.stage import Context
from aquilamed.train import ranks
from aquilamed.train.batches import Row, document_losses

FOLDER = "heldout"
Losses = list[tuple[str, str, int, float]]
"""(language, id, predicted tokens, nats) per document."""
_KEYS = {"lang": pl.String, "id": pl.String, "tokens": pl.Int64}


def measure(ctx: Context, model: Any, pack: Path, pad: int) -> Losses:
    """The losses of all held-out documents of a pack; a document's pieces are summed.

    Processes that train together share the rows; all must call this.
    """
    found: Losses = []
    for folder in sorted((pack / "heldout").glob("*")):
        rows = PackedRows(folder)
        own = -(-len(rows) // ranks.count())
        with ctx.progress.track(f"held-out {folder.name}", total=own, unit="row") as bar:
            losses = document_losses(model, rows, pad, bar.advance)
        sums: dict[str, tuple[int, float]] = {}
        for names, row in zip(documents(folder), losses, strict=True):
            for name, (nats, tokens) in zip(names, row, strict=True):
                before = sums.get(name, (0, 0.0))
                sums[name] = before[0] + tokens, before[1] + nats
        if not any(tokens for tokens, _ in sums.values()):
            raise StageFailed(f"the held-out documents in {folder.name} hold no token to measure the loss on")
        found += [(folder.name, name, tokens, nats) for name, (tokens, nats) in sorted(sums.items()) if tokens]
    return found


def measure_rows(model: Any, rows: Sequence[Row], pad: int) -> Losses:
    """The losses of packed rows whose `records` name their documents; see `measure`."""
    losses = document_losses(model, rows, pad)
    named = (one for row, found in zip(rows, losses, strict=True) for one in zip(row["records"], found, strict=True))
    return sorted(("all", name, tokens, nats) for name, (nats, tokens) in named)


def mean(losses: Sequence[Sequence[Any]]) -> float:
    """Nats per predicted token."""
    return float(sum(nats for *_, nats in losses) / sum(tokens for _, _, tokens, _ in losses))


def table(before: Sequence[Sequence[Any]], after: Losses) -> pl.DataFrame:
    """What both models measured of the same documents, as in heldout/."""
    first, second = (
        pl.DataFrame(rows, {**_KEYS, name: pl.Float64}, orient="row")
        for rows, name in ((before, "before"), (after, "after"))
    )
    return first.join(second, on=[*_KEYS], how="inner", validate="1:1", maintain_order="left")


def figures(losses: pl.DataFrame) -> dict[str, Any]:
    """Perplexity per token by language, `before` and `after`, its 95 % bootstrap `intervals` and how many `documents`."""
    told: dict[str, Any] = {"before": {}, "after": {}, "intervals": {"before": {}, "after": {}}, "documents": {}}
    for lang, rows in _languages(losses):
        told["documents"][lang] = rows.height
        tokens = rows["tokens"].to_list()
        for when in ("before", "after"):
            nats = rows[when].to_list()
            told[when][lang] = round(math.exp(sum(nats) / sum(tokens)), 4)
            span = ratio_interval(nats, tokens)
            told["intervals"][when][lang] = span and [round(math.exp(end), 4) for end in span]
    return told


def compare(first: pl.DataFrame, second: pl.DataFrame, when: tuple[str, str]) -> list[dict[str, Any]]:
    """Two models on the documents that both tables have, by language.

    Args:
        when: the column of nats in each table.

    Returns `lang`, `documents`, `tokens`, `first` and `second` (nats per token), their `difference` with its 95 %
    `interval` (paired bootstrap over documents), and `noise` (see `statistics.by_chance`).
    """
    one, two = (t.select(*_KEYS, pl.col(w).alias(name)) for t, w, name in zip((first, second), when, "ab", strict=True))
    found = []
    for lang, rows in _languages(one.join(two, on=[*_KEYS], how="inner", maintain_order="left")):
        tokens = rows["tokens"].to_list()
        total = sum(tokens)
        span = ratio_interval((rows["b"] - rows["a"]).to_list(), tokens)
        mean = [float(rows[c].sum()) / total for c in "ab"]
        told = {"lang": lang, "documents": rows.height, "tokens": total, "first": mean[0], "second": mean[1]}
        found.append(told | {"difference": mean[1] - mean[0], "interval": span, "noise": by_chance(span, rows.height)})
    return found


def _languages(losses: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [(str(lang), rows) for (lang,), rows in losses.group_by("lang", maintain_order=True)]
