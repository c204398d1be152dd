"""p-values from held-out scores: valid where they rank, careful where they extrapolate."""

import numpy as np
import pytest
from scipy.stats import genpareto, norm

from lotgate.calibration import FEW_KNOWN, calibrate, class_inflation, fit_null, in_each_class, uncovered
from lotgate.tails import DISTANCES, EXPONENTIAL, RESIDUALS, Belief, fit_tail

RNG = np.random.default_rng


def test_conformal_rank_against_the_definition() -> None:
    heldout, scores = RNG(0).normal(size=30), RNG(1).normal(size=50)
    naive = [(1 + sum(h >= s for h in heldout)) / 31 for s in scores]
    few = calibrate(heldout[:30])
    below = scores <= few.start
    assert np.allclose(few.p_value(scores)[below], np.maximum(naive, 0)[below], atol=1 / 31 + 1e-9)


LAWS = {
    "normal": lambda rng, n: np.abs(rng.normal(size=n)),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "student": lambda rng, n: np.abs(rng.standard_t(3, n)),
}


@pytest.mark.parametrize(("law", "most"), [("normal", 0.011), ("exponential", 0.011), ("student", 0.016)])
@pytest.mark.parametrize("n", [20, 60, 400])
@pytest.mark.parametrize("with_lot", [False, True])
def test_clean_rows_exceed_a_level_hardly_oftener_than_it_says(law: str, most: float, n: int, with_lot: bool) -> None:
    """A law whose shape is twice the prior's is believed to be lighter than it is, by so much and no more."""
    rng, shares = RNG(2), []
    for _ in range(150):
        heldout, lot = LAWS[law](rng, n), LAWS[law](rng, 5 * n)
        shares.append((calibrate(heldout, lot if with_lot else lot[:0]).p_value(lot) <= 0.01).mean())
    assert np.mean(shares) <= most


@pytest.mark.parametrize("n", [60, 400])
def test_log_odds_may_have_an_exponential_tail_and_p_values_stay_right(n: int) -> None:
    """A calibrated model calls a label e^t times less likely than another at most e^-t of the time."""
    rng, shares, far = RNG(10), [], []
    for _ in range(150):
        heldout, lot = (np.log(1 / rng.random(size) - 1) for size in (n, 5 * n))  # of a model that is never sure
        exponential, usual = (calibrate(heldout, lot, lightest=shape) for shape in (EXPONENTIAL, 0.05))
        shares.append((exponential.p_value(lot) <= 0.01).mean())
        far.append(exponential.p_value(np.array([12.0]))[0] / usual.p_value(np.array([12.0]))[0])
    assert np.mean(shares) <= 0.011
    assert np.median(far) < 0.9


def test_a_clean_lot_tells_how_far_its_tail_reaches() -> None:
    """Poison far outside few held-out rows is found sooner with the lot's help, whether or not it is in the lot."""
    rng, alone, together, poisoned = RNG(4), [], [], []
    far = np.full(15, 12.0)
    for _ in range(100):
        heldout, lot = rng.exponential(size=60), rng.exponential(size=300)
        alone.append(calibrate(heldout).p_value(far)[0])
        together.append(calibrate(heldout, lot).p_value(far)[0])
        poisoned.append(calibrate(heldout, np.concatenate([lot, far])).p_value(far)[0])
    assert np.median(together) < 0.7 * np.median(alone)
    assert np.median(poisoned) == pytest.approx(np.median(together), rel=0.2)


def test_poison_inside_the_tail_makes_it_no_lighter_where_it_ends() -> None:
    heldout, lot = RNG(5).exponential(size=200), RNG(6).exponential(size=1000)
    inside = np.quantile(heldout, 0.97) + RNG(7).uniform(0, 0.5, 100)
    end = np.array([heldout.max() * 1.01])
    assert calibrate(heldout, np.concatenate([lot, inside])).p_value(end) >= calibrate(heldout, lot).p_value(end)


@pytest.mark.parametrize("shape", [0.1, 0.3, 0.6])
def test_the_fitted_law_is_the_one_that_was_drawn(shape: float) -> None:
    excess, lot = (genpareto.rvs(shape, scale=2.0, size=3000, random_state=seed) for seed in (8, 9))
    known = pytest.approx(2.0, rel=0.1), pytest.approx(shape, abs=0.08)
    assert fit_tail(excess, lot[:0]) == known
    assert fit_tail(excess[:100], lot[lot < excess[:100].max()]) == known


@pytest.mark.parametrize(("lightest", "prior"), [(EXPONENTIAL, None), (0.05, None), (0.05, RESIDUALS)])
def test_monotone_positive_and_consistent_with_the_threshold(lightest: float, prior: Belief | None) -> None:
    fitted = calibrate(RNG(3).normal(size=200), lightest=lightest, prior=prior)
    p = fitted.p_value(np.linspace(-5, 500, 4000))
    assert (np.diff(p) <= 0).all()
    assert ((p > 0) & (p <= 1)).all()
    for rate in (0.2, 0.05, 0.01, 1e-4):
        assert fitted.p_value(np.array([fitted.threshold(rate)]))[0] <= rate * 1.2 + 1 / 201


