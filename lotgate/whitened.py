"""The rows of a class, whitened by rows that say what is usual: what only this class has is large there.

Rows of the other classes say it. Where they are few, as faulty parts are beside faultless ones, trusted rows of the
class itself help: they carry no trigger either.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

from lotgate.mixtures import Mask, Vector, principal_axes
from lotgate.pixels import whitening

FEW_OTHERS = 160  # rows of other classes, below which trusted rows of the class itself help to tell
MIN_LENDERS = 16  # trusted rows of a class, below which it has none to spare
NOTHING = 1e-9  # variance of rows that are all the same
Classes = npt.NDArray[np.int64]


class Rows(NamedTuple):
    """Rows x (N, m) in the axes of a basis, their classes y (N,), which are trusted (N,), whether models of trusted
    rows contradict their labels (N,), and their looks (N, q), by which repeats of one image are told.
    """

    x: Vector
    y: Classes
    trusted: Mask
    contradicted: Mask
    looks: Vector

    def where(self, mask: Mask) -> Rows:
        """The rows of a mask (N,)."""
        return Rows(self.x[mask], self.y[mask], self.trusted[mask], self.contradicted[mask], self.looks[mask])


class Reduced(NamedTuple):
    """Rows of a class (N_c, n) and of the others (r, n) in x ↦ x axes − centre: n principal components of the class."""

    own: Vector
    others: Vector
    centre: Vector
    axes: Vector


class WhiteClass(NamedTuple):
    """The class c whitened by other rows.

    Attributes:
        seed: of what is fitted to it. own: its rows. others: (r, m) the rows that say what is usual.
        mean, root: of these (lotgate.pixels.whitening). white: (N_c, m) its rows, whitened.
    """

    c: int
    seed: int
    own: Rows
    others: Vector
    mean: Vector
    root: Vector
    white: Vector

    def reduced(self, n: int, skipped: int = 0) -> Reduced:
        """In the first n principal components of the whitened class, after those skipped; fewer where it has fewer."""
        centre, basis = principal_axes(self.white, skipped + n)
        basis = basis[:, skipped:]
        axes = solve_triangular(self.root, basis, lower=True, trans="T")  # (m, n): whitened and reduced at once
        origin = self.mean @ axes + centre @ basis
        return Reduced((self.white - centre) @ basis, self.others @ axes - origin, origin, axes)


def whitened(rows: Rows, seeds: Classes, usual: Mask, min_rows: int, least: int, *, lend: bool) -> list[WhiteClass]:
    """The rows of each class, whitened; without the classes of which there is too little to say. That is all of them
    where rows have no coordinates (m = 0), since a view shows no difference between any two images.

    Args:
        seeds: (K,) of the classes.
        usual: (N,) the rows that say what is usual, as far as they are of other classes.
        min_rows: of the lot, that a class must have. least: rows of other classes that it takes to say what is usual.
        lend: whether a class may lend trusted rows to others that are few.
    """
    found: list[WhiteClass] = []
    if not rows.x.shape[1]:
        return found
    for c, seed in enumerate(seeds):
        own, others = rows.where(rows.y == c), rows.x[usual & (rows.y != c)]
        if lend and len(others) < FEW_OTHERS:
            own, others = _lent(own, others, int(seed))
        if int((~own.trusted).sum()) < min_rows or not own.trusted.any() or len(others) < least:
            continue
        mean, root = whitening(others)
        white = solve_triangular(root, (own.x - mean).T, lower=True).T
        if white.var(axis=0).max() > NOTHING:
            found.append(WhiteClass(c, int(seed), own, others, mean, root, white))
    return found


def _lent(own: Rows, others: Vector, seed: int) -> tuple[Rows, Vector]:
    """The rows of a class without half of its trusted ones, and the others with them. Rows that a whitening was made
    from lie closer than others, so that they no longer count for the class.
    """
    if int(own.trusted.sum()) < MIN_LENDERS:
        return own, others
    lent = own.trusted & (np.random.default_rng(seed).random(len(own.y)) < 0.5)
    return own.where(~lent), np.concatenate([others, own.x[lent]])
