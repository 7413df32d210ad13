"""Calibration brings probabilities near to frequencies, and the threshold is the one of the best F1."""

from pathlib import Path

import numpy as np
import pytest

from aquilamed.corpus.calibrate import Calibration, best_threshold, calibrate, calibration_error


def f1(said: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (said & (truth > 0.5)).sum() / max(said.sum() + truth.sum(), 1)


def overconfident(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    odds = rng.normal(0.5, 1.5, count)
    truth = (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(float)
    return 1 / (1 + np.exp(-(3 * odds + 1))), truth


def test_platt_undoes_a_scaled_and_shifted_logit() -> None:
    raw, truth = overconfident(1)
    fitted = calibrate(raw, truth)
    assert fitted.slope == pytest.approx(1 / 3, abs=0.04)
    assert fitted.offset == pytest.approx(-1 / 3, abs=0.1)
    other, other_truth = overconfident(2)
    assert calibration_error(fitted(other), other_truth) < 0.3 * calibration_error(other, other_truth)


def test_the_threshold_has_the_best_f1_of_all() -> None:
    raw, truth = overconfident(3, 300)
    best = best_threshold(raw, truth)
    found = f1(raw >= best, truth)
    assert all(found >= f1(raw >= t, truth) - 1e-12 for t in np.linspace(0, 1, 501))


def test_separate_classes_and_ties() -> None:
    assert best_threshold(np.array([0.9, 0.8, 0.2, 0.1]), np.array([1.0, 1, 0, 0])) == pytest.approx(0.5)
    assert best_threshold(np.array([0.7, 0.7, 0.7]), np.array([1.0, 0, 1])) < 0.7
    sure = calibrate(np.array([0.99, 0.98, 0.01, 0.02]), np.array([1.0, 1, 0, 0]))
    assert np.isfinite([sure.slope, sure.offset]).all()


def test_one_class_changes_nothing() -> None:
    same = calibrate(np.array([0.3, 0.9]), np.array([1.0, 1.0]))
    assert same == Calibration(1.0, 0.0, 0.5)
    assert same(np.array([0.3])) == pytest.approx([0.3])
    assert calibrate(np.array([0.3]), np.array([1.0]), threshold=0.7).threshold == 0.7


def test_saved_and_loaded(tmp_path: Path) -> None:
    made = Calibration(0.5, -0.25, 0.4)
    made.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == made


def test_the_error_of_known_bins() -> None:
    p, truth = np.array([0.95, 0.95, 0.05, 0.05]), np.array([1.0, 0.0, 0.0, 0.0])
    assert calibration_error(p, truth) == pytest.approx((0.45 * 2 + 0.05 * 2) / 4)
