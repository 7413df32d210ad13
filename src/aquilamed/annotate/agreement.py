"""Two rounds of annotation, what of them is kept, and how far they agree (paper sections 1.2 and 1.5)."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from aquilamed.annotate.contract import Annotator, CallError, Rubric, T
from aquilamed.config import StageFailed

V = TypeVar("V", bound=Hashable)


@dataclass(frozen=True)
class TwoRounds(Generic[V]):
    """One item's two answers. `failed` says why there are not two."""

    first: V | None
    second: V | None
    failed: str | None = None


def two_rounds(
    annotator: Annotator, rubric: Rubric[T], items: Sequence[Mapping[str, str]], value: Callable[[T], V]
) -> list[TwoRounds[V]]:
    """Ask everything twice; `value` picks the label or score out of an answer.

    Raises `StageFailed` for a model and a rubric of one wording: its second answer would be no second opinion.
    """
    if annotator.kind != "offline" and not rubric.second:
        raise StageFailed(f"rubric {rubric.name} has one wording only: two rounds would be one opinion asked twice")
    rounds = [annotator.annotate(rubric, items, round=number) for number in (1, 2)]
    found: list[TwoRounds[V]] = []
    for first, second in zip(*rounds, strict=True):
        values = [None if isinstance(a, CallError) else value(a) for a in (first, second)]
        failures = [
            f"round {number}: {a.kind} ({a.detail})"
            for number, a in enumerate((first, second), start=1)
            if isinstance(a, CallError)
        ]
        found.append(TwoRounds(values[0], values[1], "; ".join(failures) or None))
    return found


def kept_label(rounds: TwoRounds[V]) -> bool:
    """Whether both rounds gave the same label."""
    return rounds.failed is None and rounds.first == rounds.second


def kept_score(rounds: TwoRounds[int], max_difference: float = 2) -> bool:
    """Whether both rounds gave scores that differ by less than `max_difference`."""
    if rounds.failed is not None or rounds.first is None or rounds.second is None:
        return False
    return abs(rounds.first - rounds.second) < max_difference


def agreement(rounds: Sequence[TwoRounds[V]], weighted: bool = False, seed: int = 0) -> dict[str, Any]:
    """How far two rounds agree.

    `answered` and `failed` count the items with two answers and without; `equal` is the share with equal ones, `kappa`
    Cohen's, `kappa_interval` its 95 % interval, `confusion` the table [first, second, how often]. With `weighted`
    also `weighted_kappa` and its interval (quadratic, for numbers). Shares and kappas are null where they are not defined.

    Args:
        seed: of the bootstrap.
    """
    pairs = [(r.first, r.second) for r in rounds if r.first is not None and r.second is not None]
    result: dict[str, Any] = {
        "answered": len(pairs),
        "failed": len(rounds) - len(pairs),
        "equal": sum(a == b for a, b in pairs) / len(pairs) if pairs else None,
        "kappa": kappa(pairs),
        "kappa_interval": kappa_interval(pairs, seed=seed),
    }
    if weighted:
        result["weighted_kappa"] = kappa(pairs, squared)
        result["weighted_kappa_interval"] = kappa_interval(pairs, squared, seed)
    counts: Counter[tuple[Any, Any]] = Counter(pairs)
    return {**result, "confusion": [[a, b, n] for (a, b), n in sorted(counts.items())]}


def different(a: Any, b: Any) -> float:
    """The distance of labels."""
    return float(a != b)


def squared(a: Any, b: Any) -> float:
    """The distance of scores."""
    return float((a - b) ** 2)


def kappa(pairs: Sequence[tuple[Any, Any]], distance: Callable[[Any, Any], float] = different) -> float | None:
    """Cohen's kappa: 1 - (observed distance) / (distance expected by chance). None when chance alone gives none,
    that is without pairs, or when both rounds gave one and the same answer to everything."""
    firsts, seconds = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(n * m * distance(a, b) for a, n in firsts.items() for b, m in seconds.items())
    if not expected:
        return None
    observed = sum(distance(a, b) for a, b in pairs)
    return 1 - observed * len(pairs) / expected


def kappa_interval(
    pairs: Sequence[tuple[Any, Any]],
    distance: Callable[[Any, Any], float] = different,
    seed: int = 0,
    samples: int = 2000,
    level: float = 0.95,
) -> list[float] | None:
    """Kappa's percentile interval by the bootstrap: [low, high] over samples of the items with replacement.

    None where kappa is not defined. Samples without a kappa (one answer to everything) are left out.
    """
    if kappa(pairs, distance) is None:
        return None
    answers = sorted({a for pair in pairs for a in pair})
    place = {a: n for n, a in enumerate(answers)}
    table = np.zeros((len(answers), len(answers)))
    for (a, b), n in Counter(pairs).items():
        table[place[a], place[b]] = n
    far = np.array([[distance(a, b) for b in answers] for a in answers])
    # Items with equal pairs are exchangeable: a sample of them is a draw of the table's counts.
    drawn = np.random.default_rng(seed).multinomial(len(pairs), table.ravel() / len(pairs), samples)
    drawn = drawn.reshape(samples, *table.shape)
    observed = (drawn * far).sum((1, 2)) * len(pairs)
    expected = np.einsum("si,ij,sj->s", drawn.sum(2), far, drawn.sum(1))
    defined = expected > 0
    values = 1 - observed[defined] / expected[defined]
    return [float(v) for v in np.quantile(values, [(1 - level) / 2, (1 + level) / 2])]
