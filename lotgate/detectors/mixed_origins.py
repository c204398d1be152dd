"""Mixed origins: groups inside a class whose images, without one another, are taken for all the other classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from lotgate.companions import (
    LEAST_CLASSES,
    SCATTERED,
    LeftOut,
    Linear,
    Numbers,
    Parting,
    Seen,
    can_be_left_out,
    left_out,
    look_at,
    scatter,
)
from lotgate.data import Batch
from lotgate.detector import Detector, Evidence, EvidenceScorer, Scorer, Scores
from lotgate.groups import APART, MIXED, Sized, among_natural, sized
from lotgate.mixtures import Vector, fisher, members, pooled_evidence
from lotgate.pixels import Basis

ALL = 0.99  # scatter whose odds are not told from those of more
UNSURE = 0.5  # row: without it, groups of which none goes elsewhere would tie, and nothing lie beyond them


class MixedOrigins(Detector):
    """Groups of a class, each left out of a classifier of all other rows: which are taken for nearly every class?

    Catches:
        Backdoors that turn images of many classes into one, whatever the trigger, as long as it makes a group in pixels
        or small details: patches at one place or at random places, overlays, warps; also where a class has a handful of
        trusted rows, which tell the other detectors of groups next to nothing.
    Misses:
        Clean-label backdoors and triggers on images of one class only (source-specific, all-to-all), whose rows
        resemble one class or none; lots of fewer than six classes; photographs that a linear classifier of small
        details hardly tells apart, for there natural groups scatter as well; label flips; poison without company.
    Assumes:
        Classes differ in what they show: a clean group resembles one or two others, not all. No class is a collection
        of what fits nowhere else, unless trusted rows show it.
    Method:
        At most 4,000 images of the lot, and of the trusted rows, in two ways: averaged down to at most 64 × 64 pixels,
        and, of at most 32 × 32, by 256 words of windows of 5 × 5 pixels in 3 × 3 cells (lotgate.vocabulary); each time
        principal axes. Per class, coordinates are whitened by all other classes; 8 principal components → Gaussian
        mixtures of 2, 3, 4 and 6 components: the groups.
        Ridge regression of the classes on the words' coordinates, of lot and trusted rows alike: fitted once, it says
        in closed form what it would say of a group g had it not seen any of it: y − (I − H_gg)⁻¹ r_g, with the hat
        matrix H and the residuals r. Groups of fewer than 5 rows, or of more than .65 of their class, are not judged.
        scatter s = (share of the group that is taken for other classes, half a row added to either side) × (effective
        number of these, the exponential of their entropy) ÷ (effective number of all other classes by their rows).
        p_pattern: of the odds s / (1 − s), calibrated (lotgate.calibration) on those of the groups found in the same
        way, at least half as large, that trusted rows explain (p_size > .5 and some trusted row inside), of all
        classes. p_size = P(Bin(n_t, π / tolerance) ≤ k), π the group's share of its class, k its part of the class's
        n_t trusted rows.
        p = P(χ²₄ ≥ −2 ln p_size − 2 ln p_pattern) (Fisher); 1 where s < `scattered` or p_pattern > .01, where more than
        three tenths of the trusted rows that belong there are there, and for the rows that the classifier without the
        group takes for their own class. A row scores −log₁₀ of the harmonic mean of the p of its groups, of the way
        that finds more of it. In a shifted lot (lotgate.shift) only rows are accused whose labels models of trusted
        rows contradict.
    Cost:
        Nothing is trained but one ridge regression; 4 mixtures a class and way: 4 s for 1,200 images of 8 × 8 pixels,
        16 s for 1,500 of 28 × 28 on one core. Of a lot in which no group stands out, no image is looked at twice.
    Source:
        Own. Leaving a group out in closed form: Cook, Technometrics 19(1), 1977, there of single rows. Words of
        windows: Coates, Ng, Lee, AISTATS 2011.
    Differs:
        From what leaves rows out to tell how much they matter: what counts is where they would go.
    """

    name: ClassVar = "mixed_origins"
    modalities: ClassVar = frozenset({"image"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"trusted"})
    needs_contradiction: ClassVar = True
    reason: ClassVar = "only samples that resemble it speak for its label; without them, all look like many classes"

    scattered: Annotated[float, Field(gt=0, lt=1)] = SCATTERED
    tolerance: Annotated[float, Field(ge=1)] = 1.3
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        n_classes = len(evidence.suspect.classes)
        if n_classes < LEAST_CLASSES:
            return OriginScorer(None, (), rate=self.rate)
        seen = look_at(evidence.suspect, evidence.vetted, rng)
        model = left_out(seen.words.x, seen.y, n_classes)
        seeds = rng.integers(2**31 - 1, size=n_classes)
        ways = [Way(by.basis, self._accused(seen.partings(by, seeds), model, seen)) for by in (seen.pixels, seen.words)]
        return OriginScorer(seen.words.basis, tuple(ways), rate=self.rate)

    def _accused(self, found_in: Iterable[Parting], model: LeftOut, seen: Seen) -> tuple[Accused, ...]:
        """The partings of the classes in which a group is suspect, found in one way."""
        partings = list(found_in)
        groups = [[self._group(rows, parting, model, seen) for rows in parting.groups] for parting in partings]
        natural = [g for found in groups for g in found if g is not None and g.natural]
        judged = []
        for parting, found in zip(partings, groups, strict=True):
            p = np.array([1.0 if g is None else self.p_value(g, natural) for g in found])
            without = [model.without(rows) if p[j] < 1 else None for j, rows in enumerate(parting.groups)]
            judged.append(Accused(parting, p, tuple(without)))
        accused = {one.parting.c for one in judged if one.p.min(initial=1.0) < 1}
        return tuple(one for one in judged if one.parting.c in accused)

    def _group(self, rows: Numbers, parting: Parting, model: LeftOut, seen: Seen) -> Candidate | None:
        """What there is to say of a group; None of one that cannot be left out."""
        if not can_be_left_out(rows, len(parting.rows)):
            return None
        trusted, known = seen.trusted[rows], int(seen.trusted[parting.rows].sum())
        of_lot, inside = len(parting.rows) - known, int(trusted.sum())
        size = sized(len(rows) - inside, inside, of_lot, known, self.tolerance)
        scattered = scatter(model.answers(rows).argmax(axis=1), seen.y, parting.c, UNSURE)
        return Candidate(**vars(size), scatter=scattered)

    def p_value(self, group: Candidate, natural: Sequence[Candidate]) -> float:
        """Of a group, given the natural ones of all classes that were found in the same way."""
        if group.scatter < self.scattered or group.clean > MIXED:
            return 1.0
        p_pattern = group.p_pattern(natural)
        return fisher(group.p_size, p_pattern) if p_pattern <= APART else 1.0


@dataclass(frozen=True, kw_only=True)
class Candidate(Sized):
    """A group, and how it scatters when it is left out (lotgate.companions.scatter)."""

    scatter: float

    @property
    def odds(self) -> float:
        """s / (1 − s): how much more of it is like rows from everywhere than is not."""
        return min(self.scatter, ALL) / (1 - min(self.scatter, ALL))

    def p_pattern(self, natural: Sequence[Candidate]) -> float:
        """How often a natural group scatters as much."""
        return among_natural(self.odds, self.n, [(g.odds, g.n) for g in natural])


@dataclass(frozen=True, eq=False)
class Accused:
    """A class in the components of a mixture.

    Attributes:
        p: (k,) of the components. without: the classifier that has not seen a component; None of one with p = 1.
    """

    parting: Parting
    p: Vector
    without: tuple[Linear | None, ...]

    def p_values(self, x: Vector, words: Vector) -> Vector:
        """(B,) of rows of the class, with these coordinates in the basis of the groups and in that of the words."""
        places = members(x @ self.parting.axes - self.parting.centre, self.parting.mixture)
        p_values = np.ones(len(x))
        for j, others in enumerate(self.without):
            mine = np.flatnonzero(places == j)
            if others is not None and len(mine):
                elsewhere = others.says(words[mine]) != self.parting.c
                p_values[mine[elsewhere]] = self.p[j]
        return p_values


class Way(NamedTuple):
    """The classes in which a group is suspect, in groups of the coordinates in a basis."""

    basis: Basis
    accused: tuple[Accused, ...]


@dataclass(frozen=True, eq=False)
class OriginScorer(EvidenceScorer):
    """An image scores −log₁₀ of the harmonic mean of the p-values of its groups, of the way that finds more of it."""

    words: Basis | None
    ways: tuple[Way, ...]

    def score(self, batch: Batch) -> Scores:
        scores = np.zeros(len(batch))
        for c in sorted({one.parting.c for way in self.ways for one in way.accused}):
            mine = np.flatnonzero(batch.y == c)
            if len(mine):
                scores[mine] = self._of_class(c, batch.x[mine])
        return scores

    def _of_class(self, c: int, x: np.ndarray) -> Scores:
        assert self.words is not None  # without them nothing is accused
        words, scores = self.words.coordinates(x), np.zeros(len(x))
        for way in self.ways:
            own = [one for one in way.accused if one.parting.c == c]
            if own:
                found = words if way.basis is self.words else way.basis.coordinates(x)
                p_values = np.array([one.p_values(found, words) for one in own])
                scores = np.maximum(scores, pooled_evidence(p_values))
        return scores
