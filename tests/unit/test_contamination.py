"""A lot tells how far its clean rows go, though some of it may be contaminated."""

import numpy as np
import pytest
from scipy.stats import genpareto

from lotgate.calibration import calibrate
from lotgate.contamination import MOST, decontaminated_tail
from lotgate.policy import best_limit
from lotgate.tails import DISTANCES, RESIDUALS, TABLE_DISTANCES, Vector

RNG = np.random.default_rng
FAR = np.array([12.0])


def exceedances(rng: np.random.Generator, rows: int) -> Vector:
    return np.asarray(genpareto.rvs(0.3, size=rows, random_state=rng), np.float64)


def contaminated(rng: np.random.Generator, clean: int, spread: int, largest: float = 40.0) -> Vector:
    return np.concatenate([exceedances(rng, clean), rng.uniform(0, largest, spread)])


def test_fifteen_rows_that_are_small_by_luck_accuse_no_lot() -> None:
    """A clean lot of 300 lost 46 rows: the fifteen trusted ones lay closer together than most do."""
    rng = RNG(0)
    lots = [(np.sort(rng.lognormal(size=30))[:15], rng.lognormal(size=300)) for _ in range(20)]
    before, now = (
        np.mean([(calibrate(held, lot, prior=prior).p_value(lot) <= 0.01).mean() for held, lot in lots])
        for prior in (DISTANCES, TABLE_DISTANCES)
    )
    assert now < 0.6 * before


def test_pulled_targets_do_not_excuse_each_other() -> None:
    """Sixty trusted rows, all of the lot's most contradicted rows pulled: the far tail alone let every one pass."""
    found: dict[bool, list[float]] = {True: [], False: []}
    lost: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(30):
        rng = RNG(seed)
        held, clean, pulled = np.abs(rng.normal(size=60)), np.abs(rng.normal(size=270)), rng.uniform(2.5, 5, 30)
        for explained in (True, False):
            fitted = calibrate(
                held, np.r_[clean, pulled], prior=RESIDUALS if explained else RESIDUALS._replace(witnesses=0.0)
            )
            p_values = fitted.p_value(np.r_[clean, pulled])
            _, limit = best_limit(p_values, 0.35, 2, 0.02)
            found[explained].append((p_values[270:] <= limit).mean())
            lost[explained].append((p_values[:270] <= limit).mean())
    assert np.mean(found[True]) > 1.15 * np.mean(found[False])
    assert np.mean(lost[True]) < 0.01


def test_contamination_does_not_pass_for_the_tail_of_clean_rows() -> None:
    """Half of what lies beyond the start is junk; taken for clean rows it would excuse itself."""
    rng = RNG(1)
    beside, without, naive = [], [], []
    for _ in range(30):
        held, clean = exceedances(rng, 8), exceedances(rng, 45)
        junk = rng.uniform(0, 40, 45)
        for found, suspect, excess in ((beside, np.r_[clean, junk], held), (without, clean, held)):
            share, tail = decontaminated_tail(excess, suspect, 300, 0.15)
            found.append(share * tail.beyond(FAR)[0])
        share, tail = decontaminated_tail(np.r_[held, clean, junk], np.zeros(0), 300, 0.3)
        naive.append(share * tail.beyond(FAR)[0])
    assert np.median(beside) < 0.25 * np.median(naive)
    assert np.median(without) < np.median(beside) < 2.5 * np.median(without)


def test_the_share_of_clean_rows_beyond_the_start() -> None:
    rng = RNG(2)
    none, half = exceedances(rng, 90), contaminated(rng, 45, 45)
    held = exceedances(rng, 20)
    share, promised, spoiled = (
        decontaminated_tail(held, suspect, 300, 0.1)[0] for suspect in (none, np.zeros(0), half)
    )
    assert share == pytest.approx(0.3, abs=0.04)
    assert promised == pytest.approx(0.1)
    assert spoiled == pytest.approx(0.15, abs=0.05)


def test_more_than_a_quarter_of_a_lot_is_never_explained_away() -> None:
    """Trusted rows that show one of two kinds of clean row make half of a lot look far away."""
    rng = RNG(3)
    share, _ = decontaminated_tail(exceedances(rng, 20), contaminated(rng, 10, 160), 300, 0.1)
    assert share >= 170 / 300 - MOST


def test_enough_trusted_rows_need_no_lot() -> None:
    """Of a tail that 1,000 trusted rows show, a lot with 250 planted rows said that it ends sooner than it does."""
    rng = RNG(7)
    held, lot = rng.lognormal(size=200), np.r_[rng.lognormal(size=900), rng.uniform(0, 60, 100)]
    plain, tables = (calibrate(held, lot, prior=prior).p_value(lot) for prior in (DISTANCES, TABLE_DISTANCES))
    assert np.array_equal(plain, tables)


def test_units_of_scores_do_not_matter() -> None:
    rng = RNG(4)
    held, lot = rng.exponential(size=40), np.r_[rng.exponential(size=270), rng.uniform(0, 30, 30)]
    one, thousand = (calibrate(s * held, s * lot, prior=TABLE_DISTANCES).p_value(s * lot) for s in (1.0, 1000.0))
    assert np.allclose(one, thousand, rtol=1e-6)


@pytest.mark.parametrize("lot", [np.zeros(0), np.zeros(50), RNG(5).normal(size=300), RNG(5).normal(size=300) + 9])
def test_monotone_positive_and_consistent_with_the_threshold(lot: Vector) -> None:
    fitted = calibrate(RNG(6).normal(size=60), lot, prior=TABLE_DISTANCES)
    p = fitted.p_value(np.linspace(-5, 500, 4000))
    assert (np.diff(p) <= 0).all()
    assert ((p > 0) & (p <= 1)).all()
    for rate in (0.01, 1e-4):
        assert fitted.p_value(np.array([fitted.threshold(rate)]))[0] == pytest.approx(rate, rel=0.01)


def test_a_large_lot_is_not_too_sure_where_heavy_residuals_end() -> None:
    """Of 1,000 prices with a tenth pulled, fifty trusted: 107 clean rows went with them."""

    def residuals(rng: np.random.Generator, rows: int) -> Vector:
        return np.asarray(np.abs(rng.normal(size=rows)) * np.where(rng.random(rows) < 0.1, 4.0, 1.0))

    lost: dict[float, list[float]] = {RESIDUALS.witnesses: [], float("inf"): []}
    for seed in range(20):
        rng = RNG(seed)
        held, lot = residuals(rng, 50), np.r_[residuals(rng, 900), rng.uniform(4, 10, 100)]
        for witnesses, found in lost.items():
            p_values = calibrate(held, lot, prior=RESIDUALS._replace(witnesses=witnesses)).p_value(lot)
            _, limit = best_limit(p_values, 0.35, 2, 0.02)
            found.append(float((p_values[:900] <= limit).mean()))
    few, everybody = lost.values()
    assert np.mean(few) < 0.8 * np.mean(everybody)
