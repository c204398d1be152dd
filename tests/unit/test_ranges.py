"""Ranges: how far is too far, trusted rows tell themselves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from lotgate.contract.columns import Column
from lotgate.contract.ranges import out_of_range, plausible, tolerated

LEAST = 3.0
RNG = np.random.default_rng


def columns(lot: np.ndarray, trusted: np.ndarray) -> list[Column]:
    """One per column of the lot (N, D) and the trusted rows (M, D)."""
    nothing = np.zeros(len(lot), bool)
    pairs = enumerate(zip(lot.T, trusted.T, strict=True))
    return [Column(f"c{k}", True, pd.Series(ours), pd.Series(theirs), nothing) for k, (ours, theirs) in pairs]


def faulty(lot: np.ndarray, trusted: np.ndarray) -> list[int]:
    return np.flatnonzero(out_of_range(len(lot), columns(lot, trusted), LEAST) != "").tolist()


def spiky(n: int, seed: int) -> np.ndarray:
    """Three hundred samples of a current per row: small ones, and a spike in one place or another."""
    rng = RNG(seed)
    x = rng.normal(size=(n, 300))
    x[np.arange(n), rng.integers(0, 300, n)] = 40 * rng.choice([-1, 1], n)
    return x


@pytest.mark.parametrize("seed", range(5))
def test_spikes_of_the_process_are_no_faults(seed: int) -> None:
    """Thirty-four trusted rows have theirs in other places."""
    assert faulty(spiky(160, seed), spiky(34, seed + 100)) == []


def test_nor_do_they_hide_one(seed: int = 0) -> None:
    lot = spiky(160, seed)
    lot[7, 3], lot[8, 3] = 1e6, np.inf
    assert faulty(lot, spiky(34, seed + 100)) == [7, 8]


def test_where_no_trusted_row_stands_out_the_least_holds() -> None:
    trusted, lot = RNG(0).normal(size=(60, 20)), RNG(1).normal(size=(300, 20))
    lot[5, 2] = 40
    assert faulty(lot, trusted) == [5]


def far(rows: int, at: Sequence[float]) -> list[np.ndarray]:
    """A column from 0 to 1 whose last values are these instead."""
    values = np.linspace(0, 1, rows)
    values[len(values) - len(at) :] = at
    return [values]


def test_each_trusted_row_is_held_against_the_others() -> None:
    (spike,) = far(41, [])
    spike[20] = 5.0
    assert tolerated([spike], LEAST) == pytest.approx(2 * 4.0)
    assert tolerated([spike, np.linspace(0, 1, 41)], LEAST) == pytest.approx(2 * 4.0)
    assert tolerated([-spike], LEAST) == pytest.approx(2 * 4.0)


def test_one_slip_of_those_who_vetted_many_rows_widens_nothing() -> None:
    (slip,) = far(200, [900.0])
    assert tolerated([slip], LEAST) == LEAST


def test_missing_values_and_columns_that_tell_of_no_range() -> None:
    (spike,) = far(41, [5.0])
    gaps = np.r_[spike, np.nan, np.nan]
    assert tolerated([gaps], LEAST) == pytest.approx(tolerated([spike], LEAST))
    mostly_nothing = np.r_[np.zeros(100), 900.0]
    assert tolerated([mostly_nothing], LEAST) == LEAST
    assert tolerated([], LEAST) == LEAST
    assert plausible(mostly_nothing, LEAST) == (-np.inf, np.inf)
    assert plausible(np.linspace(0, 1, 41), LEAST) == (-3.0, 4.0)
