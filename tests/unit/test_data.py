"""Folds by name: even ones, and others for every salt."""

from __future__ import annotations

import numpy as np
import pytest

from lotgate.data import fold_of


def names(pattern: str, n: int) -> np.ndarray:
    return np.array([pattern.format(i) for i in range(n)], object)


@pytest.mark.parametrize("pattern", ["1/{:06d}.png", "img_{:04d}.png", "ok/{}.jpg", "lot-{:03d}"])
@pytest.mark.parametrize("folds", [2, 4, 5])
def test_names_in_a_row_are_cut_evenly_and_differently_by_each_salt(pattern: str, folds: int) -> None:
    ids = names(pattern, 400)
    one, other = (fold_of(ids, folds, salt) for salt in ("distance:", "crossfit:"))
    table = np.histogram2d(one, other, bins=folds)[0]
    expected = 400 / folds**2
    assert ((table - expected) ** 2 / expected).sum() < folds**2 + 6 * folds, "both even, and neither tells the other"


def test_a_dozen_names_in_a_row_do_not_share_a_fold() -> None:
    """Eleven trusted images did, by their CRC: no other was left to compare them with."""
    for first in range(40):
        ids = names("1/{:06d}.png", first + 11)[first:]
        assert max(np.bincount(fold_of(ids, 4, "distance:"), minlength=4)) < 9


def test_a_fold_depends_on_nothing_but_the_name() -> None:
    ids = names("{}", 50)
    assert np.array_equal(fold_of(ids[::-1], 3)[::-1], fold_of(ids, 3))
    assert fold_of(ids[:0], 3).shape == (0,)
