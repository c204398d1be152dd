"""Mixed origins: what is told of groups by where their rows go when they are left out together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lotgate.companions import LEAST_CLASSES
from lotgate.data import Dataset
from lotgate.detector import Evidence, Scorer, judge
from lotgate.detectors.mixed_origins import Candidate, MixedOrigins
from lotgate.shift import Shift
from tests.small_lots import digits, image_dataset
from tests.unit import apart_lots
from tests.unit.apart_lots import SaidOf

ROWS, FEW, PLANTED = 900, 40, 45
FOUND = 4e-3  # of a twentieth of the lot, that the policy's share of the error allows
p_values = partial(apart_lots.p_values, MixedOrigins())


def lot(sources: np.ndarray, n: int = PLANTED) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """900 digits, some of which are of these classes, carry a bright corner and are called zeros."""
    x, y = apart_lots.lot(ROWS)
    rows = np.flatnonzero(np.isin(y, sources))[:n]
    x[rows, 5:, 5:], y[rows] = 255, 0
    return x, y, rows


def evidence(folder: Path, x: np.ndarray, y: np.ndarray, trusted: int = FEW) -> Evidence:
    """The lot beside a few trusted digits, at least two of every class."""
    vetted_x, vetted_y = (part[ROWS:] for part in digits(10))
    first = np.concatenate([np.flatnonzero(vetted_y == c)[: trusted // 10] for c in range(10)])
    suspect, vetted = image_dataset(folder / "lot", x, y), image_dataset(folder / "t", vetted_x[first], vetted_y[first])
    half = vetted.ids[::2]
    rest = vetted.ids[1::2]
    return Evidence(suspect, vetted.select(half), vetted.select(rest), crossfit=SaidOf(set()))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, np.ndarray, Scorer]:
    """Evidence, which rows are planted, and what the detector learned."""
    x, y, rows = lot(np.arange(1, 10))
    found = evidence(tmp_path_factory.mktemp("planted"), x, y)
    return found, rows, MixedOrigins().fit(found, np.random.default_rng(0))


def judged(scorer: Scorer, found: Evidence) -> np.ndarray:
    return judge(MixedOrigins(), scorer, found).findings["p_value"].to_numpy()


def test_a_backdoor_is_found_beside_four_trusted_rows_of_a_class_and_no_clean_row_is(
    planted: tuple[Evidence, np.ndarray, Scorer],
) -> None:
    found, rows, scorer = planted
    p = judged(scorer, found)
    assert (p[rows] < FOUND).mean() > 0.9
    assert (np.delete(p, rows) < FOUND).mean() <= 0.005


def test_a_clean_lot_has_no_such_group(tmp_path: Path) -> None:
    x, y = apart_lots.lot(ROWS)
    assert p_values(evidence(tmp_path, x, y)).min() == 1.0


def test_what_comes_from_one_class_is_left_to_others(tmp_path: Path) -> None:
    x, y, _ = lot(np.array([4]))
    assert p_values(evidence(tmp_path, x, y)).min() == 1.0


def test_few_classes_say_nothing(tmp_path: Path) -> None:
    x, y, _ = lot(np.arange(1, LEAST_CLASSES - 1), n=30)
    found = evidence(tmp_path, x, y)
    parts = [d.select(d.ids[d.y < LEAST_CLASSES - 1]) for d in (found.suspect, *found.vetted)]
    few = [Dataset(d.modality, d.task, d.manifest, d.root, d.store, d.classes[: LEAST_CLASSES - 1]) for d in parts]
    assert p_values(Evidence(*few, crossfit=SaidOf(set()))).min() == 1.0


def test_a_score_depends_on_its_image_alone(planted: tuple[Evidence, np.ndarray, Scorer]) -> None:
    found, rows, scorer = planted
    whole = scorer.score(found.suspect.batch(np.arange(ROWS)))
    assert whole[rows].max() > 2
    order = np.random.default_rng(1).permutation(ROWS)
    parts = [scorer.score(found.suspect.batch(part)) for part in np.array_split(order, 7)]
    np.testing.assert_allclose(np.concatenate(parts), whole[order], rtol=1e-9)


def test_in_a_shifted_lot_only_contradicted_labels_count(planted: tuple[Evidence, np.ndarray, Scorer]) -> None:
    found, rows, scorer = planted
    doubted = set(found.suspect.ids[rows[:20]])
    p = judged(scorer, replace(found, crossfit=SaidOf(doubted), shift=Shift(chance=0.9, error=0.01)))
    assert (p[rows[:20]] < FOUND).mean() > 0.9
    assert p[rows[20:]].min() == 1.0


@pytest.mark.parametrize("scatter", [0.0, 0.6, 0.97, 1.0, 1.02])
def test_a_group_among_natural_ones_is_as_odd_as_its_scatter(scatter: float) -> None:
    natural = [Candidate(n=40, inside=3, p_size=0.8, clean=1.0, scatter=s) for s in np.linspace(0, 0.4, 60)]
    p = Candidate(n=50, inside=0, p_size=0.2, clean=0.0, scatter=scatter).p_pattern(natural)
    assert p == 1.0 if scatter == 0 else p < 0.01
    assert np.isfinite(p) and p > 0
    assert Candidate(n=50, inside=0, p_size=0.2, clean=0.0, scatter=scatter).p_pattern([]) == 1.0


@pytest.mark.parametrize("side", [1, 8])
def test_images_that_show_nothing_accuse_nobody(side: int, tmp_path: Path) -> None:
    y = np.arange(200) % 8
    lot, trusted = (image_dataset(tmp_path / part, np.full((200, side, side), 7, np.uint8), y) for part in ("l", "t"))
    assert p_values(Evidence(lot, trusted, trusted.select([]), crossfit=SaidOf(set()))).min() == 1.0


@pytest.mark.parametrize("rows", [1, 12, 60])
def test_a_lot_of_a_few_rows_or_of_one_class_is_judged_all_the_same(rows: int, tmp_path: Path) -> None:
    x, y = apart_lots.lot(ROWS)
    found = evidence(tmp_path, x, y)
    alone = found.suspect.select(found.suspect.ids[y == 3][:rows])
    assert p_values(Evidence(alone, found.trusted, found.heldout, crossfit=SaidOf(set()))).min() == 1.0


def test_a_group_that_trusted_rows_lack_is_no_more_than_a_style_where_natural_ones_scatter_as_much() -> None:
    natural = [Candidate(n=40, inside=3, p_size=0.8, clean=1.0, scatter=s) for s in np.linspace(0.2, 0.9, 60)]
    group = Candidate(n=50, inside=0, p_size=1e-6, clean=0.0, scatter=0.8)
    assert MixedOrigins().p_value(group, natural) == 1.0
    assert MixedOrigins().p_value(group, natural[:20]) < 1e-6
    assert MixedOrigins().p_value(replace(group, clean=0.4), natural[:20]) == 1.0
    assert MixedOrigins(scattered=0.85).p_value(group, natural[:20]) == 1.0
