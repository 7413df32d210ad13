"""What the annotator will be asked, stage by stage, and what that costs, before anything is sent.

A stage that asks an annotator has a row in `ANNOTATING`: a function from the recipe and what is known of the data to the
questions it asks at most. Repairs of unusable answers are not counted.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aquilamed.annotate import (
    ANSWER,
    COMPARE,
    COMPLEXITY,
    QUALITY,
    RESPONSE_QUALITY,
    SAFE_ANSWER,
    SAFETY,
    TURN,
    AnnotatorConfig,
    Rubric,
    department_rubric,
    domain_rubric,
)
from aquilamed.annotate.estimate import answer_tokens, measured, text_tokens
from aquilamed.annotate.store import CallStore
from aquilamed.config import Invalid
from aquilamed.evaluate.contestants import STAGE_OF
from aquilamed.evaluate.probe import cases
from aquilamed.instruct.topics import departments
from aquilamed.known import BOUND, Known, Lengths
from aquilamed.pipeline import StageState
from aquilamed.recipe import Recipe


@dataclass(frozen=True)
class Asked:
    """Questions of one rubric. `count` is None while nobody knows how many; `judged` is the mean tokens of an item."""

    rubric: Rubric[Any]
    count: int | None
    judged: float
    basis: str
    lower: str
    """The recipe's key that makes them fewer."""
    judge: AnnotatorConfig | None = None
    """Who is asked, where it is not the recipe's annotator."""


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


def _domain_labels(recipe: Recipe, known: Known) -> list[Asked]:
    config, lengths = recipe.corpus.domain_labels, known.documents
    per_round = max(1, round(config.per_round * config.seeds / len(config.languages))) * len(config.languages)
    documents = _least(config.seeds + config.rounds * per_round, known.kept("corpus/decontaminate"))
    rubric = domain_rubric(config.domain, config.about)
    return [Asked(rubric, 2 * documents, lengths.text, lengths.basis, "corpus.domain_labels.seeds")]


def _quality_labels(recipe: Recipe, known: Known) -> list[Asked]:
    documents = _least(recipe.corpus.quality_labels.samples, known.kept("corpus/domain"))
    lengths = known.documents
    return [Asked(QUALITY, 2 * documents, lengths.text, lengths.basis, "corpus.quality_labels.samples")]


def _safety(recipe: Recipe, known: Known) -> list[Asked]:
    config, lengths = recipe.instruct.safety, known.dialogues
    if not config.max_judged:
        return []
    dialogues = _least(config.max_judged + config.audit, known.kept("instruct/decontaminate"))
    judged = lengths.dialogue + lengths.answer
    return [Asked(SAFETY, 2 * dialogues, judged, lengths.basis, "instruct.safety.max_judged")]


def _topics(recipe: Recipe, known: Known) -> list[Asked]:
    config, lengths = recipe.instruct.topics, known.dialogues
    if config.by != "annotator":
        return []
    dialogues = known.kept("instruct/safety")
    count = None if dialogues is None else dialogues * (2 if config.two_rounds else 1)
    judged = lengths.dialogue + lengths.answer
    return [Asked(department_rubric(departments()), count, judged, lengths.basis, "instruct.topics.by (rules)")]


def _deita(recipe: Recipe, known: Known) -> list[Asked]:
    config, lengths = recipe.instruct.deita, known.dialogues
    if config.scorer != "annotator":
        return []
    dialogues, lower = known.kept("instruct/topics"), "instruct.deita.sample"
    if config.sample is not None:
        dialogues = _least(config.sample, dialogues)
    count = None if dialogues is None else round(dialogues * lengths.rounds)
    return [
        Asked(COMPLEXITY, count, lengths.question, lengths.basis, lower),
        Asked(RESPONSE_QUALITY, count, lengths.question + lengths.answer, lengths.basis, lower),
    ]


def _subjective(recipe: Recipe, known: Known) -> list[Asked]:
    config, lengths = recipe.prefer.subjective, known.dialogues
    assert config is not None
    prompts, lower = _least(config.prompts, known.kept("instruct/select")), "prefer.subjective.prompts"
    compared = lengths.dialogue + 2 * lengths.answer
    asked = [Asked(COMPARE, 2 * prompts, compared, lengths.basis, lower)]
    if config.answers == "annotator":
        asked.insert(0, Asked(ANSWER, prompts, lengths.dialogue, lengths.basis, lower))
    return asked


def _pairwise(recipe: Recipe, known: Known) -> list[Asked]:
    config = recipe.evaluate.pairwise
    assert config is not None
    names = _contestants(config.models, known)
    others = ["reference", *_contestants(config.against, known)]
    matches = sum(name != other for name in names for other in config.against if other in others)
    asked = []
    for b in recipe.evaluate.benchmarks:
        if b.kind == "single":
            count, lengths = _benchmark(known, b, config.limit)
            judged = lengths.dialogue + 2 * lengths.answer
            pairs = None if count is None else 2 * matches * count
            asked += _panel(recipe, Asked(COMPARE, pairs, judged, lengths.basis, "evaluate.pairwise.limit"))
    return asked


