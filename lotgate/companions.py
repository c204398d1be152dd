"""What the rest of lot and trusted set says of a group of a class that is left out of it.

Only its trigger speaks for the labels of a planted group. Left out together, its rows are taken for the classes they
came from, and these are nearly all classes; a natural group that is left out resembles one or two others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve
from sklearn.mixture import GaussianMixture

from lotgate.apart import sample
from lotgate.data import Dataset, Pool
from lotgate.machines import CELLS, WIDTH, WORDS
from lotgate.mixtures import Mask, Vector, fit_mixtures, one_thread
from lotgate.pixels import Basis, fit_basis, vectors
from lotgate.vocabulary import usual_words
from lotgate.whitened import Classes, Rows, whitened

LEAST_CLASSES = 6  # of fewer, a natural group may resemble all others
MOST_ROWS = 4_000  # of the lot, and of the trusted rows
SIDE = 64  # pixels, at most
COARSE = 32  # the same where windows become words, which takes longest
AXES = 512
COMPONENTS = 8  # principal components of a class, whitened, in which its groups are looked for
CLUSTERS = (2, 3, 4, 6)
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # of the squared coefficients, in rows' mean squared length per row
FEW_ROWS = 20  # of a class of the lot, and of others that say what is usual
LEAST = 5  # rows of a group
MOST = 0.65  # of a class, that its groups may take: what is left must be able to speak for it
SCATTERED = 0.6  # of what rows drawn from all other classes would score: natural groups score less
Numbers = npt.NDArray[np.int64]  # of rows


class Linear(NamedTuple):
    """x ↦ x coefficients + origin: one column a class."""

    coefficients: Vector
    origin: Vector

    def says(self, x: Vector) -> Classes:
        """(n,) the likeliest classes of rows (n, m)."""
        return np.asarray((x @ self.coefficients + self.origin).argmax(axis=1))


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A ridge classifier in closed form, which tells what it would be had it not seen some rows.

    Attributes:
        centre: (m,) mean of the rows. x: (N, m) the rows without it.
        root: (m, N) these times the inverse of their penalised products.
        y: (N, K) one column a class, 1 or 0. residuals: (N, K) what the classifier of all rows leaves.
    """

    centre: Vector
    x: Vector
    root: Vector
    y: Vector
    residuals: Vector

    def without(self, rows: Numbers) -> Linear:
        """The classifier of all others: coefficients − root_g (I − H)⁻¹ residuals_g, H the part of the hat matrix that
        these rows g have.
        """
        errors = self._errors(rows)
        coefficients = self._coefficients - self.root[:, rows] @ errors
        origin = self.y.mean(axis=0) - errors.sum(axis=0) / len(self.x) - self.centre @ coefficients
        return Linear(coefficients, np.asarray(origin))

    def answers(self, rows: Numbers) -> Vector:
        """(n, K) for these rows, all left out together: y − (I − H)⁻¹ residuals."""
        return np.asarray(self.y[rows] - self._errors(rows))

    @property
    def alone(self) -> Vector:
        """(N, K) for every row, left out by itself."""
        hat = np.einsum("nm,mn->n", self.x, self.root) + 1 / len(self.x)
        return np.asarray(self.y - self.residuals / np.maximum(1 - hat, 1e-9)[:, None])

    @cached_property
    def _coefficients(self) -> Vector:
        return np.asarray(self.root @ self.y)

    def _errors(self, rows: Numbers) -> Vector:
        hat = self.x[rows] @ self.root[:, rows] + 1 / len(self.x)
        return np.asarray(solve((1 + 1e-9) * np.eye(len(rows)) - hat, self.residuals[rows]))


class Parting(NamedTuple):
    """The class c in the components of a mixture over x ↦ x axes − centre.

    Attributes:
        rows: (n,) which rows are of it. places: (n,) the component of each, -1 where of none.
    """

    c: int
    rows: Numbers
    centre: Vector
    axes: Vector
    mixture: GaussianMixture
    places: Classes

    @property
    def groups(self) -> list[Numbers]:
        """The rows of each component."""
        return [self.rows[self.places == j] for j in range(self.mixture.n_components)]


class Coordinates(NamedTuple):
    """Rows (N, m) in a basis."""

    basis: Basis
    x: Vector


