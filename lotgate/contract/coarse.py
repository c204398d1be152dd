"""How often two rows of a table show the same by chance: coarse columns make that natural, copying is not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import poisson

from lotgate.contract.columns import Column

#: Probability below which chance no longer explains that so many pairs of rows show the same.
CHANCE = 0.01
MANY = 60  # columns, above which rows that agree in all but two are not counted: there are thousands of pairs
Hashes = npt.NDArray[np.uint64]


def chance_of_same(columns: Sequence[Column]) -> float:
    """Probability that two trusted rows agree in every column, as far as rows of which perhaps no two do can tell.

    That rows agree in all columns but one or two, times that they agree in these: rows alike in some columns are rather
    alike in others, so that no such split says too much. The largest of them.
    """
    hashes = [_hashes(column.trusted) for column in columns]
    if not hashes or len(hashes[0]) < 2:
        return 0.0
    whole = _sum(hashes)
    left_out = (1, 2) if len(hashes) <= MANY else (1,)
    parts = (_sum(some) for k in left_out for some in combinations(hashes, k))
    return max(_alike(whole), *(_alike(whole - part) * _alike(part) for part in parts))


def explained_by_chance(pairs: int, among: float, chance: float) -> bool:
    """Whether so many pairs of rows that show the same are natural among all pairs asked about."""
    return pairs == 0 or bool(poisson.sf(pairs - 1, among * chance) > CHANCE)


def _hashes(values: pd.Series) -> Hashes:
    """(M,) a number for each value of a column, such that sums over columns tell rows apart."""
    salted = values.astype(str) + "\0" + str(values.name)
    return np.asarray(pd.util.hash_array(salted.to_numpy(dtype=object)), np.uint64)


def _sum(hashes: Sequence[Hashes]) -> Hashes:
    """(M,) modulo 2⁶⁴."""
    return np.asarray(np.sum(hashes, axis=0, dtype=np.uint64))


def _alike(hashes: Hashes) -> float:
    """Share of the pairs of rows that are the same."""
    counts = np.unique(hashes, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / (len(hashes) * (len(hashes) - 1)))
