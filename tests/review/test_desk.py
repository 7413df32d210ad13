"""Reviewers at work on a workspace that a real run made, and the next run, which uses what they said."""

import json
from pathlib import Path
from typing import Any

import pytest
from pairs_workspace import RECIPE, make, pair, run

from aquilamed.config import Invalid
from aquilamed.prefer import review
from aquilamed.recipe import load_recipe
from aquilamed.records import read_parts
from aquilamed.review.desk import Desk, Shown
from aquilamed.review.hand_over import hand_over_verdicts
from aquilamed.review.store import ReviewStore
from aquilamed.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path)
    return tmp_path


def desk(root: Path) -> Desk:
    space = Workspace(root / "space")
    return Desk(space, ReviewStore(space.root))


def sound(shown: Shown) -> str:
    return "A" if "see a doctor" in shown.answers[0] else "B"


def other(letter: str) -> str:
    return {"A": "B", "B": "A"}[letter]


def work(at: Desk, rater: str, say: Any, count: int) -> list[Shown]:
    done = []
    for _ in range(count):
        shown = at.next(rater, "pair")
        assert shown is not None
        at.judge(rater, shown, say(shown))
        done.append(shown)
    return done


def kept(root: Path, stage: str = "prefer/select") -> dict[str, dict[str, Any]]:
    from aquilamed.pipeline import states

    found = {s.name: s.artifact for s in states(load_recipe(root / "recipe.yaml"), Workspace(root / "space"))}
    artifact = found[stage]
    assert artifact is not None
    return {r["id"]: r for r in read_parts(artifact.kept).to_dicts()}


def test_a_queue_is_worked_through_and_the_next_run_uses_it(root: Path) -> None:
    at = desk(root)
    seen = work(at, "li", lambda s: {"verdict": sound(s)}, 9)
    assert {s.swapped for s in seen} == {True, False}, "A is the chosen answer here and the rejected one there"
    assert at.progress("li", "pair") == (9, 12)
    [worse] = work(at, "li", lambda s: {"verdict": other(sound(s)), "edited": "See a doctor today. 请就医。"}, 1)
    [tie] = work(at, "li", lambda s: {"verdict": "tie", "aspects": {"fluency": "A"}, "comment": "both fine"}, 1)
    [bad] = work(at, "li", lambda s: {"verdict": sound(s), "dangerous": [sound(s)]}, 1)
    assert at.next("li", "pair") is None
    assert desk(root).next("li", "pair") is None, "another process knows"
    run(root)
    rows = kept(root)
    assert rows[worse.item]["chosen"][0]["content"] == "See a doctor today. 请就医。"
    assert "see a doctor" in rows[worse.item]["rejected"][0]["content"]
    assert {tie.item, bad.item}.isdisjoint(rows)
    assert len(rows) == 10
    assert json.loads(rows[seen[0].item]["human"])["upheld"] == 1


def test_undo_gives_the_item_back_and_takes_the_line_out_of_the_file(root: Path) -> None:
    at = desk(root)
    assert at.undo("li") is None
    first, second = work(at, "li", lambda s: {"verdict": "A", "comment": "hm"}, 2)
    hand_over_verdicts(root / "space", at.store)
    undone = at.undo("li")
    assert undone is not None
    assert (undone[0], undone[1].said["comment"]) == (second, "hm")
    assert at.next("li", "pair") == second
    hand_over_verdicts(root / "space", at.store)
    file = root / "space" / review.FILE
    assert [json.loads(line)["pair"] for line in file.read_text().splitlines()] == [first.item]


def test_each_sees_his_own_order_and_queue(root: Path) -> None:
    at = desk(root)
    mine = work(at, "li", lambda s: {"verdict": "A"}, 4)
    theirs = work(at, "wang", lambda s: {"verdict": "A"}, 4)
    assert [s.item for s in mine] == [s.item for s in theirs], "the same pairs: agreement needs two"
    assert [s.swapped for s in mine] != [s.swapped for s in theirs]
    third = work(at, "zhao", lambda s: {"verdict": "A"}, 8)
    assert {s.item for s in third}.isdisjoint(s.item for s in mine), "what two have judged comes last"
    assert at.next("zhao", "pair") is not None
    with pytest.raises(Invalid, match=r"only the recipe's prefer.select.adjudicators see others' verdicts"):
        at.disputes("li")


