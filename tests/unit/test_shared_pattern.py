"""Shared pattern on real digits: what it accuses, and which groups it must leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lotgate.crossfit import CrossFit, Ensemble
from lotgate.data import Dataset
from lotgate.detector import Evidence, scan
from lotgate.detectors import shared_pattern as module
from lotgate.detectors.shared_pattern import (
    COMPONENT,
    TAIL,
    VARIED,
    Group,
    SharedPattern,
    separation,
    spread,
    usual_spread,
)
from lotgate.whitened import Rows, whitened
from tests.small_lots import digits, image_dataset

ROWS, TRUSTED = 900, 300
NEWS = Group(p_size=0.02, inside=0, n=40, separation=30.0, thin=True, varied=True, contradicted=False)
NATURAL = [
    Group(p_size=0.9, inside=9, n=40, separation=s, thin=False, varied=True, contradicted=False)
    for s in np.linspace(-1, 3, 60)
]


class SaidOf(CrossFit):
    """Models of trusted rows that contradict the labels of these samples, and of no others."""

    def __init__(self, contradicted: set[str]) -> None:
        nobody = Ensemble(())
        super().__init__(nobody, nobody, nobody)
        object.__setattr__(self, "named", contradicted)

    def contradicted(self, dataset: Dataset) -> np.ndarray:
        return np.array([i in self.named for i in dataset.ids], bool)  # type: ignore[attr-defined]


def lot(n: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    x, y = digits(10)
    return x[:n].copy(), y[:n].copy()


def evidence(folder: Path, x: np.ndarray, y: np.ndarray, contradicted: np.ndarray | None = None) -> Evidence:
    vetted_x, vetted_y = (part[-TRUSTED:] for part in digits(10))
    suspect, vetted = image_dataset(folder / "lot", x, y), image_dataset(folder / "trusted", vetted_x, vetted_y)
    half = TRUSTED // 2
    named = set() if contradicted is None else set(suspect.ids[contradicted])
    return Evidence(suspect, vetted.select(vetted.ids[:half]), vetted.select(vetted.ids[half:]), crossfit=SaidOf(named))


def p_values(found: Evidence, seed: int = 0) -> np.ndarray:
    return scan(SharedPattern(), found, np.random.default_rng(seed))["p_value"].to_numpy()


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
    monkeypatch.setattr(module, "MOST_ROWS", 600)
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


@pytest.mark.parametrize(
    ("change", "accused"),
    [
        ({}, True),
        ({"p_size": 0.6}, False),
        ({"thin": False}, False),
        ({"varied": False}, False),
        ({"separation": 1.0}, False),
        ({"separation": 1.0, "contradicted": True}, True),
    ],
)
def test_what_it_takes_to_accuse_a_group(change: dict[str, float | bool], accused: bool) -> None:
    assert (replace(NEWS, **change).p_value(NATURAL, shifted=False) < 1) == accused  # type: ignore[arg-type]


def test_a_group_is_compared_with_natural_ones_of_its_size() -> None:
    small = [replace(g, n=6, separation=20 + g.separation) for g in NATURAL]
    assert NEWS.p_pattern([*NATURAL, *small]) == NEWS.p_pattern(NATURAL)
    assert replace(NEWS, n=8).p_pattern([*NATURAL, *small]) > 10 * NEWS.p_pattern(NATURAL)


def test_in_a_shifted_lot_a_pattern_alone_accuses_nobody() -> None:
    assert NEWS.p_value(NATURAL, shifted=True) == 1
    assert replace(NEWS, contradicted=True).p_value(NATURAL, shifted=True) < 1


def test_without_natural_groups_nobody_is_accused_for_a_pattern() -> None:
    assert NEWS.p_value([], shifted=False) == 1


def test_separation_in_one_dimension_by_hand() -> None:
    rest, group = np.linspace(-1, 1, 201)[:, None], np.full((20, 1), 10.0)
    expected = (10 - np.quantile(rest, 0.95)) / rest.std()
    assert separation(group, rest, rest) == pytest.approx(expected, rel=1e-3)
    far = np.concatenate([rest, np.full((40, 1), 12.0)])  # other classes have it too
    assert separation(group, rest, far) < 0


def test_halves_that_lie_apart_from_each_other_share_nothing() -> None:
    rest = np.random.default_rng(0).normal(size=(300, 2))
    group = np.zeros((20, 2))
    group[::2, 0], group[1::2, 1] = 10, 10
    assert separation(group, rest, rest) < 0 < separation(group[::2], rest, rest)
    assert separation(group[:5], rest, rest) == 0


def test_spread_is_the_total_variance() -> None:
    x = np.random.default_rng(1).normal(size=(50, 4))
    assert spread(x) == pytest.approx(np.trace(np.cov(x.T, bias=True)))
    assert spread(x[:0]) == 0


def test_usual_spread_leaves_a_few_others_among_repeats_out() -> None:
    x = np.random.default_rng(1).normal(size=(500, 40))
    assert usual_spread(x) == pytest.approx(spread(x), rel=0.1)
    x[:300] = x[0]
    assert usual_spread(x) == 0 < spread(x)
    assert usual_spread(x[:0]) == 0


def test_repeats_with_a_few_others_are_repeats_in_a_tail_and_a_heavy_tail_is_none_in_a_component() -> None:
    """Textures have rows far outside: by its median row a planted group of steel looked like repeats of one image."""
    rng = np.random.default_rng(0)
    repeats = np.concatenate([rng.normal(0, 0.01, (20, 5)), rng.normal(0, 3, (3, 5))])
    heavy = rng.standard_t(2.5, (200, 5))
    rest = rng.normal(0, 2, (400, 5))
    assert TAIL.spread(repeats) < VARIED * TAIL.spread(rest)
    assert COMPONENT.spread(repeats) > VARIED * COMPONENT.spread(rest)
    assert COMPONENT.spread(heavy) > 2 * TAIL.spread(heavy)


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


def test_lent_rows_do_not_count_and_classes_with_few_lend_none() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1], [200, 20])
    rows = Rows(rng.normal(size=(220, 10)), y, np.arange(220) % 4 == 0, np.zeros(220, bool))
    seeds, everyone = np.array([3, 4]), np.ones(220, bool)
    lending, alone = (whitened(rows, seeds, everyone, 15, 20, lend=lend) for lend in (True, False))
    lent = len(alone[0].own.y) - len(lending[0].own.y)
    assert 10 < lent < 40 and len(lending[0].others) == len(alone[0].others) + lent == 20 + lent
    assert int((~lending[0].own.trusted).sum()) == 150
    assert len(lending[1].others) == 200 and len(lending[1].own.y) == 20
