"""Residuals are judged beside those of rows with predictions like theirs."""

from __future__ import annotations

import numpy as np
import pytest

from lotgate.residuals import LEAST, usual_residual


def _prices(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions, and targets whose spread grows with them from 1 to 10."""
    rng = np.random.default_rng(0)
    predicted = rng.uniform(1, 10, n)
    return predicted, predicted + predicted * rng.normal(size=n)


def test_what_is_usual_grows_with_the_prediction() -> None:
    predicted, y = _prices(4000)
    scores = usual_residual(predicted, y).standardised(predicted, y)
    cheap, dear = scores[predicted < 4], scores[predicted > 7]
    assert np.median(cheap) == pytest.approx(np.median(dear), rel=0.15)
    assert np.median(scores) == pytest.approx(1, abs=0.05)


def test_few_rows_have_one_scale() -> None:
    predicted, y = _prices(30)
    usual = usual_residual(predicted, y)
    assert usual.medians == pytest.approx([np.median(np.abs(y - predicted))])
    assert usual.standardised(np.array([0.0, 99.0]), np.array([1.0, 100.0])) == pytest.approx(1 / usual.medians[0])


def test_models_that_are_nearly_right_somewhere_accuse_nobody_there() -> None:
    predicted = np.linspace(0, 1, 960)
    y = predicted + np.where(predicted < 0.5, 1e-9, 1.0)
    medians = usual_residual(predicted, y).medians
    assert medians.min() == pytest.approx(LEAST * np.median(y - predicted))


def test_one_row_and_exact_models_have_a_scale() -> None:
    for n in (1, 500):
        exact = np.arange(n, dtype=float)
        assert (usual_residual(exact, exact).standardised(exact, exact + 2) > 0).all()
