"""Margins and sides of answers compared in both orders."""

from aquilamed.annotate import ASPECTS, Verdict
from aquilamed.annotate.both_orders import BothOrders, compare_in_both_orders

SAID = dict(zip(ASPECTS, ("A", "A", "tie", "B"), strict=True)) | {"winner": "A"}
SWAPPED = {"A": "B", "B": "A", "tie": "tie"}


class Judge:
    """Says the same of the answers wherever they stand; in the second order one aspect is a tie."""

    kind = name = "test"

    def annotate(self, rubric: object, items: list[dict[str, str]], round: int = 1) -> list[Verdict]:
        backward = {k: SWAPPED[v] for k, v in SAID.items()} | {"fluency": "tie"}
        return [Verdict(**(SAID if i["answer_a"] == "good" else backward)) for i in items]  # type: ignore[arg-type]


def test_sides_margin_and_what_was_said() -> None:
    [found] = compare_in_both_orders(Judge(), ["d"], ["good"], ["bad"])  # type: ignore[arg-type]
    assert isinstance(found, BothOrders)
    assert found.both() == "first"
    assert found.both("fluency") is None, "the orders disagree"
    assert found.both("proficiency") == "second"
    # (2 won - 1 lost) / 4 in the first order, (1 - 1) / 4 in the second
    assert found.margin("first") == 0.125
    assert found.margin("second") == -0.125
    one, two = found.as_said("new", "old")
    assert (one["order"], one["winner"], one["proficiency"]) == ("new, old", "new", "old")
    assert (two["order"], two["winner"], two["fluency"]) == ("old, new", "new", "tie")
