"""Energies of local differences, by hand and on what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lotgate.texture import ROUNDING, energies, impression


def test_energies_by_hand() -> None:
    x = np.random.default_rng(0).random((2, 3, 12, 12), np.float32)
    found = energies(x, side=64, cells=4).reshape(2, 6, 4, 4)
    across = np.diff(x[1].astype(np.float64), axis=2)  # (3, 12, 11): cells begin at 0, 2, 5, 8
    assert found[1, 0, 2, 1] == pytest.approx(np.log((across[:, 6:9, 2:5] ** 2).mean() + ROUNDING), rel=1e-4)
    both = np.diff(np.diff(x[0].astype(np.float64), n=2, axis=1), n=2, axis=2)  # (3, 10, 10): 0, 2, 5, 7
    assert found[0, 5, 3, 3] == pytest.approx(np.log((both[:, 7:, 7:] ** 2).mean() + ROUNDING), rel=1e-4)


def test_contrast_adds_the_same_everywhere() -> None:
    x = np.random.default_rng(1).random((1, 1, 32, 32), np.float32) / 2
    change = energies(2 * x, 64, 8) - energies(x, 64, 8)
    assert np.allclose(change, np.log(4), atol=0.05)


def test_a_smoothed_corner_shows_there_and_in_second_differences_most() -> None:
    x = np.random.default_rng(2).random((1, 1, 32, 32), np.float32)
    smooth = x.copy()
    smooth[0, 0, :8, :8] = ndimage.uniform_filter(x[0, 0, :8, :8], 2)
    lost = (energies(x, 64, 4) - energies(smooth, 64, 4)).reshape(6, 4, 4)
    assert (lost[:, 0, 0] > 0.5).all() and (lost[3:, 0, 0] > lost[:3, 0, 0]).all()
    assert np.abs(np.delete(lost.reshape(6, 16), 0, axis=1)).max() < 0.2


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (3, 3, 200, 150), (3, 1, 2, 5), (3, 1, 1, 1)])
def test_any_image_has_finite_energies(shape: tuple[int, ...]) -> None:
    found = energies(np.zeros(shape, np.float32), 64, 8)
    assert found.shape[0] == 3 and np.isfinite(found).all()


def test_an_impression_by_hand() -> None:
    x = np.random.default_rng(3).random((2, 3, 9, 12), np.float32)
    found = impression(x)
    assert found.shape == (2, 3 + 3 + 6 * 2)  # 9 × 12 and 4 × 6 pixels; 2 × 3 are too few
    assert np.allclose(found[1, :3], 4 * x[1].mean(axis=(1, 2)), rtol=1e-5)
    assert found[0, 4] == pytest.approx(np.log(x[0, 1].var() + 1e-4), rel=1e-4)
    coarse = x[:, :, :8].reshape(2, 3, 4, 2, 6, 2).mean(axis=(3, 5))
    assert found[0, -6] == pytest.approx(np.log(np.square(np.diff(coarse[0], axis=2)).mean() + ROUNDING), rel=1e-4)


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (3, 3, 200, 150), (3, 1, 2, 5), (3, 1, 1, 1)])
def test_any_image_makes_a_finite_impression(shape: tuple[int, ...]) -> None:
    assert np.isfinite(impression(np.zeros(shape, np.float32))).all()
