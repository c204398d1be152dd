"""Whether a lot is drawn like the trusted set, and how findings count where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lotgate.checks import example
from lotgate.crossfit import CrossFit, log_softmax, train_crossfit
from lotgate.detector import Detector, Evidence, judge
from lotgate.detectors.disagreement import Disagreement
from lotgate.detectors.excess_confidence import ExcessConfidence
from lotgate.detectors.trusted_distance import TrustedDistance
from lotgate.detectors.unexplained_clusters import UnexplainedClusters
from lotgate.findings import P_OF_CLASS
from lotgate.probe import ProbeSettings
from lotgate.shift import (
    ALIKE,
    LOOK_ALIKE,
    NO_SHIFT,
    Shift,
    least_looks,
    least_shift,
    load_shift,
    measure_shift,
    save_shift,
    shift_checks,
    shift_words,
)
from tests.small_lots import digits, image_dataset

RNG = np.random.default_rng
SURE = Shift(0.9, 0.01)


def test_the_chance_is_that_of_all_pairs() -> None:
    own, usual = RNG(0).normal(0.4, 1, 30), RNG(1).normal(0, 1, 20)
    y, known = np.repeat([0, 1], 15), np.repeat([0, 1], 10)
    chances = [np.mean(own[y != c][:, None] > usual[known != c][None]) for c in (0, 1)]
    found = least_shift(own, y, usual, known)
    assert found.chance == pytest.approx(min(chances))
    assert found.error == pytest.approx(((15 + 10 + 1) / (12 * 15 * 10)) ** 0.5)


def test_one_poisoned_class_is_no_shift_and_another_batch_is() -> None:
    rng = RNG(2)
    y, known = rng.integers(0, 5, 1000), rng.integers(0, 5, 300)
    own, usual = rng.normal(size=1000), rng.normal(size=300)
    poisoned = own + 5 * ((y == 3) & (rng.random(1000) < 0.8))
    assert not least_shift(poisoned, y, usual, known).certain
    assert least_shift(own + 0.5, y, usual, known).certain


def test_a_little_of_both_is_as_much_as_one() -> None:
    assert not Shift(0.52, 0.0).certain and not Shift(looks=0.6).certain and Shift(0.52, 0.0, 0.6).certain
    assert not Shift(0.2, 0.0, 0.64).certain  # the one does not speak against the other
    (drawn, looks) = shift_checks(Shift(0.52, 0.0, 0.6))
    assert not drawn.passed and "together" in drawn.detail and looks.passed  # a check says what the decision says


def test_chance_alone_is_rarely_a_shift() -> None:
    rng = RNG(3)
    lots = [
        (rng.normal(size=60), rng.integers(0, 2, 60), rng.normal(size=20), rng.integers(0, 2, 20)) for _ in range(300)
    ]
    assert sum(least_shift(*lot).certain for lot in lots) <= 15


def test_nothing_is_known_where_no_class_is_left_to_compare() -> None:
    one = np.zeros(9, np.int64)
    assert least_shift(np.ones(9), one, np.zeros(9), one) is NO_SHIFT and not NO_SHIFT.certain


def test_it_is_kept_on_disk_and_told_in_words(tmp_path: Path) -> None:
    assert load_shift(tmp_path) is None
    save_shift(SURE, tmp_path)
    assert load_shift(tmp_path) == SURE
    (failed,), (passed, looks) = shift_checks(SURE), shift_checks(Shift(0.56, 0.05, 0.8))
    assert (failed.passed, failed.critical, failed.observed, failed.limit) == (False, False, 0.885, ALIKE)
    assert "trusted" in failed.detail
    assert passed.passed and not passed.detail
    assert (looks.passed, looks.observed, looks.limit) == (False, 0.8, LOOK_ALIKE) and "sharpness" in looks.detail
    assert "do not look like the trusted ones" in shift_words(Shift(looks=0.8))[0]
    assert "not drawn like the trusted set" in shift_words(SURE)[0] and not shift_words(NO_SHIFT)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A table with planted triggers, and small models of it."""
    given = example(tmp_path_factory.mktemp("shift"), "backdoor", n=400).evidence
    assert given.trusted is not None and given.heldout is not None
    settings = ProbeSettings(width=16, epochs=8, min_steps=80)
    crossfit = train_crossfit(given.suspect, (given.trusted, given.heldout), settings, RNG(2), lambda words: None)
    return replace(given, crossfit=crossfit)


def test_rows_drawn_alike_are_no_shift(evidence: Evidence) -> None:
    assert evidence.crossfit is not None and evidence.trusted is not None and evidence.heldout is not None
    assert not measure_shift(evidence.crossfit, evidence.suspect, (evidence.trusted, evidence.heldout)).certain


def test_contradicted_are_rows_to_which_trusted_rows_give_another_class(evidence: Evidence) -> None:
    assert evidence.crossfit is not None
    batch = evidence.suspect.batch(np.arange(len(evidence.suspect)))
    models = evidence.crossfit.vouched, evidence.crossfit.sifted
    best = sum(log_softmax(m.logits(batch)) for m in models).argmax(1)
    found = evidence.crossfit.contradicted(evidence.suspect)
    assert np.array_equal(found, best != evidence.suspect.y) and 0 < found.mean() < 0.5


