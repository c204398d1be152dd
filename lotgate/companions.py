"""Trusted rows that carry a trigger: their labels are taught by nothing but their companions.

Where a part of the trusted set carries the lot's backdoor, trusted rows explain the planted group, and models of
trusted rows confirm it. Yet only the trigger speaks for its labels. Left out together, its rows are taken for the
classes they came from, and these are nearly all classes; a natural group that is left out resembles one or two others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve

from lotgate.apart import sample
from lotgate.data import Dataset, Pool
from lotgate.machines import CELLS, WIDTH, WORDS
from lotgate.mixtures import Mask, Vector, fit_mixtures, one_thread
from lotgate.pixels import fit_basis, vectors
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
SCATTERED = 0.6  # of what rows drawn from all other classes would score
BEYOND = 1.25  # times what groups of other classes score
Numbers = npt.NDArray[np.int64]  # of rows


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A ridge classifier in closed form, which tells what it would say of rows had it not seen them.

    Attributes:
        x: (N, m) rows, centred. root: (m, N) the same times the inverse of their penalised products.
        y: (N, K) one column a class, 1 or 0. residuals: (N, K) what the classifier of all rows leaves.
    """

    x: Vector
    root: Vector
    y: Vector
    residuals: Vector

    def answers(self, rows: Numbers) -> Vector:
        """(n, K) for these rows, all left out together: y − (I − H)⁻¹ residuals, H their part of the hat matrix."""
        hat = self.x[rows] @ self.root[:, rows] + 1 / len(self.x)
        return np.asarray(self.y[rows] - solve((1 + 1e-9) * np.eye(len(rows)) - hat, self.residuals[rows]))

    @property
    def alone(self) -> Vector:
        """(N, K) for every row, left out by itself."""
        hat = np.einsum("nm,mn->n", self.x, self.root) + 1 / len(self.x)
        return np.asarray(self.y - self.residuals / np.maximum(1 - hat, 1e-9)[:, None])


class Judged(NamedTuple):
    """A group of the class c, and what is said of its rows when all of them are left out; see `scatter`."""

    c: int
    rows: Numbers
    says: Classes
    scatter: float


def left_out(x: Vector, y: Classes, n_classes: int) -> LeftOut:
    """The classifier whose penalty calls most rows right that it has not seen (the largest such penalty).

    Args:
        x: (N, m) rows. y: (N,) their classes.
    """
    x = x - x.mean(axis=0)
    one_hot = np.eye(n_classes)[y]
    fitted = [_ridge(x, one_hot, penalty) for penalty in PENALTIES]
    right = [float((model.alone.argmax(axis=1) == y).mean()) for model in fitted]
    return max(zip(right, range(len(fitted)), fitted, strict=True))[2]


def _ridge(x: Vector, y: Vector, penalty: float) -> LeftOut:
    products = x.T @ x
    products[np.diag_indices_from(products)] += penalty * np.trace(products) / max(1, x.shape[1])
    root = solve(products, x.T, assume_a="pos")
    return LeftOut(x, root, y, y - y.mean(axis=0) - x @ (root @ y))


def carriers(suspect: Dataset, vetted: Sequence[Dataset], rng: np.random.Generator) -> tuple[str, ...]:
    """The trusted samples that nothing but companions in lot and trusted set speaks for; see the module.

    Nobody of lots of fewer than LEAST_CLASSES classes, and of classes that would lose every trusted sample.

    Args:
        suspect: usable rows of the lot, images with classes. vetted: trusted rows, in as many parts as there are.
    """
    n_classes = len(suspect.classes)
    if n_classes < LEAST_CLASSES:
        return ()
    parts = [sample(suspect, MOST_ROWS, rng), *(sample(d, MOST_ROWS // len(vetted), rng) for d in vetted)]
    pool = Pool(tuple(parts))
    ids, trusted = np.concatenate([d.ids for d in parts]), np.arange(len(pool)) >= len(parts[0])
    seeds = rng.integers(2**31 - 1, size=n_classes)
    pixels = fit_basis(pool, partial(vectors, side=SIDE), AXES, rng)
    x = np.concatenate([pixels.coordinates_of(d) for d in parts])
    groups = list(_groups(x, pool.y, trusted, seeds))
    if not groups:
        return ()
    words = usual_words(pool, WORDS, WIDTH, COARSE, rng)
    looks = fit_basis(pool, partial(words.responses, cells=CELLS), AXES, rng)
    model = left_out(np.concatenate([looks.coordinates_of(d) for d in parts]), pool.y, n_classes)
    return tuple(sorted(map(str, ids[_carrying(groups, model, pool.y, trusted)])))


def _groups(x: Vector, y: Classes, trusted: Mask, seeds: Classes) -> Iterator[Numbers]:
    """The rows of each component of mixtures of each class, whitened by the other classes."""
    nothing = np.zeros(len(y), bool)
    rows = Rows(x, y, trusted, nothing, np.zeros((len(y), 0)))
    with one_thread():
        for white in whitened(rows, seeds, ~nothing, FEW_ROWS, FEW_ROWS, lend=False):
            own = np.flatnonzero(y == white.c)
            reduced = white.reduced(COMPONENTS).own
            for mixture, places in fit_mixtures(reduced, CLUSTERS, white.seed) if reduced.shape[1] else ():
                yield from (own[places == j] for j in range(mixture.n_components))


def _carrying(groups: Sequence[Numbers], model: LeftOut, y: Classes, trusted: Mask) -> Mask:
    """(N,) the trusted rows of groups that stand out, the most scattered first."""
    sizes, judged = np.bincount(y), _judged(groups, model, y)
    taken, found = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for group in sorted(judged, key=lambda g: g.scatter, reverse=True):
        natural = max((other.scatter for other in judged if other.c != group.c), default=0.0)
        with_it = taken[y == group.c].sum() + (~taken[group.rows]).sum()
        if group.scatter >= max(SCATTERED, BEYOND * natural) and with_it <= MOST * sizes[group.c]:
            taken[group.rows] = True
            found[group.rows] |= trusted[group.rows] & (group.says != group.c)
    emptied = [c for c in np.unique(y[found]) if not (trusted & ~found & (y == c)).any()]
    return np.asarray(found & ~np.isin(y, emptied))


def _judged(groups: Sequence[Numbers], model: LeftOut, y: Classes) -> list[Judged]:
    """The groups that are neither too small nor too large to be left out."""
    sizes, unseen, judged = np.bincount(y), model.alone.argmax(axis=1) == y, []
    for rows in groups:
        if len(rows) >= LEAST and len(rows) <= MOST * sizes[c := int(y[rows[0]])]:
            says = model.answers(rows).argmax(axis=1)
            judged.append(Judged(c, rows, says, scatter(np.where(unseen[rows], says, c), y, c)))
    return judged


def scatter(says: Classes, y: Classes, c: int) -> float:
    """How much a group of the class c is like rows of all other classes, in [0, 1] or hardly more: the share of it that
    is taken for others, times how many these are (the exponential of the entropy), as a part of how many there are.

    Args:
        says: (n,) what is said of its rows. y: (N,) the classes of all rows.
    """
    others, usual = np.bincount(says[says != c]), np.bincount(y[y != c])
    return float((says != c).mean() * _effective(others) / _effective(usual)) if others.any() else 0.0


def _effective(counts: npt.NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
