"""Shared detail on real digits: a mark is found wherever it lies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lotgate.detectors.shared_detail import SharedDetail
from lotgate.detectors.shared_pattern import SharedPattern
from tests.small_lots import image_dataset
from tests.unit import apart_lots
from tests.unit.apart_lots import evidence, lot

p_values = partial(apart_lots.p_values, SharedDetail())


def test_a_clean_lot_shares_no_detail(tmp_path: Path) -> None:
    assert p_values(evidence(tmp_path, *lot())).min() > 0.005


def test_a_mark_at_another_place_in_each_image_is_found(tmp_path: Path) -> None:
    x, y = lot()
    rng, rows = np.random.default_rng(0), np.flatnonzero(y != 0)[:45]
    for row in rows:
        i, j = rng.integers(0, 7, 2)
        x[row, i : i + 2, j : j + 2] = [[255, 0], [0, 255]]
    y[rows] = 0
    found = evidence(tmp_path, x, y)
    p = p_values(found)
    assert (p[rows] < 1e-3).mean() > 0.9
    assert np.delete(p, rows).min() > 0.002
    assert apart_lots.p_values(SharedPattern(), found)[rows].min() > 0.01


def test_a_mark_that_trusted_images_have_too_is_natural(tmp_path: Path) -> None:
    x, y = lot()
    found = evidence(tmp_path, x, y)
    for dataset in (found.suspect, found.trusted, found.heldout):
        assert dataset is not None
        store, rng = np.load(dataset.store), np.random.default_rng(1)
        for row in dataset.rows[np.flatnonzero(dataset.y == 3)[::3]]:
            i, j = rng.integers(0, 7, 2)
            store[row, 0, i : i + 2, j : j + 2] = [[255, 0], [0, 255]]
        np.save(dataset.store, store)
    assert p_values(found).min() > 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (1, 64)])
def test_images_of_one_row_of_pixels_have_no_detail_to_share(shape: tuple[int, int], tmp_path: Path) -> None:
    x, y = lot(400)
    narrow = x.reshape(400, 1, 64)[:, :, : shape[1]]
    vetted = image_dataset(tmp_path / "vetted", narrow[300:], y[300:])
    trusted, heldout = (vetted.select(vetted.ids[i::2]) for i in (0, 1))
    found = replace(evidence(tmp_path, narrow[:300], y[:300]), trusted=trusted, heldout=heldout)
    assert (p_values(found) == 1).all()