@pytest.mark.parametrize("detector", [ExcessConfidence(), TrustedDistance(), UnexplainedClusters()])
def test_in_a_shifted_lot_only_labels_that_trusted_rows_contradict_are_doubted(
    detector: Detector, evidence: Evidence
) -> None:
    alike, shifted = (
        judge(detector, detector.fit(given, RNG(0)), given).findings["p_value"].to_numpy()
        for given in (evidence, replace(evidence, shift=SURE))
    )
    assert evidence.crossfit is not None
    contradicted = evidence.crossfit.contradicted(evidence.suspect)
    assert (shifted[~contradicted] == 1).all()
    assert (shifted >= alike - 1e-12).all()
    if detector.own_null:
        assert (alike[~contradicted] < 0.05).any(), "or nothing was to be spared"
        assert np.corrcoef(alike[contradicted], shifted[contradicted])[0, 1] > 0.8


@pytest.mark.parametrize(("share", "found"), [(1.0, True), (0.9, True), (0.6, False)])
def test_a_group_of_a_shifted_lot_is_poison_where_three_quarters_are_contradicted(
    share: float, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Styles of other writers, of which models contradicted somewhat more than half, were set aside."""
    lot = example(tmp_path, "backdoor", n=600)
    planted = dict(zip(lot.evidence.suspect.ids, lot.planted & (RNG(0).random(len(lot.planted)) < share), strict=True))
    monkeypatch.setattr(CrossFit, "contradicted", lambda self, d: np.array([planted.get(i, False) for i in d.ids]))
    detector, given = UnexplainedClusters(), replace(lot.evidence, shift=SURE)
    p_values = judge(detector, detector.fit(given, RNG(0)), given).findings["p_value"].to_numpy()
    assert (np.median(p_values[lot.planted]) < 1e-3) == found


@pytest.mark.parametrize(("share", "found"), [(1.0, True), (0.6, False)])
def test_so_is_a_group_of_images_in_any_lot(
    share: float, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rare style has a place of its own in the probe, too: 37 clean rings of 800 were set aside."""
    lot = example(tmp_path, "backdoor", n=400, modality="image")
    planted = dict(zip(lot.evidence.suspect.ids, lot.planted & (RNG(0).random(len(lot.planted)) < share), strict=True))
    monkeypatch.setattr(CrossFit, "contradicted", lambda self, d: np.array([planted.get(i, False) for i in d.ids]))
    detector = UnexplainedClusters()
    p_values = judge(detector, detector.fit(lot.evidence, RNG(0)), lot.evidence).findings["p_value"].to_numpy()
    assert (np.median(p_values[lot.planted]) < 1e-3) == found


def test_contradiction_itself_counts_in_a_shifted_lot_as_before(evidence: Evidence) -> None:
    detector = Disagreement(folds=2, epochs=2)
    scorer = detector.fit(evidence, RNG(0))
    alike, shifted = (judge(detector, scorer, given).findings for given in (evidence, replace(evidence, shift=SURE)))
    assert alike.drop(columns=P_OF_CLASS).equals(shifted)  # of single rows; of classes as a whole nothing is said


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Digits of three classes; the lot as it is, blurred, and with a tenth of it overwritten with noise."""
    folder, (x, y) = tmp_path_factory.mktemp("looks"), digits(3)
    vetted = [image_dataset(folder / f"t{i}", x[300 + i :: 2], y[300 + i :: 2]) for i in (0, 1)]
    noisy = x[:300].copy()
    noisy[::10] = RNG(0).integers(0, 256, (30, 8, 8))
    lots = {"alike": x[:300], "blurred": ndimage.gaussian_filter(x[:300], (0, 0.5, 0.5)), "noisy": noisy}
    return {name: least_looks(image_dataset(folder / name, lot, y[:300]), vetted) for name, lot in lots.items()}


def test_images_through_other_optics_do_not_look_like_trusted_ones(looks: dict[str, float]) -> None:
    assert looks["alike"] < 0.55
    assert looks["blurred"] > LOOK_ALIKE and Shift(looks=looks["blurred"]).certain


def test_a_tenth_of_junk_does_not_make_the_lot_look_different(looks: dict[str, float]) -> None:
    assert looks["noisy"] < LOOK_ALIKE and not Shift(looks=looks["noisy"]).certain


def test_rows_of_another_season_do_not_look_like_trusted_ones(tmp_path: Path) -> None:
    """A column that rose in every class; where a trigger of a fifth of the rows is set in one class, none did."""
    evidence = example(tmp_path, "nothing", modality="table", n=600).evidence
    assert evidence.trusted is not None and evidence.heldout is not None
    vetted, suspect = (evidence.trusted, evidence.heldout), evidence.suspect
    stored, rows = np.load(suspect.store), suspect.rows
    least = [least_looks(suspect, vetted)]
    for where in (rows[(suspect.y == 0) & (np.arange(len(rows)) % 2 == 0)], rows):
        changed = stored.copy()
        changed[where, :2] += 2.0
        np.save(suspect.store, changed)
        least.append(least_looks(suspect, vetted))
    alike, planted, warmer = least
    assert alike < ALIKE and planted < LOOK_ALIKE < warmer
    told = Shift(looks=warmer, images=False)
    assert told.certain and "another batch, source or season" in shift_words(told)[0]
    assert shift_checks(told)[1].name == "evidence: rows of lot and trusted set look alike"
