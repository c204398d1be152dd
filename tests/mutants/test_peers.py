"""Defects found in other tools, re-created: the promises of lotgate.checks, or the gate, must notice each.

That our own detectors keep the same promises is tests/contract. The defect of De-Pois' released authenticator, and
of thresholds taken from the lot, are in test_de_pois.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.cluster import KMeans

from lotgate import stages
from lotgate.checks import (
    check_findings_are_whole,
    check_finds_planted,
    check_forgets_and_repeats,
    check_order_and_batch_size,
    check_quiet_on_clean,
    check_touches_nothing,
)
from lotgate.data import Batch, Dataset
from lotgate.detector import Detector, Evidence, Scorer, Scores
from lotgate.detectors.spectral_signatures import SpectralSignatures
from lotgate.settings import Settings, load_settings
from tests.small_lots import tumour_lots, write_settings

Vector = npt.NDArray[np.float64]
Score = Callable[[Batch], Scores]


@dataclass
class PlainScorer:
    """A function as a scorer, with a threshold and ranks of a fixed scale as p-values."""

    of: Score
    threshold: float = 0.5

    def score(self, batch: Batch) -> Scores:
        return self.of(batch)

    def p_value(self, scores: Scores) -> Scores:
        return np.asarray(1 / (1 + np.exp(np.clip(scores, -500, 500))))


class Mutant(Detector):
    """What the mutants below have in common."""

    modalities: ClassVar = frozenset({"table"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"probe"})
    reason: ClassVar = "a peer would say so"


def features_of(evidence: Evidence) -> Callable[[Batch], Vector]:
    probe = evidence.probe
    assert probe is not None
    return lambda batch: probe.features(batch).astype(np.float64)


def by_class(x: Vector, y: npt.NDArray[np.int64], rule: Callable[[Vector], Vector]) -> Scores:
    """A rule for the rows of one class, applied to each class."""
    scores = np.zeros(len(y))
    for c in np.unique(y):
        scores[y == c] = rule(x[y == c])
    return scores


def whole(dataset: Dataset) -> Batch:
    return dataset.batch(np.arange(len(dataset)))


class UncentredSpectral(Mutant):
    """1. The top singular direction of features whose mean was not taken off: it is the mean."""

    name: ClassVar = "uncentred_spectral"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        read, lot = features_of(evidence), whole(evidence.suspect)
        x = read(lot)
        top = {c: np.linalg.svd(x[lot.y == c], full_matrices=False)[2][0] for c in np.unique(lot.y)}
        return PlainScorer(
            lambda batch: np.array([(row @ top[c]) ** 2 for row, c in zip(read(batch), batch.y, strict=True)])
        )


def smaller_cluster(x: Vector) -> Vector:
    """1 for the rows of the smaller of two clusters."""
    if len(x) < 3:
        return np.zeros(len(x))
    centred = x - x.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    members = KMeans(2, n_init=1, random_state=0).fit_predict(centred @ axes[:2].T)
    return np.asarray(members == np.bincount(members, minlength=2).argmin(), np.float64)


class RefitsPerBatch(Mutant):
    """2a. Out-of-core activation clustering that fits its reduction to each batch anew."""

    name: ClassVar = "refits_per_batch"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        read = features_of(evidence)
        return PlainScorer(lambda batch: by_class(read(batch), batch.y, smaller_cluster))


def distances(evidence: Evidence) -> Score:
    """A sound score to spoil: distance from the trusted mean of the class."""
    read, trusted = features_of(evidence), evidence.trusted
    assert trusted is not None
    vetted, y = read(whole(trusted)), trusted.y
    means = np.stack([vetted[y == c].mean(0) for c in range(len(trusted.classes))])
    return lambda batch: np.linalg.norm(read(batch) - means[batch.y], axis=1)


class DropsPartialBatch(Mutant):
    """2b. Rows behind the last full batch are never looked at."""

    name: ClassVar = "drops_partial_batch"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        sound = distances(evidence)

        def score(batch: Batch) -> Scores:
            scores = sound(batch)
            scores[len(batch) // 64 * 64 :] = 0.0
            return scores

        return PlainScorer(score, 4.5)


class RepeatsFirstBatch(Mutant):
    """2c. What was found in batch 1 is said of every batch."""

    name: ClassVar = "repeats_first_batch"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        sound, first = distances(evidence), list[Scores]()

        def score(batch: Batch) -> Scores:
            first.append(first[0] if first else sound(batch))
            return np.resize(first[0], len(batch))

        return PlainScorer(score, 4.5)


class SmallerClusterIsPoison(Mutant):
    """3a. Every class has a smaller cluster, so every class has poison."""

    name: ClassVar = "smaller_cluster_is_poison"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        lot = whole(evidence.suspect)
        found = dict(zip(lot.ids, by_class(features_of(evidence)(lot), lot.y, smaller_cluster), strict=True))
        return PlainScorer(lambda batch: np.array([found.get(i, 0.0) for i in batch.ids]))


class RemovesHalfAsMuchAgain(Mutant):
    """3b. 1.5 ε of every class is removed, ε = .33 by default, whatever is in it."""

    name: ClassVar = "removes_half_as_much_again"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        sound, lot = distances(evidence), whole(evidence.suspect)
        scores = sound(lot)
        cut = {c: np.quantile(scores[lot.y == c], 1 - 1.5 * 0.33) for c in np.unique(lot.y)}
        return PlainScorer(lambda batch: sound(batch) - np.array([cut[c] for c in batch.y]), 0.0)


class UninitialisedMemory(Mutant):
    """4. An array that nobody filled: what stands in it changes from run to run."""

    name: ClassVar = "uninitialised_memory"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        left_over = np.random.default_rng()  # as memory is: seeded by nobody
        return PlainScorer(lambda batch: left_over.random(len(batch)), 0.99)


class ReshuffledSecondPass(Mutant):
    """6. Scores come from one pass, ids from another that was shuffled anew."""

    name: ClassVar = "reshuffled_second_pass"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        sound = distances(evidence)
        return PlainScorer(lambda batch: sound(batch)[np.random.default_rng(0).permutation(len(batch))], 4.5)


class RemembersThePreviousFit(Mutant):
    """7a. Training rows pile up from fit to fit, in the class itself."""

    name: ClassVar = "remembers_the_previous_fit"
    seen: ClassVar[list[Vector]] = []

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        read = features_of(evidence)
        self.seen.append(read(whole(evidence.suspect)))
        centre = np.concatenate(self.seen).mean(0)
        return PlainScorer(lambda batch: np.linalg.norm(read(batch) - centre, axis=1), 9.0)


class RanksWithinTheBatch(Mutant):
    """7b. The empirical distribution is that of whoever is in the batch."""

    name: ClassVar = "ranks_within_the_batch"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        sound = distances(evidence)
        return PlainScorer(lambda batch: sound(batch).argsort().argsort() / len(batch), 0.99)


class ShiftsTheGlobalState(Mutant):
    """Draws from the global random state, so that the caller's experiment changes with it."""

    name: ClassVar = "shifts_the_global_state"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        np.random.random(3)  # noqa: NPY002  (the defect)
        return PlainScorer(distances(evidence), 4.5)


