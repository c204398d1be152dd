"""A surplus of suspicious rows in a class: counted exactly, silent on lots that are like the trusted rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lotgate.calibration import FEW_KNOWN
from lotgate.checks import example
from lotgate.data import Batch, Task
from lotgate.detector import CalibratedScorer, Evidence, Scores, calibrated, judge
from lotgate.detectors.disagreement import Disagreement
from lotgate.detectors.trusted_distance import TrustedDistance
from lotgate.findings import P_OF_CLASS
from lotgate.shift import Shift
from lotgate.surplus import COST, LEVEL, Ranked, of_surplus, reached, surplus

RNG = np.random.default_rng


@pytest.mark.parametrize("boundary", [[2.0], [1.0, 3.5], [2.5, 3.0, 5.0], [4.0, 4.0, 4.0, 5.0]])
@pytest.mark.parametrize("first", [4, 8])
def test_the_probability_against_all_orders(boundary: list[float], first: int) -> None:
    n_lot, n_trusted, hits = 5, 3, 0
    for places in combinations(range(n_lot + n_trusted), n_trusted):
        came = np.isin(np.arange(n_lot + n_trusted), places).cumsum()[:first]
        lot = np.arange(1, first + 1) - came
        hits += any(j < len(boundary) and k >= boundary[j] for k, j in zip(lot, came, strict=True))
    assert reached(n_lot, n_trusted, first, np.array(boundary)) == pytest.approx(hits / comb(8, 3))


@pytest.mark.parametrize(("n_lot", "n_trusted"), [(60, 12), (150, 30), (400, 70)])
def test_lots_like_the_trusted_rows_have_a_surplus_as_often_as_it_says(n_lot: int, n_trusted: int) -> None:
    rng = RNG(0)
    p = np.array([surplus(rng.random(n_lot), rng.random(n_trusted), 0.05 * n_lot)[0] for _ in range(2000)])
    for level in (0.3, 0.1, 0.02):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / len(p))


def test_ties_make_no_surplus() -> None:
    """Of models that call many rows equally odd, one value holds rows of both kinds."""
    rng, p = RNG(1), []
    for _ in range(1000):
        lot, trusted = (np.round(rng.random(n), 1) for n in (150, 30))
        p.append(surplus(lot, trusted, 5.0)[0])
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 0.02


def unaccused(p: np.ndarray, y: np.ndarray) -> Ranked:
    """Rows of which no single one has a p-value that accuses it."""
    return Ranked(p, np.ones(len(p)), y)


def flipped(rng: np.random.Generator, planted: int = 44) -> tuple[np.ndarray, ...]:
    """Two classes of 350 rows and 70 trusted ones; planted rows of class 0 lie about where its largest trusted do."""
    p, y = rng.uniform(0.1, 1, 700), np.repeat([0, 1], 350)
    p[:planted] = rng.uniform(0, 0.03, planted)
    known, known_y = np.tile(np.linspace(0.1, 1, 70), 2), np.repeat([0, 1], 70)
    return p, y, known, known_y


def test_rows_that_no_p_value_accuses_are_found_together() -> None:
    p, y, known, known_y = flipped(RNG(2))
    found = of_surplus(unaccused(p, y), unaccused(known, known_y)) <= LEVEL
    assert found[:44].sum() >= 40
    assert found[44:].sum() <= 10
    assert not found[y == 1].any()


def test_of_all_classes_of_a_clean_lot_hardly_any_is_accused() -> None:
    rng, accused = RNG(3), 0
    y, known_y = np.repeat(np.arange(10), 100), np.repeat(np.arange(10), 20)
    for _ in range(300):
        accused += bool((of_surplus(unaccused(rng.random(1000), y), unaccused(rng.random(200), known_y)) < 1).any())
    assert accused <= 300 * LEVEL + 3 * np.sqrt(300 * LEVEL)


def test_what_single_rows_explain_is_no_surplus() -> None:
    """Rows that were found singly leave; their class is not accused for them a second time."""
    p, y, known, known_y = flipped(RNG(4))
    found = of_surplus(Ranked(p, np.where(p <= 0.03, 1e-6, 1.0), y), unaccused(known, known_y))
    assert (found == 1).all()


def test_a_few_trusted_rows_that_resemble_one_another_make_no_surplus() -> None:
    """Eight sevens of one hand: 82 of 127 others looked odder than all of them, and left a lot (p = .004)."""
    p, y = np.concatenate([np.linspace(0.02, 0.3, 82), np.linspace(0.6, 1, 45)]), np.zeros(127, np.int64)
    for n, said in ((FEW_KNOWN - 1, False), (FEW_KNOWN, True)):
        known = unaccused(np.linspace(0.7, 1, n), np.zeros(n, np.int64))
        lot = unaccused(np.r_[p, np.linspace(0.1, 1, 2000)], np.r_[y, np.ones(2000, np.int64)])
        assert bool((of_surplus(lot, known) < 1).any()) == said


def test_no_limit_leaves_more_clean_rows_than_allowed() -> None:
    """With ten trusted rows of a class, what lies beyond all of them holds a twelfth of its clean ones."""
    lot, trusted = np.concatenate([np.zeros(80), np.linspace(0.1, 1, 160)]), np.linspace(0.05, 1, 10)
    assert surplus(lot, trusted, most_clean=240 / 12 - 1)[0] == 1
    p, limit = surplus(lot, trusted, most_clean=240 / 12)
    assert p < 0.15
    assert limit == 0


def test_the_limit_is_where_more_suspects_no_longer_pay() -> None:
    rng = RNG(5)
    lot, trusted = np.concatenate([rng.uniform(0, 0.01, 30), rng.random(300)]), rng.random(100)
    p, limit = surplus(lot, trusted, most_clean=20.0)
    gains = [
        (lot <= t).sum() - (1 + COST) * len(lot) / (len(trusted) + 2) * ((trusted <= t).sum() + 1)
        for t in np.linspace(0, 0.5, 2001)
        if len(lot) / (len(trusted) + 2) * ((trusted <= t).sum() + 1) <= 20
    ]
    best = (lot <= limit).sum() - (1 + COST) * len(lot) / (len(trusted) + 2) * ((trusted <= limit).sum() + 1)
    assert p < LEVEL
    assert best >= max(gains)


@pytest.mark.parametrize(("n_lot", "n_trusted"), [(0, 10), (10, 0), (1, 1)])
def test_hardly_any_rows_say_nothing(n_lot: int, n_trusted: int) -> None:
    assert surplus(np.full(n_lot, 0.001), np.full(n_trusted, 0.9), 10.0)[0] > LEVEL


class Counting(Disagreement):
    """Says what it says of single rows whatever their scores mean."""

    log_odds: ClassVar = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Known(CalibratedScorer):
    """Scores that were given for each sample; its p-values are more cautious than they need be."""

    scores: Mapping[str, float]

    def score(self, batch: Batch) -> Scores:
        return np.array([self.scores[str(i)] for i in batch.ids])

    def p_value(self, scores: Scores) -> Scores:
        return np.sqrt(super().p_value(scores))


def contradicted(folder: Path, task: Task) -> tuple[Known, Evidence, np.ndarray]:
    """Thirty of a class's rows (or of all targets) lie about where its largest trusted scores do."""
    evidence, rng = example(folder, "nothing", modality="table", task=task, n=400).evidence, RNG(6)
    assert evidence.trusted is not None and evidence.heldout is not None
    vetted = (evidence.trusted, evidence.heldout)
    scores = {
        str(i): s for d in (evidence.suspect, *vetted) for i, s in zip(d.ids, rng.normal(size=len(d)), strict=True)
    }
    own = np.flatnonzero(evidence.suspect.y == 0) if task == "classification" else np.arange(len(evidence.suspect))
    planted = evidence.suspect.ids[own[:30]]
    scores |= {str(i): 2.4 + 0.5 * rng.random() for i in planted}
    scorer = calibrated(Known(rate=0.005, scores=scores), vetted, evidence.suspect)
    return scorer, evidence, np.isin(evidence.suspect.ids, planted)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_detector_that_counts_a_surplus_finds_it_in_a_lot_like_the_trusted_rows(task: Task, tmp_path: Path) -> None:
    scorer, evidence, planted = contradicted(tmp_path, task)
    alone, counted = (judge(d, scorer, evidence).findings for d in (TrustedDistance(), Counting()))
    assert P_OF_CLASS not in alone
    assert np.array_equal(counted["p_value"], alone["p_value"])
    assert (alone["p_value"][planted] > LEVEL).all()
    assert (counted[P_OF_CLASS][planted] <= LEVEL).mean() > 0.9
    assert (counted[P_OF_CLASS][~planted] < 1).mean() < 0.04
    assert P_OF_CLASS not in judge(Counting(), scorer, replace(evidence, shift=Shift(0.9, 0.01))).findings


def test_a_class_can_hold_too_many_where_single_rows_tell_nothing(tmp_path: Path) -> None:
    """Most trusted rows of the class are contradicted, so that it is not known; the lot has more (decision 16)."""
    scorer, evidence, planted = contradicted(tmp_path, "classification")
    assert evidence.trusted is not None and evidence.heldout is not None
    odd = {str(i) for d in (evidence.suspect, evidence.trusted, evidence.heldout) for i in d.ids[d.y == 0]}
    scores = {i: s + 4 if i in odd else s for i, s in scorer.scores.items()}
    judged = judge(Counting(), replace(scorer, scores=scores), evidence)
    found = judged.findings[planted]
    assert (found["p_value"] == 1).all() and judged.unjudged == ("class 0",)
    assert (found[P_OF_CLASS] <= LEVEL).mean() > 0.9
