"""Activation clustering: two clusters where a class should have one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.stats import binom
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from sklearn.utils import check_random_state

from lotgate.data import Batch, Dataset
from lotgate.detector import Detector, Evidence, EvidenceScorer, Scorer, Scores
from lotgate.probe import PASS_BATCH, Probe

Vector = npt.NDArray[np.float64]
SILHOUETTE_ROWS = 1000
SIMULATIONS = 20


class ActivationClustering(Detector):
    """2-means on the independent components of each class's activations, and three judges of the clusters.

    Catches:
        Backdoors whose rows form a cluster of their own inside the target class, from some 10% of that class.
    Misses:
        Few poisons (2-means then splits the clean rows instead), label flips and all-to-all poison spread over
        classes, adaptive poison whose activations follow the clean ones.
    Assumes:
        The probe learned the trigger; trusted rows of each class are drawn like the clean rows of the lot.
    Method:
        Per class c, activations (N_c, D) → principal components → independent components (N_c, n) → 2-means.
        For each cluster j with share π_j of the class and n_j rows, three judges:
        relative size: k of the class's n_t trusted rows fall into j. A cluster that trusted rows cannot explain has
        π_j ≫ k / n_t; p_size = P(Bin(n_t, π_j / tolerance) ≤ k).
        exclusionary reclassification: the twin, which never saw the cluster, gives ℓ of its rows their label and p
        rows the most frequent other one. ℓ / p < 1 accuses; p_reclassify = P(Bin(n_j, a_c / tolerance) ≤ ℓ) with a_c
        the twin's accuracy on the class's held-out trusted rows.
        silhouette: the two clusters must be better separated than 2-means of one Gaussian of the same size
        (simulated), else the accusation falls.
        p_j = 4 K min(p_size, p_reclassify): Bonferroni over judges, clusters and classes. Score = −log₁₀ p_j.
    Cost:
        One pass over the feature map, an eigendecomposition per class, FastICA and 2-means on (N_c, n).
    Source:
        Chen et al.: Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering, SafeAI 2019
        (arXiv 1811.03728), sections 4 and 5.
    Differs:
        The paper's relative-size rule (the smaller cluster is poison below some 35%) flags clean lots; here the size
        is compared with trusted rows. It retrains without the cluster for exclusionary reclassification; the
        twin is such a model, already trained. Its silhouette threshold (.10–.15) becomes a simulated null. Without a
        trusted set only silhouette and the paper's size rule judge, and the finding is weak.
    """

    name: ClassVar = "activation_clustering"
    modalities: ClassVar = frozenset({"image", "table"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"probe"})
    reason: ClassVar = "its activations form a cluster inside its class that trusted rows do not explain"

    components: Annotated[int, Field(ge=1, le=256)] = 10
    reduction: Literal["ica", "pca"] = "ica"
    tolerance: Annotated[float, Field(ge=1)] = 2.0
    relative_size: Annotated[float, Field(gt=0, le=0.5)] = 0.35
    silhouette_z: float = 2.0
    min_rows: Annotated[int, Field(ge=4)] = 12
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        assert evidence.probe is not None  # require() has checked it
        seeds = rng.integers(2**31 - 1, size=len(evidence.suspect.classes))
        splits = tuple(self._split(evidence, c, int(seed)) for c, seed in enumerate(seeds))
        return ClusterScorer(evidence.probe, splits, rate=self.rate)

    def _split(self, evidence: Evidence, c: int, seed: int) -> Split | None:
        """Clusters and judges one class; None where it is too small or without spread."""
        probe, suspect = evidence.probe, evidence.suspect
        assert probe is not None
        rows = suspect.of_class(c)
        if len(rows) < self.min_rows:
            return None
        centre, basis = principal_components(probe, rows, self.components)
        if basis.shape[1] == 0:
            return None
        reduced = reduce(probe, rows, centre, basis)  # (N_c, n)
        across = reduced  # (N_c, n) coordinates to start 2-means across
        if self.reduction == "ica" and basis.shape[1] > 1:
            basis = basis @ unmixing(reduced, seed)
            reduced = reduce(probe, rows, centre, basis)
            across = np.c_[across, reduced]
        means = two_means(reduced, across, seed)
        members = nearest(reduced, means)
        separated = separation(reduced, members, seed) >= self.silhouette_z
        if not separated or len(np.unique(members)) < 2:
            return Split(centre, basis, means, np.ones(2))
        p = self._judge(evidence, c, rows, members, centre, basis, means)
        return Split(centre, basis, means, np.minimum(1.0, p * 2 * len(suspect.classes)))

    def _judge(
        self, evidence: Evidence, c: int, rows: Dataset, members: npt.NDArray[np.int64],
        centre: Vector, basis: Vector, means: Vector,
    ) -> Vector:  # fmt: skip
        """(2,) p-value of each cluster, before correction for clusters and classes."""
        share = np.bincount(members, minlength=2) / len(members)
        if evidence.trusted is None or evidence.heldout is None or evidence.twin is None:
            small = share < self.relative_size
            return np.asarray(np.where(small, 10.0**-self.silhouette_z, 1.0))
        assert evidence.probe is not None
        inside = np.zeros(2)
        for vetted in (evidence.trusted, evidence.heldout):
            own = vetted.of_class(c)
            if len(own):
                inside += np.bincount(nearest(reduce(evidence.probe, own, centre, basis), means), minlength=2)
        p_size = size_p_value(share, inside, self.tolerance)
        given = evidence.twin.logit_matrix(rows).argmax(1)
        vetted_rows = evidence.heldout.of_class(c)
        right = int((evidence.twin.logit_matrix(vetted_rows).argmax(1) == c).sum()) if len(vetted_rows) else 0
        accuracy = (right + 0.5) / (len(vetted_rows) + 1)
        p_again = np.array(
            [reclassification_p_value(given[members == j], c, accuracy / self.tolerance) for j in (0, 1)]
        )
        return np.asarray(2 * np.minimum(p_size, p_again))


@dataclass(frozen=True, eq=False)
class Split:
    """Two clusters of one class: x ↦ (x − centre) basis, nearest of `means` (2, n), and p-values (2,)."""

    centre: Vector
    basis: Vector
    means: Vector
    p: Vector


@dataclass(frozen=True, eq=False)
class ClusterScorer(EvidenceScorer):
    """A sample scores −log₁₀ p of the cluster its activations fall into."""

    probe: Probe
    splits: tuple[Split | None, ...]

    def score(self, batch: Batch) -> Scores:
        scores = np.zeros(len(batch))
        features = self.probe.features(batch).astype(np.float64)
        for c, split in enumerate(self.splits):
            mine = batch.y == c
            if split is not None and mine.any():
                cluster = nearest((features[mine] - split.centre) @ split.basis, split.means)
                scores[mine] = -np.log10(np.maximum(split.p[cluster], 1e-300))
        return scores


def size_p_value(share: Vector, trusted_inside: Vector, tolerance: float) -> Vector:
    """(2,) P(Bin(n_t, share / tolerance) ≤ k): how well trusted rows explain a cluster of that share of the lot."""
    n_trusted = trusted_inside.sum()
    return np.asarray(binom.cdf(trusted_inside, n_trusted, share / tolerance)) if n_trusted else np.ones(2)


def reclassification_p_value(given: npt.NDArray[np.int64], label: int, accuracy: float) -> float:
    """P(Bin(n, accuracy) ≤ ℓ) where the twin's answers accuse the cluster (ℓ / p < 1), else 1.

    Args:
        given: (n,) classes the twin gave to the cluster's rows.
        accuracy: the share of rows that a clean cluster is given its own label at least.
    """
    counts = np.bincount(given, minlength=label + 1)
    own = int(counts[label])
    other = int(np.delete(counts, label).max(initial=0))
    return float(binom.cdf(own, len(given), accuracy)) if own < other else 1.0


def principal_components(probe: Probe, rows: Dataset, n: int) -> tuple[Vector, Vector]:
    """Mean (D,) and the top n eigenvectors (D, ≤ n) of the covariance, scaled to unit variance, streamed."""
    width = probe.network.head.in_features
    centre = sum((probe.features(b).astype(np.float64).sum(0) for b in rows.batches(PASS_BATCH)), np.zeros(width))
    centre = np.asarray(centre / len(rows))
    covariance = np.zeros((width, width))
    for batch in rows.batches(PASS_BATCH):
        centred = probe.features(batch) - centre
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance / len(rows))
    keep = np.flatnonzero(values > max(values[-1], 0) * 1e-6)[::-1][: min(n, len(rows) - 1)]
    keep = keep[values[keep] > 1e-12]
    return centre, vectors[:, keep] / np.sqrt(values[keep])


def unmixing(whitened: Vector, seed: int) -> Vector:
    """(n, n) rotation to independent components; the identity where FastICA finds none."""
    ica = FastICA(whiten=False, random_state=seed, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the best rotation so far is still a rotation
        try:
            ica.fit(whitened)
        except (ValueError, np.linalg.LinAlgError):
            return np.eye(whitened.shape[1])
    mixing = np.asarray(ica.components_, np.float64).T
    return mixing if np.isfinite(mixing).all() else np.eye(whitened.shape[1])


def two_means(reduced: Vector, across: Vector, seed: int) -> Vector:
    """(2, n) means of the best 2-means of (N, n): from random starts, and from one start across each coordinate.

    In many whitened dimensions random starts end in a split of the noise; a coordinate with two modes is the better
    optimum, and a start across it finds it. Independent components are a rotation of whitened principal components,
    so 2-means has the same optima in both and may start from either: ICA misses two modes of about 1 : 4, whose
    kurtosis is that of a Gaussian.

    Args:
        across: (N, m) coordinates of the same rows to start across.
    """
    best = KMeans(2, n_init=5, random_state=seed).fit(reduced)
    for coordinate in across.T:
        high = coordinate > np.mean([coordinate.min(), coordinate.max()])
        if 0 < high.sum() < len(high):
            start = np.stack([reduced[~high].mean(0), reduced[high].mean(0)])
            found = KMeans(2, init=start, n_init=1).fit(reduced)
            best = found if found.inertia_ < best.inertia_ else best
    return np.asarray(best.cluster_centers_, np.float64)


def reduce(probe: Probe, rows: Dataset, centre: Vector, basis: Vector) -> Vector:
    """(N, n) reduced activations, read in batches."""
    return np.concatenate([(probe.features(b) - centre) @ basis for b in rows.batches(PASS_BATCH)])


def nearest(reduced: Vector, means: Vector) -> npt.NDArray[np.int64]:
    """(N,) index of the nearest of the means (k, n)."""
    return np.asarray(np.square(reduced[:, None, :] - means[None]).sum(-1).argmin(1))


def separation(reduced: Vector, members: npt.NDArray[np.int64], seed: int) -> float:
    """How many standard deviations the silhouette lies above that of 2-means on one Gaussian, simulated; 0 where there
    are not two clusters.
    """
    rows = sampled(members, seed)
    if len(np.unique(members[rows])) < 2:
        return 0.0
    rng = np.random.default_rng(seed)
    observed = silhouette_score(reduced[rows], members[rows])
    scale = reduced.std(0)
    null = []
    for _ in range(SIMULATIONS):
        drawn = rng.standard_normal((min(len(rows), 300), reduced.shape[1])) * scale
        null.append(silhouette_score(drawn, KMeans(2, n_init=1, random_state=seed).fit_predict(drawn)))
    return float((observed - np.mean(null)) / max(float(np.std(null)), 1e-6))


def sampled(members: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """At most SILHOUETTE_ROWS rows at random, with two of a cluster that chance left out; one row is no cluster."""
    order = np.asarray(check_random_state(seed).permutation(len(members)), np.int64)
    rows = order[:SILHOUETTE_ROWS]
    missed = order[members[order] != members[rows[0]]][:2]
    if len(np.unique(members[rows])) > 1 or len(missed) < 2:
        return rows
    return np.concatenate([rows[: SILHOUETTE_ROWS - 2], missed])
