"""Numbers that are infinite, no numbers at all, or far beyond the range of the trusted rows.

How far is too far, trusted rows tell themselves: each is held against the others. Where more of them than NATURAL_RATE
would be at fault in one column or another, such values belong to the process (spikes of a current, counts with a long
tail, or just many columns and few rows), and the lot may go AGAIN times as far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lotgate.contract.columns import INFORMATIVE_ROWS, NATURAL_RATE, Column
from lotgate.contract.words import Words, joined, no_words

Vector = npt.NDArray[np.float64]

AGAIN = 2.0  # a lot has more rows than its trusted set, and so goes further


def out_of_range(n: int, columns: Sequence[Column], least: float) -> Words:
    """(n,) which numbers of each sample are no numbers, infinite, or outside the trusted range by more than the
    tolerance.

    Args:
        least: tolerance in trusted ranges, where the trusted rows do not ask for more.
    """
    words, numeric = no_words(n), [column for column in columns if column.numeric]
    tolerance = tolerated([column.trusted.to_numpy(np.float64) for column in numeric], least)
    for column in numeric:
        values = column.suspect.to_numpy(np.float64)
        low, high = plausible(column.trusted.to_numpy(np.float64), tolerance)
        faulty = column.misfit | np.isinf(values) | (values < low) | (values > high)
        for index in np.flatnonzero(faulty):
            value = "not a number" if column.misfit[index] else f"{values[index]:.6g}"
            words[index] = joined(words[index], f"{column.name} is {value}, far outside the trusted range")
    return words


def plausible(trusted: Vector, tolerance: float) -> tuple[float, float]:
    """The range of trusted values (M,) widened on both sides by so many ranges; everything where they tell of none."""
    if not _informative(trusted):
        return -np.inf, np.inf
    finite = trusted[np.isfinite(trusted)]
    reach = tolerance * np.ptp(finite)
    return float(finite.min() - reach), float(finite.max() + reach)


def tolerated(trusted: Sequence[Vector], least: float) -> float:
    """How many trusted ranges beyond it a value may lie: at least `least`, and AGAIN times as many as all but
    NATURAL_RATE of the trusted rows keep to, each beside the others.

    Args:
        trusted: (M,) per column, of the same rows; NaN where missing.
    """
    reach = [_reach(values) for values in trusted if _informative(values)]  # (M,) each
    if not reach:
        return least
    ordered = np.sort(np.max(reach, axis=0))[::-1]
    usual = float(ordered[int(NATURAL_RATE * len(ordered))])
    return max(least, AGAIN * usual) if usual > least else least


def _informative(trusted: Vector) -> bool:
    """A column that is mostly one value (no pool: area 0) shows its range only in the others, if there are enough."""
    _, counts = np.unique(trusted[np.isfinite(trusted)], return_counts=True)
    return int(counts.sum() - counts.max(initial=0)) >= INFORMATIVE_ROWS


def _reach(values: Vector) -> Vector:
    """(M,) how far each value lies outside the range of all others, in such ranges; 0 inside it.

    Args:
        values: (M,) informative, so that the others have a range.
    """
    reach, finite = np.zeros(len(values)), np.flatnonzero(np.isfinite(values))
    order = finite[np.argsort(values[finite], kind="stable")]
    least, second, last_but_one, most = values[order[[0, 1, -2, -1]]]
    reach[order[0]] = (second - least) / (most - second)
    reach[order[-1]] = (most - last_but_one) / (last_but_one - least)
    return reach
