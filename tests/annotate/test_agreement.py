"""Two rounds: what is kept, and Cohen's kappa against scikit-learn's."""

import random
from collections import Counter
from typing import Any

import pytest

from aquilamed.annotate import QUALITY, TURN, CallError, QualityScore
from aquilamed.annotate.agreement import TwoRounds, agreement, kappa, kappa_interval, kept_label, kept_score, two_rounds
from aquilamed.config import StageFailed


def test_what_is_kept() -> None:
    assert kept_label(TwoRounds("a", "a"))
    assert not kept_label(TwoRounds("a", "b"))
    assert not kept_label(TwoRounds(None, None, "round 1: timeout (x)"))
    assert kept_score(TwoRounds(3, 4))
    assert not kept_score(TwoRounds(3, 5))
    assert kept_score(TwoRounds(3, 5), max_difference=2.5)
    assert not kept_score(TwoRounds(3, None, "round 2: http_500 (x)"))


def test_kappas_equal_those_of_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    draw = random.Random(1)
    first = [draw.randint(0, 6) for _ in range(200)]
    second = [min(6, max(0, a + draw.choice([-1, 0, 0, 0, 1, 2]))) for a in first]
    rounds = [TwoRounds(a, b) for a, b in zip(first, second, strict=True)]
    found = agreement([*rounds, TwoRounds(1, None, "failed")], weighted=True)
    assert found["answered"] == 200
    assert found["kappa"] == pytest.approx(cohen_kappa_score(first, second))
    assert found["weighted_kappa"] == pytest.approx(cohen_kappa_score(first, second, weights="quadratic"))
    assert found["failed"] == 1
    confusion = {(a, b): n for a, b, n in found["confusion"]}
    assert confusion == Counter(zip(first, second, strict=True))
    assert kappa([]) is None
    assert kappa([("a", "a"), ("a", "a")]) is None


def test_the_interval_of_kappa_is_that_of_resampled_items() -> None:
    draw = random.Random(2)
    pairs = [(a, a if draw.random() < 0.8 else draw.choice("xyz")) for a in draw.choices("xyz", k=120)]
    low, high = kappa_interval(pairs) or [0, 0]
    value = kappa(pairs) or 0
    assert low < value < high
    plain = sorted(kappa(draw.choices(pairs, k=len(pairs))) or 0 for _ in range(2000))
    assert (low, high) == pytest.approx((plain[50], plain[1950]), abs=0.02)
    assert kappa_interval(pairs) == kappa_interval(list(reversed(pairs)))
    assert kappa_interval(pairs) != kappa_interval(pairs, seed=1)
    assert kappa_interval([("a", "a")]) is None
    # Seldom a sample holds one answer only: kappa is not defined there, and the interval is that of the others.
    assert kappa_interval([("a", "a"), ("b", "b")]) == [1.0, 1.0]
    # A hundred times the items give a tenth of the width.
    narrow = kappa_interval(pairs * 100) or [0, 0]
    assert narrow[1] - narrow[0] == pytest.approx((high - low) / 10, rel=0.1)


class Judge:
    name, kind = "judge", "openai"

    def annotate(self, rubric: Any, items: Any, round: int = 1) -> list[Any]:
        good: list[Any] = [QualityScore(score=round) for _ in items]
        return [CallError("timeout", "late"), *good[1:]] if round == 2 else good

    def statistics(self) -> dict[str, Any]:
        return {}


def test_failed_calls_carry_their_reason() -> None:
    rounds = two_rounds(Judge(), QUALITY, [{"text": "x"}, {"text": "y"}], lambda a: a.score)
    assert rounds == [TwoRounds(1, None, "round 2: timeout (late)"), TwoRounds(1, 2)]


def test_a_model_is_not_asked_twice_in_the_same_words() -> None:
    with pytest.raises(StageFailed, match="one wording"):
        two_rounds(Judge(), TURN, [], lambda a: a.fluency)
