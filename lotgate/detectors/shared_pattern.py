"""Shared pattern: groups inside a class whose images carry the same thing, which no other image has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.linalg import solve_triangular
from sklearn.mixture import GaussianMixture

from lotgate.calibration import MIN_ROWS, calibrate
from lotgate.crossfit import CrossFit
from lotgate.data import Batch, Dataset, Pool
from lotgate.detector import Detector, Evidence, Scorer, Scores
from lotgate.mixtures import (
    EXPLAINED,
    Mask,
    Vector,
    fisher,
    fit_mixtures,
    members,
    pooled_evidence,
    principal_axes,
    size_p_value,
    thin,
)
from lotgate.pixels import PixelBasis, fit_basis, whitening

MOST_ROWS = 5_000  # of the lot, and of the trusted rows: a sample of them tells what groups there are
APART = 0.01  # p-value of the separation up to which a group carries a pattern
BEYOND = 0.95  # share of the others that the middle of a group must lie beyond
VARIED = 0.1  # variance of a group beside that of its class: less, and its images are repeats of one another
LEAST = 3  # rows in half a group
MIN_OTHERS = 100  # rows of other classes, below which they do not tell what is usual
RIDGE = 1e-6  # of the class's largest variance, which is 1


class SharedPattern(Detector):
    """Gaussian mixtures per class in whitened pixels: which components stand apart and hold no trusted rows?

    Catches:
        Backdoors, dirty- and clean-label, whose trigger is the same in every planted image: patches at one place,
        overlays, smooth or noisy patterns, reflections of one scene; from a dozen images on, whether a model would
        learn them or not.
    Misses:
        Triggers that lie elsewhere or look different in every image (patches at random places), that change what images
        vary in anyway (waves on textures), or that every class carries (all-to-all); label flips; poison without
        company.
    Assumes:
        Images are aligned as cameras align them, not by what they show; trusted rows of each class are drawn like the
        clean rows of the lot.
    Method:
        Images, averaged down to at most `side` pixels → coordinates (N, m) in the m principal axes of a sample of lot
        and trusted rows. Per class, coordinates are whitened by the rows of all other classes, with a shrunk
        covariance: what images of the lot usually differ in is small there, what only this class has is large. And
        once more by the trusted ones of them alone, where there are a hundred: they carry no trigger that cover rows or
        further targets may have. Each time, the class's lot and trusted rows → principal components (N_c, n) →
        Gaussian mixtures of k components, for each k in `clusters` that leaves 2n rows to a component. For component j
        with share π_j of the lot's rows:
        p_size = P(Bin(n_t, π_j / tolerance) ≤ k_j), k_j of the class's n_t trusted rows.
        separation: along Fisher's discriminant between the rest of the class and one half of the group, how far the
        median of the other half lies beyond 95% of the class's and 95% of the other classes' rows, in standard
        deviations of theirs; the smaller of two halves. What chance found in one half is not there in the other.
        p_pattern: of the separation, calibrated (lotgate.calibration) on those of the groups, at least half as large,
        that trusted rows explain (p_size > .5 and some trusted row inside), of all classes: how far apart natural
        groups stand in such images.
        p_j = P(χ²₄ ≥ −2 ln p_size − 2 ln p_pattern) (Fisher); 1 where p_size > .5, where more than a tenth of the
        trusted rows that belong there are there, where the group varies less than a tenth as much as its class
        (repeats of one image), and where p_pattern > .01 and models of trusted rows (lotgate.crossfit) do not
        contradict the labels of most of it (a style). A row scores −log₁₀ of the harmonic mean of the p_j of its
        components; the decision rule (lotgate.findings) pays for the many groups. In a shifted lot (lotgate.shift)
        p_j = 1 unless models of trusted rows contradict most of the group, and only such rows of it are accused.
    Cost:
        Nothing is trained: an eigendecomposition of ≤ 2,000 rows, a Cholesky factor (m, m) and |clusters| mixtures per
        class; seconds for 10,000 images.
    Source:
        Own. The whitened class: Hayase, Kong, Somani, Oh: SPECTRE, ICML 2021, section 4, there of activations; groups
        over-represented in the untrusted rows: Tang et al., USENIX Security 2021 (SCAn), section 4.
    Differs:
        From SPECTRE: pixels instead of activations, whitened by the other classes instead of robustly by the class
        itself; no poison rate.
    """

    name: ClassVar = "shared_pattern"
    modalities: ClassVar = frozenset({"image"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"trusted", "crossfit"})
    needs_contradiction: ClassVar = True
    reason: ClassVar = "it shares a pattern with part of its class that no trusted and no other sample has"

    side: Annotated[int, Field(ge=4, le=256)] = 64
    axes: Annotated[int, Field(ge=2, le=4096)] = 512
    components: Annotated[int, Field(ge=1, le=256)] = 8
    clusters: tuple[Annotated[int, Field(ge=2, le=20)], ...] = (2, 3, 4, 6)
    tolerance: Annotated[float, Field(ge=1)] = 1.3
    min_rows: Annotated[int, Field(ge=4)] = 20
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        assert evidence.crossfit is not None  # require() has checked it
        vetted = [d for d in (evidence.trusted, evidence.heldout) if d is not None and len(d)]
        basis = fit_basis(Pool((evidence.suspect, *vetted)), self.axes, self.side, rng)
        lot = _rows(basis, evidence.crossfit, _sample(evidence.suspect, MOST_ROWS, rng), trusted=False)
        known = [
            _rows(basis, evidence.crossfit, _sample(d, MOST_ROWS // len(vetted), rng), trusted=True) for d in vetted
        ]
        rows = Rows(*map(np.concatenate, zip(lot, *known, strict=True)))
        seeds = rng.integers(2**31 - 1, size=len(evidence.suspect.classes))
        judged: list[JudgedClass] = []
        for usual in (np.ones(len(rows.y), bool), rows.trusted):
            views = [self._view(rows, c, usual, int(seed)) for c, seed in enumerate(seeds)]
            natural = [g for view in views if view for g in view.groups if g.natural]
            judged += [view.judged(natural, shifted=evidence.shift.certain) for view in views if view]
        return PatternScorer(basis, tuple(judged), float(-np.log10(self.rate)))

    def _view(self, rows: Rows, c: int, usual: Mask, seed: int) -> ClassView | None:
        """The mixtures of one class with what was measured of their groups; None where there is too little to say.

        Args:
            usual: (N,) the rows that say what is usual, as far as they are of other classes.
        """
        own, others = rows.where(rows.y == c), rows.x[usual & (rows.y != c)]
        if int((~own.trusted).sum()) < self.min_rows or not own.trusted.any() or len(others) < MIN_OTHERS:
            return None
        mean, root = whitening(others)
        white = solve_triangular(root, (own.x - mean).T, lower=True).T
        centre, basis = principal_axes(white, self.components)
        if basis.shape[1] == 0:
            return None
        axes = solve_triangular(root, basis, lower=True, trans="T")  # (m, n): whitened and reduced at once
        origin = mean @ axes + centre @ basis
        reduced, reference = (white - centre) @ basis, others @ axes - origin
        mixtures, groups = [], []
        for mixture, places in fit_mixtures(reduced, self.clusters, seed):
            groups += [self._group(own, white, reduced, places == j, reference) for j in range(mixture.n_components)]
            mixtures.append(mixture)
        return ClassView(c, origin, axes, tuple(mixtures), tuple(groups))

    def _group(self, own: Rows, white: Vector, reduced: Vector, mine: Mask, reference: Vector) -> Group:
        """What there is to say of the group `mine` (N_c,) among the rows of its class, whitened (N_c, m) and reduced
        (N_c, n).
        """
        group, n_trusted = mine & ~own.trusted, int(own.trusted.sum())
        share, inside = float(mine[~own.trusted].mean()), int((mine & own.trusted).sum())
        return Group(
            p_size=size_p_value(share, inside, n_trusted, self.tolerance),
            inside=inside,
            n=int(group.sum()),
            separation=separation(reduced[group], reduced[~mine], reference),
            thin=thin(share, inside, n_trusted),
            varied=spread(white[group]) >= VARIED * spread(white[~mine]),
            contradicted=2 * int(own.contradicted[group].sum()) > int(group.sum()),
        )


class Rows(NamedTuple):
    """Rows x (N, m) in the axes of a basis, their classes y (N,), which are trusted (N,), and whether models of trusted
    rows contradict their labels (N,).
    """

    x: Vector
    y: npt.NDArray[np.int64]
    trusted: Mask
    contradicted: Mask

    def where(self, mask: Mask) -> Rows:
        """The rows of a mask (N,)."""
        return Rows(self.x[mask], self.y[mask], self.trusted[mask], self.contradicted[mask])


@dataclass(frozen=True)
class Group:
    """A component of a class, as far as it matters.

    Attributes:
        p_size: of its size, given its trusted rows. inside: these. n: its rows of the lot.
        separation: how far it stands apart.
        thin: whether trusted rows are next to absent. varied: whether its images differ from one another.
        contradicted: whether models of trusted rows contradict the labels of most of its rows.
    """

    p_size: float
    inside: int
    n: int
    separation: float
    thin: bool
    varied: bool
    contradicted: bool

    @property
    def natural(self) -> bool:
        """Trusted rows are in it, as many as there should be: clean rows make such groups."""
        return self.inside > 0 and self.p_size > EXPLAINED

    def p_value(self, natural: Sequence[Group], *, shifted: bool) -> float:
        """Of the whole group, given the natural ones of all classes, and whether the lot is shifted."""
        if self.p_size > EXPLAINED or not self.thin or not self.varied:
            return 1.0
        p_pattern = self.p_pattern(natural)
        credible = self.contradicted or (p_pattern <= APART and not shifted)
        return fisher(self.p_size, p_pattern) if credible else 1.0

    def p_pattern(self, natural: Sequence[Group]) -> float:
        """How often a natural group stands as far apart: of those half as large or larger, of all if there are few."""
        alike = [g.separation for g in natural if 2 * g.n >= self.n]
        if len(alike) < MIN_ROWS:
            alike = [g.separation for g in natural]
        return float(calibrate(np.array(alike)).p_value(np.array([self.separation]))[0]) if alike else 1.0


@dataclass(frozen=True, eq=False)
class ClassView:
    """Mixtures of the class c over x ↦ x axes − centre, and their groups, one after the other."""

    c: int
    centre: Vector
    axes: Vector
    mixtures: tuple[GaussianMixture, ...]
    groups: tuple[Group, ...]

    def judged(self, natural: Sequence[Group], *, shifted: bool) -> JudgedClass:
        """With a p-value per component; see Group.p_value."""
        p = np.array([g.p_value(natural, shifted=shifted) for g in self.groups])
        ends = np.cumsum([m.n_components for m in self.mixtures])[:-1]
        return JudgedClass(self.c, self.centre, self.axes, tuple(zip(self.mixtures, np.split(p, ends), strict=True)))


@dataclass(frozen=True, eq=False)
class JudgedClass:
    """Mixtures of the class c over x ↦ x axes − centre, each with the p-values of its components."""

    c: int
    centre: Vector
    axes: Vector
    mixtures: tuple[tuple[GaussianMixture, Vector], ...]

    def p_values(self, x: Vector) -> Iterator[Vector]:
        """Per mixture, the p-value (B,) of the component that each row of x (B, m) belongs to; 1 where of none."""
        reduced = x @ self.axes - self.centre
        for mixture, p in self.mixtures:
            inside = members(reduced, mixture)
            yield np.where(inside >= 0, p[inside], 1.0)


@dataclass(frozen=True, eq=False)
class PatternScorer:
    """An image scores −log₁₀ of the harmonic mean of the p-values of its components."""

    basis: PixelBasis
    judged: tuple[JudgedClass, ...]
    threshold: float

    def score(self, batch: Batch) -> Scores:
        scores = np.zeros(len(batch))
        if not len(batch):
            return scores
        x = self.basis.coordinates(batch.x)
        for c in {judged.c for judged in self.judged}:
            mine = np.flatnonzero(batch.y == c)
            if len(mine):
                p_values = [p for judged in self.judged if judged.c == c for p in judged.p_values(x[mine])]
                scores[mine] = pooled_evidence(np.array(p_values))
        return scores

    def p_value(self, scores: Scores) -> Scores:
        return np.asarray(np.power(10.0, -scores))


def separation(group: Vector, others: Vector, reference: Vector) -> float:
    """How far a group stands apart, in standard deviations; 0 where either half of it or the others are too few.

    Args:
        group, others, reference: (a, n), (b, n), (r, n) reduced rows of the class and of the other classes.
    """
    halves = group[::2], group[1::2]
    if min(map(len, halves)) < LEAST or len(others) < 2:
        return 0.0
    within = np.cov(others.T).reshape(group.shape[1], -1) + RIDGE * np.eye(group.shape[1])
    return min(_beyond(a, b, others, reference, within) for a, b in (halves, halves[::-1]))


def _beyond(half: Vector, other_half: Vector, others: Vector, reference: Vector, within: Vector) -> float:
    direction = np.linalg.solve(within, half.mean(axis=0) - others.mean(axis=0))
    rest, usual = others @ direction, reference @ direction
    edge = max(float(np.quantile(rest, BEYOND)), float(np.quantile(usual, BEYOND)))
    return (float(np.median(other_half @ direction)) - edge) / max(float(rest.std()), float(usual.std()), 1e-12)


def spread(rows: Vector) -> float:
    """Total variance of rows (N, m); 0 of none."""
    return float(rows.var(axis=0).sum()) if len(rows) else 0.0


def _sample(dataset: Dataset, most: int, rng: np.random.Generator) -> Dataset:
    if len(dataset) <= most:
        return dataset
    return dataset.select(dataset.ids[rng.choice(len(dataset), most, replace=False)])


def _rows(basis: PixelBasis, crossfit: CrossFit, dataset: Dataset, *, trusted: bool) -> Rows:
    return Rows(
        basis.coordinates_of(dataset), dataset.y, np.full(len(dataset), trusted), crossfit.contradicted(dataset)
    )