def test_an_adjudicator_has_the_last_word(tmp_path: Path) -> None:
    make(tmp_path, recipe=RECIPE.replace("objective: null", "objective: null, select: {adjudicators: [head]}"))
    at = desk(tmp_path)
    agreed, fought = work(at, "li", lambda s: {"verdict": sound(s)}, 2)
    work(at, "wang", lambda s: {"verdict": sound(s)}, 1)
    work(at, "wang", lambda s: {"verdict": other(sound(s)), "comment": "<b>no</b>", "edited": "Go now."}, 1)
    [dispute] = at.disputes("head")
    assert dispute.shown.item == fought.item
    told = {s["rater"]: s for s in dispute.said}
    assert told["li"]["verdict"] == sound(dispute.shown), "in the letters that the adjudicator sees"
    assert (told["wang"]["comment"], told["wang"]["edited"]) == ("<b>no</b>", "Go now.")
    found = at.agreement()
    assert found["open"] == 1
    assert found["pair"]["two"] == [
        {"raters": ["rater 1", "rater 2"], "pairs": 2, "equal": 0.5, "kappa": found["pair"]["two"][0]["kappa"]}
    ]
    assert at.agreement(names=True)["pair"]["raters"] == {"li": 2, "wang": 2}
    at.judge("head", dispute.shown, {"verdict": other(sound(dispute.shown))})
    assert at.disputes("head") == []
    run(tmp_path)
    rows = kept(tmp_path)
    assert json.loads(rows[fought.item]["human"]) == {"upheld": 0, "overturned": 1, "tie": 0, "adjudicated": True}
    assert "see a doctor" in rows[agreed.item]["chosen"][0]["content"]


def test_what_is_no_verdict_is_refused(root: Path) -> None:
    at = desk(root)
    shown = at.next("li", "pair")
    assert shown is not None
    for said, why in (
        ({"verdict": "C"}, "Input should be"),
        ({"verdict": "tie", "edited": "x"}, "an edited answer needs the verdict A or B"),
        ({"verdict": "A", "aspects": {"fluency": "C"}}, "Input should be"),
    ):
        with pytest.raises(Invalid, match=why):
            at.judge("li", shown, said)
    theirs = next(
        s for s in map(at.next, ("wang", "zhao", "he", "wu"), ["pair"] * 4) if s and s.swapped != shown.swapped
    )
    with pytest.raises(Invalid, match="the texts of this item have changed"):
        at.judge("li", theirs, {"verdict": "A"})
    at.judge("li", shown, {"verdict": "A", "rater": "somebody else", "pair": "p", "shown": "0" * 16})
    [verdict] = at.store.verdicts("pair")
    assert (verdict.rater, verdict.said["rater"], verdict.said["pair"]) == ("li", "li", shown.item)


def test_only_those_whom_the_recipe_names(tmp_path: Path) -> None:
    make(tmp_path, recipe=RECIPE.replace("objective: null", "objective: null, select: {raters: [li]}"))
    at = desk(tmp_path)
    at.may("li")
    with pytest.raises(Invalid, match=r"'wang' is not in the recipe's prefer.select.raters"):
        work(at, "wang", lambda s: {"verdict": "A"}, 1)


def test_verdicts_from_files_stay(root: Path) -> None:
    at = desk(root)
    [mine] = work(at, "li", lambda s: {"verdict": "A"}, 1)
    out = root / "export.jsonl"
    recipe = load_recipe(root / "recipe.yaml")
    review.export(recipe, at.workspace, out, "jsonl", 3)
    lines = [json.loads(line) | {"rater": "wang", "verdict": "B"} for line in out.read_text().splitlines()]
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    review.import_files(recipe, at.workspace, [out])
    hand_over_verdicts(at.workspace.root, at.store)
    found = {
        (p.said.pair, p.said.rater): p.said.verdict
        for p in review.read_judgements([("v", root / "space" / review.FILE)])
    }
    assert len(found) == 4
    assert found[mine.item, "li"] == "A"
    assert [len(v) for v in at.votes().values()] == [2, 1, 1] or sorted(len(v) for v in at.votes().values()) == [
        1,
        1,
        2,
    ]


def test_pairs_that_a_rule_dropped_stay_out_after_the_first_verdict(tmp_path: Path) -> None:
    chinese = {**pair(0), "chosen": "多喝水，注意休息；如果一周还不好或者加重，请去医院。"}
    make(tmp_path, pairs=3, extra=[chinese])
    at = desk(tmp_path)
    assert len(at.pairs()) == 4
    assert at.progress("li", "pair") == (0, 3)
    work(at, "li", lambda s: {"verdict": "A"}, 1)
    hand_over_verdicts(at.workspace.root, at.store)
    assert desk(tmp_path).progress("li", "pair") == (1, 3), "prefer/select is stale now; its rules still hold"
