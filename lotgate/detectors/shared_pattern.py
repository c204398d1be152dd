"""Shared pattern: groups inside a class whose images carry the same thing, which no other image has."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np

from lotgate.apart import StandsApart
from lotgate.data import Pool
from lotgate.pixels import View, vectors


class SharedPattern(StandsApart):
    """Groups of a class in whitened pixels, by mixtures and independent components: which stand apart, untrusted?

    Catches:
        Backdoors, dirty- and clean-label, whose trigger is the same in every planted image: patches at one place,
        overlays, smooth or noisy patterns, reflections of one scene; from a dozen images on, whether a model would
        learn them or not.
    Misses:
        Triggers that lie elsewhere or look different in every image (patches at random places: shared_detail), that are
        fainter than what images vary in anyway (warps and waves on textures: shared_texture), or that every class
        carries (all-to-all); label flips; poison without company; a dozen images in a class with few trusted rows whose
        trigger is not what the class varies in most; a class beside which there are too few images of others.
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
        far apart natural groups stand in such images. Two classes may have fewer than 15 of them; those that mixtures
        over the next principal components find then help.
        p_j = P(χ²₄ ≥ −2 ln p_size − 2 ln p_pattern) (Fisher); 1 where p_size > .5, where more than a tenth of the
        trusted rows that belong there are there (three tenths, if so no group of the class has p_j ≤ `rate`: a faint
        trigger's group has clean rows in it, but is mostly planted), where its images vary less than a tenth as much as
        those of its class (repeats of one image; of a tail, their median rows), and where p_pattern > .01 and models of
        trusted rows (lotgate.crossfit) do not contradict the labels of most of it, oftener than of the class's trusted
        rows (at p ≤ .01): it is a style. A row scores −log₁₀ of the harmonic
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
    reason: ClassVar = "it shares a pattern with part of its class that no trusted and no other sample has"

    def view(self, pool: Pool, rng: np.random.Generator) -> View:
        return partial(vectors, side=self.side)
