"""Trusted distance: samples that lie far from every trusted one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.neighbors import NearestNeighbors

from lotgate.data import Batch, FloatArray, Pool, fold_of
from lotgate.detector import CalibratedScorer, Detector, Evidence, Scorer, Scores, calibrated
from lotgate.errors import InputError
from lotgate.pixels import COARSE, vectors

SALT = "distance:"
Mask = npt.NDArray[np.bool_]


class TrustedDistance(Detector):
    """Mean distance of a sample to its nearest trusted ones: of the same class for images, of any for tables.

    Catches:
        Out-of-distribution junk, sensor faults, other products' images, triggers that set a column to a value nobody
        ever measured, bright patches on plain images.
    Misses:
        Everything that lies where trusted rows lie: flips in tables, pulled targets, triggers made of usual values; on
        varied photographs nearly everything.
    Assumes:
        Trusted rows cover what clean rows of the lot look like; encoded features are on comparable scales.
    Method:
        Trusted rows are cut in `folds` by a checksum of the sample id, and so is the lot. A row of fold f scores the
        mean Euclidean distance of x to its k nearest trusted rows outside fold f. x is the encoded row (F,), or the
        image averaged down to at most 16 × 16, compared with trusted images of its own label. Trusted rows, scored the
        same way, give p-values; where the lot is not drawn like them (lotgate.shift), under the lot's
        empirical null, and 1 for labels that models of trusted rows do not contradict.
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

    neighbours: Annotated[int, Field(ge=1, le=1000)] = 5
    folds: Annotated[int, Field(ge=2, le=20)] = 4
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        vetted = tuple(d for d in (evidence.trusted, evidence.heldout) if d is not None and len(d))
        pool = Pool(vetted)
        x, y = pool.take(np.arange(len(pool)))
        groups = group_of(x, y)
        folds = np.concatenate([fold_of(d.ids, self.folds, SALT) for d in vetted])
        trees = {(f, g): self._tree(x, folds != f, groups == g) for f in range(self.folds) for g in np.unique(groups)}
        if any(tree is None for tree in trees.values()):
            raise InputError(
                "trusted_distance has too few trusted rows", where="trusted set", action="vet some more samples"
            )
        return calibrated(DistanceScorer(trees, self.folds, rate=self.rate), vetted, evidence.suspect)

    def _tree(self, x: FloatArray, outside: Mask, alike: Mask) -> NearestNeighbors | None:
        """The neighbours of a group outside a fold; of any group where it has none there; None where nobody is."""
        rows = outside & alike if (outside & alike).any() else outside
        if not rows.any():
            return None
        return NearestNeighbors(n_neighbors=min(self.neighbours, int(rows.sum()))).fit(vectors(x[rows], COARSE))


@dataclass(frozen=True, eq=False)
class DistanceScorer(CalibratedScorer):
    """Per fold and group, the neighbours that lie outside the fold."""

    trees: Mapping[tuple[int, int], NearestNeighbors]
    folds: int

    def score(self, batch: Batch) -> Scores:
        folds, groups = fold_of(batch.ids, self.folds, SALT), group_of(batch.x, batch.y)
        scores = np.zeros(len(batch))
        for f, g in set(zip(folds.tolist(), groups.tolist(), strict=True)):
            mine = np.flatnonzero((folds == f) & (groups == g))
            tree = self.trees.get((f, g)) or self.trees[f, min(key[1] for key in self.trees)]
            scores[mine] = mean_distance(tree, vectors(batch.x[mine], COARSE))
        return scores


def group_of(x: FloatArray, y: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """(B,) whom a row is compared with: images with their own class, table rows with all (group 0)."""
    return y if x.ndim == 4 and y.dtype == np.int64 else np.zeros(len(x), np.int64)


def mean_distance(tree: NearestNeighbors, x: FloatArray) -> Scores:
    """(B,) mean distance of (B, F) to the k nearest fitted rows."""
    return np.asarray(tree.kneighbors(x)[0].mean(axis=1), np.float64)
