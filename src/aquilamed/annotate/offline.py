"""The annotator that needs nothing: deterministic rules, honest about what they are (`name` is "offline").

They show the machinery and give a usable signal; they do not replace a judge. ANSWER and SAFE_ANSWER they cannot do at all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from aquilamed.annotate import raters_dialogue, raters_safety, raters_text
from aquilamed.annotate.contract import CallError, Rubric, T
from aquilamed.annotate.counted import Counted
from aquilamed.progress import Progress

_RATERS: dict[str, Callable[[Mapping[str, str], int], Any]] = {
    "domain": raters_text.domain,
    "quality": raters_text.quality,
    "complexity": raters_dialogue.complexity,
    "response_quality": raters_dialogue.response_quality,
    "compare": raters_dialogue.compare,
    "turn": raters_dialogue.turn,
    "safety": raters_safety.safety,
}


class OfflineAnnotator(Counted):
    """Two rule-based raters: odd rounds the first, even rounds the second."""

    kind = "offline"
    name = "offline"

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def annotate(self, rubric: Rubric[T], items: Sequence[Mapping[str, str]], round: int = 1) -> list[T | CallError]:
        """See `Annotator.annotate`."""
        self.rubrics[rubric.name] = rubric.hash
        rater = _RATERS.get(rubric.name)
        if rater is None:
            self.errors["unsupported"] += len(items)
            detail = f"rules cannot answer the rubric {rubric.name!r}; set annotator.kind to openai or local"
            return [CallError("unsupported", detail) for _ in items]
        answers: list[T | CallError] = []
        with self.progress.track(f"{rubric.name}, round {round}", total=len(items), unit="answer") as bar:
            for item in items:
                answers.append(cast(T, rater(item, round)))
                bar.advance()
        self.calls += len(items)
        return answers
