"""Votes on two models' answers: what they come to, and the pairs that a later run trains on."""

import json
from pathlib import Path

import pytest
from pairs_workspace import RECIPE, make, run

from aquilamed.config import Invalid
from aquilamed.recipe import load_recipe
from aquilamed.records import read_parts
from aquilamed.review.compare import cast, results, voted_pairs
from aquilamed.review.desk import Desk
from aquilamed.review.hand_over import LINE, PAIRS, hand_over_pairs, reads_pairs
from aquilamed.review.store import Comparison, ReviewStore, Twice

ASKED = [{"role": "user", "content": "Fever for three days, what now?"}]


def compared(
    store: ReviewStore, first: str, second: str, models: tuple[str, str] = ("finetune", "align")
) -> Comparison:
    return store.compare(ASKED, models, [first, second], {"temperature": 0.0})


def test_votes_are_counted_for_the_model_whatever_the_order(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    for n in range(6):  # the second model is better, shown as A in half of them
        swapped = n % 2 == 0
        made = compared(store, f"Wait {n}.", f"See a doctor, it may be serious {n}.")
        cast(store, "li", made.id, swapped, {"verdict": "A" if swapped else "B", "aspects": {"fluency": "tie"}})
    turned = compared(store, "See a doctor soon.", "Wait.", ("align", "finetune"))
    cast(store, "li", turned.id, False, {"verdict": "A", "aspects": {"fluency": "A"}})
    split = compared(store, "x", "y")
    cast(store, "li", split.id, False, {"verdict": "A"})
    cast(store, "wang", split.id, True, {"verdict": "A"})
    compared(store, "nobody", "votes")
    [row] = results(store)
    assert row["models"] == ["align", "finetune"]
    assert (row["votes"], row["win"], row["tie"], row["loss"]) == (9, 7, 1, 0), "two who disagree are a tie"
    assert row["win_rate"] == pytest.approx(7.5 / 8)
    low, high = row["win_rate_interval"]
    assert 0.7 < low < row["win_rate"] <= high <= 1
    assert row["aspects"]["fluency"] == {"win": 1, "tie": 6, "loss": 0}
    with pytest.raises(Twice):
        cast(store, "li", split.id, False, {"verdict": "B"})
    with pytest.raises(Invalid, match="this comparison is not in the workspace"):
        cast(store, "li", "0" * 16, False, {"verdict": "B"})
    with pytest.raises(Invalid, match="Input should be"):
        cast(store, "wang", turned.id, False, {"verdict": "C"})


def test_pairs_from_votes(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    won, tied, bad, empty = (
        compared(store, *a) for a in (("good", "poor"), ("a", "b"), ("harm", "meek"), ("", "not empty"))
    )
    cast(store, "li", won.id, True, {"verdict": "B"})
    cast(store, "li", tied.id, True, {"verdict": "tie"})
    cast(store, "li", bad.id, False, {"verdict": "A", "dangerous": ["A"]})
    cast(store, "li", empty.id, False, {"verdict": "B"})
    first, second = voted_pairs(store)
    assert (first["chosen"][0]["content"], first["rejected"][0]["content"], first["margin"]) == ("good", "poor", 1.0)
    assert second["rejected"][0]["content"] == ""


def test_the_next_run_takes_voted_pairs_into_the_preference_set(tmp_path: Path) -> None:
    space = make(tmp_path)
    store = ReviewStore(space.root)
    made = compared(
        store, "Go to the hospital today, three days of fever need a look.", "Fever is nothing, wait for it."
    )
    cast(store, "li", made.id, False, {"verdict": "A"})
    empty = compared(store, "", "Something at least.")
    cast(store, "li", empty.id, False, {"verdict": "B"})
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert not reads_pairs(recipe)
    assert hand_over_pairs(recipe, space, store) == 1, "an empty answer is left out: the stage would call it unusable"
    (tmp_path / "recipe.yaml").write_text(
        RECIPE.replace("    sources: [", "    sources:\n    " + LINE + "\n    - ").replace("CC0-1.0}]", "CC0-1.0}")
    )
    again = compared(store, "Rest, drink, and see a doctor tomorrow.", "Fever cannot hurt anybody at all, ever.")
    cast(store, "li", again.id, True, {"verdict": "B"})
    assert reads_pairs(load_recipe(tmp_path / "recipe.yaml"))
    run(tmp_path)
    lines = (space.root / PAIRS.removeprefix("workspace://")).read_text("utf-8").splitlines()
    assert [json.loads(line)["by"] for line in lines] == ["comparison"] * 2, "the run took the newest votes along"
    kept = [r for part in (space.root / "prefer/select").glob("*/kept") for r in read_parts(part).to_dicts()]
    mine = [r for r in kept if r["source"] == "review"]
    assert {r["chosen"][0]["content"][:4] for r in mine} == {"Go t", "Rest"}
    assert {(r["kind"], r["margin"], r["license"]) for r in mine} == {("published", 1.0, "internal")}
    assert Desk(space, store).progress("li", "pair")[1] == 14
