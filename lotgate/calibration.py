"""From scores of held-out trusted rows to p-values of suspect rows.

The conformal p-value (1 + #{heldout ≥ s}) / (n + 1) is valid whatever the score, as long as a clean suspect row and a
held-out row are exchangeable, but it cannot go below 1 / (n + 1). The largest TAIL_RATE of the scores (at least
TAIL_ROWS of them) exceed their start by a generalised Pareto law (lotgate.tails), whose scale and shape are fitted by
maximum likelihood. Few trusted rows say little about a shape, but most of a lot is clean: its rows between the start
and the largest held-out score are fitted too, by the law truncated there. Rows beyond say nothing, for they may be
poison; poison between makes the tail heavier than it is, so that ENOUGH held-out rows in the tail are better left
alone. The shape is drawn towards a prior, kept at least (nearly) exponential and made heavier the fewer rows there
were, so that extrapolation errs towards larger p-values unless the true tail is far heavier.

Residuals of targets and distances have no law that promises an exponential tail. Theirs is averaged over all that the
rows leave open, and at least as large a share of clean rows is taken to lie beyond its start as the lot has between it
and the largest held-out score: of thirty, the largest may be small by luck. Of tables, where so few are often all there
are, they learn from all rows of the lot, explained as clean or as contamination (lotgate.contamination).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import norm

from lotgate.contamination import decontaminated_tail
from lotgate.tails import LIGHTEST, Belief, Tail, averaged_tail, likeliest_tail

Scores = npt.NDArray[np.float64]

TAIL_RATE = 0.15
TAIL_ROWS = 6
ATOM = 3  # held-out rows with one score, which no smooth tail makes: models that are as sure as they can be
COMMON = 0.05
PRIOR_SMALL = 0.3  # rows: what is taken for granted of a class before it is looked at
FEW_KNOWN = 10  # held-out rows of a class, below which they may show but one of its kinds
MIN_ROWS = 15  # fewer held-out rows are ranked only: nothing is known of their tail
ENOUGH = 30  # held-out rows in the tail, which need no help by the lot
NO_SCORES: Scores = np.zeros(0)
BULK = 0.2  # p-values above this are of clean rows, but for poison that no p-value shows
BINS = 8
PRIOR_LOG_SD = 0.3  # of the standard deviation of a null: a bulk of a few dozen rows says little about it
MOST_CERTAIN = 1e-12  # p-values are kept this far from 1, where their normal score is infinite


@dataclass(frozen=True)
class Null:
    """N(mean, deviation²) of the normal scores Φ⁻¹(1 − p) of clean rows; N(0, 1) where p-values are right."""

    mean: float
    deviation: float

    def p_value(self, p_values: Scores) -> Scores:
        """(B,) p-values as they are under this null; never smaller."""
        return np.asarray(np.maximum(p_values, norm.sf((_normal_score(p_values) - self.mean) / self.deviation)))


@dataclass(frozen=True, eq=False)
class Calibration:
    """The scores of held-out clean rows and the tail fitted to their largest ones.

    Attributes:
        heldout: (n,) sorted scores.
        start: where the tail begins; +inf where there are too few rows to fit one.
        at_start: p-value there. tail: of the exceedances over `start`; None without one.
        atom: the largest score beyond `start` that ATOM held-out rows or more have; −inf without one. at_atom: share of
            held-out rows that have it or more, and the least p-value up to it; 0 without one.
    """

    heldout: Scores
    start: float = float("inf")
    at_start: float = 1.0
    tail: Tail | None = None

    @cached_property
    def atom(self) -> float:
        values, counts = np.unique(self.heldout, return_counts=True)
        often = values[(counts >= ATOM) & (values > self.start)]
        return float(often[-1]) if len(often) else float("-inf")

    @cached_property
    def at_atom(self) -> float:
        return float((self.heldout >= self.atom).sum() / (len(self.heldout) + 1)) if np.isfinite(self.atom) else 0.0

    def p_value(self, scores: Scores) -> Scores:
        """(B,) in (0, 1]; never increases with the score."""
        n = len(self.heldout)
        conformal = (1 + n - np.searchsorted(self.heldout, scores, side="left")) / (n + 1)
        if self.tail is None:
            return np.asarray(conformal, np.float64)
        p = np.maximum(conformal, self.at_start)
        far = scores > self.start
        p[far] = np.maximum(self.at_start * self.tail.beyond(scores[far] - self.start), 1e-300)
        return np.where(scores <= self.atom, np.maximum(p, self.at_atom), p)

    def threshold(self, rate: float) -> float:
        """The score whose p-value is `rate`: a clean row exceeds it that often."""
        if self.tail is not None and rate < self.at_start:
            found = self.start + self.tail.exceeded(rate / self.at_start)
            return max(found, float(np.nextafter(self.atom, np.inf))) if rate < self.at_atom else found
        n = len(self.heldout)
        rank = int(np.ceil((1 - rate) * (n + 1)))
        return float(self.heldout[rank - 1]) if rank <= n else float("inf")


def class_inflation(p_values: Scores, y: npt.NDArray[np.int64], classes: int) -> Scores:
    """(K,) ≥ 1: how much oftener than COMMON held-out rows of each class have p ≤ COMMON, drawn towards 1.

    A p-value calibrated on all classes is right on average over them; in a rare class that every model mistakes, it is
    small for most clean rows. Multiplied by this it is right in each class, as far as its held-out rows can tell.
    Infinite where most of them have p ≤ COMMON: what is usual there is not known, and all of a rare class would be
    suspect.

    Args:
        p_values, y: (n,) of held-out rows.
    """
    small = np.bincount(y[p_values <= COMMON], minlength=classes)
    rows = np.bincount(y, minlength=classes)
    oftener = np.maximum(1.0, (small + PRIOR_SMALL) / (rows * COMMON + PRIOR_SMALL))
    return np.asarray(np.where(2 * small > rows, np.inf, oftener))


def uncovered(
    p_values: Scores, y: npt.NDArray[np.int64], heldout_y: npt.NDArray[np.int64], classes: int, share: float
) -> npt.NDArray[np.bool_]:
    """(K,) the classes that a few held-out rows do not cover: more than this share of the lot's have p ≤ COMMON.

    A class of which two kinds come may have held-out rows of one. All of the other kind are odd beside them, and
    nothing that calibrates on all classes can tell it from poison.

    Args:
        p_values, y: (N,) of the lot's rows. heldout_y: (n,) classes of held-out rows.
    """
    odd = np.bincount(y[p_values <= COMMON], minlength=classes)
    rows, known = np.bincount(y, minlength=classes), np.bincount(heldout_y, minlength=classes)
    return np.asarray((known < FEW_KNOWN) & (odd > share * rows))


def in_each_class(
    p_values: Scores, y: npt.NDArray[np.int64], heldout: Scores, heldout_y: npt.NDArray[np.int64], classes: int
) -> Scores:
    """(B,) p-values as they are right in each class, 1 where nothing is known of it; see class_inflation.

    Args:
        p_values, y: (B,) > 0, of the rows asked about. heldout, heldout_y: (n,) p-values and classes of held-out rows.
    """
    return np.asarray(np.minimum(1.0, p_values * class_inflation(heldout, heldout_y, classes)[y]))


def calibrate(
    heldout: Scores,
    lot: Scores = NO_SCORES,
    min_rows: int = MIN_ROWS,
    lightest: float = LIGHTEST,
    prior: Belief | None = None,
) -> Calibration:
    """Fits the tail to the scores of held-out clean rows.

    Args:
        heldout: (n,) finite scores, n ≥ 1. lot: (N,) of the rows on trial, by the same scorer; may be empty.
        min_rows: fewer held-out rows are ranked only.
        lightest: shape in (0, 1) that the likeliest tail has at least.
        prior: of scores of which no law is known: their tail is averaged instead, over what the rows leave open.
    """
    ordered = np.sort(np.asarray(heldout, np.float64))
    n = len(ordered)
    k = max(TAIL_ROWS, round(TAIL_RATE * n))
    if n < max(min_rows, k + 1):
        return Calibration(ordered)
    start = float(ordered[-k - 1])
    excess = ordered[ordered > start] - start  # (k,), fewer where scores are tied
    if len(excess) < TAIL_ROWS // 2:
        return Calibration(ordered)
    at_start = (1 + len(excess)) / (n + 1)
    if prior is not None and prior.witnesses and len(excess) < ENOUGH:
        at_start, tail = decontaminated_tail(excess, lot[lot > start] - start, len(lot), at_start, prior.witnesses)
        return Calibration(ordered, start, at_start, tail)
    inside = np.sort(lot[(lot > start) & (lot <= ordered[-1])]) - start
    helpful = inside if len(excess) < ENOUGH else NO_SCORES
    if prior is None:
        return Calibration(ordered, start, at_start, likeliest_tail(excess, helpful, lightest))
    between = len(inside) / max(len(lot), 1)
    return Calibration(ordered, start, max(at_start, between), averaged_tail(excess, helpful, prior))


def fit_null(p_values: Scores) -> Null:
    """The empirical null of a lot most of which is clean: from its p-values above BULK (Efron 2004, section 4).

    Where clean rows of the lot are not drawn like held-out ones, their p-values are too small all over. The normal
    scores of those that accuse nobody tell by how much: N(mean, deviation²), truncated, is fitted to their counts in
    BINS bins. It may only make p-values larger.

    Args:
        p_values: (N,) of all rows of the lot.
    """
    edges = np.linspace(BULK, 1, BINS + 1)
    counts = np.histogram(p_values[p_values > BULK], edges)[0]
    cuts = _normal_score(edges)

    def loss(parameters: Scores) -> float:
        mean, log_deviation = parameters
        cells = np.diff(norm.sf((cuts - mean) / np.exp(log_deviation)))
        cells = np.maximum(cells / max(cells.sum(), 1e-300), 1e-12)
        return float(-(counts * np.log(cells)).sum() + (log_deviation / PRIOR_LOG_SD) ** 2 / 2)

    mean, log_deviation = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return Null(max(0.0, float(mean)), max(1.0, float(np.exp(log_deviation))))


def _normal_score(p_values: Scores) -> Scores:
    return np.asarray(norm.isf(np.clip(p_values, 1e-300, 1 - MOST_CERTAIN)))