class Seen(NamedTuple):
    """Rows of lot and trusted set, as far as they are looked at, the lot first.

    Attributes:
        ids, y, trusted: (N,). pixels, words: the rows by their pixels, and by words of their windows.
    """

    ids: npt.NDArray[np.object_]
    y: Classes
    trusted: Mask
    pixels: Coordinates
    words: Coordinates

    def partings(self, by: Coordinates, seeds: Classes) -> Iterator[Parting]:
        """Mixtures of each class, whitened by the other classes.

        Args:
            by: pixels or words. seeds: (K,) of the classes.
        """
        nothing = np.zeros(len(self.y), bool)
        rows = Rows(by.x, self.y, self.trusted, nothing, np.zeros((len(self.y), 0)))
        with one_thread():
            for white in whitened(rows, seeds, ~nothing, FEW_ROWS, FEW_ROWS, lend=False):
                own, reduced = np.flatnonzero(self.y == white.c), white.reduced(COMPONENTS)
                if reduced.own.shape[1]:
                    for mixture, places in fit_mixtures(reduced.own, CLUSTERS, white.seed):
                        yield Parting(white.c, own, reduced.centre, reduced.axes, mixture, places)


def look_at(suspect: Dataset, vetted: Sequence[Dataset], rng: np.random.Generator) -> Seen:
    """At most MOST_ROWS of the lot, and of the trusted rows, in pixels and in words of windows."""
    parts = [sample(suspect, MOST_ROWS, rng), *(sample(d, MOST_ROWS // len(vetted), rng) for d in vetted)]
    pool = Pool(tuple(parts))
    pixels = fit_basis(pool, partial(vectors, side=SIDE), AXES, rng)
    vocabulary = usual_words(pool, WORDS, WIDTH, COARSE, rng)
    words = fit_basis(pool, partial(vocabulary.responses, cells=CELLS), AXES, rng)
    by_pixels, by_words = (
        Coordinates(basis, np.concatenate([basis.coordinates_of(d) for d in parts])) for basis in (pixels, words)
    )
    ids, trusted = np.concatenate([d.ids for d in parts]), np.arange(len(pool)) >= len(parts[0])
    return Seen(ids, pool.y, trusted, by_pixels, by_words)


def left_out(x: Vector, y: Classes, n_classes: int) -> LeftOut:
    """The classifier whose penalty calls most rows right that it has not seen (the largest such penalty).

    Args:
        x: (N, m) rows. y: (N,) their classes.
    """
    centre, one_hot = x.mean(axis=0), np.eye(n_classes)[y]
    fitted = [_ridge(centre, x - centre, one_hot, penalty) for penalty in PENALTIES]
    right = [float((model.alone.argmax(axis=1) == y).mean()) for model in fitted]
    return max(zip(right, range(len(fitted)), fitted, strict=True))[2]


def _ridge(centre: Vector, x: Vector, y: Vector, penalty: float) -> LeftOut:
    products = x.T @ x
    products[np.diag_indices_from(products)] += penalty * np.trace(products) / max(1, x.shape[1])
    root = solve(products, x.T, assume_a="pos")
    return LeftOut(centre, x, root, y, y - y.mean(axis=0) - x @ (root @ y))


def can_be_left_out(rows: Numbers, n_class: int) -> bool:
    """Whether a group of a class of so many rows is neither too small nor too large."""
    return LEAST <= len(rows) <= MOST * n_class


def scatter(says: Classes, y: Classes, c: int, unsure: float = 0.0) -> float:
    """How much a group of the class c is like rows of all other classes, in [0, 1] or hardly more: the share of it that
    is taken for others, times how many these are (the exponential of the entropy), as a part of how many there are.

    Args:
        says: (n,) what is said of its rows. y: (N,) the classes of all rows.
        unsure: rows taken for others, and for c, that are counted beside those of the group: a few rows none of which
            goes elsewhere do not tell that none ever would.
    """
    others, usual = np.bincount(says[says != c]), np.bincount(y[y != c])
    share = ((says != c).sum() + unsure) / (len(says) + 2 * unsure)
    return float(share * max(1.0, _effective(others)) / _effective(usual))


def _effective(counts: npt.NDArray[np.int64]) -> float:
    share = counts[counts > 0] / max(1, counts.sum())
    return float(np.exp(-(share * np.log(share)).sum()))
