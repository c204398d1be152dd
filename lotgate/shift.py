"""Whether the clean rows of a lot are drawn like the trusted ones: other writers, another coil, a warmer week.

Where they are not, a lot teaches models what trusted rows cannot know, and most of its rows seem to be taught by the
lot, with or without poison. Nothing then follows from a group that trusted rows do not explain, unless models of
trusted rows also contradict the labels of its members.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

from lotgate.crossfit import CrossFit, fit_excess
from lotgate.data import Dataset
from lotgate.files import write_text
from lotgate.findings import Check

SHIFT = Path("work/crossfit/shift.json")
ALIKE = 0.53  # chance up to which 6% of poison in the rest of the classes may be what exceeds trusted rows
CERTAIN = 1.5  # standard errors above that: a rare class leaves few rows to compare
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """How the excess confidence of the lot's rows compares with that of trusted rows (lotgate.crossfit).

    Attributes:
        chance: probability that a row of the lot exceeds a trusted one, without the class that exceeds most, since that
            may be poisoned. error: its standard error.
    """

    chance: float = 0.5
    error: float = 0.0

    @property
    def least(self) -> float:
        """What the chance hardly lies below."""
        return self.chance - CERTAIN * self.error

    @property
    def certain(self) -> bool:
        """Whether the lot is not drawn like the trusted set, by more than poison and chance explain."""
        return self.least > ALIKE


NO_SHIFT = Shift()


def measure_shift(crossfit: CrossFit, suspect: Dataset, vetted: Sequence[Dataset]) -> Shift:
    """Excess confidence of lot and trusted rows, by models that saw neither, without each class in turn: the least.

    Args:
        suspect: usable rows of the lot. vetted: trusted rows, in as many parts as there are; ≥ 1 row in some part.
    """
    excess = fit_excess(crossfit, (crossfit.learned.logits,), vetted)
    known = np.concatenate([d.y for d in vetted])
    return least_shift(excess.of_all((suspect,)), suspect.y, excess.usual, known)


def save_shift(shift: Shift, run: Path) -> Path:
    """Writes it into the run's folder."""
    return write_text(run / SHIFT, json.dumps(asdict(shift)))


def load_shift(run: Path) -> Shift | None:
    """What was measured in this run; None where there was nothing to compare."""
    file = run / SHIFT
    return Shift(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def shift_check(shift: Shift) -> Check:
    """Whether the lot is drawn like the trusted set. Not critical: another batch is no poison."""
    words = "how often a sample of the lot gains more from its companions than a trusted one does"
    return Check(
        name="evidence: lot and trusted set drawn alike", passed=not shift.certain,
        observed=round(shift.least, 4), limit=ALIKE, critical=False,
        detail=words if shift.certain else "",
    )  # fmt: skip


def shift_words(shift: Shift) -> tuple[str, ...]:
    """What it means for the decision, as one sentence; none where the lot is drawn like the trusted set."""
    if not shift.certain:
        return ()
    return (
        "The lot is not drawn like the trusted set (another batch, source or season): what is only new in it counts as "
        "suspect where trusted samples contradict the label, and not elsewhere. To find poison with right labels too, "
        "vet some samples of this lot, add them to the trusted set and screen again.",
    )


def least_shift(own: Vector, y: npt.NDArray[np.int64], usual: Vector, known: npt.NDArray[np.int64]) -> Shift:
    """The smallest shift over all ways to leave one class out; none where no class is left to compare.

    Args:
        own, y: excess (N,) and classes of the lot's rows. usual, known: the same (n_t,) of trusted rows.
    """
    rest = [(own[y != c], usual[known != c]) for c in np.unique(y)]
    found = [_shift(mine, theirs) for mine, theirs in rest if len(mine) and len(theirs)]
    return min(found, key=lambda shift: shift.least, default=NO_SHIFT)


def _shift(own: Vector, usual: Vector) -> Shift:
    """The probability that a value of the one exceeds one of the other (Mann & Whitney 1947), with its error."""
    pairs = len(own) * len(usual)
    return Shift(float(mannwhitneyu(own, usual).statistic) / pairs, ((len(own) + len(usual) + 1) / (12 * pairs)) ** 0.5)
