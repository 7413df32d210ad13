"""The numbers of two runs side by side, in groups: what a reader looks for first, then everything else."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from aquilamed.annotate import ASPECTS
from aquilamed.report import compare_answers as answers
from aquilamed.report.cells import get
from aquilamed.report.compare_answers import Key, Pair, Test
from aquilamed.report.gather import Run
from aquilamed.report.leaves import leaves
from aquilamed.report.probe_sections import KINDS
from aquilamed.report.summary import summarise

Summary = dict[str, Any]
Sides = tuple[Any, Any]
Form = Literal["count", "number", "percent"]


@dataclass(frozen=True)
class Line:
    """One number on both sides; None where a side did not measure it. `percent` is a share."""

    what: str
    one: float | None
    two: float | None
    form: Form = "number"
    test: Test | None = None

    @property
    def changed(self) -> bool:
        """Whether the sides differ."""
        return self.one != self.two


@dataclass(frozen=True)
class Group:
    """Numbers of one kind, and what must be known to compare them."""

    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def groups(one: Run, two: Run) -> Iterator[Group]:
    """All numbers of two runs."""
    both = summarise(one), summarise(two)
    pairs = {s: _pair(one, two, f"evaluate/{s}") for s in ("knowledge", "pairwise", "multiturn", "safety")}
    judged = {s: _judges(one, two, s) for s in pairs}
    yield Group("Records", tuple(_records(both)))
    yield Group("Perplexity of held-out text", tuple(_perplexity(both, one, two)), tuple(_held_out(one, two)))
    yield Group("Trainings", tuple(_trainings(both, answers.losses(_pair(one, two, "finetune")))))
    yield Group("Knowledge", tuple(_knowledge(both, pairs["knowledge"])), tuple(_asked(both)))
    yield Group("Answers judged in pairs", tuple(_pairwise(both, pairs["pairwise"])), judged["pairwise"])
    yield Group("Multi-turn dialogues", tuple(_multiturn(both, pairs["multiturn"])), judged["multiturn"])
    yield Group("Safety of the models", tuple(_probe(both, pairs["safety"])), judged["safety"])
    yield Group("Everything else that was measured", tuple(_others(both)))
    yield Group("Time", tuple(_times(both)))


def _pair(one: Run, two: Run, stage: str) -> Pair:
    return one.artifacts().get(stage), two.artifacts().get(stage)


def _union(sides: Sides) -> list[Any]:
    """The keys of both, those of the first in their order."""
    return list(dict.fromkeys([*(sides[0] or {}), *(sides[1] or {})]))


def _inside(sides: Sides, *path: Any) -> Sides:
    """What both sides hold there; None where a key on the way is missing."""
    return get(sides[0], *path), get(sides[1], *path)


def _line(what: str, sides: Sides, *path: Any, form: Form = "number", test: Test | None = None) -> Line:
    return Line(what, *_inside(sides, *path), form, test)


def _records(both: Sides) -> Iterator[Line]:
    for name in _union(_inside(both, "stages")):
        sides = _inside(both, "stages", name)
        if _inside(sides, "records_in") == (None, None):
            continue
        for key, word in (("records_in", "in"), ("records_kept", "kept"), ("records_dropped", "dropped")):
            yield _line(f"{name}: {word}", sides, key, form="count")
        reasons = _inside(sides, "reasons")
        for reason in _union(reasons):
            # A finished stage that does not name a reason dropped nothing for it; an unfinished one says nothing.
            one, two = (None if told is None else told.get(reason, 0) for told in reasons)
            yield Line(f"{name}: dropped, {reason}", one, two, "count")


def _perplexity(both: Sides, one: Run, two: Run) -> Iterator[Line]:
    for pack in ("pack1", "pack2"):
        tests = answers.losses(_pair(one, two, f"pretrain/stage{pack[-1]}"))
        for when in ("before", "after"):
            sides = _inside(both, "perplexity", "sets", pack, when)
            for lang in _union(sides):
                name = f"mix {pack[-1]}, {lang}, {when} training"
                yield _line(name, sides, lang)
                if test := tests.get((lang, when)):
                    yield Line(f"{name}: nats per token, documents in common", *test[:2], test=test[2])


def _held_out(one: Run, two: Run) -> Iterator[str]:
    for pack in ("pack1", "pack2"):
        sides = [run.artifacts().get(f"corpus/{pack}") for run in (one, two)]
        rows = [{k: v for k, v in (a.manifest.get("outputs") or {}).items() if "heldout/" in k} for a in sides if a]
        if len(rows) == 2 and rows[0] != rows[1]:
            yield (
                f"The documents held out of mix {pack[-1]}, or their tokens, are not the same: its perplexities do not "
                "compare; nats per token of the documents in common do."
            )


def _trainings(both: Sides, validation: dict[Key, tuple[float, float, Test]]) -> Iterator[Line]:
    for name in _union(_inside(both, "trainings")):
        sides = _inside(both, "trainings", name)
        for key in ("steps", "tokens"):
            yield _line(f"{name}: {key}", sides, key, form="count")
        yield _line(f"{name}: tokens per second", sides, "tokens_per_second")
        one, two = (told[-1][1] if told else None for told in _inside(sides, "loss"))
        yield Line(f"{name}: last loss", one, two)
    for key, word in (("first", "before training"), ("best", "at its best")):
        yield _line(f"SFT validation loss, {word}", both, "sft", key)
    for (_, when), (first, second, test) in validation.items():
        yield Line(
            f"SFT validation loss {when} training: nats per token, dialogues in common", first, second, test=test
        )
    for when in ("before", "after"):
        yield _line(f"DPO preference accuracy, {when}", both, "dpo", when, "accuracy", form="percent")
        yield _line(f"DPO margin, {when}", both, "dpo", when, "margin")


def _by(both: Sides, path: tuple[str, ...], *keys: str) -> Sides:
    """Rows of both sides by what names them."""
    one, two = ({tuple(str(row[k]) for k in keys): row for row in rows or []} for rows in _inside(both, *path))
    return one, two


def _knowledge(both: Sides, pair: Pair) -> Iterator[Line]:
    tests = answers.knowledge(pair)
    sides = _by(both, ("knowledge",), "model", "task")
    for key in _union(sides):
        one, two = (None if p is None else p / 100 for p in _inside(sides, key, "accuracy"))
        yield Line(", ".join(key), one, two, "percent", tests.get(key))


def _asked(both: Sides) -> Iterator[str]:
    one, two = _by(both, ("knowledge",), "model", "task")
    for key in one.keys() & two.keys():
        if one[key]["shots"] != two[key]["shots"]:
            yield f"{', '.join(key)}: {one[key]['shots']} and {two[key]['shots']} examples before the question."


def _judges(one: Run, two: Run, stage: str) -> tuple[str, ...]:
    """What differs in who judged, and by which rubrics."""
    sides = []
    for run in (one, two):
        told = [run.metric(f"evaluate/{stage}", "judge"), *(run.metric(f"evaluate/{stage}", "panel") or [])]
        sides.append([j for j in told if j])
    if not all(sides):
        return ()
    names = [" and ".join(j["name"] or j["kind"] for j in side) for side in sides]
    if names[0] != names[1]:
        return (f"Judged by {names[0]} and by {names[1]}: a difference may be the judges'.",)
    first, second = (side[0].get("rubrics") or {} for side in sides)
    if any(first[r] != second[r] for r in first.keys() & second.keys()):
        return (f"Judged by {names[0]}, but with other rubrics: a difference may be theirs.",)
    return ()


def _pairwise(both: Sides, pair: Pair) -> Iterator[Line]:
    tests = answers.pairwise(pair)
    rows = _by(both, ("pairwise",), "model", "against", "benchmark")
    for key in _union(rows):
        name, sides = f"{key[0]} against {key[1]}, {key[2]}", _inside(rows, key)
        yield _line(f"{name}: win rate", sides, "win_rate", form="percent", test=tests.get(key))
        yield _line(f"{name}: win rate at equal length", sides, "length_controlled", "win_rate", form="percent")
        for count in ("win", "tie", "loss", "unscored"):
            yield _line(f"{name}: {count}", sides, count, form="count")


def _multiturn(both: Sides, pair: Pair) -> Iterator[Line]:
    tests = answers.multiturn(pair)
    sides = _inside(both, "multiturn", "models")
    for model in _union(sides):
        for aspect in ASPECTS:
            test = tests.get((model, aspect))
            yield _line(f"{model}: {aspect}, 1 to 5", sides, model, "average", aspect, test=test)


def _probe(both: Sides, pair: Pair) -> Iterator[Line]:
    tests = answers.safety(pair)
    sides = _by(both, ("safety_probe", "results"), "model", "kind", "lang")
    for key in _union(sides):
        name = f"{key[0]}, {KINDS[key[1]]}, {key[2]}"
        yield _line(f"{name}: of the decided", sides, key, "share", form="percent", test=tests.get(key))
        yield _line(f"{name}: undecided", sides, key, "undecided", form="count")


_SHOWN = ("schema", "fingerprint", "seed", "recipe", "annotator", "stages", "perplexity", "trainings", "sft", "dpo")
_SHOWN_TOO = (
    "knowledge",
    "knowledge_comparisons",
    "pairwise",
    "multiturn",
    "safety_probe",
    "versions",
    "total_seconds",
)


def _others(both: Sides) -> Iterator[Line]:
    """Every number that no group above has: keys of summary.json. Examples and what stands in histograms are no numbers."""
    sides = _numbers(both[0]), _numbers(both[1])
    for key in _union(sides):
        one, two = _inside(sides, key)
        whole = isinstance(one, int | None) and isinstance(two, int | None)
        yield Line(key, one, two, "count" if whole else "number")


def _numbers(summary: Summary) -> dict[str, float]:
    rest = {k: v for k, v in summary.items() if k not in (*_SHOWN, *_SHOWN_TOO)}
    rest["domain"] = {k: v for k, v in (summary["domain"] or {}).items() if k != "uncertain"}
    return {k: v for k, v in leaves(rest) if isinstance(v, int | float) and not isinstance(v, bool)}


def _times(both: Sides) -> Iterator[Line]:
    for name in _union(_inside(both, "stages")):
        yield _line(f"{name}: seconds", both, "stages", name, "seconds")
    yield _line("all finished stages: seconds", both, "total_seconds")
