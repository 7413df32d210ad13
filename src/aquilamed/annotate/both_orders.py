"""Two answers compared in both orders, so that position does not decide (paper, section 5).

A judge's A and B become "first" and "second", the answers as they were given here; what holds is what both orders say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aquilamed.annotate.catalog import ASPECTS, COMPARE, Verdict
from aquilamed.annotate.contract import Annotator, CallError

Side = Literal["first", "second", "tie"]
_FORWARD: dict[str, Side] = {"A": "first", "B": "second", "tie": "tie"}
_BACKWARD: dict[str, Side] = {"A": "second", "B": "first", "tie": "tie"}


@dataclass(frozen=True)
class BothOrders:
    """What a judge said when the first answer stood first, and when it stood second: winner and aspects by name."""

    shown_first: Mapping[str, Side]
    shown_second: Mapping[str, Side]

    def both(self, what: str = "winner") -> Side | None:
        """The side that both orders name for the winner or an aspect; None when they disagree."""
        side = self.shown_first[what]
        return side if side == self.shown_second[what] else None

    def margin(self, side: Side) -> float:
        """By how much a side is better, -1 to 1: (aspects won - aspects lost) / 4, the mean of both orders.

        The winner is named as a whole: its margin may be 0 or below where the judge weighs one aspect more than another.
        """
        points = 0
        for said in (self.shown_first, self.shown_second):
            points += sum((said[a] == side) - (said[a] not in (side, "tie")) for a in ASPECTS)
        return points / (2 * len(ASPECTS))

    def as_said(self, first: str, second: str) -> list[dict[str, str]]:
        """Both verdicts for the audit, the sides under the caller's names."""
        names = {"first": first, "second": second, "tie": "tie"}
        orders = ((f"{first}, {second}", self.shown_first), (f"{second}, {first}", self.shown_second))
        return [{"order": order, **{what: names[side] for what, side in said.items()}} for order, said in orders]


def compare_in_both_orders(
    judge: Annotator, dialogues: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]
) -> list[BothOrders | CallError]:
    """Judge pairs of answers twice; a judgement that failed in one order is that failure."""
    forward = [
        {"dialogue": d, "answer_a": a, "answer_b": b} for d, a, b in zip(dialogues, firsts, seconds, strict=True)
    ]
    backward = [{**f, "answer_a": f["answer_b"], "answer_b": f["answer_a"]} for f in forward]
    found: list[BothOrders | CallError] = []
    for one, two in zip(judge.annotate(COMPARE, forward), judge.annotate(COMPARE, backward), strict=True):
        if isinstance(one, CallError) or isinstance(two, CallError):
            found.append(one if isinstance(one, CallError) else two)  # type: ignore[arg-type]
        else:
            found.append(BothOrders(_sides(one, _FORWARD), _sides(two, _BACKWARD)))
    return found


def _sides(verdict: Verdict, names: Mapping[str, Side]) -> dict[str, Side]:
    return {what: names[getattr(verdict, what)] for what in ("winner", *ASPECTS)}
