"""Trusted distance: samples that look unlike every trusted one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.linalg import solve_triangular
from sklearn.neighbors import NearestNeighbors

from lotgate.data import Batch, FloatArray, Pool, fold_of
from lotgate.detector import CalibratedScorer, Detector, Evidence, Scorer, Scores, calibrated
from lotgate.errors import InputError
from lotgate.pixels import images
from lotgate.tails import DISTANCES, TABLE_DISTANCES
from lotgate.texture import impression

SALT = "distance:"
IMAGE_AXES = 3  # channels, rows, columns
TOLERANCE = 0.1  # variance added to each statistic of images: a factor of e^√.1 in an energy is nothing strange
Mask = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float64]


class TrustedDistance(Detector):
    """Mean distance of a sample to its nearest trusted ones: of the same class for images, of any for tables.

    Catches:
        Out-of-distribution junk: noise, blobs, stripes, blurred, empty or saturated images, other products' images,
        sensor faults; single images whose trigger changes them more than clean ones differ; triggers that set a column
        to a value nobody ever measured.
    Misses:
        Everything that looks like trusted rows: flips, pulled targets, triggers made of usual values or of few pixels;
        a few rows of junk in a table with a few dozen trusted rows, which cannot tell how far clean ones go; images
        of a class of which fewer than ten trusted ones are known and a quarter of the lot's look odd.
    Assumes:
        Trusted rows cover what clean rows of the lot look like; encoded features are on comparable scales; images come
        through the same optics and compression.
    Method:
        Trusted rows are cut in `folds` by a checksum of the sample id, and so is the lot. A row of fold f scores the
        mean Euclidean distance of x to its k nearest trusted rows outside fold f. x is the encoded row (F,); or, of an
        image, what it looks like as a whole: log energies of first and second differences at every octave, mean and log
        variance of each channel (lotgate.texture.impression), whitened by the trusted images outside the fold (their
        covariance and .1 on its diagonal, so that a stable line does not make an enemy of every small change), and
        compared with those of its own label. Trusted rows, scored the same way, give p-values, whose tail is averaged
        over what they leave open about it (lotgate.tails), in tables with fewer than 200 of them also over what the
        lot leaves open (lotgate.contamination); where the lot is not drawn like them (lotgate.shift), under the lot's
        empirical null, and 1 for labels that models of trusted rows do not contradict. Of a class with fewer than ten
        trusted images it says nothing where more than a quarter of the lot's have p ≤ .05: the few may show one kind of
        several (lotgate.calibration.uncovered).
    Cost:
        k nearest neighbours of N rows among n_t: seconds for 20,000 rows. Nothing is trained.
    Source:
        Ramaswamy, Rastogi, Shim: Efficient Algorithms for Mining Outliers from Large Data Sets, SIGMOD 2000 (distance
        to the k-th neighbour); the mean over k: Angiulli & Pizzuti, PKDD 2002.
    Differs:
        Neighbours are trusted rows only, so that poison cannot keep itself company; p-values instead of the top n.
    """

    name: ClassVar = "trusted_distance"
    modalities: ClassVar = frozenset({"image", "table"})
    tasks: ClassVar = frozenset({"classification", "regression"})
    needs: ClassVar = frozenset({"trusted"})
    reason: ClassVar = "it looks unlike every trusted sample that it should resemble"
    own_null: ClassVar = True
    needs_contradiction: ClassVar = True
    crossfitted: ClassVar = True
    uncovered: ClassVar = 0.25

    neighbours: Annotated[int, Field(ge=1, le=1000)] = 5
    folds: Annotated[int, Field(ge=2, le=20)] = 4
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        vetted = evidence.vetted
        pool = Pool(vetted)
        x = np.concatenate([described(part) for part in images(pool, np.arange(len(pool)))])
        groups = group_of(pool.y, len(pool.shape))
        folds = np.concatenate([fold_of(d.ids, self.folds, SALT) for d in vetted])
        if any(not (folds != f).any() for f in range(self.folds)):
            raise InputError(
                "trusted_distance has too few trusted rows", where="trusted set", action="vet some more samples"
            )
        known = tuple(self._known(x[folds != f], groups[folds != f], len(pool.shape)) for f in range(self.folds))
        prior = DISTANCES if len(pool.shape) == IMAGE_AXES else TABLE_DISTANCES
        return calibrated(DistanceScorer(known, rate=self.rate), vetted, evidence.suspect, prior=prior)

    def _known(self, x: Vector, groups: npt.NDArray[np.int64], axes: int) -> Known:
        """What rows of a fold are compared with, of the trusted rows (n, F) outside it."""
        scale = whitening(x) if axes == IMAGE_AXES else None
        comparable = x if scale is None else scale.white(x)
        trees = {int(g): self._tree(comparable[groups == g]) for g in np.unique(groups)}
        return Known(scale, self._tree(comparable), trees)

    def _tree(self, x: Vector) -> NearestNeighbors:
        return NearestNeighbors(n_neighbors=min(self.neighbours, len(x))).fit(x)


@dataclass(frozen=True, eq=False)
class Scale:
    """x ↦ L⁻¹ (x − mean)."""

    mean: Vector
    lower: Vector

    def white(self, x: Vector) -> Vector:
        """(B, F) of (B, F)."""
        return np.asarray(solve_triangular(self.lower, (x - self.mean).T, lower=True).T)


@dataclass(frozen=True, eq=False)
class Known:
    """Trusted rows to compare with: all of them, and those of each group; None as scale leaves rows as they are."""

    scale: Scale | None
    everyone: NearestNeighbors
    trees: Mapping[int, NearestNeighbors]

    def distance(self, x: Vector, groups: npt.NDArray[np.int64]) -> Scores:
        """(B,) of described rows (B, F) to the nearest of their group; of any where it has none."""
        comparable, found = x if self.scale is None else self.scale.white(x), np.zeros(len(x))
        for g in np.unique(groups):
            found[groups == g] = mean_distance(self.trees.get(int(g), self.everyone), comparable[groups == g])
        return found


@dataclass(frozen=True, eq=False)
class DistanceScorer(CalibratedScorer):
    """Per fold, the trusted rows outside it."""

    known: tuple[Known, ...]

    def score(self, batch: Batch) -> Scores:
        folds, groups = fold_of(batch.ids, len(self.known), SALT), group_of(batch.y, batch.x.ndim - 1)
        x, scores = described(batch.x), np.zeros(len(batch))
        for f in np.unique(folds):
            scores[folds == f] = self.known[f].distance(x[folds == f], groups[folds == f])
        return scores


def described(x: FloatArray) -> Vector:
    """(B, F) what images (B, C, H, W) look like as a whole; table rows (B, F) as they are."""
    return np.asarray(impression(x) if x.ndim == 1 + IMAGE_AXES else x, np.float64)


def group_of(y: npt.NDArray[Any], axes: int) -> npt.NDArray[np.int64]:
    """(B,) whom a row is compared with: images with their own class, table rows with all (group 0).

    Args:
        y: (B,) classes or targets. axes: of one row's input.
    """
    return y if axes == IMAGE_AXES and y.dtype == np.int64 else np.zeros(len(y), np.int64)


def whitening(x: Vector) -> Scale:
    """By the covariance of rows (n, F) and TOLERANCE on its diagonal."""
    spread = np.cov(x.T).reshape(x.shape[1], -1) if len(x) > 1 else np.zeros((x.shape[1],) * 2)
    lower = np.linalg.cholesky(spread + TOLERANCE * np.eye(x.shape[1]))
    return Scale(x.mean(axis=0), np.asarray(lower, np.float64))


def mean_distance(tree: NearestNeighbors, x: Vector) -> Scores:
    """(B,) mean distance of (B, F) to the k nearest fitted rows."""
    return np.asarray(tree.kneighbors(x)[0].mean(axis=1), np.float64)
