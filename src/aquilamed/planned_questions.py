"""What the annotator and the further judges will be asked, stage by stage.

A stage that asks them has a row in `ANNOTATING`: a function from the recipe and what is known of the data to the questions
it asks at most. Repairs of unusable answers are not counted.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
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
from aquilamed.annotate.estimate import text_tokens
from aquilamed.evaluate.contestants import STAGE_OF
from aquilamed.evaluate.probe import cases
from aquilamed.evaluate.tasks import BenchmarkConfig
from aquilamed.instruct.topics import departments
from aquilamed.known import BOUND, Known, Lengths
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


def _contestants(names: Iterable[str], known: Known) -> list[str]:
    """Those models that the recipe makes, and endpoints."""
    others = {"base", *(e.name for e in known.recipe.evaluate.endpoints)}
    return [n for n in names if n in others or any(s in known.states for s in STAGE_OF.get(n, ()))]


def _benchmark(known: Known, benchmark: BenchmarkConfig, limit: int | None) -> tuple[int | None, Lengths]:
    """How many items of a benchmark are judged at most, and their lengths."""
    items = known.items(benchmark, limit)
    if items is None:
        return benchmark.limit if benchmark.limit is not None else limit, known.bound
    return len(items), known.lengths("the benchmark's files", [d.messages for d in items])


def _least(wanted: int, there: int | None) -> int:
    return wanted if there is None else min(wanted, there)


def _most(wanted: int | None, there: int | None) -> int | None:
    return there if wanted is None else _least(wanted, there)
