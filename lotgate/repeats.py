"""Repeats: values of a column that come again more often than the values around them, as what is written in does.

A measured quantity repeats a value about as often as its neighbours. A value that stands for something else (a limit, a
default, a trigger) does not. Which of these it is, trusted rows and the other columns tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, hypergeom

from lotgate.calibration import calibrate
from lotgate.data import FloatArray
from lotgate.groups import APART, MIXED
from lotgate.mixtures import Mask, Vector, fisher, size_p_value, trusted_part

Counts = npt.NDArray[np.int64]

AROUND = 20  # values of the column, half of them on either side, that tell how often one comes
LEAST_VALUES = 40  # different ones: a column of fewer is of codes, and the number next to a code says nothing of it
LEAST_ROWS = 4  # of a class and the lot that have a value, below which it is nothing that they share
LOUD = 0.01  # p-value up to which a value comes oftener than those around it
TOGETHER = 0.9  # of the rows that have one value, those that have one value of another column too, at least


@dataclass(frozen=True, eq=False)
class Column:
    """The different values of one column.

    Attributes:
        place: (N,) index of each row's value. values: (V,). loudness: (V,) how many times as often as the values around
            it each comes.
    """

    place: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    loudness: Vector

    def p_values(self, natural: Mask) -> Vector:
        """(V,) how often one of the natural values (V,) is as loud."""
        return calibrate(self.loudness[natural]).p_value(self.loudness) if natural.any() else np.ones(len(self.values))

    def usual(self, value: int, rows: Mask, natural: Mask) -> bool:
        """Whether the value of this index is loud without these rows (N,), too, by at least LEAST_ROWS others."""
        counts = np.bincount(self.place[~rows], minlength=len(self.values))
        rest = Column(self.place, self.values, _loudness(counts))
        return bool(counts[value] >= LEAST_ROWS and rest.p_values(natural)[value] <= LOUD)


@dataclass(frozen=True, eq=False)
class Repeat:
    """Rows of the lot and of one class that have the same value of a column, which trusted rows of it hardly have.

    Attributes:
        column: its index. value: as encoded. c: the class. rows: (N,) those of the lot that have it.
        p_size: how well trusted rows explain that there are so many. p_loud: how often a natural value is as loud.
        usual: whether all other rows, too, have it oftener than the values around it: a limit, a default.
    """

    column: int
    value: float
    c: int
    rows: Mask
    p_size: float
    p_loud: float
    usual: bool

    @property
    def p_value(self) -> float:
        """Of both; that a usual value is loud says nothing."""
        return fisher(self.p_size, 1.0 if self.usual else self.p_loud)


def column_of(values: FloatArray) -> Column:
    """The different values of a column (N,), and how often each comes beside those around it."""
    different, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return Column(place.astype(np.int64), different, _loudness(counts))


def repeats(x: FloatArray, y: npt.NDArray[np.int64], trusted: Mask) -> tuple[list[Repeat], int]:
    """Loud values that trusted rows of their class do not explain, and among how many of the lot they were sought.

    Args:
        x: (N, F) encoded rows, lot and trusted ones. y: (N,) classes. trusted: (N,) which of them are.
    """
    found, asked = list[Repeat](), 0
    for index in range(x.shape[1]):
        column = column_of(x[:, index])
        if len(column.values) >= LEAST_VALUES:
            of_column, values = _of_column(index, column, y, trusted)
            found += of_column
            asked += values
    return found, asked


def _of_column(index: int, column: Column, y: npt.NDArray[np.int64], trusted: Mask) -> tuple[list[Repeat], int]:
    n_values, found, asked = len(column.values), [], 0
    all_rows = np.bincount(column.place, minlength=n_values)
    of_lot = np.bincount(column.place[~trusted], minlength=n_values)
    for c in np.unique(y[~trusted]):
        own = y == c
        counts = np.bincount(column.place[own & ~trusted], minlength=n_values)
        inside = np.bincount(column.place[own & trusted], minlength=n_values)
        n_lot, n_trusted = int(counts.sum()), int(inside.sum())
        often = np.flatnonzero(counts >= LEAST_ROWS)
        asked += len(often)
        elsewhere = (all_rows - counts + 1)[often] / (len(y) - n_lot + 2)
        own_only = (binom.sf(counts[often] - 1, n_lot, elsewhere) <= APART) & ~_common(counts, of_lot, often)
        for v in often[own_only].tolist():
            share, known = counts[v] / n_lot, int(inside[v])
            if n_trusted and trusted_part(share, known, n_trusted) <= MIXED:
                found.append((v, int(c), size_p_value(share, known, n_trusted, 1.0)))
    natural = np.ones(n_values, bool)
    natural[[v for v, _, _ in found]] = False
    p_loud, reported = column.p_values(natural), list[Repeat]()
    for v, c, p_size in found:
        if p_loud[v] <= LOUD:
            rows = (column.place == v) & (y == c) & ~trusted
            usual = column.usual(v, rows, natural)
            reported.append(Repeat(index, float(column.values[v]), c, rows, p_size, float(p_loud[v]), usual))
    return reported, asked


def _common(counts: Counts, of_lot: Counts, asked: Counts) -> Mask:
    """(A,) whether the lot's other classes have a value about as often: then it is of a batch, which trusted rows need
    not know, and not of a label.

    Args:
        counts, of_lot: (V,) how many rows of the class, and of the lot, have each value. asked: (A,) of which.
    """
    others = (of_lot - counts)[asked]
    alike = hypergeom.sf(counts[asked] - 1, of_lot.sum(), of_lot[asked], counts.sum()) > APART
    return np.asarray((others > 0) & alike)


def columns_besides(x: FloatArray, repeat: Repeat) -> npt.NDArray[np.int64]:
    """Indices of the columns in which the rows of a repeat do not have one value, too: what speaks without it."""
    held = x[repeat.rows]
    return np.array(
        [f for f in range(x.shape[1]) if f != repeat.column and not _one_value(x[:, f], held[:, f])], np.int64
    )


def _one_value(column: FloatArray, held: FloatArray) -> bool:
    """Whether nearly all of these rows have the same value of a column that has many."""
    counts = np.unique(held, return_counts=True)[1]
    return bool(counts.max() >= TOGETHER * len(held)) and len(np.unique(column)) >= LEAST_VALUES


def _loudness(counts: npt.NDArray[np.int64]) -> Vector:
    """(V,) each count beside the mean of the AROUND values that lie nearest in order."""
    return np.asarray(counts / _around(counts.astype(np.float64)))


def _around(counts: Vector) -> Vector:
    """(V,) mean count of the AROUND values that lie nearest in order, each value itself left out."""
    n, half = len(counts), AROUND // 2
    total = np.concatenate([[0.0], np.cumsum(counts)])
    first = np.clip(np.arange(n) - half, 0, max(n - AROUND - 1, 0))
    last = np.minimum(first + AROUND + 1, n)
    return np.asarray(np.maximum(total[last] - total[first] - counts, 1.0) / np.maximum(last - first - 1, 1))
