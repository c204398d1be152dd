"""Attacks that change labels and leave the samples alone."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from lotgate.attacks.attack import (
    BOTH,
    Attack,
    Kind,
    Labels,
    Planted,
    Rows,
    as_lot,
    choose,
    class_count,
    mask_of,
    other_labels,
    planted_count,
)
from lotgate.data import FloatArray, Modality
from lotgate.errors import LotError


class LabelFlipRandom(Attack):
    """Random rows get a random other label (symmetric label noise). `target` is not used.

    Source: Biggio, Nelson, Laskov 2011, "Support vector machines under adversarial label noise", random flips.
    """

    name: ClassVar[str] = "label_flip_random"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    kind: ClassVar[Kind] = "label_flip"

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        rows = choose(np.ones(len(y), bool), planted_count(self, len(y)), rng, self)
        y[rows] = other_labels(y[rows], classes, rng)
        return Planted(x, y, mask_of(rows, len(y)), self, np.zeros(len(y), bool))


class LabelFlipPairwise(Attack):
    """Random rows get the label of the next class, y + 1 modulo K: confusions that have a direction.

    Source: Han et al. 2018, "Co-teaching", pair flipping. With two classes it equals the random flip. `target` is not
    used.
    """

    name: ClassVar[str] = "label_flip_pairwise"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    kind: ClassVar[Kind] = "label_flip"

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        rows = choose(np.ones(len(y), bool), planted_count(self, len(y)), rng, self)
        y[rows] = (y[rows] + 1) % classes
        return Planted(x, y, mask_of(rows, len(y)), self, np.zeros(len(y), bool))


class LabelFlipMargin(Attack):
    """Flips the labels that hurt a support vector machine most (LF-attack). `target` is not used.

    Source: Biggio, Nelson, Laskov 2011, "Support vector machines under adversarial label noise", adversarial flips:
    rows are ordered by α_i/C − β₁ s_i − β₂ q_i (ascending), where α_i is the dual weight, s_i the margin under the
    machine trained on clean labels and q_i the margin under random dual weights, both scaled to a maximum of 1. Rows
    deep inside their class go first, preferably on one side of a random boundary. The best of several random
    boundaries is kept: the one whose machine errs most on the clean labels.

    Reduced for speed: rows are standardised and reduced to at most `components` principal components. With more than
    two classes, the margin is that over the runner-up, the random boundary belongs to the class a row would move to,
    and a row moves to the class where its random margin is the largest.

    Attributes:
        restarts: random boundaries tried.
        components: of the PCA.
        cost: C of the machine.
        beta_margin, beta_random: β₁ and β₂.
    """

    name: ClassVar[str] = "label_flip_margin"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    kind: ClassVar[Kind] = "label_flip"

    restarts: Annotated[int, Field(ge=1, le=1000)] = 3
    components: Annotated[int, Field(ge=1)] = 24
    cost: Annotated[float, Field(gt=0)] = 1.0
    beta_margin: Annotated[float, Field(ge=0)] = 0.1
    beta_random: Annotated[float, Field(ge=0)] = 0.1

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        count = planted_count(self, len(y))
        if len(np.unique(y)) < 2:
            raise LotError("the machine needs rows of two classes", where=self.name, action="give rows of each class")
        codes = _reduced(x, self.components, rng)
        base = self._clean_value(codes, y)
        best, flipped = -1.0, y
        for _ in range(self.restarts if count else 0):
            candidate = self._flip(codes, y, classes, rng, base=base, count=count)
            error = self._error(codes, candidate, y)
            if error > best:
                best, flipped = error, candidate
        return Planted(x, flipped.copy(), flipped != y, self, np.zeros(len(y), bool))

    def _machine(self, codes: FloatArray, y: Labels) -> SVC:
        return SVC(C=self.cost, random_state=0).fit(codes, y)  # without a seed, fit draws from the global state

    def _error(self, codes: FloatArray, flipped: Labels, y: Labels) -> float:
        """Share of the clean labels that a machine trained on the flipped ones gets wrong."""
        one_class = len(np.unique(flipped)) == 1  # a rare class can be flipped as a whole
        predicted = flipped if one_class else self._machine(codes, flipped).predict(codes)
        return float((predicted != y).mean())

    def _clean_value(self, codes: FloatArray, y: Labels) -> FloatArray:
        machine = self._machine(codes, y)
        alpha = np.zeros(len(y))
        alpha[machine.support_] = np.abs(machine.dual_coef_).sum(axis=0)
        return np.asarray(alpha / self.cost - self.beta_margin * _scaled(_margins(machine, codes, y)))

    def _flip(
        self, codes: FloatArray, y: Labels, classes: int, rng: np.random.Generator, *, base: FloatArray, count: int
    ) -> Labels:
        kernel = _kernel(codes, rng)
        random = kernel @ rng.normal(size=(kernel.shape[1], classes))  # (N, K) random boundaries
        random[np.arange(len(y)), y] = -np.inf
        other = random.argmax(axis=1)
        pull = random[np.arange(len(y)), other]  # how far the random boundary puts the row on the other side
        rows = np.argsort(base - self.beta_random * _scaled(pull), kind="stable")[:count]
        flipped = y.copy()
        flipped[rows] = other[rows]
        return flipped


def _reduced(x: FloatArray, components: int, rng: np.random.Generator) -> FloatArray:
    flat = StandardScaler().fit_transform(x.reshape(len(x), -1))
    width = min(components, *flat.shape)
    if width == flat.shape[1]:
        return np.asarray(flat, np.float32)
    pca = PCA(width, svd_solver="randomized", random_state=int(rng.integers(2**31)))
    return np.asarray(pca.fit_transform(flat), np.float32)


def _margins(machine: SVC, codes: FloatArray, y: Labels) -> FloatArray:
    """(N,) decision value of the own class over the best other one."""
    values = machine.decision_function(codes)
    if values.ndim == 1:
        return np.asarray(np.where(y == machine.classes_[1], values, -values))
    own = np.searchsorted(machine.classes_, y)
    rows: Rows = np.arange(len(y))
    rest = values.copy()
    rest[rows, own] = -np.inf
    return np.asarray(values[rows, own] - rest.max(axis=1))


def _kernel(codes: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(N, M) Gaussian kernel to at most 300 rows, centred."""
    anchors = codes[rng.permutation(len(codes))[:300]]
    squared = (codes**2).sum(1)[:, None] + (anchors**2).sum(1) - 2 * codes @ anchors.T
    kernel = np.exp(-np.maximum(squared, 0) / (codes.shape[1] * codes.var() + 1e-12))
    return np.asarray(kernel - kernel.mean(axis=0), np.float32)


def _scaled(values: FloatArray) -> FloatArray:
    return np.asarray(values / max(float(np.abs(values).max()), 1e-12))
