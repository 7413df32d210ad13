"""Several judges of the same answers: what most of them say, how far they agree, and whether one favours its own.

The panel's verdict on a pair is what more than half of the judges with a verdict say, else a tie; its score of a round is
their mean. Where not more than half of the panel answered, the pair or round is unscored.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from aquilamed.annotate import ASPECTS
from aquilamed.annotate.agreement import TwoRounds, agreement
from aquilamed.evaluate.statistics import interval
from aquilamed.evaluate.verdicts import POINTS

UNSCORED = "unscored"


def majority(outcomes: Sequence[str]) -> tuple[str, str]:
    """(the panel's outcome, detail) of one pair from its judges' outcomes."""
    counts = Counter(o for o in outcomes if o != UNSCORED)
    answered = counts.total()
    if 2 * answered <= len(outcomes):
        return UNSCORED, f"{answered} of {len(outcomes)} judges gave a verdict"
    told = ", ".join(f"{outcome} {n}" for outcome, n in sorted(counts.items()))
    outcome, most = max(counts.items(), key=lambda item: item[1])
    return (outcome, told) if 2 * most > answered else ("tie", f"no majority: {told}")


def mean_scores(scores: Sequence[Mapping[str, Any] | None]) -> dict[str, float] | None:
    """The panel's aspects of one round; None where not more than half of its judges gave scores."""
    given = [s for s in scores if s is not None]
    if 2 * len(given) <= len(scores):
        return None
    return {aspect: sum(s[aspect] for s in given) / len(given) for aspect in ASPECTS}


def judges_agree(said: Mapping[str, Sequence[Any]], weighted: bool = False) -> list[dict[str, Any]]:
    """Every two judges' agreement (see annotate/agreement.py) on the same items; None stands where a judge gave nothing."""
    found = []
    for (one, firsts), (two, seconds) in combinations(said.items(), 2):
        rounds = [
            TwoRounds(a, b, None if a is not None and b is not None else "unscored")
            for a, b in zip(firsts, seconds, strict=True)
        ]
        found.append({"judges": [one, two], **agreement(rounds, weighted)})
    return found


def self_preference(own: str, outcomes: Mapping[str, Sequence[str]], mirrored: bool) -> dict[str, Any]:
    """Whether a judge gives its own answers more than the other judges give them, on the pairs that both scored.

    Args:
        own: the judge in question, a key of `outcomes`.
        outcomes: judge → outcome per pair.
        mirrored: its answers are those compared with, so that a loss is its win.

    Returns `judge`, `n`, `given` (its own win rate by itself), `others` (by the other judges' mean), their `difference` and
    its 95 % bootstrap `interval`. None where nothing was scored by both.
    """
    pairs = []
    for n, mine in enumerate(outcomes[own]):
        rest = [said[n] for judge, said in outcomes.items() if judge != own and said[n] != UNSCORED]
        if mine != UNSCORED and rest:
            points = [1 - POINTS[o] if mirrored else POINTS[o] for o in (mine, *rest)]
            pairs.append((points[0], sum(points[1:]) / len(rest)))
    apart = [a - b for a, b in pairs]
    count = len(pairs)
    return {
        "judge": own,
        "n": count,
        "given": sum(a for a, _ in pairs) / count if count else None,
        "others": sum(b for _, b in pairs) / count if count else None,
        "difference": sum(apart) / count if count else None,
        "interval": interval(apart, bounds=(-1, 1)),
    }
