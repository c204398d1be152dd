"""A group of a class, and what makes it suspect: trusted rows are not in it, and no natural one stands so far apart.

lotgate.apart finds groups along principal axes and independent components, lotgate.waves along plane waves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from lotgate.calibration import MIN_ROWS, calibrate
from lotgate.mixtures import EXPLAINED, THIN, Mask, Vector, fisher, size_p_value, trusted_part
from lotgate.whitened import Rows

MIXED = 0.3  # trusted rows of a group, as a part of those expected, where no purer group of its class is accused
APART = 0.01  # p-value of the separation up to which a group carries a pattern, of contradictions the same
VARIED = 0.1  # variance of a group beside that of its class: less, and its images are repeats of one another
FEW_NATURAL = 8  # natural groups, below which nothing is known of the tail of their separations
HEAVY = 2.0  # exponent of the tail beyond the largest separation known of a class


def spread(rows: Vector) -> float:
    """Total variance of rows (N, m); 0 of none."""
    return float(rows.var(axis=0).sum()) if len(rows) else 0.0


def usual_spread(rows: Vector) -> float:
    """Total variance of rows (N, m) as their median row has it; 0 of none, and of repeats with a few others."""
    return float(np.median(np.square(rows - np.median(rows, axis=0)).sum(axis=1))) if len(rows) else 0.0


class Kind(NamedTuple):
    """How groups of one kind are measured.

    Attributes:
        level: quantile of a group that stands for it.
        spread: of rows (N, m), by which repeats are told.
    """

    level: float
    spread: Callable[[Vector], float]


COMPONENT = Kind(0.5, spread)
TAIL = Kind(0.1, usual_spread)  # it begins where the others end, and picks up single rows that no group of its own has


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A group of a class, as its trusted rows see it.

    Attributes:
        n: its rows of the lot. inside: its trusted rows. p_size: of its size, given the trusted rows of the class.
        clean: about which part of it is clean, as its trusted rows say.
    """

    n: int
    inside: int
    p_size: float
    clean: float

    @property
    def natural(self) -> bool:
        """Trusted rows are in it, as many as there should be: clean rows make such groups."""
        return self.inside > 0 and self.p_size > EXPLAINED


def sized(n: int, inside: int, of_lot: int, trusted: int, tolerance: float) -> Sized:
    """A group of n rows of the lot and some trusted ones, in a class that has so many of each.

    Args:
        tolerance: over-representation in the lot that chance may make.
    """
    share = n / max(1, of_lot)
    p_size = size_p_value(share, inside, trusted, tolerance)
    return Sized(n=n, inside=inside, p_size=p_size, clean=trusted_part(share, inside, trusted))


@dataclass(frozen=True, kw_only=True)
class Group(Sized):
    """A component of a class, as far as it matters.

    Attributes:
        c: its class. separation: how far it stands apart. varied: whether its images differ from one another.
        contradicted: whether models of trusted rows contradict its labels; see the function of that name.
    """

    c: int
    separation: float
    varied: bool
    contradicted: bool

    @property
    def pure(self) -> bool:
        """Trusted rows are next to absent: clean rows are, too."""
        return self.clean <= THIN

    def p_value(self, natural: Sequence[Group], *, shifted: bool) -> float:
        """Of the whole group, given the natural ones of all classes, and whether the lot is shifted."""
        return self.p_given(self.p_pattern(natural), shifted=shifted) if self.suspect else 1.0

    @property
    def suspect(self) -> bool:
        """Neither do trusted rows explain it, nor is it of repeats of one image."""
        return self.p_size <= EXPLAINED and self.clean <= MIXED and self.varied

    def p_given(self, p_pattern: float, *, shifted: bool) -> float:
        """Of the whole of a suspect group, given how often a natural one stands as far apart."""
        credible = self.contradicted or (p_pattern <= APART and not shifted)
        return fisher(self.p_size, p_pattern) if credible else 1.0

    def p_pattern(self, natural: Sequence[Group]) -> float:
        """How often a natural group stands as far apart. A class of which few natural groups are known may fall apart
        more than others do.
        """
        p_pattern = among_natural(self.separation, self.n, [(g.separation, g.n) for g in natural])
        own = np.array([g.separation for g in natural if g.c == self.c])
        return p_pattern if len(own) >= FEW_NATURAL else max(p_pattern, beyond_largest(self.separation, own))


def described(c: int, own: Rows, mine: Mask, separation: float, tolerance: float, kind: Kind) -> Group:
    """What there is to say of the group `mine` (N_c,) of the class c, which stands so far apart.

    Args:
        own: the rows of the class. tolerance: over-representation in the lot that chance may make.
    """
    group, inside, trusted = mine & ~own.trusted, mine & own.trusted, int(own.trusted.sum())
    size = sized(int(group.sum()), int(inside.sum()), len(mine) - trusted, trusted, tolerance)
    return Group(
        **vars(size),
        c=c,
        separation=separation,
        varied=kind.spread(own.looks[group]) >= VARIED * kind.spread(own.looks[~mine]),
        contradicted=contradicted(own.contradicted[group], own.contradicted[own.trusted]),
    )


def among_natural(value: float, n: int, natural: Sequence[tuple[float, int]]) -> float:
    """How often a natural group has as large a value as one of n rows: of those half as large or larger, of all if
    these are few; 1 where there are none.

    Args:
        natural: values of natural groups, and their rows.
    """
    alike = [known for known, rows in natural if 2 * rows >= n]
    if len(alike) < MIN_ROWS:
        alike = [known for known, _ in natural]
    if not alike:
        return 1.0
    return float(calibrate(np.array(alike), min_rows=FEW_NATURAL).p_value(np.array([value]))[0])


def beyond_largest(separation: float, known: Vector) -> float:
    """How often a group of a class stands as far apart as `separation`, given the separations (n,) of natural groups of
    that class: their rank, and beyond the largest a tail as heavy as one with a finite variance can be. Few groups of a
    class tell no more, not even that its groups stand apart by standard deviations and not by dozens of them.
    """
    rank = (1 + int((known >= separation).sum())) / (len(known) + 1)
    largest = max(0.0, float(known.max(initial=0.0)))
    return float(rank * min(1.0, (1 + largest) / (1 + max(separation, 0.0))) ** HEAVY)


def contradicted(group: Mask, trusted: Mask) -> bool:
    """Whether models of trusted rows contradict most of a group (n,), and oftener than the trusted rows of its class
    (n_t,): a rare class that models do not know is contradicted as such.
    """
    usual = (int(trusted.sum()) + 1) / (len(trusted) + 2)
    many = int(group.sum())
    return 2 * many > len(group) and float(binom.sf(many - 1, len(group), usual)) <= APART