def _panel(recipe: Recipe, asked: Asked) -> list[Asked]:
    """The same questions, once for every judge."""
    return [asked, *(replace(asked, judge=judge) for judge in recipe.evaluate.judges)]


def _multiturn(recipe: Recipe, known: Known) -> list[Asked]:
    config = recipe.evaluate.multiturn
    assert config is not None
    models = len(_contestants(config.models, known))
    asked = []
    for b in recipe.evaluate.benchmarks:
        if b.kind == "multi":
            count, lengths = _benchmark(known, b, config.limit)
            most = config.rounds or math.inf
            turns = min(most, math.inf if lengths.basis == BOUND else lengths.rounds)
            judged = lengths.dialogue + lengths.answer
            answers = None if count is None or math.isinf(turns) else round(models * turns * count)
            asked += _panel(recipe, Asked(TURN, answers, judged, lengths.basis, "evaluate.multiturn.limit"))
    return asked


def _safety_probe(recipe: Recipe, known: Known) -> list[Asked]:
    config = recipe.evaluate.safety
    assert config is not None
    asked = cases(config.languages, config.limit, recipe.seed)
    # At most: what the rules decide is not asked. The answers' length is the bound too.
    judged = config.max_new_tokens + sum(text_tokens(c.text) for c in asked) / len(asked)
    count = len(_contestants(config.models, known)) * len(asked)
    return [Asked(SAFE_ANSWER, count, judged, "the probe, max_new_tokens", "evaluate.safety.limit")]


def _calibration(recipe: Recipe, known: Known) -> list[Asked]:
    config, lengths = recipe.evaluate.calibration, known.dialogues
    assert config is not None
    pairs = config.limit if config.files else _most(config.limit, known.kept("prefer/decontaminate"))
    judged = lengths.dialogue + 2 * lengths.answer
    asked = Asked(COMPARE, None if pairs is None else 2 * pairs, judged, lengths.basis, "evaluate.calibration.limit")
    return _panel(recipe, asked)


ANNOTATING: dict[str, Callable[[Recipe, Known], list[Asked]]] = {
    "corpus/domain_labels": _domain_labels,
    "corpus/quality_labels": _quality_labels,
    "instruct/safety": _safety,
    "instruct/topics": _topics,
    "instruct/deita": _deita,
    "prefer/subjective": _subjective,
    "evaluate/pairwise": _pairwise,
    "evaluate/multiturn": _multiturn,
    "evaluate/safety": _safety_probe,
    "evaluate/calibration": _calibration,
}


def planned_calls(recipe: Recipe, states: Iterable[StageState], root: Path) -> list[PlannedCalls]:
    """The calls of every stage that is not done. Those that the workspace's store holds an answer to are left out.

    The store is asked by model and rubric; a changed temperature or max_tokens is not seen here.
    """
    found = list(states)
    known = Known(recipe, found)
    with _store(root) as store:
        models = {config.model for config in (recipe.annotator, *recipe.evaluate.judges)}
        answered = {(m, mark): a for m in models for mark, a in store.answered(m).items()} if store else {}
    left = {key: a.calls for key, a in answered.items()}
    rows = []
    # Done stages first: the stored answers are theirs before they can be anybody else's.
    for state in sorted(found, key=lambda s: s.artifact is None):
        for asked in ANNOTATING[state.name](recipe, known) if state.name in ANNOTATING else ():
            key = (asked.judge or recipe.annotator).model, asked.rubric.hash
            stored = min(left.get(key, 0), asked.count or 0)
            left[key] = left.get(key, 0) - stored
            if state.artifact is None:
                rows.append(_row(recipe, state.name, asked, stored, measured(answered.get(key))))
    return [*rows, *(row for state in found if state.artifact is None for row in _endpoints(recipe, state.name))]


def _endpoints(recipe: Recipe, stage: str) -> list[PlannedCalls]:
    """A stage's contestants behind endpoints: how many calls they get is not worked out before the run."""
    config = getattr(recipe.evaluate, stage.removeprefix("evaluate/"), None)
    names = dict.fromkeys([*getattr(config, "models", []), *getattr(config, "against", [])])
    return [
        PlannedCalls(stage, f"answers of {e.name}", None, 0, None, None, None, "", f"{stage.replace('/', '.')}.limit")
        for e in recipe.evaluate.endpoints
        if e.name in names
    ]


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


def _contestants(names: Iterable[str], known: Known) -> list[str]:
    """Those models that the recipe makes."""
    return [n for n in names if n == "base" or any(s in known.states for s in STAGE_OF.get(n, ()))]


def _benchmark(known: Known, benchmark: Any, limit: int | None) -> tuple[int | None, Lengths]:
    """How many items of a benchmark are judged, and their lengths."""
    most = benchmark.limit if benchmark.limit is not None else limit
    items = known.benchmark(benchmark)
    if not items:
        return most, known.bound
    count = len(items) if most is None else min(most, len(items))
    return count, known.lengths("the benchmark's files", [d.messages for d in items])


def _least(wanted: int, there: int | None) -> int:
    return wanted if there is None else min(wanted, there)


def _most(wanted: int | None, there: int | None) -> int | None:
    return there if wanted is None else _least(wanted, there)
