"""Intervals and paired tests against values that can be computed by hand."""

import math

import numpy as np
import pytest

from aquilamed.evaluate.statistics import by_chance, interval, mcnemar, paired, ratio_interval, stderr


def test_standard_error_is_the_sample_one() -> None:
    values = [True] * 3 + [False] * 7
    assert stderr(values) == pytest.approx(np.std(values, ddof=1) / math.sqrt(10))
    assert stderr([True]) is None
    assert stderr([]) is None


def test_the_interval_covers_the_mean_as_the_normal_one_does() -> None:
    values = [float(n % 4 == 0) for n in range(400)]
    low, high = interval(values) or (0, 0)
    half = 1.96 * np.std(values) / math.sqrt(400)
    assert low == pytest.approx(0.25 - half, abs=0.005)
    assert high == pytest.approx(0.25 + half, abs=0.005)
    assert interval(values) == interval(values)
    assert interval(values, seed=1) != interval(values)
    assert interval([1.0]) is None


def test_mcnemar_is_the_exact_sign_test() -> None:
    first = [True] * 9 + [False] + [True] * 20
    second = [False] * 9 + [True] + [True] * 20
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(first, first) == 1.0


def test_a_small_difference_is_called_noise_and_a_large_one_is_not() -> None:
    first = [False] * 50 + [True] * 50
    better = [True] * 30 + [False] * 20 + [True] * 50
    found = paired(first, better)
    assert (found["difference"], found["gained"], found["lost"], found["noise"]) == (0.3, 30, 0, False)
    assert 0.2 < found["interval"][0] < 0.3 < found["interval"][1] < 0.4
    assert paired(first, [True, True, *first[2:]])["noise"]
    assert paired([], [])["difference"] is None


def test_values_that_are_all_alike_give_the_exact_interval() -> None:
    rate = 0.025 ** (1 / 30)  # Clopper and Pearson's lower end for 30 of 30
    assert interval([1.0] * 30, bounds=(0, 1)) == pytest.approx([rate, 1])
    assert interval([0.0] * 30, bounds=(0, 1)) == pytest.approx([0, 1 - rate])
    assert interval([0.5] * 30, bounds=(0, 1)) == pytest.approx([rate / 2, 1 - rate / 2])
    assert interval([1.0] * 30) == [1.0, 1.0]
    assert interval([0.0, 1.0] * 20, bounds=(0, 1)) == interval([0.0, 1.0] * 20)


def test_clusters_are_the_observations() -> None:
    values = [float(n % 2) for n in range(40) for _ in range(10)]
    marks = [n for n in range(40) for _ in range(10)]
    low, high = interval(values, clusters=marks) or (0, 0)
    assert [low, high] == interval([float(n % 2) for n in range(40)])
    alone = interval(values) or [0, 0]
    assert high - low == pytest.approx(math.sqrt(10) * (alone[1] - alone[0]), rel=0.15)
    assert interval(values[:10], clusters=["one"] * 10) is None


def test_a_ratio_is_drawn_over_whole_clusters() -> None:
    sums, counts = [4.0, 30.0, 2.0, 9.0, 10.0, 25.0], [2, 10, 1, 3, 5, 10]
    each = [s / c for s, c in zip(sums, counts, strict=True) for _ in range(c)]
    marks = [n for n, c in enumerate(counts) for _ in range(c)]
    span = ratio_interval(sums, counts)
    assert span == pytest.approx(interval(each, clusters=marks))
    assert span is not None
    assert span[0] < sum(sums) / sum(counts) < span[1]
    assert ratio_interval([3.0], [1]) is None


def test_noise_is_an_interval_around_0_or_too_few_pairs() -> None:
    assert by_chance([-0.1, 0.2], 100)
    assert by_chance(None, 100)
    assert by_chance([0.1, 0.2], 5)
    assert not by_chance([0.1, 0.2], 6)
    assert not by_chance([-0.2, -0.1], 6)
