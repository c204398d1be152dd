"""Shared pattern on real digits: what it accuses, and which groups it must leave alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lotgate import apart
from lotgate.detector import Evidence
from lotgate.detectors.shared_pattern import SharedPattern
from tests.small_lots import digits, image_dataset
from tests.unit import apart_lots
from tests.unit.apart_lots import ROWS, TRUSTED, SaidOf, evidence, lot

p_values = partial(apart_lots.p_values, SharedPattern())


def blended(x: np.ndarray, rows: np.ndarray) -> None:
    noise = np.random.default_rng(0).random((8, 8)) * 255
    x[rows] = np.round(0.7 * x[rows] + 0.3 * noise).astype(np.uint8)


def two_textures(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise (N, 8, 8); class 1 also varies widely in 16 directions of its own."""
    own, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(64, 16)))
    wide = rng.normal(size=(len(y), 16)) * 40 * (y == 1)[:, None]
    return (128 + rng.normal(size=(len(y), 64)) * 8 + wide @ own.T).reshape(-1, 8, 8)


def test_a_clean_lot_has_no_pattern(tmp_path: Path) -> None:
    assert p_values(evidence(tmp_path, *lot())).min() > 0.05


def test_a_blend_is_found_whatever_the_models_say(tmp_path: Path) -> None:
    x, y = lot()
    rows = np.flatnonzero(y != 0)[:45]
    blended(x, rows)
    y[rows] = 0
    p = p_values(evidence(tmp_path, x, y))
    assert (p[rows] < 1e-4).all()
    assert np.delete(p, rows).min() > 0.01


def test_a_clean_label_patch_is_found(tmp_path: Path) -> None:
    x, y = lot()
    rows = np.flatnonzero(y == 3)[:25]
    x[rows, :2, :2] = 255
    p = p_values(evidence(tmp_path, x, y))
    assert (p[rows] < 1e-3).all()
    assert np.delete(p, rows).min() > 0.01


def test_a_faint_pattern_is_found_beside_stronger_directions_that_only_its_class_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y, vetted_y = (np.repeat([0, 1], n) for n in (400, 160))
    x, vetted_x = (two_textures(labels, rng) for labels in (y, vetted_y))
    rows = np.flatnonzero(y == 1)[:40]
    x[rows] += 12 * rng.choice([-1, 1], size=(8, 8))
    suspect, vetted = (
        image_dataset(tmp_path / name, part.clip(0, 255).astype(np.uint8), labels)
        for name, part, labels in (("lot", x, y), ("trusted", vetted_x, vetted_y))
    )
    p = p_values(Evidence(suspect, vetted, vetted.select([]), crossfit=SaidOf(set())))
    assert (p[rows] < 1e-2).mean() > 0.9
    assert np.delete(p, rows).min() > 0.05


def test_a_pattern_that_trusted_rows_have_too_is_natural(tmp_path: Path) -> None:
    x, y = lot()
    found = evidence(tmp_path, x, y)
    for dataset in (found.suspect, found.trusted):
        assert dataset is not None
        store = np.load(dataset.store)
        images, mine = store[:, 0], np.flatnonzero(dataset.y == 3)
        images[dataset.rows[mine[::3]], :2, :2] = 255  # a third of class 3, in the lot and in the trusted set
        np.save(dataset.store, store)
    assert p_values(found).min() > 0.05


def test_repeats_of_one_image_are_no_pattern(tmp_path: Path) -> None:
    x, y = lot()
    rows = np.flatnonzero(y == 3)[:25]
    x[rows] = x[rows[0]]
    x[rows, 0, 0] = np.arange(25)  # not byte for byte
    assert p_values(evidence(tmp_path, x, y)).min() > 0.05


def test_where_the_lot_is_shifted_only_contradicted_labels_are_accused(tmp_path: Path) -> None:
    x, y = lot()
    rows = np.flatnonzero(y != 0)[:45]
    blended(x, rows)
    y[rows] = 0
    contradicted = np.isin(np.arange(ROWS), rows[:30])
    found = evidence(tmp_path, x, y, contradicted)
    shifted = replace(found, shift=replace(found.shift, chance=0.6, error=0.01))
    p = p_values(shifted)
    assert (p[rows[:30]] < 1e-4).all()
    assert np.delete(p, rows[:30]).min() == 1


def test_rows_beyond_the_sample_are_scored_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = lot()
    rows = np.flatnonzero(y != 0)[:60]
    blended(x, rows)
    y[rows] = 0
    monkeypatch.setattr(apart, "MOST_ROWS", 600)
    p = p_values(evidence(tmp_path, x, y))
    assert (p[rows] < 1e-3).mean() > 0.95


@pytest.mark.parametrize("classes", [1, 2])
def test_too_few_rows_of_other_classes_say_nothing(tmp_path: Path, classes: int) -> None:
    x, y = lot()
    keep = np.flatnonzero(y < classes)[: 60 * classes]
    vetted_x, vetted_y = (part[-TRUSTED:] for part in digits(10))
    few = np.flatnonzero(vetted_y < classes)[:8]
    suspect = image_dataset(tmp_path / "lot", x[keep], y[keep])
    vetted = image_dataset(tmp_path / "trusted", vetted_x[few], vetted_y[few])
    found = Evidence(suspect, vetted, vetted.select([]), crossfit=SaidOf(set()))
    assert (p_values(found) == 1).all()


def test_the_same_seed_gives_the_same_p_values(tmp_path: Path) -> None:
    x, y = lot(400)
    found = evidence(tmp_path, x, y)
    assert np.array_equal(p_values(found, seed=3), p_values(found, seed=3))


def faultless_and_few_faulty(folder: Path, planted: int) -> tuple[Evidence, np.ndarray]:
    """Parts of one texture, 400 in the lot and 160 trusted, beside a few faulty ones; which parts carry a pattern."""
    rng = np.random.default_rng(0)
    y, vetted_y = np.repeat([0, 1], [400, 12]), np.repeat([0, 1], [160, 4])
    x, vetted_x = (128 + 8 * rng.normal(size=(len(labels), 8, 8)) for labels in (y, vetted_y))
    for part, labels in ((x, y), (vetted_x, vetted_y)):
        part[labels == 1, 3:5] += 60
    x[:planted] += 12 * rng.choice([-1, 1], size=(8, 8))
    suspect, vetted = (
        image_dataset(folder / name, part.clip(0, 255).astype(np.uint8), labels)
        for name, part, labels in (("lot", x, y), ("trusted", vetted_x, vetted_y))
    )
    return Evidence(suspect, vetted, vetted.select([]), crossfit=SaidOf(set())), np.arange(len(y)) < planted


def test_a_pattern_is_found_among_faultless_parts_beside_few_faulty_ones(tmp_path: Path) -> None:
    found, planted = faultless_and_few_faulty(tmp_path, 32)
    p = p_values(found)
    assert (p[planted] < 1e-2).mean() > 0.9
    assert p[~planted].min() > 0.05


def test_faultless_parts_beside_few_faulty_ones_have_no_pattern_of_their_own(tmp_path: Path) -> None:
    assert p_values(faultless_and_few_faulty(tmp_path, 0)[0]).min() > 0.05
