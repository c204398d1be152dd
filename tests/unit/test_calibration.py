"""p-values from held-out scores: valid where they rank, careful where they extrapolate."""

import numpy as np
import pytest

from lotgate.calibration import calibrate, class_inflation

RNG = np.random.default_rng


def test_conformal_rank_against_the_definition() -> None:
    heldout, scores = RNG(0).normal(size=30), RNG(1).normal(size=50)
    naive = [(1 + sum(h >= s for h in heldout)) / 31 for s in scores]
    few = calibrate(heldout[:30])
    below = scores <= few.start
    assert np.allclose(few.p_value(scores)[below], np.maximum(naive, 0)[below], atol=1 / 31 + 1e-9)


@pytest.mark.parametrize("law", ["standard_normal", "standard_exponential"])
@pytest.mark.parametrize("n", [60, 400])
def test_clean_rows_exceed_a_level_no_more_often_than_it_says(law: str, n: int) -> None:
    rng = RNG(2)
    shares = [(calibrate(getattr(rng, law)(n)).p_value(getattr(rng, law)(2000)) <= 0.01).mean() for _ in range(60)]
    assert np.mean(shares) <= 0.014


def test_monotone_positive_and_consistent_with_the_threshold() -> None:
    fitted = calibrate(RNG(3).normal(size=200))
    p = fitted.p_value(np.linspace(-5, 500, 4000))
    assert (np.diff(p) <= 0).all()
    assert ((p > 0) & (p <= 1)).all()
    for rate in (0.2, 0.05, 0.01, 1e-4):
        assert fitted.p_value(np.array([fitted.threshold(rate)]))[0] <= rate * 1.2 + 1 / 201


@pytest.mark.parametrize("heldout", [np.zeros(1), np.zeros(50), np.ones(5)])
def test_too_few_or_constant_rows_never_extrapolate(heldout: np.ndarray) -> None:
    p = calibrate(heldout).p_value(np.array([-1.0, 0.0, 1.0, 1e9]))
    assert np.isfinite(p).all()
    assert p.min() >= 1 / (len(heldout) + 1)


def test_inflation_makes_p_values_right_in_a_rare_class() -> None:
    """Class 1 is 3% of the rows and always the most suspicious: marginal p-values convict it, inflated ones do not."""
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.03).astype(np.int64)
    scores = rng.normal(0, 1, len(y)) + 6 * y
    p = calibrate(scores[:2000]).p_value(scores[2000:])
    heldout = calibrate(scores[:2000]).p_value(scores[:2000])
    inflation = class_inflation(heldout, y[:2000], 2)
    rare = y[2000:] == 1
    assert (p[rare] <= 0.03).mean() > 0.8
    assert (np.minimum(1, p * inflation[y[2000:]])[rare] <= 0.03).mean() < 0.15
    assert inflation[0] == 1


def test_inflation_by_hand() -> None:
    p, y = np.array([0.01, 0.2, 0.04, 0.9]), np.array([0, 0, 1, 1])
    assert class_inflation(p, y, 3) == pytest.approx([1.3 / 0.4, 1.3 / 0.4, 1.0])