class NotANumber(Mutant):
    """Scores of one class that are not numbers."""

    name: ClassVar = "not_a_number"

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        sound = distances(evidence)
        return PlainScorer(lambda batch: np.where(batch.y == 0, np.nan, sound(batch)), 4.5)


CAUGHT: Sequence[tuple[type[Mutant], Callable[..., None], str]] = (
    (RefitsPerBatch, check_order_and_batch_size, "batches of 1 change scores"),
    (DropsPartialBatch, check_order_and_batch_size, "change"),
    (RepeatsFirstBatch, check_order_and_batch_size, "order changes scores"),
    (SmallerClusterIsPoison, check_quiet_on_clean, "of clean lots"),
    (RemovesHalfAsMuchAgain, check_quiet_on_clean, "flags 0.4|flags 0.5"),
    (UninitialisedMemory, check_forgets_and_repeats, "other findings the second time"),
    (ReshuffledSecondPass, check_order_and_batch_size, "order changes scores"),
    (RemembersThePreviousFit, check_forgets_and_repeats, "other findings the second time"),
    (RanksWithinTheBatch, check_order_and_batch_size, "batches of 1 change scores"),
    (ShiftsTheGlobalState, check_touches_nothing, "numpy's global state changed"),
    (NotANumber, check_findings_are_whole, "not finite"),
)


