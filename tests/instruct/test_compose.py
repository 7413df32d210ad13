"""Parts that add up, and who fills up what others lack."""

import pytest

from aquilamed.instruct.compose import PAPER_SHARE, apportion, refill


@pytest.mark.parametrize("total", [1, 3, 10, 97, 1000, 12345, 320_000])
def test_parts_add_up_to_the_target(total: int) -> None:
    parts = apportion(total, PAPER_SHARE)
    assert sum(parts.values()) == total
    assert all(abs(n - total * PAPER_SHARE[kind]) < 1 for kind, n in parts.items())


def test_largest_remainders_by_hand() -> None:
    assert apportion(10, {"a": 0.55, "b": 0.25, "c": 0.2}) == {
        "a": 6,
        "b": 2,
        "c": 2,
    }  # a and b tie at .5: a comes first
    assert apportion(100, {"a": 0.333, "b": 0.333, "c": 0.333}) == {"a": 34, "b": 33, "c": 33}
    assert apportion(1000, {"a": 0.29, "b": 0.71}) == {"a": 290, "b": 710}
    assert apportion(10, {"a": 0.3, "b": 0.2}) == {"a": 3, "b": 2}  # half of the target has no kind
    assert apportion(5, {}) == {}


def test_others_fill_up_by_share_and_at_most_what_they_have() -> None:
    shares = {"a": 0.6, "b": 0.3, "c": 0.1}
    assert refill(shares, {"a": 100, "b": 100}, 9) == {"a": 6, "b": 3}
    assert refill(shares, {"a": 2, "b": 100}, 9) == {"a": 2, "b": 7}
    assert refill(shares, {"a": 2, "b": 3}, 9) == {"a": 2, "b": 3}
    assert refill(shares, {"d": 50}, 9) == {}  # no share of the target
    assert refill(shares, {"a": 5}, 0) == {}
