"""What calls of annotators, judges and endpoints are still to be made, and what they cost, before anything is sent."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquilamed.annotate.estimate import answer_tokens, measured, text_tokens
from aquilamed.annotate.store import CallStore
from aquilamed.config import Invalid
from aquilamed.known import Known
from aquilamed.pipeline import StageState
from aquilamed.planned_endpoints import PlannedAnswers, planned_answers
from aquilamed.planned_questions import ANNOTATING, Asked
from aquilamed.recipe import Recipe


@dataclass(frozen=True)
class PlannedCalls:
    """A row of the plan: the calls that are still to be made at most, those in the store being left out."""

    stage: str
    rubric: str
    calls: int | None
    stored: int
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    lengths: str
    lower: str


def planned_calls(recipe: Recipe, states: Iterable[StageState], root: Path) -> list[PlannedCalls]:
    """The calls of every stage that is not done. Those that the workspace's store holds an answer to are left out.

    Raises `Invalid` for a benchmark's file with a bad row.
    """
    known = Known(recipe, states)
    with _store(root) as store:
        asked = list(_asked_rows(recipe, known, store))
        return [*asked, *map(_answers_row, planned_answers(recipe, known, store))]


def _asked_rows(recipe: Recipe, known: Known, store: CallStore | None) -> Iterator[PlannedCalls]:
    """What annotator and judges are asked. The store is asked by model and rubric: another temperature is not seen here."""
    models = {config.model for config in (recipe.annotator, *recipe.evaluate.judges)}
    answered = {(m, mark): a for m in models for mark, a in store.answered(m).items()} if store else {}
    left = {key: a.calls for key, a in answered.items()}
    # Done stages first: the stored answers are theirs before they can be anybody else's.
    for state in sorted(known.states.values(), key=lambda s: s.artifact is None):
        for asked in ANNOTATING[state.name](recipe, known) if state.name in ANNOTATING else ():
            key = (asked.judge or recipe.annotator).model, asked.rubric.hash
            stored = min(left.get(key, 0), asked.count or 0)
            left[key] = left.get(key, 0) - stored
            if state.artifact is None:
                yield _row(recipe, state.name, asked, stored, measured(answered.get(key)))


def _answers_row(planned: PlannedAnswers) -> PlannedCalls:
    stage, endpoint, lower = planned.stage, planned.endpoint, planned.lower
    name = f"answers of {endpoint.name}"
    if not planned.whole:
        return PlannedCalls(stage, name, None, planned.stored, None, None, None, "", lower)
    cost = endpoint.cost(planned.tokens_in, planned.tokens_out)
    counts = planned.calls, planned.stored, planned.tokens_in, round(planned.tokens_out)
    return PlannedCalls(stage, name, *counts, cost, "the questions", lower)


def spent(root: Path) -> float:
    """What the workspace's calls cost so far, open batches with their estimates."""
    with _store(root) as store:
        return store.spent() if store else 0.0


def call_table(recipe: Recipe, rows: list[PlannedCalls]) -> list[dict[str, Any]]:
    """The plan's rows for people, with a sum where there is one."""
    cost = f"cost, {recipe.annotator.currency}"
    table = [
        {
            "stage": r.stage,
            "rubric": r.rubric,
            "calls at most": "not known yet" if r.calls is None else r.calls,
            "in the store": r.stored,
            "tokens in": r.tokens_in,
            "tokens out": r.tokens_out,
            cost: _money(r.cost, r.calls),
            "lengths from": r.lengths,
        }
        for r in rows
    ]
    return [*table, _sum(rows, cost)] if rows else []


def _sum(rows: list[PlannedCalls], cost: str) -> dict[str, Any]:
    known = [r for r in rows if r.calls is not None]
    return {
        "stage": "all" if len(known) == len(rows) else "all that are known",
        "rubric": "",
        "calls at most": sum(r.calls or 0 for r in known),
        "in the store": sum(r.stored for r in known),
        "tokens in": sum(r.tokens_in or 0 for r in known),
        "tokens out": sum(r.tokens_out or 0 for r in known),
        cost: _money(None if any(r.cost is None for r in known) else sum(r.cost or 0 for r in known), len(known)),
        "lengths from": "",
    }


def _money(cost: float | None, calls: int | None) -> str:
    if calls is None:
        return ""
    return "no price" if cost is None else f"{cost:,.2f}"


def check_budget(recipe: Recipe, rows: list[PlannedCalls], spent: float) -> None:
    """Raise `Invalid` when the planned calls cost more than the budget leaves."""
    config = recipe.annotator
    costs = {row: row.cost for row in rows if row.cost}
    if not costs or config.budget is None or spent + sum(costs.values()) <= config.budget:
        return
    keys = list(dict.fromkeys(r.lower for r in sorted(costs, key=lambda r: -costs[r])))
    raise Invalid(
        f"annotator.budget: the calls that are left cost about {sum(costs.values()):.4g} {config.currency}, {spent:.4g} "
        f"is spent, and the budget is {config.budget:g}; raise the budget or lower {', '.join(keys)}"
    )


def _row(recipe: Recipe, stage: str, asked: Asked, stored: int, told: tuple[float, float] | None) -> PlannedCalls:
    config, rubric = asked.judge or recipe.annotator, asked.rubric
    name = f"{rubric.name} ({config.model or config.kind})" if asked.judge else rubric.name
    if asked.count is None:
        return PlannedCalls(stage, name, None, stored, None, None, None, asked.basis, asked.lower)
    calls = asked.count - stored
    frame = text_tokens(rubric.render(dict.fromkeys(rubric.fields, "")))
    each_in, each_out = told or (frame + asked.judged, answer_tokens(rubric.schema, config.max_tokens))
    cost = config.cost(calls * each_in, calls * each_out, config.mode == "batch") if config.kind == "openai" else 0.0
    tokens = (round(calls * each_in), round(calls * each_out)) if config.kind != "offline" else (0, 0)
    basis = "stored calls" if told else asked.basis
    return PlannedCalls(stage, name, calls, stored, *tokens, cost, basis, asked.lower)


@contextmanager
def _store(root: Path) -> Iterator[CallStore | None]:
    """The workspace's call store, if it has one: looking makes none."""
    path = root / "calls.sqlite"
    store = CallStore(path) if path.exists() else None
    try:
        yield store
    finally:
        if store:
            store.close()
