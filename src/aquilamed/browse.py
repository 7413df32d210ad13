"""Look into a workspace: what a stage rejected."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from aquilamed.config import Invalid
from aquilamed.pipeline import states
from aquilamed.recipe import Recipe
from aquilamed.records import iter_parts
from aquilamed.workspace import Workspace


def dropped_records(
    recipe: Recipe, workspace: Workspace, stage: str, reason: str | None = None, limit: int = 20
) -> list[dict[str, Any]]:
    """The first `limit` records that a finished data stage dropped, with all their columns.

    Raises `Invalid` when the stage is unknown, not done, or writes no records, or when no record has that reason.
    """
    found = {s.name: s for s in states(recipe, workspace)}
    if stage not in found:
        raise Invalid(f"no stage {stage!r} in this workspace; it has: {', '.join(found)}")
    artifact = found[stage].artifact
    if artifact is None:
        raise Invalid(f"{stage} is not done ({found[stage].state}); run the recipe first")
    reasons = artifact.manifest.get("reasons")
    if reasons is None:
        raise Invalid(f"{stage} writes no records")
    if reason is not None and reason not in reasons:
        raise Invalid(f"{stage} dropped nothing for {reason!r}; its reasons: {', '.join(reasons) or 'none'}")
    rows: list[dict[str, Any]] = []
    for frame in _matching(iter_parts(artifact.dropped), reason):
        rows += frame.head(limit - len(rows)).to_dicts()
        if len(rows) == limit:
            break
    return rows


def _matching(frames: Iterator[pl.DataFrame], reason: str | None) -> Iterator[pl.DataFrame]:
    for frame in frames:
        yield frame if reason is None else frame.filter(pl.col("reason") == reason)
