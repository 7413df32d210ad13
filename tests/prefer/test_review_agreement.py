"""Agreement figures against published examples and against scikit-learn."""

import random

import pytest
from sklearn.metrics import cohen_kappa_score

from aquilamed.annotate.agreement import kappa
from aquilamed.prefer.agreement import agreement, chosen_is_b, fleiss_kappa, krippendorff_alpha
from aquilamed.prefer.judgements import Vote

# The worked example of Fleiss' κ (10 subjects, 14 raters, 5 categories): κ = 0.210.
FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def vote(rater: str, verdict: str, **aspects: str) -> Vote:
    return Vote(rater, verdict, aspects, frozenset(), "")  # type: ignore[arg-type]


def test_published_examples() -> None:
    labels = [[str(c) for c, n in enumerate(row) for _ in range(n)] for row in FLEISS]
    assert fleiss_kappa(labels) == pytest.approx(0.210, abs=5e-4)
    rows = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    units = [[x for x in unit if x != "."] for unit in zip(*(r.split() for r in rows), strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_two_raters_as_scikit_learn() -> None:
    draw = random.Random(3)
    pairs = [(draw.choice("ABt"), draw.choice("AABt")) for _ in range(60)]
    assert kappa(pairs) == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))


def test_nothing_to_agree_on_is_null() -> None:
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([["A", "A"], ["A", "A"]]) is None
    assert krippendorff_alpha([["A"], []]) is None
    assert krippendorff_alpha([["A", "A"]]) is None
    assert krippendorff_alpha([["A", "A"], ["B", "B"]]) == 1.0


def test_raters_adjudicators_and_the_judge() -> None:
    votes = {
        "p": [vote("li", "chosen", fluency="tie"), vote("wang", "chosen", fluency="tie")],
        "q": [vote("li", "rejected", fluency="chosen"), vote("wang", "rejected"), vote("head", "chosen")],
        "r": [vote("li", "tie"), vote("wang", "skip"), vote("chen", "tie")],
        "s": [vote("li", "chosen")],
    }
    found = agreement(votes, ["head"], seed=1, names=True)
    assert found["raters"] == {"chen": 1, "li": 4, "wang": 2}
    assert found["skipped"] == 1
    assert agreement(votes, ["head"], seed=1)["raters"] == {"rater 1": 1, "rater 2": 4, "rater 3": 2}
    assert [(t["raters"], t["pairs"], t["equal"]) for t in found["two"]] == [
        (["chen", "li"], 1, 1.0),
        (["li", "wang"], 2, 1.0),
    ]
    assert found["alpha"] == 1.0
    assert found["fleiss_kappa"] is None, "no pair was judged by all three"
    assert (found["model"]["pairs"], found["model"]["equal"]) == (4, 0.75), "q by the adjudicator; r is a tie"


def test_the_coin_is_seeded_and_fair() -> None:
    ids = [f"{n:016x}" for n in range(2000)]
    heads = sum(chosen_is_b(42, i) for i in ids)
    assert 900 < heads < 1100
    assert [chosen_is_b(42, i) for i in ids] == [chosen_is_b(42, i) for i in ids]
    assert [chosen_is_b(42, i) for i in ids] != [chosen_is_b(43, i) for i in ids]
