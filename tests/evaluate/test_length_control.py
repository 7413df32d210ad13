"""The length-controlled win rate: against scikit-learn's fit, on planted effects, and where there is none."""

import numpy as np
import pytest

from aquilamed.evaluate.length_control import length_controlled


def planted(n: int, intercept: float, slope: float, longer: float = 40) -> tuple[list[float], list[float], list[float]]:
    """Outcomes drawn from the very model, the judged answer longer by `longer` characters on average."""
    draw = np.random.default_rng(3)
    d = draw.normal(longer, 60, n).round()
    p = 1 / (1 + np.exp(-(intercept + slope * np.tanh(d / np.sqrt((d**2).mean())))))
    return (draw.random(n) < p).astype(float).tolist(), (500 + d).tolist(), [500.0] * n


def test_it_is_the_logistic_fit() -> None:
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(1)
    d, y = draw.normal(30, 50, 200).round(), draw.choice([0, 0.5, 1], 200)
    x = np.tanh(d / np.sqrt((d**2).mean()))[:, None]
    other = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000)
    other.fit(np.r_[x, x], np.r_[np.ones(200), np.zeros(200)], sample_weight=np.r_[y, 1 - y])
    found = length_controlled(y.tolist(), d.tolist(), [0.0] * 200)
    assert found["win_rate"] == pytest.approx(1 / (1 + np.exp(-other.intercept_[0])), abs=1e-5)
    assert found["slope"] == pytest.approx(other.coef_[0, 0], abs=1e-4)


def test_wins_by_length_alone_are_taken_away_and_others_stay() -> None:
    points, lengths, others = planted(600, 0.0, 2.5)
    found = length_controlled(points, lengths, others)
    assert np.mean(points) > 0.6
    assert found["interval"][0] < 0.5 < found["interval"][1]
    assert found["slope"] > 1.5
    assert not found["extrapolated"]
    better = length_controlled(*planted(600, 1.0, 0.0))
    low, high = better["interval"]
    assert low < 1 / (1 + np.exp(-1)) < high
    assert better == length_controlled(*planted(600, 1.0, 0.0))


def test_the_two_sides_mirror_each_other() -> None:
    points, lengths, others = planted(100, 0.4, 1.0)
    there = length_controlled(points, lengths, others)
    back = length_controlled([1 - p for p in points], others, lengths)
    assert there["win_rate"] + back["win_rate"] == pytest.approx(1)


def test_where_there_is_no_fit_the_reason_stands() -> None:
    few = length_controlled([1.0] * 19, [5.0] * 19, [4.0] * 19)
    assert few["win_rate"] is None
    assert few["reason"] == "only 19 scored pairs, 20 are needed"
    equal = length_controlled([1.0, 0.0] * 20, [5.0] * 40, [4.0] * 40)
    assert (equal["win_rate"], "same in every pair" in equal["reason"]) == (None, True)
    lengths = [float(n) for n in range(40)]
    apart = length_controlled([float(n >= 20) for n in range(40)], lengths, [20.0] * 40)
    assert (apart["win_rate"], "no finite fit" in apart["reason"]) == (None, True)
    won = length_controlled([1.0] * 40, lengths, [20.0] * 40)
    assert won["win_rate"] is None
    ties = length_controlled([0.5] * 40, lengths, [20.0] * 40)
    assert ties["win_rate"] == pytest.approx(0.5)
    longer = length_controlled([1.0, 0.0] * 20, [100 + n for n in lengths], [50.0] * 40)
    assert longer["extrapolated"]


def test_a_nearly_separated_sample_gives_a_value_without_an_interval() -> None:
    lengths = [float(n) for n in range(-15, 16) if n]
    points = [float(n > 0) for n in lengths]
    points[14], points[15] = 1.0, 0.0  # one pair of neighbours is swapped: many resamples miss it
    found = length_controlled(points, lengths, [0.0] * 30)
    assert found["win_rate"] == pytest.approx(0.5, abs=0.05)
    assert found["interval"] is None
