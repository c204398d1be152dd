"""How far targets usually lie from what models predict: dear houses are missed by more than cheap ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

PARTS = 8  # that predictions are cut into, at most
ROWS_PER_PART = 120  # at least: the median of fewer is mostly luck
LEAST = 0.25  # of the median of all: where models are nearly right, what little they err by is no scale


@dataclass(frozen=True, eq=False)
class UsualResidual:
    """The usual absolute residual at a prediction, between a few places and beyond them.

    Attributes:
        places: (m,) ascending predictions. medians: (m,) > 0, of the residuals about there.
    """

    places: Vector
    medians: Vector

    def standardised(self, predicted: Vector, y: Vector) -> Vector:
        """(B,) |y − ŷ| in units of what is usual at ŷ."""
        return np.asarray(np.abs(y - predicted) / np.interp(predicted, self.places, self.medians))


def usual_residual(predicted: Vector, y: Vector) -> UsualResidual:
    """From predictions (n,) of rows that models have not seen, and their targets; n ≥ 1."""
    residuals = np.abs(y - predicted)
    overall = float(np.median(residuals)) or 1.0
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(PARTS, max(1, len(predicted) // ROWS_PER_PART)))
    places = np.array([np.median(predicted[rows]) for rows in parts])
    medians = np.array([np.median(residuals[rows]) for rows in parts])
    return UsualResidual(places, np.maximum(medians, LEAST * overall))
