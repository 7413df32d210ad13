"""The win rate that two equally long answers would have: judges like long answers, so that a raw win rate rewards length.

The idea is AlpacaEval 2's length-controlled win rate (Dubois et al. 2024): a logistic regression tells apart what length
does and what the answers do, and is read where the lengths are equal. With d the difference of the lengths in characters
and s its root mean square over the pairs,

    P(win) = 1 / (1 + exp(-(a + b · tanh(d / s)))),    length-controlled win rate = 1 / (1 + exp(-a))

a tie counts half a win and half a loss. AlpacaEval adds a term for the question's difficulty, which it estimates over many
models; two contestants cannot give it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aquilamed.evaluate.statistics import RESAMPLES

LEAST = 20
"""Fewer scored pairs than this give no regression of two numbers."""
LOST = 0.05
"""An interval is given while at most so many resamples have no finite fit."""

Floats = npt.NDArray[np.float64]


def length_controlled(points: Sequence[float], lengths: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """The length-controlled win rate.

    Returns `win_rate` and its 95 % bootstrap `interval` (None where they are not defined, `reason` says why), `slope` (b
    above: over 0, longer answers win more) and `extrapolated`: one side is the longer one in every pair, so that nothing
    was seen at equal length.

    Args:
        points: 1 for a win, 0.5 for a tie, 0 for a loss.
        lengths: characters of the answer judged.
        others: characters of the answer it is compared with.
    """
    y = np.asarray(points, np.float64)
    d = np.asarray(lengths, np.float64) - np.asarray(others, np.float64)
    result: dict[str, Any] = {"win_rate": None, "interval": None, "slope": None, "extrapolated": None, "reason": None}
    if len(y) < LEAST:
        return result | {"reason": f"only {len(y)} scored pairs, {LEAST} are needed"}
    if len(np.unique(d)) == 1:
        return result | {"reason": "the lengths differ by the same in every pair"}
    x = np.tanh(d / np.sqrt((d**2).mean()))
    if not _overlap(x, y):
        return result | {"reason": "length alone separates wins from losses: no finite fit"}
    fit = _fit(x, y, np.ones((1, len(y))))[0]
    if not np.isfinite(fit).all():
        return result | {"reason": "the fit does not converge"}
    result |= {"win_rate": float(_logistic(fit[0])), "slope": float(fit[1])}
    return result | {"extrapolated": bool((d > 0).all() or (d < 0).all()), "interval": _interval(x, y)}


def _logistic(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


def _overlap(x: Floats, y: Floats) -> bool:
    """Whether a finite fit exists: wins and losses lie neither wholly apart nor touch at one point only (ties are both)."""
    wins, losses = x[y > 0], x[y < 1]
    return bool(len(wins) and len(losses) and wins.min() < losses.max() and losses.min() < wins.max())


def _fit(x: Floats, y: Floats, weights: Floats) -> Floats:
    """(a, b) for every row of weights by Newton's method, no step longer than 2; NaN where 100 steps do not converge."""
    a, b = np.zeros(len(weights)), np.zeros(len(weights))
    with np.errstate(all="ignore"):
        for _ in range(100):
            p = _logistic(a[:, None] + b[:, None] * x)
            spread = weights * p * (1 - p)
            h0, h1, h2 = spread.sum(1), spread @ x, spread @ x**2
            gap = weights * (y - p)
            g0, g1 = gap.sum(1), gap @ x
            determinant = h0 * h2 - h1**2
            step_a, step_b = (h2 * g0 - h1 * g1) / determinant, (h0 * g1 - h1 * g0) / determinant
            size = np.maximum(abs(step_a), abs(step_b))
            short = np.minimum(1, 2 / size)
            a, b = a + np.where(size > 0, short * step_a, 0), b + np.where(size > 0, short * step_b, 0)
            if not (size > 1e-10).any():
                break
    fits: Floats = np.where((size <= 1e-6)[:, None], np.stack([a, b], 1), np.nan)
    return fits


def _interval(x: Floats, y: Floats) -> list[float] | None:
    draw = np.random.default_rng(0)
    rows = max(1, (1 << 20) // len(x))
    rates = []
    for start in range(0, RESAMPLES, rows):
        n = min(rows, RESAMPLES - start)
        weights = draw.multinomial(len(x), np.full(len(x), 1 / len(x)), n).astype(np.float64)
        defined = np.array([_overlap(x[w > 0], y[w > 0]) for w in weights])
        rates.append(_logistic(_fit(x, y, weights[defined])[:, 0]))
    found = np.concatenate(rates)
    found = found[np.isfinite(found)]
    if len(found) < (1 - LOST) * RESAMPLES:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return [float(low), float(high)]
