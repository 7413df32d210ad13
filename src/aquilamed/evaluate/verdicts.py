"""Verdicts on pairs of answers, and what may be said of them: shares, win rates, the judge's bias for a position.

The figures are over the pairs that were scored; a judgement that failed is none of win, tie and loss.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from aquilamed.annotate import ASPECTS, Annotator, CallError
from aquilamed.annotate.both_orders import BothOrders, compare_in_both_orders
from aquilamed.evaluate.contestants import dialogue_text
from aquilamed.evaluate.length_control import length_controlled
from aquilamed.evaluate.statistics import interval
from aquilamed.records import Dialogue

OUTCOMES = ("win", "tie", "loss", "unscored")
POINTS = {"win": 1.0, "tie": 0.5, "loss": 0.0}
Judged = tuple[str, str, BothOrders | None]
"""Outcome for the answer judged, detail, what was said in both orders."""
Said = str | CallError
"""A contestant's answer, or why there is none."""


def judge_pairs(
    judge: Annotator, items: list[Dialogue], answers: Sequence[Said], others: Sequence[Said]
) -> list[Judged]:
    """(outcome for `answers`, detail, what was said) per item: win, loss, tie, or unscored with what failed.

    A side that has no answer is not judged.
    """
    found: list[Judged] = [("unscored", _missing(a, b), None) for a, b in zip(answers, others, strict=True)]
    whole = [
        (n, dialogue_text(d.messages[:1]), a, b)
        for n, (d, a, b) in enumerate(zip(items, answers, others, strict=True))
        if isinstance(a, str) and isinstance(b, str)
    ]
    verdicts = compare_in_both_orders(
        judge, [d for _, d, _, _ in whole], [a for *_, a, _ in whole], [b for *_, b in whole]
    )
    for (n, *_), said in zip(whole, verdicts, strict=True):
        found[n] = judged(said)
    return found


def _missing(*sides: Said) -> str:
    return "; ".join(f"no answer: {s.kind}: {s.detail}" for s in sides if isinstance(s, CallError))


def judged(said: BothOrders | CallError) -> Judged:
    """Win, loss, tie or unscored for the first answer."""
    if isinstance(said, CallError):
        return "unscored", f"{said.kind}: {said.detail}", None
    one, two = said.shown_first["winner"], said.shown_second["winner"]
    return _outcome(said, "winner"), "" if one == two else f"the orders disagree: {one} then {two}", said


def _outcome(said: BothOrders, what: str) -> str:
    side = said.both(what)
    return "win" if side == "first" else "loss" if side == "second" else "tie"


def judge_figures(verdicts: list[Judged], answers: Sequence[Said], others: Sequence[Said]) -> dict[str, Any]:
    """What is reported of one judge's verdicts: `outcome_figures`, `position` and `aspects`."""
    said = [s for _, _, s in verdicts if s is not None]
    outcomes = [outcome for outcome, _, _ in verdicts]
    return outcome_figures(outcomes, answers, others) | {"position": position(said), "aspects": aspects(verdicts)}


def outcome_figures(outcomes: Sequence[str], answers: Sequence[Said], others: Sequence[Said]) -> dict[str, Any]:
    """What is reported of outcomes, one judge's or a panel's.

    Returns `win`, `tie`, `loss`, `unscored` (pairs); `shares`: outcome → {share, interval}; `win_rate` (a tie is half a win)
    with its `win_rate_interval`; `length_controlled` (see evaluate/length_control.py) and the mean `characters` of both
    sides. Shares are None where nothing was scored.
    """
    counts = Counter(outcomes)
    scored = [
        (outcome, len(answer), len(other))
        for outcome, answer, other in zip(outcomes, answers, others, strict=True)
        if outcome != "unscored" and isinstance(answer, str) and isinstance(other, str)
    ]
    points = [POINTS[outcome] for outcome, _, _ in scored]
    mine, theirs = [n for _, n, _ in scored], [n for _, _, n in scored]
    return {o: counts[o] for o in OUTCOMES} | {
        "shares": {o: _share([outcome == o for outcome, _, _ in scored]) for o in POINTS},
        "win_rate": _mean(points),
        "win_rate_interval": interval(points, bounds=(0, 1)),
        "length_controlled": length_controlled(points, mine, theirs),
        "characters": {"answer": _mean(mine), "other": _mean(theirs)},
    }


def position(said: Sequence[BothOrders]) -> dict[str, Any]:
    """How far verdicts follow the place where an answer stands.

    Returns `n`; `first` and `second`: {share, interval} of the pairs whose winner is, in both orders, the answer shown first
    (second); `agree`: {share, interval} of those where both orders name the same side or a tie. A judge that never looks at
    places has first and second near each other and low.
    """
    shown = [(s.shown_first["winner"], s.shown_second["winner"]) for s in said]
    return {
        "n": len(shown),
        "first": _share([s == ("first", "second") for s in shown]),
        "second": _share([s == ("second", "first") for s in shown]),
        "agree": _share([one == two for one, two in shown]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(values: Sequence[bool]) -> dict[str, Any]:
    numbers = [float(v) for v in values]
    return {"share": _mean(numbers), "interval": interval(numbers, bounds=(0, 1))}


def aspects(verdicts: list[Judged]) -> dict[str, dict[str, int]]:
    """Win, tie and loss per aspect, of the pairs that were scored."""
    scored = [said for _, _, said in verdicts if said is not None]
    counts = {aspect: Counter(_outcome(said, aspect) for said in scored) for aspect in ASPECTS}
    return {aspect: {o: found[o] for o in ("win", "tie", "loss")} for aspect, found in counts.items()}
