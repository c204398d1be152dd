"""What of the mimic's output depends on y alone, taken away.

(9) is blind to any function of y alone added to D_w: it cancels between E D_w(x̃|y) and E D_w(x|y), and the penalty is
on the slope in x. So D_w(x|y) can only be compared among samples with the same y, or nearly so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PRIOR_ROWS = 10
NEIGHBOURHOODS = 12


@dataclass(frozen=True, eq=False)
class Offsets:
    """Mean and spread of the mimic's output at some y, linear in between.

    Attributes:
        knots: (M,) ascending: class indices, or standardised target values.
        mean, deviation: (M,) of the outputs on S_aug there.
    """

    knots: Floats
    mean: Floats
    deviation: Floats

    def standardise(self, outputs: Floats, y: Floats) -> Floats:
        """(B,) outputs in deviations from what is usual at their y."""
        return (outputs - np.interp(y, self.knots, self.mean)) / np.interp(y, self.knots, self.deviation)


def learn_offsets(outputs: Floats, y: Floats, classes: int, standardise: bool) -> Offsets:
    """From S_aug.

    Args:
        outputs: (N,) of the mimic. y: (N,) class indices or standardised values. classes: K, 0 for regression.
        standardise: False learns nothing: the outputs stay as they are.
    """
    if not standardise:
        return Offsets(np.zeros(1), np.zeros(1), np.ones(1))
    if classes:
        groups = [outputs[y == k] for k in range(classes)]
        knots = np.arange(classes, dtype=np.float64)
    else:
        order = np.argsort(y, kind="stable")
        parts = np.array_split(order, max(1, min(NEIGHBOURHOODS, len(y) // (2 * PRIOR_ROWS))))
        groups = [outputs[part] for part in parts]
        knots = np.array([y[part].mean() for part in parts])
    overall = float(outputs.mean())
    means = np.array([group.mean() if len(group) else overall for group in groups])
    pooled = float(np.mean(np.concatenate([(g - m) ** 2 for g, m in zip(groups, means, strict=True)])))
    variances = [
        (((g - m) ** 2).sum() + PRIOR_ROWS * pooled) / (len(g) + PRIOR_ROWS) for g, m in zip(groups, means, strict=True)
    ]
    return Offsets(knots, means, np.sqrt(np.maximum(variances, 1e-12)))
