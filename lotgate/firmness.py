"""Firmness: are rows that models contradict wrong, or do models just not know?

With few trusted rows the p-value of a single row is extrapolated, and a table whose labels are partly chance, or partly
beyond its models, has clean rows beyond all of its trusted ones. What tells them apart is in the lot itself. A label
that was changed is contradicted about as firmly as labels are usually confirmed: models know the row as well as any
other. Where models do not know, they contradict weakly, or contradict everywhere.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import hypergeom

from lotgate.policy import Mask, best_limit
from lotgate.surplus import ALONE, EVEN, LEVEL, MOST_CLEAN, Floats, Ranked

FIRM = 1 / 3  # rows that are contradicted firmly, as a share of those that are contradicted less firmly, at least
LEAST_FIRM = 1 / 10  # of the confirmed rows of a shifted lot, which contradicted ones must surpass
UNKNOWN = 1 / 4  # share of contradicted rows from which on models do not know the labels of a table
OFTENER = 0.05  # how often chance may contradict a clean lot so much oftener than its trusted rows


def stand_out(scores: Floats) -> bool:
    """Whether the contradicted rows of a lot stand out: they are few, and a quarter of them are contradicted as firmly
    as half of the others are confirmed.

    Args:
        scores: (N,) log-odds against each row's label, > 0 where it is contradicted.
    """
    contradicted, confirmed = scores[scores > 0], -scores[scores < 0]
    if hard_to_tell(scores > 0) or not len(confirmed):
        return False
    firm = int((contradicted >= np.median(confirmed)).sum())
    return firm >= FIRM * (len(contradicted) - firm)


def firm(scores: Floats) -> Mask:
    """(N,) which rows of images are contradicted as firmly as nine of ten others are confirmed: in a shifted lot models
    err oftener than on trusted rows, at all levels of their p-values, but not firmly.

    Args:
        scores: (N,) log-odds against each row's label, > 0 where it is contradicted.
    """
    confirmed = -scores[scores < 0]
    return scores >= np.quantile(confirmed, LEAST_FIRM) if len(confirmed) else np.zeros(len(scores), bool)


def hard_to_tell(contradicted: Mask) -> bool:
    """Whether models contradict more labels (N,) than they would of a table that they know."""
    return int(contradicted.sum()) > UNKNOWN * len(contradicted)


def any_alone(p_values: Floats) -> bool:
    """Whether p-values (N,) of single rows are so small that some of them would be accused."""
    gain, _ = best_limit(p_values, ALONE, EVEN, MOST_CLEAN)
    return gain > 0


def beyond_chance(lot: Ranked, trusted: Ranked) -> bool:
    """Whether more rows of the lot are accused singly than its trusted rows explain (p ≤ LEVEL): of both together, the
    trusted ones among the accused are too few for a random draw.
    """
    _, limit = best_limit(lot.p_values, ALONE, EVEN, MOST_CLEAN)
    accused, known = int((lot.p_values <= limit).sum()), int((trusted.p_values <= limit).sum())
    rows, vetted = len(lot.y), len(trusted.y)
    return _by_chance(accused, rows, known, vetted) <= LEVEL


def oftener_contradicted(lot: Mask, trusted: Mask) -> bool:
    """Whether models of trusted rows alone, which saw none of these, contradict the labels of the lot (N,) oftener than
    those of the trusted rows (n,) by more than chance (p ≤ OFTENER). They tell both apart by nothing but their labels;
    models that learn from the lot, too, learn from rows that trusted ones have chosen, and agree with these.
    """
    return _by_chance(int(lot.sum()), len(lot), int(trusted.sum()), len(trusted)) <= OFTENER


def _by_chance(found: int, rows: int, known: int, vetted: int) -> float:
    """How often a random draw of `vetted` rows has at most `known` of all that were found, of lot and trusted rows."""
    return float(hypergeom.cdf(known, rows + vetted, found + known, vetted))
