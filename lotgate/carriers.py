"""Trusted rows that carry a trigger: their labels are taught by nothing but their companions.

Where a part of the trusted set carries the lot's backdoor, trusted rows explain the planted group, and models of
trusted rows confirm it. What the rest says of a group that is left out (lotgate.companions) tells all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from lotgate.companions import (
    LEAST_CLASSES,
    MOST,
    SCATTERED,
    LeftOut,
    Numbers,
    can_be_left_out,
    left_out,
    look_at,
    scatter,
)
from lotgate.data import Dataset
from lotgate.mixtures import Mask
from lotgate.whitened import Classes

BEYOND = 1.25  # times what groups of other classes score


class Judged(NamedTuple):
    """A group of the class c, and what is said of its rows when all of them are left out."""

    c: int
    rows: Numbers
    says: Classes
    scatter: float


def carriers(suspect: Dataset, vetted: Sequence[Dataset], rng: np.random.Generator) -> tuple[str, ...]:
    """The trusted samples that nothing but companions in lot and trusted set speaks for; see the module.

    Nobody of lots of fewer than LEAST_CLASSES classes, and of classes that would lose every trusted sample.

    Args:
        suspect: usable rows of the lot, images with classes. vetted: trusted rows, in as many parts as there are.
    """
    n_classes = len(suspect.classes)
    if n_classes < LEAST_CLASSES:
        return ()
    seen = look_at(suspect, vetted, rng)
    seeds = rng.integers(2**31 - 1, size=n_classes)
    groups = [rows for parting in seen.partings(seen.pixels, seeds) for rows in parting.groups]
    if not groups:
        return ()
    judged = _judged(groups, left_out(seen.words.x, seen.y, n_classes), seen.y)
    return tuple(sorted(map(str, seen.ids[_carrying(judged, seen.y, seen.trusted)])))


def _judged(groups: Iterable[Numbers], model: LeftOut, y: Classes) -> list[Judged]:
    """The groups that can be left out. Whom the rest takes for another class even beside its companions is no carrier
    of anything that they share.
    """
    sizes, unseen, judged = np.bincount(y), model.alone.argmax(axis=1) == y, []
    for rows in groups:
        if len(rows) and can_be_left_out(rows, sizes[c := int(y[rows[0]])]):
            says = model.answers(rows).argmax(axis=1)
            judged.append(Judged(c, rows, says, scatter(np.where(unseen[rows], says, c), y, c)))
    return judged


def _carrying(judged: Sequence[Judged], y: Classes, trusted: Mask) -> Mask:
    """(N,) the trusted rows of groups that stand out, the most scattered first."""
    sizes, taken, found = np.bincount(y), np.zeros(len(y), bool), np.zeros(len(y), bool)
    for group in sorted(judged, key=lambda g: g.scatter, reverse=True):
        natural = max((other.scatter for other in judged if other.c != group.c), default=0.0)
        with_it = taken[y == group.c].sum() + (~taken[group.rows]).sum()
        if group.scatter >= max(SCATTERED, BEYOND * natural) and with_it <= MOST * sizes[group.c]:
            taken[group.rows] = True
            found[group.rows] |= trusted[group.rows] & (group.says != group.c)
    emptied = [c for c in np.unique(y[found]) if not (trusted & ~found & (y == c)).any()]
    return np.asarray(found & ~np.isin(y, emptied))
