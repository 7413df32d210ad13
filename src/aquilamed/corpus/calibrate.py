"""From a classifier's probabilities to honest ones, and to the threshold that serves best (on records held out for it)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aquilamed.corpus.student import Floats
from aquilamed.records import write_json

_EDGE = 1e-6
_RIDGE = 1e-3  # keeps the curve finite where the classes do not overlap


@dataclass(frozen=True)
class Calibration:
    """Platt's curve over the log-odds, σ(slope · logit(p) + offset), and the threshold on its result."""

    slope: float
    offset: float
    threshold: float

    def __call__(self, probabilities: Floats) -> Floats:
        """Calibrated probabilities."""
        result: Floats = 1 / (1 + np.exp(-(self.slope * _logit(probabilities) + self.offset)))
        return result

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read what `save` wrote."""
        import json

        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**values)


def _logit(probabilities: Floats) -> Floats:
    p = np.clip(probabilities, _EDGE, 1 - _EDGE)
    result: Floats = np.log(p / (1 - p))
    return result


def calibrate(probabilities: Floats, truth: Floats, threshold: float | None = None) -> Calibration:
    """Fit Platt's curve (Newton's method) and choose the threshold of the best F1 unless one is given.

    Args:
        probabilities: a classifier's, on records that it was not trained on.
        truth: 1.0 or 0.0 of each; with one class only nothing is fitted and the threshold is 0.5.
    """
    if len(set(truth.tolist())) < 2:
        return Calibration(1.0, 0.0, 0.5 if threshold is None else threshold)
    x = np.stack([_logit(probabilities), np.ones(len(truth))], axis=1)
    # Platt's targets: a little inside of 0 and 1, as if one more record of each class had been seen.
    ones, zeros = truth.sum(), (1 - truth).sum()
    target = np.where(truth >= 0.5, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    w = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(x @ w)))
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + _RIDGE * np.eye(2), x.T @ (p - target))
        w = w - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-8:
            break
    curve = Calibration(float(w[0]), float(w[1]), 0.5)
    best = best_threshold(curve(probabilities), truth) if threshold is None else threshold
    return Calibration(curve.slope, curve.offset, best)


def best_threshold(probabilities: Floats, truth: Floats) -> float:
    """The threshold with the best F1 of the positive class; of equally good ones the nearest to 0.5."""
    order = np.argsort(-probabilities, kind="stable")
    p, hits = probabilities[order], np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(p) + 1) + truth.sum())
    cuts = np.append((p[:-1] + p[1:]) / 2, p[-1] / 2)
    possible = np.append(p[:-1] > p[1:], True)
    good = possible & (f1 >= f1[possible].max() - 1e-12)
    return float(min(cuts[good], key=lambda c: (abs(c - 0.5), c)))


def calibration_error(probabilities: Floats, truth: Floats, bins: int = 10) -> float:
    """Expected calibration error: the mean distance of probability and frequency over bins of equal width."""
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [
        abs(probabilities[which == b].mean() - truth[which == b].mean()) * (which == b).sum()
        for b in range(bins)
        if (which == b).any()
    ]
    return float(sum(gaps) / max(len(truth), 1))
