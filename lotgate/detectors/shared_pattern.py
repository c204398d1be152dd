"""Shared pattern: groups inside a class whose images carry the same thing, which no other image has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field
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
    fit_mixture,
    fit_mixtures,
    independent_axes,
    members,
    pooled_evidence,
    size_p_value,
    thin,
)
from lotgate.pixels import PixelBasis, fit_basis
from lotgate.whitened import Reduced, Rows, WhiteClass, whitened

MOST_ROWS = 5_000  # of the lot, and of the trusted rows: a sample of them tells what groups there are
APART = 0.01  # p-value of the separation up to which a group carries a pattern
BEYOND = 0.95  # share of the others that a group must lie beyond
VARIED = 0.1  # variance of a group beside that of its class: less, and its images are repeats of one another
LEAST = 3  # rows in half a group
FEW_NATURAL = 8  # natural groups, below which nothing is known of the tail of their separations
ROWS_PER_SOURCE = 8  # of a class: independent components of fewer describe single rows
MIN_OTHERS = 50  # rows, below which they do not tell what is usual
MIN_VOUCHED = 100  # the same where trusted rows alone shall tell, beside what all others did
RIDGE = 1e-6  # of the class's largest variance, which is 1


def spread(rows: Vector) -> float:
    """Total variance of rows (N, m); 0 of none."""
    return float(rows.var(axis=0).sum()) if len(rows) else 0.0


def usual_spread(rows: Vector) -> float:
    """Total variance of rows (N, m) as their median row has it; 0 of none, and of repeats with a few others."""
    return float(np.median(np.square(rows - np.median(rows, axis=0)).sum(axis=1))) if len(rows) else 0.0


class Kind(NamedTuple):
    """How groups of one kind are measured.

    Attributes:
        level: quantile of a group that stands for it.
        spread: of rows (N, m), by which repeats are told.
    """

    level: float
    spread: Callable[[Vector], float]


COMPONENT = Kind(0.5, spread)
TAIL = Kind(0.1, usual_spread)  # it begins where the others end, and picks up single rows that no group of its own has


class SharedPattern(Detector):
    """Groups of a class in whitened pixels, by mixtures and independent components: which stand apart, untrusted?

    Catches:
        Backdoors, dirty- and clean-label, whose trigger is the same in every planted image: patches at one place,
        overlays, smooth or noisy patterns, reflections of one scene; from a dozen images on, whether a model would
        learn them or not.
    Misses:
        Triggers that lie elsewhere or look different in every image (patches at random places), that are fainter than
        what images vary in anyway (waves on textures; on images of few pixels), or that every class carries
        (all-to-all); label flips; poison without company; a dozen images in a class with few trusted rows whose trigger
        is not what the class varies in most; a class beside which there are too few images of others.
    Assumes:
        Images are aligned as cameras align them, not by what they show; trusted rows of each class are drawn like the
        clean rows of the lot.
    Method:
        Images, averaged down to at most `side` pixels → coordinates (N, m) in the m principal axes of a sample of lot
        and trusted rows. Per class, coordinates are whitened by the rows of all other classes, with a shrunk
        covariance: what images of the lot usually differ in is small there, what only this class has is large. And
        once more by the trusted ones of them alone, where there are a hundred: they carry no trigger that cover rows or
        further targets may have. Where the others are fewer than 160, as faulty parts are beside faultless ones, half
        of the class's own trusted rows, if it has 16, join them the first time and no longer count for it; classes
        with fewer than 50 others are not judged. The class's lot and trusted rows → groups, in two ways:
        Components: each time whitened, principal components (N_c, n) → Gaussian mixtures of k components, for each k in
        `clusters` that leaves 2n rows to a component.
        Tails: whitened by all other rows, more principal components (N_c, n), at most `sources` and one for 8 rows, for
        a faint trigger is not in what the class varies in most → n independent components (FastICA, log cosh): a group
        of its own makes a direction far from Gaussian. Each of them → a mixture of two Gaussians, the smaller one (of
        lot and trusted rows) the group; the rest is not judged.
        For group j with share π_j of the lot's rows:
        p_size = P(Bin(n_t, π_j / tolerance) ≤ k_j), k_j of the class's n_t trusted rows.
        separation, in the n principal components: along Fisher's discriminant between the rest of the class and one
        half of the group, how far the median of the other half (of a tail, its nearest tenth: a tail begins where the
        others end) lies beyond 95% of the class's and 95% of the other classes' rows, in standard deviations of theirs;
        the smaller of two halves. What chance found in one half is not there in the other.
        p_pattern: of the separation, calibrated (lotgate.calibration) on those of the groups found in the same way, at
        least half as large, that trusted rows explain (p_size > .5 and some trusted row inside), of all classes: how
        far apart natural groups stand in such images.
        p_j = P(χ²₄ ≥ −2 ln p_size − 2 ln p_pattern) (Fisher); 1 where p_size > .5, where more than a tenth of the
        trusted rows that belong there are there, where the group varies less than a tenth as much as its class (repeats
        of one image; of a tail, their median rows), and where p_pattern > .01 and models of trusted rows
        (lotgate.crossfit) do not contradict the labels of most of it (a style). A row scores −log₁₀ of the harmonic
        mean of the p_j of its components, or of those of the tails that it is in where that is more: neither way
        dilutes the other, at up to twice the false alarms; the decision rule (lotgate.findings) pays for the many
        groups. In a shifted lot (lotgate.shift) p_j = 1 unless models of trusted rows contradict most of the group, and
        only such rows of it are accused.
    Cost:
        Nothing is trained: an eigendecomposition of ≤ 2,000 rows, and per class a Cholesky factor (m, m), |clusters|
        mixtures, one FastICA of `sources` components and a mixture in one dimension for each; seconds for 10,000
        images.
    Source:
        Own. The whitened class: Hayase, Kong, Somani, Oh: SPECTRE, ICML 2021, section 4, there of activations; groups
        over-represented in the untrusted rows: Tang et al., USENIX Security 2021 (SCAn), section 4. Independent
        components: Hyvärinen, IEEE Transactions on Neural Networks 10(3), 1999 (FastICA, symmetric).
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
    sources: Annotated[int, Field(ge=1, le=256)] = 64
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
        everyone, shifted = np.ones(len(rows.y), bool), evidence.shift.certain
        whites = whitened(rows, seeds, everyone, self.min_rows, MIN_OTHERS, lend=True)
        components = _judged([self._components(white) for white in whites], shifted=shifted)
        tails = _judged([self._tails(white) for white in whites], shifted=shifted)
        vouched = whitened(rows, seeds, rows.trusted, self.min_rows, MIN_VOUCHED, lend=False)
        components += _judged([self._components(white) for white in vouched], shifted=shifted)
        return PatternScorer(basis, (components, tails), float(-np.log10(self.rate)))

    def _components(self, white: WhiteClass) -> ClassView:
        """The components of mixtures over few principal components."""
        reduced, cuts = white.reduced(self.components), []
        for mixture, places in fit_mixtures(reduced.own, self.clusters, white.seed):
            groups = tuple(self._group(white, reduced, places == j, COMPONENT) for j in range(mixture.n_components))
            cuts.append(Cut(slice(None), mixture, groups))
        return ClassView(white.c, reduced.centre, reduced.axes, tuple(cuts))

    def _tails(self, white: WhiteClass) -> ClassView:
        """The smaller of two components of each independent component of many principal components."""
        reduced = white.reduced(max(1, min(self.sources, len(white.white) // ROWS_PER_SOURCE)))
        directions = independent_axes(reduced.own, white.seed).T  # (n, n): one a column
        sources, cuts = reduced.own @ directions, []
        for i in range(directions.shape[1]):
            source = sources[:, i : i + 1]
            mixture = fit_mixture(source, 2, white.seed, starts=1)
            places = members(source, mixture)
            tail = int(np.argmin([(places == j).sum() for j in (0, 1)]))
            groups = tuple(self._group(white, reduced, places == j, TAIL) if j == tail else None for j in (0, 1))
            cuts.append(Cut(slice(i, i + 1), mixture, groups))
        return ClassView(white.c, reduced.centre @ directions, reduced.axes @ directions, tuple(cuts))

    def _group(self, white: WhiteClass, reduced: Reduced, mine: Mask, kind: Kind) -> Group:
        """What there is to say of the group `mine` (N_c,) in its class."""
        trusted = white.own.trusted
        group, n_trusted = mine & ~trusted, int(trusted.sum())
        share, inside = float(mine[~trusted].mean()), int((mine & trusted).sum())
        return Group(
            p_size=size_p_value(share, inside, n_trusted, self.tolerance),
            inside=inside,
            n=int(group.sum()),
            separation=separation(reduced.own[group], reduced.own[~mine], reduced.others, kind.level),
            thin=thin(share, inside, n_trusted),
            varied=kind.spread(white.white[group]) >= VARIED * kind.spread(white.white[~mine]),
            contradicted=2 * int(white.own.contradicted[group].sum()) > int(group.sum()),
        )


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
        known = calibrate(np.array(alike), min_rows=FEW_NATURAL) if alike else None
        return float(known.p_value(np.array([self.separation]))[0]) if known else 1.0


@dataclass(frozen=True, eq=False)
class Cut:
    """A mixture over some columns of a view, and the groups of its components; None for one that is no candidate."""

    columns: slice
    mixture: GaussianMixture
    groups: tuple[Group | None, ...]


@dataclass(frozen=True, eq=False)
class ClassView:
    """Cuts of the class c over x ↦ x axes − centre, all made in the same way."""

    c: int
    centre: Vector
    axes: Vector
    cuts: tuple[Cut, ...]

    @property
    def groups(self) -> Iterator[Group]:
        """The candidates."""
        return (g for cut in self.cuts for g in cut.groups if g)

    def judged(self, natural: Sequence[Group], *, shifted: bool) -> JudgedClass:
        """With a p-value per component; see Group.p_value."""
        p = [[g.p_value(natural, shifted=shifted) if g else np.nan for g in cut.groups] for cut in self.cuts]
        return JudgedClass(self, tuple(map(np.array, p)))


@dataclass(frozen=True, eq=False)
class JudgedClass:
    """A view of a class, and per cut the p-values of its components; NaN for one that is no candidate."""

    view: ClassView
    p: tuple[Vector, ...]

    def p_values(self, x: Vector) -> Iterator[Vector]:
        """Per cut, the p-value (B,) of the component that each row of x (B, m) belongs to; 1 where of none."""
        reduced = x @ self.view.axes - self.view.centre
        for cut, p in zip(self.view.cuts, self.p, strict=True):
            inside = members(reduced[:, cut.columns], cut.mixture)
            yield np.where(inside >= 0, p[inside], 1.0)


def _judged(views: Sequence[ClassView], *, shifted: bool) -> tuple[JudgedClass, ...]:
    """Views made in the same way, on the scale of the natural groups of all of them."""
    natural = [g for view in views for g in view.groups if g.natural]
    return tuple(view.judged(natural, shifted=shifted) for view in views)


@dataclass(frozen=True, eq=False)
class PatternScorer:
    """An image scores −log₁₀ of the harmonic mean of the p-values of its groups, of the way that finds more of it."""

    basis: PixelBasis
    ways: tuple[tuple[JudgedClass, ...], ...]
    threshold: float

    def score(self, batch: Batch) -> Scores:
        scores = np.zeros(len(batch))
        if not len(batch):
            return scores
        x = self.basis.coordinates(batch.x)
        for way in self.ways:
            for c in {judged.view.c for judged in way}:
                mine = np.flatnonzero(batch.y == c)
                if len(mine):
                    p_values = [p for judged in way if judged.view.c == c for p in judged.p_values(x[mine])]
                    scores[mine] = np.maximum(scores[mine], pooled_evidence(np.array(p_values)))
        return scores

    def p_value(self, scores: Scores) -> Scores:
        return np.asarray(np.power(10.0, -scores))


def separation(group: Vector, others: Vector, reference: Vector, level: float = 0.5) -> float:
    """How far a group stands apart, in standard deviations; 0 where either half of it or the others are too few.

    Args:
        group, others, reference: (a, n), (b, n), (r, n) reduced rows of the class and of the other classes.
        level: quantile of the group that stands for it.
    """
    halves = group[::2], group[1::2]
    if min(map(len, halves)) < LEAST or len(others) < 2:
        return 0.0
    within = np.cov(others.T).reshape(group.shape[1], -1) + RIDGE * np.eye(group.shape[1])
    return min(_beyond(a, b, others, reference, within, level) for a, b in (halves, halves[::-1]))


def _beyond(half: Vector, other_half: Vector, others: Vector, reference: Vector, within: Vector, level: float) -> float:
    direction = np.linalg.solve(within, half.mean(axis=0) - others.mean(axis=0))
    rest, usual = others @ direction, reference @ direction
    edge = max(float(np.quantile(rest, BEYOND)), float(np.quantile(usual, BEYOND)))
    return (float(np.quantile(other_half @ direction, level)) - edge) / max(
        float(rest.std()), float(usual.std()), 1e-12
    )


def _sample(dataset: Dataset, most: int, rng: np.random.Generator) -> Dataset:
    if len(dataset) <= most:
        return dataset
    return dataset.select(dataset.ids[rng.choice(len(dataset), most, replace=False)])


def _rows(basis: PixelBasis, crossfit: CrossFit, dataset: Dataset, *, trusted: bool) -> Rows:
    return Rows(
        basis.coordinates_of(dataset), dataset.y, np.full(len(dataset), trusted), crossfit.contradicted(dataset)
    )
