"""Single answers that doctors judge: those of the SFT set, good, acceptable or poor, and corrected where they are wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from aquilamed.annotate.agreement import kappa
from aquilamed.config import Config
from aquilamed.pipeline import states
from aquilamed.prefer.agreement import krippendorff_alpha
from aquilamed.prefer.judgements import Aspect
from aquilamed.prefer.review import queue_place
from aquilamed.recipe import Recipe
from aquilamed.records import parts
from aquilamed.workspace import Workspace

Grade = Literal["good", "acceptable", "poor"]
MOST = 1000
"""So many answers make the queue, a seeded draw: nobody reads a whole SFT set."""


class AnswerJudgement(Config):
    """What one rater says of one answer."""

    answer: str = Field(min_length=1)
    """The dialogue's id."""
    shown: str = Field(pattern="^[0-9a-f]{16}$")
    """The hash of what was shown."""
    rater: str = Field(min_length=1, max_length=200)
    """Who judged."""
    verdict: Literal["good", "acceptable", "poor", "skip"]
    """"skip" is no vote."""
    aspects: dict[Aspect, Grade] = {}
    """How single aspects are."""
    dangerous: bool = False
    """Whether the answer could harm a patient."""
    edited: str = ""
    """The answer as the rater corrected it."""
    comment: str = ""
    """Anything the rater wants to say."""
    time: str = ""
    """When, in ISO 8601."""

    @model_validator(mode="after")
    def _no_vote_no_edit(self) -> Self:
        if self.edited.strip() and self.verdict == "skip":
            raise ValueError("an edited answer needs a verdict; it is not skipped")
        return self


def single_answers(recipe: Recipe, workspace: Workspace, most: int = MOST) -> list[dict[str, Any]]:
    """Dialogues of the SFT set (`id`, `lang`, `messages`) whose last answer is judged, in an order by seeded hash.

    Empty while instruct/select is not done.
    """
    stage = next((s for s in states(recipe, workspace) if s.name == "instruct/select"), None)
    if stage is None or stage.artifact is None:
        return []
    files = parts(stage.artifact.kept)
    ids = pl.scan_parquet(files, glob=False).select("id").collect()["id"].to_list()
    chosen = sorted(ids, key=lambda i: queue_place(recipe.seed, i))[:most]
    rows = pl.scan_parquet(files, glob=False).select("id", "lang", "messages").filter(pl.col("id").is_in(chosen))
    by_id = {row["id"]: row for row in rows.collect().to_dicts()}
    return [by_id[i] for i in chosen]


def agreement(said: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """How far raters agree on answers: item → rater → grade. `raters` (answers by rater), `two` and `alpha` as for pairs."""
    raters = sorted({rater for grades in said.values() for rater in grades})
    two = []
    for n, a in enumerate(raters):
        for b in raters[n + 1 :]:
            both = [(g[a], g[b]) for g in said.values() if a in g and b in g]
            if both:
                two.append({"raters": [a, b], "pairs": len(both), "equal": _equal(both), "kappa": kappa(both)})
    alpha = krippendorff_alpha([list(grades.values()) for grades in said.values()])
    return {"raters": {r: sum(r in g for g in said.values()) for r in raters}, "two": two, "alpha": alpha}


def _equal(both: Sequence[tuple[str, str]]) -> float:
    return sum(a == b for a, b in both) / len(both)
