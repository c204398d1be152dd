"""Shared texture on real digits and on noise: warps and waves that pixels do not show."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from lotgate.detector import Evidence
from lotgate.detectors.shared_pattern import SharedPattern
from lotgate.detectors.shared_texture import SharedTexture
from tests.small_lots import image_dataset
from tests.unit import apart_lots
from tests.unit.apart_lots import SaidOf, evidence, lot

p_values = partial(apart_lots.p_values, SharedTexture())


def test_a_clean_lot_shares_no_texture(tmp_path: Path) -> None:
    assert p_values(evidence(tmp_path, *lot())).min() > 0.005


def test_a_faint_wave_under_true_labels_is_found(tmp_path: Path) -> None:
    x, y = lot()
    rows = np.flatnonzero(y == 3)[:40]
    wave = 20 * np.sin(np.pi * np.arange(8) / 2)
    x[rows] = np.clip(x[rows] + wave, 0, 255).astype(np.uint8)
    p = p_values(evidence(tmp_path, x, y))
    assert (p[rows] < 1e-3).mean() > 0.9
    assert np.delete(p, rows).min() > 0.002


def noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Surfaces whose contrast varies from image to image, and from place to place."""
    contrast = rng.uniform(10, 40, (n, 1, 1)) * ndimage.zoom(rng.uniform(0.7, 1.3, (n, 4, 4)), (1, 6, 6), order=1)
    return np.asarray(128 + contrast * rng.normal(size=(n, 24, 24)))


def smoothed(x: np.ndarray) -> np.ndarray:
    """Moved by half a pixel between neighbours in a third of the image, as a warp does there."""
    moved = x.copy()
    moved[:, 8:16] = (x[:, 8:16] + x[:, 7:15]) / 2
    return moved


def test_a_warp_of_textures_is_found_where_pixels_show_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y, vetted_y = (np.repeat([0, 1], n) for n in (300, 100))
    x, vetted_x = noise(600, rng), noise(200, rng)
    rows = np.arange(30)
    x[rows] = smoothed(x[rows])
    suspect, vetted = (
        image_dataset(tmp_path / name, part.clip(0, 255).astype(np.uint8), labels)
        for name, part, labels in (("lot", x, y), ("trusted", vetted_x, vetted_y))
    )
    found = Evidence(suspect, vetted, vetted.select([]), crossfit=SaidOf(set()))
    p = p_values(found)
    assert (p[rows] < 1e-2).mean() > 0.9
    assert (np.delete(p, rows) < 0.02).sum() <= 2
    assert apart_lots.p_values(SharedPattern(), found)[rows].min() > 0.05
