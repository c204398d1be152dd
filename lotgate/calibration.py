"""From scores of held-out trusted rows to p-values of suspect rows.

The conformal p-value (1 + #{heldout ≥ s}) / (n + 1) is valid whatever the score, as long as a clean suspect row and a
held-out row are exchangeable, but it cannot go below 1 / (n + 1). The largest TAIL_RATE of the scores (at least
TAIL_ROWS of them) exceed their start by a generalised Pareto law (Pickands 1975; Balkema & de Haan 1974), fitted by
probability-weighted moments (Hosking & Wallis 1987, eq. 3), with its shape drawn towards a prior, kept heavier than
exponential, and 1/k heavier still for k exceedances: that is what an exponential tail of unknown mean predicts for the
next row. A dozen exceedances often lack the hard rows that a lot has, so there the shape is heavier by FEW_HEAVIER,
falling with 1/k². So extrapolation errs towards larger p-values, the more so the fewer the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]

TAIL_RATE = 0.15
TAIL_ROWS = 12
COMMON = 0.05
PRIOR_SMALL = 0.3  # rows: what is taken for granted of a class before it is looked at
MIN_ROWS = 40  # fewer held-out rows are ranked only: nothing is known of their tail
SHAPE_RANGE = (0.05, 0.9)  # never lighter than nearly exponential
PRIOR_SHAPE = 0.15
FEW_HEAVIER = 0.2  # at TAIL_ROWS exceedances
PRIOR_ROWS = 40  # what the prior shape counts for: a dozen exceedances say little about a shape


@dataclass(frozen=True, eq=False)
class Calibration:
    """The scores of held-out clean rows and the tail fitted to their largest ones.

    Attributes:
        heldout: (n,) sorted scores.
        start: where the tail begins; +inf where there are too few rows to fit one.
        scale, shape: σ > 0 and ξ of the generalised Pareto law of the exceedances over `start`.
    """

    heldout: Scores
    start: float
    scale: float
    shape: float

    def p_value(self, scores: Scores) -> Scores:
        """(B,) in (0, 1]; never increases with the score."""
        n = len(self.heldout)
        conformal = (1 + n - np.searchsorted(self.heldout, scores, side="left")) / (n + 1)
        if not np.isfinite(self.start):
            return np.asarray(conformal, np.float64)
        at_start = (1 + n - np.searchsorted(self.heldout, self.start, side="right")) / (n + 1)
        excess = np.maximum(scores - self.start, 0.0)
        tail = at_start * np.power(1 + self.shape * excess / self.scale, -1 / self.shape)
        return np.asarray(np.where(scores > self.start, np.maximum(tail, 1e-300), np.maximum(conformal, at_start)))

    def threshold(self, rate: float) -> float:
        """The score whose p-value is `rate`: a clean row exceeds it that often."""
        n = len(self.heldout)
        at_start = (1 + n - np.searchsorted(self.heldout, self.start, side="right")) / (n + 1)
        if np.isfinite(self.start) and rate < at_start:
            return float(self.start + self.scale / self.shape * ((rate / at_start) ** -self.shape - 1))
        rank = int(np.ceil((1 - rate) * (n + 1)))
        return float(self.heldout[rank - 1]) if rank <= n else float("inf")


def class_inflation(p_values: Scores, y: npt.NDArray[np.int64], classes: int) -> Scores:
    """(K,) ≥ 1: how much oftener than COMMON held-out rows of each class have p ≤ COMMON, drawn towards 1.

    A p-value calibrated on all classes is right on average over them; in a rare class that every model mistakes, it is
    small for most clean rows. Multiplied by this it is right in each class, as far as its held-out rows can tell.

    Args:
        p_values, y: (n,) of held-out rows.
    """
    small = np.bincount(y[p_values <= COMMON], minlength=classes)
    expected = np.bincount(y, minlength=classes) * COMMON
    return np.asarray(np.maximum(1.0, (small + PRIOR_SMALL) / (expected + PRIOR_SMALL)))


def calibrate(heldout: Scores, min_rows: int = MIN_ROWS) -> Calibration:
    """Fits the tail to the scores of held-out clean rows.

    Args:
        heldout: (n,) finite scores, n ≥ 1.
        min_rows: fewer are ranked only.
    """
    ordered = np.sort(np.asarray(heldout, np.float64))
    k = max(TAIL_ROWS, round(TAIL_RATE * len(ordered)))
    start = float(ordered[-k - 1]) if len(ordered) >= min_rows else float("inf")
    excess = ordered[ordered > start] - start  # (k,) ascending, fewer where scores are tied
    if len(excess) < TAIL_ROWS // 2:
        return Calibration(ordered, float("inf"), 1.0, SHAPE_RANGE[0])
    k = len(excess)
    mean = excess.mean()
    weighted = (excess * (k - np.arange(1, k + 1) + 0.35) / k).mean()  # E[X (1 - F(X))]
    fitted = 2 - mean / max(mean - 2 * weighted, 1e-12)
    shape = float(np.clip((k * fitted + PRIOR_ROWS * PRIOR_SHAPE) / (k + PRIOR_ROWS), *SHAPE_RANGE))
    heavier = shape + 1 / k + FEW_HEAVIER * (TAIL_ROWS / k) ** 2
    return Calibration(ordered, start, float(mean * (1 - shape)), min(heavier, SHAPE_RANGE[1]))
