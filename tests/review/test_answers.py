"""Single answers: judged in three grades, and a corrected one makes a pair with the answer it corrects."""

import json
from pathlib import Path

import pytest

import release_workspace
from aquilamed.config import Invalid
from aquilamed.recipe import load_recipe
from aquilamed.review.desk import Desk
from aquilamed.review.hand_over import PAIRS, hand_over_pairs
from aquilamed.review.store import ReviewStore


def test_answers_are_graded_and_corrected(tmp_path: Path) -> None:
    space = release_workspace.make(tmp_path)
    at = Desk(space, ReviewStore(space.root))
    assert at.progress("li", "answer") == (0, 40)
    fixed = at.next("li", "answer")
    assert fixed is not None
    assert len(fixed.answers) == 1
    with pytest.raises(Invalid, match="Input should be"):
        at.judge("li", fixed, {"verdict": "A"})
    with pytest.raises(Invalid, match="an edited answer needs a verdict"):
        at.judge("li", fixed, {"verdict": "skip", "edited": "x"})
    said = {"verdict": "poor", "aspects": {"proficiency": "poor"}, "dangerous": True, "comment": "no dose"}
    at.judge("li", fixed, {**said, "edited": "多喝水，按体重服用对乙酰氨基酚，三天不退请就医。"})
    for _ in range(2):
        shown = at.next("li", "answer")
        assert shown is not None
        at.judge("li", shown, {"verdict": "good"})
        seen = at.next("wang", "answer")
        assert seen is not None
        at.judge("wang", seen, {"verdict": "poor" if seen.item == fixed.item else "good"})
    found = at.agreement(names=True)["answer"]
    assert found["raters"] == {"li": 3, "wang": 2}
    assert found["two"][0] | {"kappa": None} == {"raters": ["li", "wang"], "pairs": 2, "equal": 1.0, "kappa": None}
    assert found["alpha"] == 1.0
    undone = at.undo("wang")
    assert undone is not None
    assert undone[0].kind == "answer"
    assert hand_over_pairs(load_recipe(space.root / "recipe.yaml"), space, at.store) == 1
    [line] = (space.root / PAIRS.removeprefix("workspace://")).read_text("utf-8").splitlines()
    pair = json.loads(line)
    assert (pair["prompt"], pair["rejected"][0]["content"]) == (fixed.prompt, fixed.answers[0])
    assert pair["chosen"][0]["content"].startswith("多喝水")
