"""Surplus: more suspicious rows in a class of the lot than its trusted rows explain, though no single one says much.

With n trusted rows the p-value of one row hardly goes below 1 / n. Yet where forty of four hundred rows of a class lie
beyond all of its seventy trusted ones, chance has nothing to do with it. Where lot and trusted rows of a class are
alike, every order of both by suspicion is as likely as any other. Up to a limit with k lot rows and j trusted rows
beyond it, some a·(j + 1) of the k are clean, with a = N_c / (n_c + 2), and the surplus is k − (1 + COST)·a·(j + 1). How
likely its largest value over all limits would be, if the order were random, is counted exactly, as the number of
lattice paths that reach a boundary (as for Kolmogorov and Smirnov's tests; Durbin 1973, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lotgate.calibration import FEW_KNOWN
from lotgate.policy import best_limit

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

LEVEL = 0.005  # how often at most anything is said of a lot that is like the trusted rows
COST = 2.0  # how many found rows a clean one is worth
MOST_CLEAN = 0.02  # of the lot: clean rows that may lie beyond a limit
SUSPICIOUS = 0.5  # p-values from here on are of rows that nothing speaks against
ALONE = 0.35  # expected share of clean rows among those that are accused singly, and so explain a surplus
EVEN = 1.0  # found rows that a clean one is worth there: up to the limit, suspects are more likely poison than not


@dataclass(frozen=True, eq=False)
class Ranked:
    """Rows as one detector judges them.

    Attributes:
        scored: (N,) p-values of their scores, which rank them within a class. p_values: the same, right in each class.
        y: (N,) classes.
    """

    scored: Floats
    p_values: Floats
    y: Classes


def of_surplus(lot: Ranked, trusted: Ranked) -> Floats:
    """(N,) p-values of the lot's rows that make up a surplus of their class, at most LEVEL; 1 for all others.

    Rows that are accused singly are not counted, of either kind. Nothing is said of a class with fewer than FEW_KNOWN
    trusted rows: models learn from the others of them what each is judged by, and so few may all be of one kind.
    """
    _, alone = best_limit(lot.p_values, ALONE, EVEN, MOST_CLEAN)
    left, trusted_left = lot.p_values > alone, trusted.p_values > alone
    found, classes = np.ones(len(lot.y)), np.unique(lot.y)
    for c in classes:
        own, vouched = lot.y == c, trusted.y == c
        if vouched.sum() < FEW_KNOWN:
            continue
        rest, known = lot.scored[own & left], trusted.scored[vouched & trusted_left]
        p, limit = surplus(rest, known, MOST_CLEAN * len(lot.y))
        if p * len(classes) <= LEVEL:
            found[own & (lot.scored <= limit)] = p * len(classes)
    return found


def surplus(lot: Floats, trusted: Floats, most_clean: float) -> tuple[float, float]:
    """The probability of so large a surplus where both are alike, and the limit that yields it; (1, 0) without one.

    Args:
        lot, trusted: (N,) and (n,) p-values of rows of one class. most_clean: rows of the lot that may be clean beyond
            the limit.
    """
    limits = np.unique(lot[lot < SUSPICIOUS])
    if not len(limits):
        return 1.0, 0.0
    clean = len(lot) / (len(trusted) + 2) * np.arange(1, len(trusted) + 2)  # by trusted rows beyond the limit
    price = (1 + COST) * np.where(clean <= most_clean, clean, np.inf)
    suspects = np.searchsorted(np.sort(lot), limits, side="right")
    gains = suspects - price[np.searchsorted(np.sort(trusted), limits, side="right")]
    best = int(gains.argmax())
    if gains[best] <= 0:
        return 1.0, 0.0
    first = int((lot < SUSPICIOUS).sum() + (trusted < SUSPICIOUS).sum())
    boundary = gains[best] + price[np.isfinite(price)]
    return reached(len(lot), len(trusted), first, boundary), float(limits[best])


def reached(n_lot: int, n_trusted: int, first: int, boundary: Floats) -> float:
    """The probability that, in a random order, there is a place among the `first` ones up to which at least boundary[j]
    rows of the lot and exactly j trusted rows have come, for any j.

    Args:
        boundary: (J,) increasing, J ≤ n_trusted + 1.
    """
    paths = np.zeros(len(boundary))  # probability of j trusted rows so far, on paths that have not reached it
    paths[0], probability, came = 1.0, 0.0, np.arange(len(boundary))
    for place in range(first):
        trusted_next = (n_trusted - came) / (n_lot + n_trusted - place)
        paths = paths * (1 - trusted_next) + np.concatenate([[0.0], (paths * trusted_next)[:-1]])
        there = place + 1 - came >= boundary - 1e-9
        probability += float(paths[there].sum())
        paths[there] = 0.0
    return min(1.0, probability)
