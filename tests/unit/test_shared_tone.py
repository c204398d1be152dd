"""Shared tone on made-up photographs: a cast of colour that no place, detail or texture tells of."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lotgate.detector import Evidence
from lotgate.detectors.shared_tone import SharedTone
from lotgate.pixels import ROUNDING
from lotgate.tones import FAINT, levels, tones, variation
from tests.small_lots import image_dataset
from tests.unit import apart_lots
from tests.unit.apart_lots import SaidOf

p_values = partial(apart_lots.p_values, SharedTone())
GAINS = np.array([1.2, 1.0, 0.8])[:, None, None]


def photographs(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 3, 16, 16) smooth shapes, hardly coloured, each in a light of its own."""
    shape = ndimage.gaussian_filter(rng.normal(size=(n, 1, 16, 16)), (0, 0, 1.5, 1.5))
    colour = ndimage.gaussian_filter(rng.normal(size=(n, 3, 16, 16)), (0, 0, 2, 2))
    light = rng.normal(1, 0.05, (n, 3, 1, 1)) * rng.uniform(0.7, 1.2, (n, 1, 1, 1))
    return np.asarray(np.clip((0.5 + 0.8 * shape + 0.15 * colour) * light * 160, 0, 255))


def lots(folder: Path, change: np.ndarray, rows: np.ndarray) -> Evidence:
    """Two classes of 250, 120 trusted ones of each; the rows of the lot are multiplied by `change`."""
    rng = np.random.default_rng(0)
    x, vetted = photographs(500, rng), photographs(240, rng)
    x[rows] = x[rows] * change
    suspect, trusted = (
        image_dataset(folder / name, part.clip(0, 255).round().astype(np.uint8), np.arange(len(part)) % 2)
        for name, part in (("lot", x), ("trusted", vetted))
    )
    return Evidence(suspect, trusted, trusted.select([]), crossfit=SaidOf(set()))


def test_a_cast_of_colour_is_found_and_a_clean_lot_has_none(tmp_path: Path) -> None:
    rows = np.arange(0, 80, 2)  # of class 0
    p = p_values(lots(tmp_path / "planted", GAINS, rows))
    assert (p[rows] < 5e-3).mean() > 0.9
    assert (np.delete(p, rows) < 5e-3).mean() <= 0.01
    assert p_values(lots(tmp_path / "clean", np.ones(1), rows)).min() > 5e-3


def test_a_gain_is_the_same_step_at_every_brightness_and_an_offset_shows_in_the_dark() -> None:
    x = (photographs(20, np.random.default_rng(1)) / 255).astype(np.float32)
    plain, warmer, lifted = (tones(part, 64) for part in (x, x * GAINS.astype(np.float32), x + np.float32(0.1)))
    assert plain.shape == (20, 15) and tones(x[:, :1], 64).shape == (20, 4)
    by_level = (warmer - plain)[:, :9].reshape(20, 3, 3)
    np.testing.assert_allclose(by_level[:, 1:].mean(axis=(0, 1)), np.log(GAINS.ravel()), atol=0.03)
    steps = (lifted - plain)[:, :9].reshape(20, 3, 3).mean(axis=(0, 2))
    assert steps[0] > 2 * steps[1] > 2 * steps[2] > 0
    np.testing.assert_allclose((lifted - plain)[:, 9:], 0, atol=1e-3)
    assert ((warmer - plain)[:, 12:].mean(axis=0) > 0.2).all(), "edges show between channels"


def test_tones_are_of_the_pixels_they_say() -> None:
    ramp = np.arange(100, dtype=np.float32).reshape(1, 1, 10, 10) / 100
    assert [float(level[0, 0]) for level in levels(ramp)] == pytest.approx([0.015, 0.495, 0.975])
    assert float(variation(ramp)[0, 0]) == pytest.approx((0.01**2 + 0.1**2) / 2, rel=1e-4)
    flat = tones(np.zeros((2, 3, 1, 1), np.float32), 64)
    np.testing.assert_allclose(flat[:, :9], np.log(FAINT), rtol=1e-5)
    np.testing.assert_allclose(flat[:, 9:], np.log(ROUNDING), rtol=1e-5)