@pytest.mark.parametrize(("law", "most"), [("normal", 0.003), ("exponential", 0.003), ("student", 0.004)])
def test_few_residuals_leave_their_tail_open(law: str, most: float) -> None:
    """Of clean lots of prices, judged by 19 to 50 trusted ones, up to 16% was set aside."""
    rng, averaged, likeliest = RNG(11), [], []
    for n in (19, 30, 50) * 50:
        heldout, lot = LAWS[law](rng, n), LAWS[law](rng, 20 * n)
        averaged.append((calibrate(heldout, lot, prior=RESIDUALS).p_value(lot) <= 0.001).mean())
        likeliest.append((calibrate(heldout, lot).p_value(lot) <= 0.001).mean())
    assert np.mean(averaged) <= most
    assert np.mean(averaged) < 0.7 * np.mean(likeliest)


@pytest.mark.parametrize("prior", [RESIDUALS, DISTANCES])
def test_a_lot_tells_how_much_lies_beyond_an_unlucky_start(prior: Belief) -> None:
    heldout, lot = np.abs(RNG(0).normal(size=40)) * 0.6, np.abs(RNG(12).normal(size=800))
    alone, known = calibrate(heldout, prior=prior), calibrate(heldout, lot, prior=prior)
    between, beyond = ((lot > known.start) & (lot <= heldout.max())).mean(), (lot > known.start).mean()
    assert 2 * alone.at_start < known.at_start
    assert between < known.at_start < beyond if prior.witnesses else known.at_start == between
    assert (known.p_value(lot) <= 0.05).mean() < 0.5 * (alone.p_value(lot) <= 0.05).mean()


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
    rare = y[2000:] == 1
    assert (p[rare] <= 0.03).mean() > 0.8
    assert (in_each_class(p, y[2000:], heldout, y[:2000], 2)[rare] <= 0.03).mean() < 0.15
    assert class_inflation(heldout, y[:2000], 2)[0] == 1


def test_inflation_by_hand() -> None:
    p, y = np.array([0.01, 0.2, 0.04, 0.9]), np.array([0, 0, 1, 1])
    assert class_inflation(p, y, 3) == pytest.approx([1.3 / 0.4, 1.3 / 0.4, 1.0])


@pytest.mark.parametrize("poison", [0.0, 0.15])
def test_the_empirical_null_is_that_of_the_clean_rows(poison: float) -> None:
    """Normal scores of clean rows are N(0.5, 1.3²): 8% of them have p ≤ .01."""
    rng = RNG(4)
    clean = norm.sf(rng.normal(0.5, 1.3, 4000))
    planted = rng.random(round(4000 * poison)) * 1e-3
    null = fit_null(np.r_[clean, planted])
    assert (null.mean, null.deviation) == pytest.approx((0.5, 1.3), abs=0.12)
    assert (clean <= 0.01).mean() > 0.07
    assert (null.p_value(clean) <= 0.01).mean() < 0.02


def test_the_empirical_null_only_makes_p_values_larger() -> None:
    p = np.sort(np.r_[RNG(5).random(500), 0.0, 1e-300, 1.0])
    for lot in (p, p**0.5, np.ones(300), p[:3]):
        found = fit_null(lot).p_value(p)
        assert (found >= p).all() and (np.diff(found) >= 0).all() and found.max() <= 1
    uniform = RNG(6).random(20_000)
    assert np.allclose(fit_null(uniform).p_value(p), p, atol=0.02), "uniform p-values are left alone"


def test_a_class_of_which_most_heldout_rows_look_odd_is_not_known() -> None:
    heldout, heldout_y = np.array([0.9, 0.5, 0.3, 0.01, 0.02, 0.7, 0.001]), np.array([0, 0, 0, 1, 1, 1, 2])
    p, y = np.full(4, 0.001), np.array([0, 1, 2, 3])
    found = in_each_class(p, y, heldout, heldout_y, 4)
    assert found[0] == pytest.approx(0.001) and found[3] == pytest.approx(0.001)
    assert found[1] == 1 and found[2] == 1


def test_where_models_are_as_sure_as_they_can_be_no_tail_is_extrapolated() -> None:
    """Neighbours that all agree gave 8 of 250 trusted rows the same largest score, and p = .0067."""
    rng = np.random.default_rng(0)
    known = calibrate(np.concatenate([rng.exponential(size=242), np.full(8, 20.72)]))
    assert known.p_value(np.array([20.72]))[0] >= 8 / 251
    scores = np.linspace(0, 40, 400)
    assert (np.diff(known.p_value(scores)) <= 0).all()
    assert known.threshold(0.02) > 20.72
    assert known.p_value(np.array([known.threshold(0.02)]))[0] <= 0.02 + 1e-9
    assert known.p_value(np.array([known.threshold(1e-6)]))[0] == pytest.approx(1e-6, rel=0.01)


def test_a_class_is_uncovered_where_few_heldout_rows_face_many_odd_ones() -> None:
    """Six rows of twenty are odd in classes 0 and 1, five in class 2, and ten held-out rows are not few."""
    p, y = np.full(60, 0.5), np.repeat([0, 1, 2], 20)
    p[[*range(6), *range(20, 26), *range(40, 45)]] = 0.05
    heldout_y = np.repeat([0, 1, 2], [FEW_KNOWN - 1, FEW_KNOWN, 1])
    assert uncovered(p, y, heldout_y, 4, share=0.25).tolist() == [True, False, False, False]
