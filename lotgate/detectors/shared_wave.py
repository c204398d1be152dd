"""Shared wave: groups inside a class whose images carry the same plane wave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from sklearn.mixture import GaussianMixture

from lotgate.crossfit import CrossFit
from lotgate.data import Batch, Dataset
from lotgate.detector import Detector, Evidence, Scorer, Scores
from lotgate.groups import TAIL, described
from lotgate.mixtures import fit_mixture, members, one_thread, pooled_evidence
from lotgate.pixels import COARSE, PASS_BATCH, vectors
from lotgate.waves import Spectra, Wave, spectra, strongest_waves
from lotgate.whitened import Rows

MOST_ROWS = 1_000  # of a class, of lot and trusted rows each: a sample tells what waves there are


class SharedWave(Detector):
    """Groups of a class that carry the same plane wave, of any frequency and however faint: which do, untrusted?

    Catches:
        Backdoors, dirty- and clean-label, whose trigger is a wave or a few of them, or a few coefficients of a
        transform: too faint for pixels, and in classes beside which another one varies in everything.
    Misses:
        Waves whose phase differs from image to image; what is spread over many frequencies (shared_pattern,
        shared_texture); images of fewer than some 20 × 20 pixels; plain backgrounds that clip half of a wave; label
        flips; poison without company; what every image of a class carries.
    Assumes:
        Images of a class are many textures or many views, no one frequency of which is unlike all others; trusted rows
        of each class are drawn like the clean rows of the lot.
    Method:
        Images, averaged down to at most `side` pixels → Fourier coefficients of the channels' mean and contrasts. Per
        class, lot and trusted rows: each coefficient less its median, in units of its usual size → z; a wave that some
        images share makes E[|z|² z] large, and the argument of that is its phase.
        p_pattern: how many coefficients of the class would have so large a moment, from the tail of all its moments (a
        power law; the ten largest, which one trigger may have moved, are only known to be large).
        The `waves` largest moments → how much of the wave is in each image → a mixture of two Gaussians, the louder one
        (of lot and trusted rows) the group. p_size, and what makes a group suspect, as in shared_pattern. A row scores
        −log₁₀ of the harmonic mean of the p-values of its groups.
    Cost:
        Nothing is trained: one Fourier transform of every image, medians of coefficients, `waves` mixtures in one
        dimension a class; a second or two for 2,000 images.
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
    tolerance: Annotated[float, Field(ge=1)] = 1.3
    min_rows: Annotated[int, Field(ge=4)] = 20
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        assert evidence.crossfit is not None  # require() has checked it
        found: list[JudgedWave] = []
        for c in range(len(evidence.suspect.classes)):
            lot, *vetted = (_some(d, c, rng) for d in (evidence.suspect, *evidence.vetted))
            seed = int(rng.integers(2**31 - 1))
            if len(lot) >= self.min_rows and any(map(len, vetted)):
                found += self._judged(c, lot, vetted, evidence.crossfit, seed, shifted=evidence.shift.certain)
        return WaveScorer(self.side, tuple(found), float(-np.log10(self.rate)))

    def _judged(
        self, c: int, lot: Dataset, vetted: Sequence[Dataset], crossfit: CrossFit, seed: int, *, shifted: bool
    ) -> list[JudgedWave]:
        """The waves of the class c, and the p-values of the groups that carry them."""
        parts = [d for d in (lot, *vetted) if len(d)]
        images = np.concatenate([spectra(batch.x, self.side) for d in parts for batch in d.batches(PASS_BATCH)])
        own = _rows(parts, crossfit, len(lot))
        found = []
        with one_thread():
            for wave in strongest_waves(images, self.waves):
                along = wave.strength(images)
                mixture = fit_mixture(along, 2, seed, starts=1)
                louder = int(np.argmax(mixture.means_[:, 0]))
                group = described(c, own, members(along, mixture) == louder, wave.moment, self.tolerance, TAIL)
                found.append(JudgedWave(c, wave, mixture, louder, group.p_given(wave.p_value, shifted=shifted)))
        return found


@dataclass(frozen=True, eq=False)
class JudgedWave:
    """A wave of the class c, the mixture along it, which of its components is the louder one, and the p of that."""

    c: int
    wave: Wave
    mixture: GaussianMixture
    louder: int
    p: float

    def p_values(self, found: Spectra) -> Scores:
        """(B,) of spectra (B, K): that of the group where a row belongs to it, else 1."""
        return np.where(members(self.wave.strength(found), self.mixture) == self.louder, self.p, 1.0)


@dataclass(frozen=True, eq=False)
class WaveScorer:
    """An image scores −log₁₀ of the harmonic mean of the p-values of the groups of its class."""

    side: int
    judged: tuple[JudgedWave, ...]
    threshold: float

    def score(self, batch: Batch) -> Scores:
        scores = np.zeros(len(batch))
        if not len(batch):
            return scores
        found = spectra(batch.x, self.side)
        for c in {judged.c for judged in self.judged}:
            mine = np.flatnonzero(batch.y == c)
            if len(mine):
                scores[mine] = pooled_evidence(np.array([j.p_values(found[mine]) for j in self.judged if j.c == c]))
        return scores

    def p_value(self, scores: Scores) -> Scores:
        return np.asarray(np.power(10.0, -scores))


def _some(dataset: Dataset, c: int, rng: np.random.Generator) -> Dataset:
    """The rows of a class, MOST_ROWS of them at most."""
    rows = np.flatnonzero(dataset.y == c)
    return dataset.select(dataset.ids[rng.choice(rows, min(MOST_ROWS, len(rows)), replace=False)])


def _rows(parts: Sequence[Dataset], crossfit: CrossFit, n_lot: int) -> Rows:
    """Of one class, those of the lot first; without coordinates."""
    looks = [vectors(batch.x, COARSE).astype(np.float64) for d in parts for batch in d.batches(PASS_BATCH)]
    n = sum(map(len, parts))
    contradicted = np.concatenate([crossfit.contradicted(d) for d in parts])
    return Rows(np.zeros((n, 0)), np.concatenate([d.y for d in parts]), np.arange(n) >= n_lot, contradicted,
                np.concatenate(looks))  # fmt: skip
