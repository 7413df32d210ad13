"""What models behind `evaluate.endpoints` will be asked: each evaluation's own code asks an endpoint that makes no call.

Stored answers stand where they would in the run. Any other answer is as long as it may be, so that no later prompt is
longer than planned; how many tokens it takes is what the store measured, else that greatest length.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from aquilamed.annotate.contract import CallError
from aquilamed.annotate.estimate import measured, text_tokens
from aquilamed.annotate.store import CallStore
from aquilamed.evaluate.endpoint_calls import LIKELIHOOD, Call, EndpointCalls, EndpointConfig
from aquilamed.evaluate.knowledge import ask, orders, shots_of
from aquilamed.evaluate.multiturn import converse
from aquilamed.evaluate.probe import cases
from aquilamed.known import Known
from aquilamed.recipe import Recipe

_TOKEN = "。"  # noqa: S105 - a text of one token


@dataclass
class PlannedAnswers:
    """Calls of an endpoint by a stage that is not done; `whole` is False while files of its benchmarks are not there."""

    stage: str
    endpoint: EndpointConfig
    lower: str
    """The recipe's key that makes them fewer."""
    calls: int = 0
    stored: int = 0
    tokens_in: int = 0
    tokens_out: float = 0.0
    whole: bool = True


class _Planned(EndpointCalls):
    """Counts the calls that it would make in `row`."""

    def __init__(self, config: EndpointConfig, store: CallStore | None) -> None:
        super().__init__(config)
        self.store = store
        self.answered = store.answered(config.model) if store else {}
        self.came: dict[str, str] = {}
        self.row = PlannedAnswers("", config, "")

    def _probe(self, call: Call, ending: str) -> None:
        self._all([call], "")

    def _all(self, calls: Sequence[Call], label: str) -> list[str | CallError]:
        for call in calls:
            if call.question.key not in self.came:
                self.came[call.question.key] = self._answer(call)
        return [self.came[call.question.key] for call in calls]

    def _answer(self, call: Call) -> str:
        if self.store and (stored := self.store.answers(call.question.key)):
            self.row.stored += 1
            return stored[0]
        told = measured(self.answered.get(call.question.rubric_hash))
        self.row.calls += 1
        self.row.tokens_in += text_tokens(call.text)
        self.row.tokens_out += min(told[1], call.max_tokens) if told else call.max_tokens
        return "null" if call.question.rubric == LIKELIHOOD else _TOKEN * call.max_tokens


def planned_answers(recipe: Recipe, known: Known, store: CallStore | None) -> Iterator[PlannedAnswers]:
    """A row per evaluation that is not done and endpoint that it asks; a call that two of them make counts in the first.

    Raises `Invalid` for a benchmark file with a bad row.
    """
    planned = {e.name: _Planned(e, store) for e in recipe.evaluate.endpoints}
    for stage in (s for s in _ASKING if s in known.states and known.states[s].artifact is None):
        config = getattr(recipe.evaluate, stage.removeprefix("evaluate/"))
        for name in dict.fromkeys([*config.models, *getattr(config, "against", [])]):
            if endpoint := planned.get(name):
                endpoint.row = PlannedAnswers(stage, endpoint.config, f"{stage.replace('/', '.')}.limit")
                endpoint.row.whole = _ASKING[stage](recipe, known, endpoint)
                yield endpoint.row


def _knowledge(recipe: Recipe, known: Known, endpoint: _Planned) -> bool:
    """Ask every question. False where a benchmark is not there, as of the other evaluations."""
    config = recipe.evaluate.knowledge
    assert config is not None
    found = [(b, known.questions(b, config.limit)) for b in recipe.evaluate.benchmarks if b.kind == "choice"]
    for benchmark, questions in found:
        for _, sheets in orders(questions, shots_of(benchmark, config), config) if questions else ():
            ask(endpoint, None, benchmark.task, sheets, config)
    return all(questions for _, questions in found)


def _pairwise(recipe: Recipe, known: Known, endpoint: _Planned) -> bool:
    config = recipe.evaluate.pairwise
    assert config is not None
    found = [known.items(b, config.limit) for b in recipe.evaluate.benchmarks if b.kind == "single"]
    for items in found:
        endpoint.answers([d.messages[:1] for d in items or ()], config.max_new_tokens)
    return None not in found


def _multiturn(recipe: Recipe, known: Known, endpoint: _Planned) -> bool:
    config = recipe.evaluate.multiturn
    assert config is not None
    found = [known.items(b, config.limit) for b in recipe.evaluate.benchmarks if b.kind == "multi"]
    for items in found:
        converse(lambda asked, label: endpoint.answers(asked, config.max_new_tokens), items or [], config)
    return None not in found


def _safety(recipe: Recipe, known: Known, endpoint: _Planned) -> bool:
    config = recipe.evaluate.safety
    assert config is not None
    asked = cases(config.languages, config.limit, recipe.seed)
    endpoint.answers([[{"role": "user", "content": c.text}] for c in asked], config.max_new_tokens)
    return True


_ASKING: dict[str, Callable[[Recipe, Known, _Planned], bool]] = {
    "evaluate/knowledge": _knowledge,
    "evaluate/pairwise": _pairwise,
    "evaluate/multiturn": _multiturn,
    "evaluate/safety": _safety,
}
