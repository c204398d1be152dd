"""Trusted distance: rows of a table that lie far from every trusted row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from sklearn.neighbors import NearestNeighbors

from lotgate.calibration import Calibration, calibrate
from lotgate.data import Batch, Dataset, FloatArray, Pool
from lotgate.detector import Detector, Evidence, Scorer, Scores, fold_of
from lotgate.errors import InputError
from lotgate.probe import PASS_BATCH

HALVES, SALT = 2, "half:"


class TrustedDistance(Detector):
    """Mean distance of a table row to its nearest trusted rows, whatever their label.

    Catches:
        Out-of-distribution junk, sensor faults, triggers that set a column to a value nobody ever measured.
    Misses:
        Everything that lies where trusted rows lie: label flips, pulled targets, triggers made of usual values.
    Assumes:
        Trusted rows cover what clean rows of the lot look like; encoded features are on comparable scales.
    Method:
        Trusted rows are cut in two by a checksum of the sample id, and so is the lot. A row of half h scores the mean
        Euclidean distance of its features x (F,) to the k nearest trusted rows outside half h. Trusted rows, scored
        the same way, give p-values.
    Cost:
        k nearest neighbours of N rows among n_t / 2: seconds for 20,000 rows. Nothing is trained.
    Source:
        Ramaswamy, Rastogi, Shim: Efficient Algorithms for Mining Outliers from Large Data Sets, SIGMOD 2000 (distance
        to the k-th neighbour); the mean over k: Angiulli & Pizzuti, PKDD 2002.
    Differs:
        Neighbours are trusted rows only, so that poison cannot keep itself company; p-values instead of the top n.
    """

    name: ClassVar = "trusted_distance"
    modalities: ClassVar = frozenset({"table"})
    tasks: ClassVar = frozenset({"classification", "regression"})
    needs: ClassVar = frozenset({"trusted"})
    reason: ClassVar = "its values are unlike those of any trusted row"

    neighbours: Annotated[int, Field(ge=1, le=1000)] = 5
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        vetted = tuple(d for d in (evidence.trusted, evidence.heldout) if d is not None and len(d))
        pool = Pool(vetted)
        x, _ = pool.take(np.arange(len(pool)))
        half = np.concatenate([fold_of(d.ids, HALVES, SALT) for d in vetted])
        if min((half == h).sum() for h in range(HALVES)) < 1:
            raise InputError(
                "trusted_distance has too few trusted rows", where="trusted set", action="vet some more samples"
            )
        trees = tuple(
            NearestNeighbors(n_neighbors=min(self.neighbours, int((half != h).sum()))).fit(x[half != h])
            for h in range(HALVES)
        )
        scorer = DistanceScorer(trees, calibrate(np.zeros(1)), self.rate)
        return replace(scorer, calibration=calibrate(_score_all(scorer, vetted)))


@dataclass(frozen=True, eq=False)
class DistanceScorer:
    """Per half, the neighbours that lie outside it."""

    trees: tuple[NearestNeighbors, ...]
    calibration: Calibration
    rate: float

    @property
    def threshold(self) -> float:
        return self.calibration.threshold(self.rate)

    def score(self, batch: Batch) -> Scores:
        half = fold_of(batch.ids, HALVES, SALT)
        scores = np.zeros(len(batch))
        for h, tree in enumerate(self.trees):
            mine = np.flatnonzero(half == h)
            if len(mine):
                scores[mine] = mean_distance(tree, batch.x[mine])
        return scores

    def p_value(self, scores: Scores) -> Scores:
        return self.calibration.p_value(scores)


def mean_distance(tree: NearestNeighbors, x: FloatArray) -> Scores:
    """(B,) mean distance of (B, F) to the k nearest fitted rows."""
    return np.asarray(tree.kneighbors(x)[0].mean(axis=1), np.float64)


def _score_all(scorer: DistanceScorer, datasets: tuple[Dataset, ...]) -> Scores:
    return np.concatenate([scorer.score(batch) for d in datasets for batch in d.batches(PASS_BATCH)])