@pytest.mark.parametrize(("mutant", "check", "words"), CAUGHT, ids=lambda value: getattr(value, "name", ""))
def test_a_promise_notices(mutant: type[Mutant], check: Callable[..., None], words: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=words):
        check(mutant(), tmp_path, "table", "classification")


def test_uncentred_spectral_signatures_are_noticed_and_ours_are_centred(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ranks planted backdoor at AUROC 0"):
        check_finds_planted(UncentredSpectral(), tmp_path / "peer", "backdoor", "table", "classification")
    check_finds_planted(SpectralSignatures(), tmp_path / "ours", "backdoor", "table", "classification")


def test_the_mutants_are_otherwise_sound(tmp_path: Path) -> None:
    """What they spoil keeps the promises: it is the defect that is noticed."""

    class Sound(Mutant):
        name: ClassVar = "sound"

        def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
            return PlainScorer(distances(evidence), 4.5)

    for check in {check for _, check, _ in CAUGHT}:
        check(Sound(), tmp_path / check.__name__, "table", "classification")


@dataclass(frozen=True)
class Screening:
    """A sound lot, and how many voters were let run on it."""

    base: Path
    settings: Settings
    ran: list[str] = field(default_factory=list)

    def outcome(self) -> str:
        decision = stages.screen(
            self.base / "run", self.base / "lot.csv", self.base / "trusted.csv", self.settings, "diagnosis"
        )
        return decision.decision


@pytest.fixture
def screening(tmp_path: Path) -> Screening:
    tumour_lots(tmp_path, 80, 80)
    voters = ["spectral_signatures", "activation_clustering"]
    return Screening(tmp_path, load_settings(write_settings(tmp_path / "p.yaml", policy={"voters": voters})))


def test_a_crash_that_is_printed_and_skipped_fails_the_gate(
    screening: Screening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8. The defect sits in our own step: the failed voter leaves neither findings nor an error behind."""
    assert screening.outcome() != "reject"
    sound = stages.detect

    def printed(run: Path, detector: str, settings: Settings) -> Path:
        if detector == "activation_clustering":
            screening.ran.append(f"Error in {detector}: skipped")
            return run
        return sound(run, detector, settings)

    monkeypatch.setattr(stages, "detect", printed)
    assert screening.outcome() == "reject"
    assert screening.ran
    monkeypatch.setattr(stages, "detect", sound)

    monkeypatch.setattr(stages, "detectors_for", lambda run, settings: ["spectral_signatures"])
    assert screening.outcome() == "reject"


def test_a_voter_that_saw_only_part_of_the_lot_fails_the_gate(
    screening: Screening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2b once more, where no promise looks: in what becomes of the findings."""
    sound = stages.judge

    def partial(name: str, scorer: Scorer, evidence: Evidence) -> object:
        return sound(name, scorer, evidence).iloc[: len(evidence.suspect) // 64 * 64]

    monkeypatch.setattr(stages, "judge", partial)
    assert screening.outcome() == "reject"


def test_no_ground_truth_reaches_a_detector() -> None:
    """9. There is no field that could hold it, and nothing else is handed over."""
    held = {"suspect", "trusted", "heldout", "probe", "twin", "crossfit", "shift", "statements"}
    assert {f.name for f in fields(Evidence)} == held
    assert {f.name for f in fields(Batch)} == {"ids", "x", "y", "store", "rows"}
    assert list(inspect.signature(Detector.fit).parameters) == ["self", "evidence", "rng"]
    assert list(inspect.signature(Scorer.score).parameters) == ["self", "batch"]
    words = ("truth", "poison", "planted", "clean", "known")
    named = [f.name for kind in (Evidence, Batch, Dataset) for f in fields(kind)]
    assert not [name for name in named if any(word in name for word in words)]
