"""Groups of a class that stand apart: whose images share something that trusted ones and other classes do not.

What they share shows in one view of the images or another: the pixels (lotgate.detectors.shared_pattern), how sharp
they are where (shared_texture), which small details they have (shared_detail), what cast of colour or contrast
(shared_tone). How groups are found, and how they are judged, is the same in each.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from sklearn.mixture import GaussianMixture

from lotgate.calibration import MIN_ROWS
from lotgate.crossfit import CrossFit
from lotgate.data import Batch, Dataset, Pool
from lotgate.detector import Detector, Evidence, EvidenceScorer, Scorer, Scores
from lotgate.groups import COMPONENT, TAIL, Group, Kind, described
from lotgate.mixtures import (
    Mask,
    Vector,
    fit_mixture,
    fit_mixtures,
    independent_axes,
    members,
    one_thread,
    pooled_evidence,
)
from lotgate.pixels import COARSE, PASS_BATCH, Basis, View, fit_basis, vectors
from lotgate.whitened import Classes, Reduced, Rows, WhiteClass, whitened

MOST_ROWS = 5_000  # of the lot, and of the trusted rows: a sample of them tells what groups there are
BEYOND = 0.95  # share of the others that a group must lie beyond
LEAST = 3  # rows in half a group
MORE_BLOCKS = 3  # of further principal components, where natural groups in the first ones are few
ROWS_PER_SOURCE = 8  # of a class: independent components of fewer describe single rows
MIN_OTHERS = 50  # rows, below which they do not tell what is usual
MIN_VOUCHED = 100  # the same where trusted rows alone shall tell, beside what all others did
STARTS = 5  # of each mixture: with two, a faint group is missed in one lot of three
RIDGE = 1e-6  # of the class's largest variance, which is 1


class StandsApart(Detector):
    """What detectors of such groups share; each says which view of an image it takes.

    The Method of lotgate.detectors.shared_pattern describes all of it.
    """

    modalities: ClassVar = frozenset({"image"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"trusted", "crossfit"})
    needs_contradiction: ClassVar = True

    side: Annotated[int, Field(ge=4, le=256)] = 64
    axes: Annotated[int, Field(ge=2, le=4096)] = 512
    components: Annotated[int, Field(ge=1, le=256)] = 8
    sources: Annotated[int, Field(ge=1, le=256)] = 64
    clusters: tuple[Annotated[int, Field(ge=2, le=20)], ...] = (2, 3, 4, 6)
    tolerance: Annotated[float, Field(ge=1)] = 1.3
    min_rows: Annotated[int, Field(ge=4)] = 20
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    @abstractmethod
    def view(self, pool: Pool, rng: np.random.Generator) -> View:
        """What to make of an image; may learn from the rows of the pool, which are of lot and trusted set alike."""

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        assert evidence.crossfit is not None  # require() has checked it
        vetted = evidence.vetted
        pool = Pool((evidence.suspect, *vetted))
        basis = fit_basis(pool, self.view(pool, rng), self.axes, rng)
        lot = sample(evidence.suspect, MOST_ROWS, rng)
        known = [sample(d, MOST_ROWS // len(vetted), rng) for d in vetted]
        rows = rows_of(evidence.crossfit, lot, known, [basis.coordinates_of(d) for d in (lot, *known)])
        seeds = rng.integers(2**31 - 1, size=len(evidence.suspect.classes))
        return GroupScorer(basis, self.ways(rows, seeds, shifted=evidence.shift.certain), rate=self.rate)

    def ways(self, rows: Rows, seeds: Classes, *, shifted: bool) -> tuple[tuple[JudgedClass, ...], ...]:
        """The groups of each class, found in two ways, and judged.

        Args:
            seeds: (K,) of the classes. shifted: whether the lot is not drawn like the trusted set.
        """
        everyone = np.ones(len(rows.y), bool)
        with one_thread():
            whites = whitened(rows, seeds, everyone, self.min_rows, MIN_OTHERS, lend=True)
            vouched = whitened(rows, seeds, rows.trusted, self.min_rows, MIN_VOUCHED, lend=False)
            tails = Found(tuple(map(self._tails, whites)))
            found = (self._found(whites), self._found(vouched), tails)
        components, of_vouched, of_tails = purest([f.judged(shifted=shifted) for f in found], self.rate)
        return components + of_vouched, of_tails

    def _found(self, whites: Sequence[WhiteClass]) -> Found:
        views = tuple(map(self._components, whites))
        return Found(views, tuple(self._further_natural(whites, views)))

    def _further_natural(self, whites: Sequence[WhiteClass], views: Sequence[ClassView]) -> list[Group]:
        """Natural groups in the next principal components, as far as there are few in the first ones."""
        few = MIN_ROWS - sum(g.natural for view in views for g in view.groups)
        found: list[Group] = []
        for block in range(1, MORE_BLOCKS + 1):
            if len(found) >= few:
                break
            further = (self._components(white, block * self.components) for white in whites)
            found += [g for view in further for g in view.groups if g.natural]
        return found

    def _components(self, white: WhiteClass, skipped: int = 0) -> ClassView:
        """The components of mixtures over few principal components, after those skipped."""
        reduced, cuts = white.reduced(self.components, skipped), []
        found = fit_mixtures(reduced.own, self.clusters, white.seed, starts=STARTS) if reduced.own.shape[1] else ()
        for mixture, places in found:
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
        group = mine & ~white.own.trusted
        apart = separation(reduced.own[group], reduced.own[~mine], reduced.others, kind.level)
        return described(white.c, white.own, mine, apart, self.tolerance, kind)


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

    @property
    def least(self) -> float:
        """The least p-value of a candidate; 1 of none."""
        return min((float(np.nanmin(p, initial=1.0)) for p in self.p), default=1.0)

    @property
    def pure(self) -> JudgedClass:
        """The same, where mixed groups count for nothing."""
        mixed = [[g is not None and not g.pure for g in cut.groups] for cut in self.view.cuts]
        return JudgedClass(self.view, tuple(np.where(m, 1.0, p) for m, p in zip(mixed, self.p, strict=True)))

    def p_values(self, x: Vector) -> Iterator[Vector]:
        """Per cut, the p-value (B,) of the component that each row of x (B, m) belongs to; 1 where of none."""
        reduced = x @ self.view.axes - self.view.centre
        for cut, p in zip(self.view.cuts, self.p, strict=True):
            inside = members(reduced[:, cut.columns], cut.mixture)
            yield np.where(inside >= 0, p[inside], 1.0)


@dataclass(frozen=True, eq=False)
class Found:
    """Views of all classes, made in the same way, and further natural groups, which help to tell how far such stand
    apart.
    """

    views: tuple[ClassView, ...]
    further: tuple[Group, ...] = ()

    def judged(self, *, shifted: bool) -> tuple[JudgedClass, ...]:
        """On the scale of the natural groups of all classes; see Group.p_value."""
        natural = [*(g for view in self.views for g in view.groups if g.natural), *self.further]
        return tuple(view.judged(natural, shifted=shifted) for view in self.views)


def purest(ways: Sequence[tuple[JudgedClass, ...]], rate: float) -> Iterator[tuple[JudgedClass, ...]]:
    """The same ways; in a class of which a pure group has p ≤ rate in any of them, mixed groups count for nothing."""
    accused = {judged.view.c for way in ways for judged in way if judged.pure.least <= rate}
    return (tuple(judged.pure if judged.view.c in accused else judged for judged in way) for way in ways)


@dataclass(frozen=True, eq=False)
class GroupScorer(EvidenceScorer):
    """An image scores −log₁₀ of the harmonic mean of the p-values of its groups, of the way that finds more of it."""

    basis: Basis
    ways: tuple[tuple[JudgedClass, ...], ...]

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


def sample(dataset: Dataset, most: int, rng: np.random.Generator) -> Dataset:
    """At most so many rows of a dataset."""
    if len(dataset) <= most:
        return dataset
    return dataset.select(dataset.ids[rng.choice(len(dataset), most, replace=False)])


def rows_of(crossfit: CrossFit, lot: Dataset, vetted: Sequence[Dataset], coordinates: Sequence[Vector]) -> Rows:
    """Rows of the lot, then trusted ones, with the coordinates (N, m) of each dataset."""
    parts = (lot, *vetted)
    looks = [vectors(batch.x, COARSE).astype(np.float64) for d in parts for batch in d.batches(PASS_BATCH)]
    return Rows(
        np.concatenate(coordinates),
        np.concatenate([d.y for d in parts]),
        np.repeat([False, True], [len(lot), sum(map(len, vetted))]),
        np.concatenate([crossfit.contradicted(d) for d in parts]),
        np.concatenate(looks),
    )
