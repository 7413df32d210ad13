"""How sure a score is: standard error, bootstrap interval, and whether two models differ by more than noise.

Everything is seeded: two runs give the same digits.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
NOISE = 0.05
"""A paired difference with a larger p-value is called noise."""
FEWEST = 6
"""Pairs that a bootstrap is believed from: five that point one way do so by chance in 2 · 0.5⁵ = 6 % of cases."""


def stderr(correct: Sequence[bool]) -> float | None:
    """The standard error of a share; None below two observations."""
    n = len(correct)
    share = sum(correct) / n if n else 0.0
    return math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None


def interval(
    values: Sequence[float],
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
    bounds: tuple[float, float] | None = None,
) -> list[float] | None:
    """The 95 % percentile-bootstrap interval of a mean (2,000 resamples); None below two observations, or clusters.

    Args:
        clusters: what each value belongs to: whole clusters are drawn, as rounds of one dialogue are not independent.
        bounds: the least and the greatest possible value. Where all values are alike every resample is too, and a bootstrap
            would claim certainty: the interval is then the exact one (Clopper and Pearson's share of "like these", the rest
            anywhere within the bounds).
    """
    marks = list(range(len(values))) if clusters is None else list(clusters)
    sums: dict[Hashable, float] = {}
    counts: Counter[Hashable] = Counter()
    for mark, value in zip(marks, values, strict=True):
        sums[mark] = sums.get(mark, 0.0) + value
        counts[mark] += 1
    if len(sums) < 2:
        return None
    if bounds is not None and len(set(values)) == 1:
        alike = float(0.025 ** (1 / len(sums)))
        return [alike * values[0] + (1 - alike) * bound for bound in bounds]
    return ratio_interval(list(sums.values()), [counts[mark] for mark in sums], seed)


def ratio_interval(sums: Sequence[float], counts: Sequence[float], seed: int = 0) -> list[float] | None:
    """The same of a mean over all that clusters hold, such as nats per token over documents, from each cluster's sum and count."""
    if len(sums) < 2:
        return None
    return _percentiles(_resampled_means(np.asarray(sums, np.float64), np.asarray(counts, np.float64), seed))


def by_chance(interval: Sequence[float] | None, n: int) -> bool:
    """Whether a difference over `n` pairs is called noise: its interval holds 0, or they are fewer than `FEWEST`."""
    return n < FEWEST or interval is None or interval[0] <= 0 <= interval[1]


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided p-value that two models answer the same questions equally well, from the questions on which they differ."""
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    return sign_test(only_first, sum(b and not a for a, b in zip(first, second, strict=True)))


def sign_test(up: int, down: int) -> float:
    """Exact two-sided p-value that rises and falls are equally likely."""
    from scipy.stats import binomtest

    return float(binomtest(up, up + down).pvalue) if up + down else 1.0


def paired(first: Sequence[bool], second: Sequence[bool], seed: int = 0) -> dict[str, Any]:
    """The difference second − first on the same questions.

    Returns `n`, `difference`, its bootstrap `interval`, `gained` and `lost` (questions that only one of them answers
    rightly), `p` (McNemar's exact test) and `noise` (p above 0.05).
    """
    change = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    p = mcnemar(first, second)
    return {
        "n": len(change),
        "difference": float(change.mean()) if len(change) else None,
        "interval": interval(change.tolist(), seed),
        "gained": int((change > 0).sum()),
        "lost": int((change < 0).sum()),
        "p": p,
        "noise": p > NOISE,
    }


def _resampled_means(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.float64]:
    draw = np.random.default_rng(seed)
    # Slices bound the memory: 2,000 × 11,200 questions at once would be 180 MB of indices.
    rows = max(1, (1 << 20) // len(sums))
    slices = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
    picks = (draw.integers(0, len(sums), (n, len(sums))) for n in slices)
    return np.concatenate([sums[i].sum(axis=1) / counts[i].sum(axis=1) for i in picks])


def _percentiles(means: npt.NDArray[np.float64]) -> list[float]:
    low, high = np.quantile(means, [0.025, 0.975])
    return [float(low), float(high)]
