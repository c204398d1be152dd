"""Shared wave: groups inside a class whose images carry the same plane wave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field
from sklearn.mixture import GaussianMixture

from lotgate.apart import rows_of, sample, separation
from lotgate.crossfit import CrossFit
from lotgate.data import Batch, Dataset
from lotgate.detector import Detector, Evidence, EvidenceScorer, Scorer, Scores
from lotgate.groups import TAIL, Group, described
from lotgate.mixtures import Mask, fit_mixture, members, one_thread, pooled_evidence
from lotgate.pixels import PASS_BATCH
from lotgate.waves import Spectra, Wave, spectra, strongest_waves

FEWEST_KNOWN = 16  # further waves of a class, however many classes there are
MOST_ROWS = 1_000  # of a class, of lot and trusted rows each: a sample tells what waves there are


class SharedWave(Detector):
    """Groups of a class that carry the same plane wave, of any frequency and however faint: which do, untrusted?

    Catches:
        Backdoors, dirty- and clean-label, whose trigger is a wave or several, or coefficients of a transform: too faint
        for pixels, and in classes beside which another one varies in everything.
    Misses:
        Waves whose phase differs from image to image; what moves every frequency a little (shared_pattern,
        shared_texture); images of fewer than some 20 × 20 pixels; plain backgrounds that clip half of a wave; label
        flips; poison without company; what every image of a class carries.
    Assumes:
        Images of a class are many textures or many views, no one frequency of which is unlike all others; trusted rows
        of each class are drawn like the clean rows of the lot.
    Method:
        Images, averaged down to at most `side` pixels → Fourier coefficients of the channels' mean and contrasts. Per
        class, lot and trusted rows: each coefficient less its median, in units of its usual size → z; a wave that some
        images share makes E[|z|² z] large, and the argument of that is its phase.
        The 2 `waves` largest moments, and further ones at ranks down to the median, `known` of them over all classes →
        how much of the wave is in each image → a mixture of two Gaussians, the louder one (of lot and trusted rows)
        the group. Those of the `waves` largest may be accused, the others help to tell what is natural: a trigger may
        own dozens of the largest.
        p_pattern: twice the smaller of two. p_moment: how many coefficients of the class would have so large a moment,
        from the tail of all its moments (a power law; the ten largest, which one trigger may have moved, are only known
        to be large). p_apart: of the separation of the group from the rest of its class along the wave, calibrated on
        that of natural groups, as in shared_pattern but without other classes; 0 where it does not.
        p_size, and what makes a group suspect, as in shared_pattern; with more than a tenth of the trusted rows that
        belong there p_j = 1. A row scores −log₁₀ of the harmonic mean of the p-values of its groups.
    Cost:
        Nothing is trained: one Fourier transform of every image, medians of coefficients, about 1.5 `known` mixtures in
        one dimension; 1 to 3 s for lots of 400 to 2,000 images.
    Source:
        Own. That backdoors leave traces in spectra: Zeng, Park, Mao, Jia, ICCV 2021 (there a classifier of spectra
        that is trained on known triggers). Groups as in shared_pattern. The tail: Hill, Annals of Statistics 3(5),
        1975.
    Differs:
        From Zeng et al.: nothing is learned from triggers; phases count, not only magnitudes; a class is compared with
        itself and with its trusted rows.
    """

    name: ClassVar = "shared_wave"
    modalities: ClassVar = frozenset({"image"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"trusted", "crossfit"})
    needs_contradiction: ClassVar = True
    reason: ClassVar = "it carries the same faint wave as part of its class, as no trusted sample does"

    side: Annotated[int, Field(ge=4, le=256)] = 64
    waves: Annotated[int, Field(ge=1, le=64)] = 4
    known: Annotated[int, Field(ge=1, le=4096)] = 128
    tolerance: Annotated[float, Field(ge=1)] = 1.3
    min_rows: Annotated[int, Field(ge=4)] = 20
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        assert evidence.crossfit is not None  # require() has checked it
        classes: list[list[Carried]] = []
        further = max(FEWEST_KNOWN, self.known // len(evidence.suspect.classes))
        for c in range(len(evidence.suspect.classes)):
            lot, *vetted = (sample(d.of_class(c), MOST_ROWS, rng) for d in (evidence.suspect, *evidence.vetted))
            seed = int(rng.integers(2**31 - 1))
            if len(lot) >= self.min_rows and any(map(len, vetted)):
                classes.append(self._carried(c, lot, vetted, evidence.crossfit, seed, further))
        natural = [carried.group for found in classes for carried in found if carried.group.natural]
        judged = [
            JudgedWave(carried, carried.p_value(natural, shifted=evidence.shift.certain))
            for found in classes
            for carried in found[: self.waves]
        ]
        return WaveScorer(self.side, tuple(judged), rate=self.rate)

    def _carried(
        self, c: int, lot: Dataset, vetted: Sequence[Dataset], crossfit: CrossFit, seed: int, further: int
    ) -> list[Carried]:  # fmt: skip
        """The waves of the class c, the largest moment first, with the groups that carry them."""
        parts = [d for d in (lot, *vetted) if len(d)]
        images = np.concatenate([spectra(batch.x, self.side) for d in parts for batch in d.batches(PASS_BATCH)])
        waves, found = strongest_waves(images, 2 * self.waves, further), []
        if not waves:
            return []
        strengths = np.concatenate([wave.strength(images) for wave in waves], axis=1)
        own = rows_of(crossfit, lot, parts[1:], [strengths])
        with one_thread():
            for i, wave in enumerate(waves):
                along = own.x[:, i : i + 1]
                mixture = fit_mixture(along, 2, seed, starts=1)
                louder = int(np.argmax(mixture.means_[:, 0]))
                mine = members(along, mixture) == louder
                rest = along[~mine]
                apart = max(0.0, separation(along[mine & ~own.trusted], rest, rest, TAIL.level))
                group = described(c, own, mine, apart, self.tolerance, TAIL)
                found.append(Carried(wave, mixture, louder, group))
        return found


@dataclass(frozen=True, eq=False)
class Carried:
    """A wave, the mixture along it, which of its components is the louder one, and that group."""

    wave: Wave
    mixture: GaussianMixture
    louder: int
    group: Group

    def p_value(self, natural: Sequence[Group], *, shifted: bool) -> float:
        """Of the whole group, given the natural ones of all classes, and whether the lot is shifted."""
        if not (self.group.suspect and self.group.pure):
            return 1.0
        p_pattern = 2 * min(self.wave.p_value, self.group.p_pattern(natural))
        return self.group.p_given(min(1.0, p_pattern), shifted=shifted)

    def members(self, found: Spectra) -> Mask:
        """(B,) of spectra (B, K): which are of the group."""
        return np.asarray(members(self.wave.strength(found), self.mixture) == self.louder)


class JudgedWave(NamedTuple):
    """A group that carries a wave, and its p-value."""

    carried: Carried
    p: float


@dataclass(frozen=True, eq=False)
class WaveScorer(EvidenceScorer):
    """An image scores −log₁₀ of the harmonic mean of the p-values of the groups of its class."""

    side: int
    judged: tuple[JudgedWave, ...]

    def score(self, batch: Batch) -> Scores:
        scores = np.zeros(len(batch))
        if not len(batch):
            return scores
        found = spectra(batch.x, self.side)
        for c in {carried.group.c for carried, _ in self.judged}:
            mine = np.flatnonzero(batch.y == c)
            if len(mine):
                own = [judged for judged in self.judged if judged.carried.group.c == c]
                p_values = [np.where(carried.members(found[mine]), p, 1.0) for carried, p in own]
                scores[mine] = pooled_evidence(np.array(p_values))
        return scores
