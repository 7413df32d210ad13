"""What the judges are worth, in words: who they are, whether they tell two answers apart, and how much they left unscored."""

from collections.abc import Iterator
from typing import Any

from aquilamed.evaluate.statistics import interval
from aquilamed.printable import printable
from aquilamed.report.cells import ABSENT, called, get
from aquilamed.report.gather import Run

COIN = 0.5
"""How often a judge that tosses a coin names the same side in both orders."""
MANY = 0.2
"""A larger share of unscored answers is said in words."""


def who_judged(run: Run, stage: str) -> list[str]:
    """Who judged."""
    judge = run.metric(stage, "judge")
    if not judge:
        return [f"This evaluation is {ABSENT}."]
    panel = [called(j["name"]) for j in run.metric(stage, "panel") or []]
    asked = (
        ", ".join(f"{printable(name)} {printable(mark)[:8]}" for name, mark in judge.get("rubrics", {}).items())
        or "unknown"
    )
    who = "a rule-based rater, not an LLM" if judge.get("kind") == "offline" else called(judge.get("name"))
    told = [f"The judge is {who} (rubric {asked})."]
    if panel:
        told.append(
            f"It is one of a panel, with {', '.join(panel)}: what most of them say counts, scores are their mean."
        )
    return told


def pairs(s: dict[str, Any]) -> list[str]:
    """Per judge, over all comparisons: whether it names the same side whatever is shown first; and what is unscored."""
    return [*(_telling(name, seen) for name, seen in _seen(s["pairwise"]).items()), *_unscored_pairs(s)]


def cannot_tell(comparison: dict[str, Any]) -> tuple[int, int]:
    """How many judges of a comparison contradict themselves, from one order to the other, at least as often as a coin would;
    and of how many."""
    seen = _seen([comparison]).values()
    return sum(agree <= COIN * n for n, agree, _, _ in seen), len(seen)


def rounds(s: dict[str, Any]) -> list[str]:
    """What share of the rounds has no score, where that is much."""
    averages = {m: told["average"] for m, told in (s["multiturn"].get("models") or {}).items()}
    found = []
    for model, told in averages.items():
        n, missing = told.get("n") or 0, told.get("unscored") or 0
        if missing > MANY * (n + missing):
            found.append(
                f"{missing:,} of {n + missing:,} rounds of {printable(model)} are unscored (no answer, or a judgement that failed): the "
                "means are those of the others."
            )
    return found


def _unscored_pairs(s: dict[str, Any]) -> Iterator[str]:
    for r in s["pairwise"]:
        if r["unscored"] > MANY * r["n"]:
            yield (
                f"{r['unscored']:,} of {r['n']:,} pairs of {printable(r['model'])} against {printable(r['against'])} "
                f"({printable(r['benchmark'])}) are unscored (no answer, or a judgement that failed): in no share."
            )


_Seen = tuple[int, int, int, int]
"""Pairs; those where both orders name the same side or a tie; where twice the first shown wins; where twice the second does."""


def _seen(comparisons: list[dict[str, Any]]) -> dict[str, _Seen]:
    """What each judge did with places, "" where there is only one; judges without a verdict are left out."""
    found: dict[str, _Seen] = {}
    for r in comparisons:
        for judge in r.get("judges") or [r]:
            told = judge.get("position") or {}
            if n := told.get("n"):
                counts = (round((get(told, k, "share") or 0) * n) for k in ("agree", "first", "second"))
                name = judge.get("judge", "")
                before = found.get(name, (0, 0, 0, 0))
                found[name] = tuple(a + b for a, b in zip(before, (n, *counts), strict=True))
    return found


def _telling(name: str, seen: _Seen) -> str:
    n, agree, first, second = seen
    span = interval([1.0] * agree + [0.0] * (n - agree), bounds=(0, 1))
    who = called(name) if name else "The judge"
    told = f"{who} names the same side, or a tie, in both orders for {agree:,} of {n:,} pairs"
    told += f" (95 %: {100 * span[0]:.0f} to {100 * span[1]:.0f} %)" if span else ""
    if first or second:
        place, most = ("first", first) if first >= second else ("second", second)
        told += f"; in {most:,} the answer that was shown {place} won both times, whichever it was"
    if agree <= COIN * n:
        return (
            f"{told}. A coin would agree with itself in half: this judge cannot tell these answers apart. What the orders "
            "decide counts as a tie, so win rates near 50 % say nothing about the models here."
        )
    if span is None or span[0] <= COIN:
        return f"{told}. That may be a coin's luck: too few pairs to say that this judge tells the answers apart."
    return f"{told}."
