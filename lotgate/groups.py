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


@dataclass(frozen=True)
class Group:
    """A component of a class, as far as it matters.

    Attributes:
        c: its class. p_size: of its size, given its trusted rows. inside: these. n: its rows of the lot.
        separation: how far it stands apart.
        clean: about which part of it is clean, as its trusted rows say. varied: whether its images differ from one
            another.
        contradicted: whether models of trusted rows contradict its labels; see the function of that name.
    """

    c: int
    p_size: float
    inside: int
    n: int
    separation: float
    clean: float
    varied: bool
    contradicted: bool

    @property
    def natural(self) -> bool:
        """Trusted rows are in it, as many as there should be: clean rows make such groups."""
        return self.inside > 0 and self.p_size > EXPLAINED

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
        """How often a natural group stands as far apart: of those half as large or larger, of all if there are few. A
        class of which few natural groups are known may fall apart more than others do.
        """
        alike = [g.separation for g in natural if 2 * g.n >= self.n]
        if len(alike) < MIN_ROWS:
            alike = [g.separation for g in natural]
        if not alike:
            return 1.0
        known = calibrate(np.array(alike), min_rows=FEW_NATURAL)
        p_pattern = float(known.p_value(np.array([self.separation]))[0])
        own = np.array([g.separation for g in natural if g.c == self.c])
        return p_pattern if len(own) >= FEW_NATURAL else max(p_pattern, beyond_largest(self.separation, own))


def described(c: int, own: Rows, mine: Mask, separation: float, tolerance: float, kind: Kind) -> Group:
    """What there is to say of the group `mine` (N_c,) of the class c, which stands so far apart.

    Args:
        own: the rows of the class. tolerance: over-representation in the lot that chance may make.
    """
    group, n_trusted = mine & ~own.trusted, int(own.trusted.sum())
    share, inside = float(mine[~own.trusted].mean()), int((mine & own.trusted).sum())
    return Group(
        c=c,
        p_size=size_p_value(share, inside, n_trusted, tolerance),
        inside=inside,
        n=int(group.sum()),
        separation=separation,
        clean=trusted_part(share, inside, n_trusted),
        varied=kind.spread(own.looks[group]) >= VARIED * kind.spread(own.looks[~mine]),
        contradicted=contradicted(own.contradicted[group], own.contradicted[own.trusted]),
    )


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
