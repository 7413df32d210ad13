"""The judges of an evaluation, none asked twice: a service's answers are in the call store, a local model's kept here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aquilamed.annotate.contract import Annotator, CallError, Rubric, T
from aquilamed.evaluate.kept import Kept
from aquilamed.records import digest
from aquilamed.stage import Context

_TOGETHER = 32
"""Items that a local judge is given at a time; what it said is kept after each lot."""


def open_judges(ctx: Context) -> list[Annotator]:
    """The recipe's annotator and its further judges (`Context.judges`)."""
    return [_kept(ctx, judge, n) for n, judge in enumerate(ctx.judges())]


def open_judge(ctx: Context) -> Annotator:
    """The recipe's annotator."""
    return _kept(ctx, ctx.annotator(), 0)


def _kept(ctx: Context, judge: Annotator, number: int) -> Annotator:
    return KeptJudge(judge, ctx.work / "judges" / f"{number}.jsonl") if judge.kind == "local" else judge


class KeptJudge:
    """A judge whose answers are appended to a file of the stage, lot by lot."""

    def __init__(self, judge: Annotator, path: Path) -> None:
        self.judge, self.kept = judge, Kept(path)
        self.name, self.kind = judge.name, judge.kind

    def annotate(self, rubric: Rubric[T], items: Sequence[Mapping[str, str]], round: int = 1) -> list[T | CallError]:
        """See `Annotator.annotate`. Lots are cut from all items: a resumed run batches as an undisturbed one does."""
        keys = [digest([rubric.hash, dict(item), round]) for item in items]
        for start in range(0, len(items), _TOGETHER):
            lot = slice(start, start + _TOGETHER)
            if not self.kept.all(keys[lot]):
                said = self.judge.annotate(rubric, items[lot], round)
                self.kept.add({key: _as_json(answer) for key, answer in zip(keys[lot], said, strict=True)})
        return [_from_json(self.kept.values[key], rubric) for key in keys]

    def statistics(self) -> dict[str, Any]:
        """See `Annotator.statistics`."""
        return self.judge.statistics()


def _as_json(answer: Any) -> dict[str, Any]:
    failed = isinstance(answer, CallError)
    return {"error": [answer.kind, answer.detail]} if failed else {"answer": answer.model_dump(mode="json")}


def _from_json(value: Mapping[str, Any], rubric: Rubric[T]) -> T | CallError:
    return CallError(*value["error"]) if "error" in value else rubric.schema.model_validate(value["answer"])
