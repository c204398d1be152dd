"""Firmness: contradicted rows are wrong where they stand out, and unknown where models do not know."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotgate.checks import example
from lotgate.data import Batch, Dataset, Modality
from lotgate.detector import CalibratedScorer, Judgement, Scores, calibrated, judge
from lotgate.detectors.disagreement import Disagreement
from lotgate.firmness import any_alone, beyond_chance, firm, oftener_contradicted, stand_out
from lotgate.surplus import Ranked

RNG = np.random.default_rng


def confirmed(n: int) -> np.ndarray:
    """Log-odds against right labels, most of them far below zero."""
    return -RNG(0).gamma(4, 1.5, n)


def test_changed_labels_are_contradicted_as_firmly_as_others_are_confirmed() -> None:
    scores = confirmed(500)
    scores[:30] *= -1
    assert stand_out(scores)
    scores[30:50] = RNG(1).uniform(0, 1, 20)  # and nearly as many that are hard to tell
    assert stand_out(scores)


def test_rows_that_are_hard_to_tell_do_not_stand_out() -> None:
    scores = confirmed(500)
    scores[:30] = RNG(1).exponential(1.0, 30)
    assert not stand_out(scores)


def test_nor_do_labels_that_models_do_not_know() -> None:
    scores = confirmed(500)
    scores[:150] *= -1
    assert not stand_out(scores)
    assert not stand_out(np.full(40, 2.0))


def ranked(p_values: np.ndarray) -> Ranked:
    return Ranked(p_values, p_values, np.zeros(len(p_values), np.int64))


@pytest.mark.parametrize(("accused", "vetted", "expected"), [(12, 60, False), (40, 60, True), (12, 300, True)])
def test_more_than_trusted_rows_explain(accused: int, vetted: int, expected: bool) -> None:
    """Twelve of 300 rows lie beyond all trusted ones: that says something of 300 vetted rows, and nothing of 60."""
    lot = np.r_[np.full(accused, 1e-3), np.linspace(0.05, 1, 300 - accused)]
    assert beyond_chance(ranked(lot), ranked(np.linspace(0.05, 1, vetted))) == expected


def test_trusted_rows_that_are_contradicted_as_well_explain_it() -> None:
    lot = np.r_[np.full(40, 1e-3), np.linspace(0.05, 1, 260)]
    assert not beyond_chance(ranked(lot), ranked(np.r_[np.full(6, 1e-3), np.linspace(0.05, 1, 54)]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Known(CalibratedScorer):
    """Scores that were given for each sample."""

    scores: Mapping[str, float]

    def score(self, batch: Batch) -> Scores:
        return np.array([self.scores[str(i)] for i in batch.ids])


def judged(
    folder: Path,
    contradictions: np.ndarray,
    trusted: int = 0,
    vouching: Any = None,
    vetted_rows: int = 40,
    modality: Modality = "table",
) -> tuple[Judgement, np.ndarray]:
    """Of 400 rows and some trusted ones: rows are contradicted so firmly, as many as given, trusted ones weakly."""
    evidence = example(folder, "nothing", modality=modality, n=400).evidence
    vetted = [d.select(d.ids[: vetted_rows // 2]) for d in evidence.vetted]
    evidence = replace(evidence, trusted=vetted[0], heldout=vetted[1], crossfit=vouching or evidence.crossfit)
    scores = {str(i): s for d in (evidence.suspect, *vetted) for i, s in zip(d.ids, confirmed(len(d)), strict=True)}
    planted = evidence.suspect.ids[:: len(evidence.suspect) // len(contradictions)][: len(contradictions)]
    scores |= dict(zip(map(str, planted), contradictions, strict=True))
    scores |= {str(i): 0.3 for i in vetted[0].ids[:trusted]}
    scorer = calibrated(Known(rate=0.005, scores=scores), vetted, evidence.suspect)
    return judge(Disagreement(), scorer, evidence), planted


@pytest.mark.parametrize("vetted_rows", [40, 100])
@pytest.mark.parametrize("firmly", [True, False])
def test_single_rows_of_a_table_are_accused_where_they_stand_out(
    firmly: bool, vetted_rows: int, tmp_path: Path
) -> None:
    """Sixteen of 400 rows lie beyond all trusted ones, which say nothing of so few; of forty the lot is asked, too."""
    contradicted = RNG(2).uniform(6, 9, 16) if firmly else np.linspace(2, 5, 16)
    found, planted = judged(tmp_path, contradicted, vetted_rows=vetted_rows)
    p = found.findings.set_index("sample_id")["p_value"]
    assert (p[planted] < 0.01).all() if firmly else not any_alone(p.to_numpy())
    assert firmly or vetted_rows < 100 or (p == 1).all()
    assert found.unjudged == ()


@pytest.mark.parametrize("vetted_rows", [10, 40, 100])
def test_a_lot_that_few_trusted_rows_leave_in_doubt_is_asked(vetted_rows: int, tmp_path: Path) -> None:
    """Models as sure as these do not err by four nats so often, though others are confirmed more firmly."""
    found, planted = judged(tmp_path, np.linspace(4, 5, 8), vetted_rows=vetted_rows)
    p = found.findings.set_index("sample_id")["p_value"]
    assert (p[planted] < 0.02).all() if vetted_rows == 40 else (p == 1).all()


@pytest.mark.parametrize(("vetted_rows", "asked"), [(8, False), (10, True)])
def test_a_lot_of_images_is_asked_with_fewer_trusted_rows(vetted_rows: int, asked: bool, tmp_path: Path) -> None:
    """Changed labels that lie no higher than errors of models do, but oftener than errors of models so sure."""
    found, planted = judged(tmp_path, np.linspace(3.5, 5, 12), vetted_rows=vetted_rows, modality="image")
    p = found.findings.set_index("sample_id")["p_value"]
    assert any_alone(p.to_numpy()) == asked
    assert (p[planted] < 0.02).all() == asked
    assert (found.findings["flagged"] == (found.findings["score"] > found.threshold)).all()
    assert np.isfinite(found.threshold) == asked


@pytest.mark.parametrize("modality", ["table", "image"])
def test_the_lot_does_not_excuse_whom_trusted_rows_accuse(modality: Modality, tmp_path: Path) -> None:
    """Images with a patch, which models half know, are contradicted no more firmly than errors of models might be; and
    a class whose accused rows were excused, of 700 MNIST images, was accused as a whole, with 4% of the clean rows.
    """
    patched = np.linspace(1.0, 2.2, 20) if modality == "image" else np.linspace(7, 9, 20)
    few, enough = (judged(tmp_path / str(rows), patched, vetted_rows=rows, modality=modality) for rows in (60, 110))
    for found, planted in (few, enough):
        assert (found.findings.set_index("sample_id").loc[planted, "p_value"] < 0.02).all()


def test_a_table_that_models_do_not_know_is_said_to_be_unjudged(tmp_path: Path) -> None:
    """Flips in it would pass unseen: who answers for the lot must be told."""
    found, _ = judged(tmp_path, RNG(2).uniform(0.1, 0.5, 130), trusted=12)
    assert found.unjudged == ("class 0", "class 1", "class 2")
    assert (found.findings["p_value"] == 1).all()


@pytest.mark.parametrize(("lot", "trusted", "expected"), [(0.23, 0.25, False), (0.29, 0.24, True), (0.29, 0.28, False)])
def test_models_of_trusted_rows_alone_tell_lots_apart_by_their_labels(
    lot: float, trusted: float, expected: bool
) -> None:
    assert oftener_contradicted(np.arange(2500) < lot * 2500, np.arange(500) < trusted * 500) == expected


@dataclass(frozen=True)
class Vouching:
    """Models of trusted rows alone that contradict the first so many rows of lot and trusted set."""

    lot: int
    trusted: int

    def contradicted(self, dataset: Dataset) -> np.ndarray:
        return np.arange(len(dataset)) < (self.lot if len(dataset) > 100 else self.trusted)


@pytest.mark.parametrize("vetted_rows", [40, 100])
@pytest.mark.parametrize(("vouching", "accused"), [(Vouching(80, 0), True), (Vouching(80, 4), False)])
def test_weak_contradictions_count_if_models_of_trusted_rows_alone_see_them(
    vouching: Vouching, accused: bool, vetted_rows: int, tmp_path: Path
) -> None:
    """Lot and trusted rows of clean surveys once differed to models that had chosen what to learn by trusted rows."""
    as_often = replace(vouching, trusted=vouching.trusted * vetted_rows // 40)
    found, planted = judged(tmp_path, np.linspace(2.5, 4, 80), vouching=as_often, vetted_rows=vetted_rows)
    p = found.findings.set_index("sample_id")["p_value"]
    assert (p[planted] < 0.05).all() if accused else not any_alone(p.to_numpy())
    assert accused or vetted_rows < 100 or (p == 1).all()


def test_rows_are_firmly_contradicted_beside_how_others_are_confirmed() -> None:
    scores = np.array([*-np.arange(1.0, 11.0), 1.0, 1.8, 2.0, 9.0])
    assert firm(scores)[10:].tolist() == [False, False, True, True]
    assert not firm(scores)[:10].any() and not firm(np.array([1.0, 2.0])).any()
