"""How far raters agree on pairs: Cohen's κ for two, Fleiss' κ and Krippendorff's α for several, and with the model's judge.

Verdicts are compared as letters that a seeded coin gives to each pair's answers, the same for all raters, whatever order
each was shown: raters did not see which answer was chosen, so what they would agree on by chance follows from the letters,
which fall evenly, and not from how often the model is right.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aquilamed.annotate import ASPECTS
from aquilamed.annotate.agreement import kappa
from aquilamed.prefer.judgements import Vote, decide

_LETTERS = ({"chosen": "A", "rejected": "B"}, {"chosen": "B", "rejected": "A"})


def chosen_is_b(seed: int, pair: str) -> bool:
    """Whether a pair's chosen answer is B, also in what is exported: a seeded coin."""
    return bool(hashlib.blake2b(f"{seed}\0blind\0{pair}".encode(), digest_size=1).digest()[0] & 1)


def agreement(
    votes: Mapping[str, Sequence[Vote]], adjudicators: Iterable[str], seed: int, names: bool = False
) -> dict[str, Any]:
    """Agreement of the raters, adjudicators left out, and of what was decided with the model's judge.

    Args:
        names: call raters by their names and not "rater 1", "rater 2" …: manifests, reports and cards are passed on.

    `raters`: verdicts by rater. `two`: for every two raters with pairs in common {raters, pairs, equal, kappa}. `fleiss_kappa`
    of the pairs that every rater judged, `alpha` of all that two judged, `aspects` the α of each aspect. `model`: {pairs,
    equal, kappa} of the decided verdicts (tie included) and the model's. Null where a number is not defined.
    """
    last_word = set(adjudicators)
    table = {
        pair: {v.rater: shown(v.verdict, pair, seed) for v in said if v.verdict != "skip" and v.rater not in last_word}
        for pair, said in sorted(votes.items())
    }
    raters = sorted({r for said in table.values() for r in said})
    called = {r: r if names else f"rater {n}" for n, r in enumerate(raters, 1)}
    two = []
    for a, b in itertools.combinations(raters, 2):
        both = [(said[a], said[b]) for said in table.values() if a in said and b in said]
        if both:
            two.append({"raters": [called[a], called[b]], **_two(both)})
    complete = [list(said.values()) for said in table.values() if len(said) == len(raters)]
    decided = [(p, d.verdict) for p, said in votes.items() if (d := decide(said, last_word)) and d.verdict]
    model = [(shown(v, p, seed), shown("chosen", p, seed)) for p, v in decided]
    aspects = {
        name: krippendorff_alpha(
            [
                [shown(v.aspects[name], pair, seed) for v in said if name in v.aspects and v.rater not in last_word]
                for pair, said in votes.items()
            ]
        )
        for name in ASPECTS
    }
    return {
        "raters": {called[r]: sum(r in said for said in table.values()) for r in raters},
        "skipped": sum(v.verdict == "skip" for said in votes.values() for v in said),
        "two": two,
        "fleiss_kappa": fleiss_kappa(complete),
        "alpha": krippendorff_alpha([list(said.values()) for said in table.values()]),
        "aspects": aspects,
        "model": _two(model),
    }


def shown(verdict: str, pair: str, seed: int) -> str:
    """The letter of a verdict's side by the pair's coin."""
    return _LETTERS[chosen_is_b(seed, pair)].get(verdict, verdict)


def _two(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    equal = sum(a == b for a, b in pairs) / len(pairs) if pairs else None
    return {"pairs": len(pairs), "equal": _rounded(equal), "kappa": _rounded(kappa(pairs))}


def fleiss_kappa(items: Sequence[Sequence[str]]) -> float | None:
    """Fleiss' κ of items that were all judged by the same number of raters; None for fewer than two, or one label only."""
    size = len(items[0]) if items else 0
    if size < 2:
        return None
    counts = [Counter(labels) for labels in items]
    observed = sum(n * (n - 1) for c in counts for n in c.values()) / (len(items) * size * (size - 1))
    total: Counter[str] = Counter()
    for c in counts:
        total.update(c)
    expected = sum((n / (len(items) * size)) ** 2 for n in total.values())
    return None if expected == 1 else _rounded((observed - expected) / (1 - expected))


def krippendorff_alpha(items: Sequence[Sequence[str]]) -> float | None:
    """Krippendorff's α (nominal) of items with any number of labels; those with fewer than two say nothing.

    None without an item of two labels, or when there is one label only.
    """
    counts = [Counter(labels) for labels in items if len(labels) > 1]
    total: Counter[str] = Counter()
    for c in counts:
        total.update(c)
    size = total.total()
    # Disagreeing ordered pairs, those within an item weighted by 1 / (labels - 1); then all that chance could pair.
    observed = sum((c.total() ** 2 - sum(n * n for n in c.values())) / (c.total() - 1) for c in counts)
    expected = size * size - sum(n * n for n in total.values())
    return None if not expected else _rounded(1 - (size - 1) * observed / expected)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
