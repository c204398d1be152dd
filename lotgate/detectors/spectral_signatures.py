"""Spectral signatures: the direction in which a poisoned class is stretched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from lotgate.data import Batch, Dataset, fold_of
from lotgate.detector import CalibratedScorer, Detector, Evidence, Scorer, Scores, calibrated
from lotgate.probe import PASS_BATCH, Probe

Vector = npt.NDArray[np.float64]


class SpectralSignatures(Detector):
    """Squared projection of centred features on the top singular direction of each class.

    Catches:
        Backdoors with one trigger and one target label: their rows share a direction that the network learned.
    Misses:
        Label flips, poison spread over several directions (several triggers, all-to-all), adaptive poison whose
        features follow the clean ones; a class that is mostly poison.
    Assumes:
        The probe learned the trigger; trusted rows of each class are drawn like the clean rows of the lot.
    Method:
        For class c with features R ∈ (N_c, D): μ_c = mean(R), Σ_c = (R − μ_c)ᵀ(R − μ_c) / N_c, v_c its top
        eigenvector (the top right singular vector of R − μ_c). τ(r) = ((r − m_c)ᵀ v_c)² / s_c², where m_c and s_c²
        are mean and variance along v_c of the class's trusted reference rows. Held-out trusted rows give p-values,
        with the lot's help where they are few (lotgate.calibration).
    Cost:
        One pass over the feature map for the class means, one for the D × D covariances: O(N D²), memory O(K D²).
    Source:
        Tran, Li, Madry: Spectral Signatures in Backdoor Attacks, NeurIPS 2018, Algorithm 1.
    Differs:
        The paper removes the 1.5ε rows of largest τ and so needs the poison rate ε; here τ is compared with held-out
        trusted rows. The direction comes from features centred on the lot's class mean, as in the paper, but τ is
        measured from the trusted mean in units of the trusted spread: poison drags the lot's mean towards itself, and
        classes become comparable. v_c is cross-fitted: each half of the lot is scored along the direction of the other
        half, since rows that helped to choose the direction of largest variance look stretched along it, which
        trusted rows do not. Without a trusted set, median and MAD of the lot stand in for them.
    """

    name: ClassVar = "spectral_signatures"
    modalities: ClassVar = frozenset({"image", "table"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"probe"})
    reason: ClassVar = "its features lie far out along the direction in which its class is stretched"

    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        probe = evidence.probe
        assert probe is not None  # require() has checked it
        n_classes = len(evidence.suspect.classes)
        centres, directions = class_directions(probe, evidence.suspect, n_classes)
        reference = evidence.trusted or evidence.suspect
        location, spread = _scale(probe, reference, centres, directions, robust=evidence.trusted is None)
        scorer = SpectralScorer(probe, centres, directions, location, spread, rate=self.rate)
        clean = evidence.heldout or evidence.suspect  # no row may be held out: neither None nor empty
        return calibrated(scorer, (clean,), evidence.suspect if evidence.heldout else None)


@dataclass(frozen=True, eq=False)
class SpectralScorer(CalibratedScorer):
    """Per half h and class c: direction v (2, K, D) through centre μ (2, K, D), location and spread (2, K) along it."""

    probe: Probe
    centres: Vector
    directions: Vector
    location: Vector
    spread: Vector

    def score(self, batch: Batch) -> Scores:
        half = fold_of(batch.ids, 2)
        along = projections(self.probe.features(batch), half, batch.y, self.centres, self.directions)  # (B,)
        return np.asarray(np.square((along - self.location[half, batch.y]) / self.spread[half, batch.y]))


def projections(
    features: npt.NDArray[np.float32],
    half: npt.NDArray[np.int64],
    y: npt.NDArray[np.int64],
    centres: Vector,
    directions: Vector,
) -> Vector:
    """(B,) signed length of each centred feature vector along the direction of its half and class."""
    return np.asarray(np.einsum("bd,bd->b", features - centres[half, y], directions[half, y]))


def class_directions(probe: Probe, dataset: Dataset, n_classes: int) -> tuple[Vector, Vector]:
    """Class means and unit top eigenvectors of the class covariances, (2, K, D) each, streamed in float64.

    Entry h holds what the *other* half of the dataset says, so that half h can be scored by it. Two passes: the
    second subtracts the mean before squaring, which a one-pass E[rrᵀ] − μμᵀ would cancel away where means are large.
    A class without spread gets the zero direction, and so the score of its location.
    """
    width = probe.network.head.in_features
    count, total = np.zeros((2, n_classes)), np.zeros((2, n_classes, width))
    for batch in dataset.batches(PASS_BATCH):
        other = 1 - fold_of(batch.ids, 2)
        np.add.at(count, (other, batch.y), 1)
        np.add.at(total, (other, batch.y), probe.features(batch).astype(np.float64))
    centres = total / np.maximum(count, 1)[..., None]
    covariance = np.zeros((2, n_classes, width, width))
    for batch in dataset.batches(PASS_BATCH):
        other = 1 - fold_of(batch.ids, 2)
        centred = probe.features(batch) - centres[other, batch.y]
        for h, c in {(int(h), int(c)) for h, c in zip(other, batch.y, strict=True)}:
            rows = centred[(other == h) & (batch.y == c)]
            covariance[h, c] += rows.T @ rows
    values, vectors = np.linalg.eigh(covariance / np.maximum(count, 1)[..., None, None])
    return centres, np.where(values[..., -1:] > 1e-12, vectors[..., -1], 0.0)


def _scale(
    probe: Probe, reference: Dataset, centres: Vector, directions: Vector, *, robust: bool
) -> tuple[Vector, Vector]:
    """Location and spread (2, K) along each direction; classes with few rows borrow the usual spread."""
    features, y = probe.feature_matrix(reference), reference.y
    location, spread = np.zeros(centres.shape[:2]), np.full(centres.shape[:2], np.nan)
    for h in (0, 1):
        along = projections(features, np.full(len(y), h), y, centres, directions)
        for c in np.unique(y):
            rows = along[y == c]
            location[h, c] = np.median(rows) if robust else rows.mean()
            if len(rows) > 2:
                spread[h, c] = 1.4826 * np.median(np.abs(rows - location[h, c])) if robust else rows.std(ddof=1)
    usual = float(np.nanmedian(spread)) if np.isfinite(spread).any() else 1.0
    floor = max(1e-3 * usual, 1e-9)
    return location, np.maximum(np.where(np.isfinite(spread), spread, usual), floor)
