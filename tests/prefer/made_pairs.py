"""Preference pairs that we wrote, and judgements of them, for the tests of selection and review."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

import tiny_model
from aquilamed.prefer.judgements import shown_hash
from aquilamed.records import PREFERENCE, to_schema
from aquilamed.stage import Context

FEVER = "My child has had a fever of 38.9 for two days, what should I do at home and when do we see a doctor?"
GOOD = (
    "Give plenty of fluids and paracetamol by weight, and see a doctor at once if the child is drowsy or breathes fast."
)
BAD = (
    "Fevers come and go, so there is nothing to think about here and the child may as well go swimming this afternoon."
)


def pair(name: str, chosen: str = GOOD, rejected: str = BAD, prompt: str = FEVER, **more: Any) -> dict[str, Any]:
    common = {"id": name, "source": "made", "license": "CC0-1.0", "origin": f"made:{name}", "lang": "en"}
    turns = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    said = {key: [{"role": role, "content": text}] for key, (role, text) in turns.items()}
    return {**common, "kind": "subjective", "margin": 0.5, **said, **more}


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=to_schema(PREFERENCE), orient="row")


def said(row: dict[str, Any], rater: str, verdict: str, chosen_first: bool = True, **more: Any) -> dict[str, Any]:
    """A judgement of a pair; with `chosen_first` A is the chosen answer."""
    sides = [row["chosen"], row["rejected"]][:: 1 if chosen_first else -1]
    return {"pair": row["id"], "shown": shown_hash(row["prompt"], *sides), "rater": rater, "verdict": verdict, **more}


def context(tmp_path: Path, rows: list[dict[str, Any]], name: str = "out") -> Context:
    before = tiny_model.table(tmp_path, "prefer/decontaminate", table(rows))
    ctx = tiny_model.context(tmp_path, tmp_path, {"prefer/decontaminate": before}, name)
    ctx.recipe.data_folder = lambda: tmp_path  # type: ignore[method-assign]
    assert isinstance(ctx.recipe, SimpleNamespace)
    return ctx
