"""Whether the clean rows of a lot are drawn like the trusted ones: other writers, another coil, a warmer week.

Where they are not, a lot teaches models what trusted rows cannot know, and most of its rows seem to be taught by the
lot, with or without poison. Or its images come through other optics or compression, its rows from another season or
batch, and each of them looks unlike every trusted one though models still know what it shows. Nothing then follows from
a group that trusted rows do not explain, unless models of trusted rows also contradict the labels of its members.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier

from lotgate.crossfit import CrossFit, fit_excess
from lotgate.data import Dataset, fold_of
from lotgate.files import write_text
from lotgate.findings import Check
from lotgate.mixtures import one_thread
from lotgate.pixels import PASS_BATCH
from lotgate.texture import impression

SHIFT = Path("work/crossfit/shift.json")
EVEN = 0.5
ALIKE = 0.53  # chance up to which 6% of poison in the rest of the classes may be what exceeds trusted rows
LOOK_ALIKE = 0.65  # the same for looks: a tenth of poison and twice as many covers of it
CERTAIN = 1.5  # standard errors above that: a rare class leaves few rows to compare
MOST_ROWS = 5_000  # of the lot, and of each part of the trusted set, whose looks are compared
FOLDS, SALT = 4, "looks:"
TREES, LEAVES = 40, 8  # so few that what they tell apart is plain
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """How the lot's rows compare with trusted rows: their excess confidence (lotgate.crossfit), and how they look.

    Attributes:
        chance: probability that a row of the lot exceeds a trusted one, without the class that exceeds most, since that
            may be poisoned. error: its standard error.
        looks: what the probability hardly lies below that a sample of the lot seems less like trusted ones than one of
            these does, by the impression of images (lotgate.texture) or the features of a table, without any class in
            turn; None where nobody asked.
        images: whether the samples are images.
    """

    chance: float = 0.5
    error: float = 0.0
    looks: float | None = None
    images: bool = True

    @property
    def least(self) -> float:
        """What the chance hardly lies below."""
        return self.chance - CERTAIN * self.error

    @property
    def certain(self) -> bool:
        """Whether the lot is not drawn like the trusted set, by more than poison and chance explain: by one of both, or
        by either in part.
        """
        looks = EVEN if self.looks is None else self.looks
        return _part(self.least, ALIKE) + _part(looks, LOOK_ALIKE) > 1

    @property
    def looks_different(self) -> bool:
        """Whether it shows in what the samples look like, whatever they are labelled."""
        return self.looks is not None and self.looks > LOOK_ALIKE


NO_SHIFT = Shift()


def _part(chance: float, limit: float) -> float:
    """Which part of the way from even to the limit a chance goes."""
    return max(0.0, chance - EVEN) / (limit - EVEN)


def measure_shift(crossfit: CrossFit, suspect: Dataset, vetted: Sequence[Dataset]) -> Shift:
    """Excess confidence of lot and trusted rows, by models that saw neither, without each class in turn: the least.

    Args:
        suspect: usable rows of the lot. vetted: trusted rows, in as many parts as there are; ≥ 1 row in some part.
    """
    excess = fit_excess(crossfit, (crossfit.learned.logits,), vetted)
    known = np.concatenate([d.y for d in vetted])
    found = least_shift(excess.of_all((suspect,)), suspect.y, excess.usual, known)
    return replace(found, looks=least_looks(suspect, vetted), images=suspect.modality == "image")


def least_looks(suspect: Dataset, vetted: Sequence[Dataset]) -> float:
    """Shift.looks: of a model that tells lot and trusted samples apart, out of fold."""
    some = [_some(d) for d in (suspect, *(d for d in vetted if len(d)))]
    images = suspect.modality == "image"
    batches = (batch.x for d in some for batch in d.batches(PASS_BATCH))  # one at a time: images are many numbers
    x = np.concatenate([impression(x) if images else x for x in batches]).astype(np.float64)
    y, folds = np.concatenate([d.y for d in some]), fold_of(np.concatenate([d.ids for d in some]), FOLDS, SALT)
    mine, scores = np.arange(len(x)) < len(some[0]), np.zeros(len(x))
    for f in np.unique(folds):
        learned = folds != f
        if len(np.unique(mine[learned])) == 2:
            scores[~learned] = _seems_mine(x[learned], mine[learned], x[~learned], images)
    return least_shift(scores[mine], y[mine], scores[~mine], y[~mine]).least


def _seems_mine(x: Vector, mine: npt.NDArray[np.bool_], asked: Vector, images: bool) -> Vector:
    """(n,) high where a sample asked about seems to be of the lot, by a model of x (N, F): linear for the few numbers
    of an impression, trees for columns, which may have moved in any way.
    """
    if images:
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    else:
        model = HistGradientBoostingClassifier(
            max_iter=TREES, max_leaf_nodes=LEAVES, early_stopping=False, random_state=0
        )
    with one_thread():
        return np.asarray(model.fit(x, mine).decision_function(asked))


def _some(dataset: Dataset) -> Dataset:
    """Every so many-th row, so that there are at most MOST_ROWS."""
    step = -(-len(dataset) // MOST_ROWS)
    return dataset.select(dataset.ids[::step]) if step > 1 else dataset


def save_shift(shift: Shift, run: Path) -> Path:
    """Writes it into the run's folder."""
    return write_text(run / SHIFT, json.dumps(asdict(shift)))


def load_shift(run: Path) -> Shift | None:
    """What was measured in this run; None where there was nothing to compare."""
    file = run / SHIFT
    return Shift(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def shift_checks(shift: Shift) -> tuple[Check, ...]:
    """Whether the lot is drawn like the trusted set, and looks like it. Not critical: another batch is no poison."""
    drawn = _check(
        "lot and trusted set drawn alike", shift.least, ALIKE,
        "how often a sample of the lot gains more from its companions than a trusted one does",
    )  # fmt: skip
    if shift.certain and drawn.passed and not shift.looks_different:
        together = "near its limit, as is how alike they look: both together are a sign"
        drawn = drawn.model_copy(update={"passed": False, "detail": together})
    if shift.looks is None:
        return (drawn,)
    name, how = (
        ("images", "how often sharpness, brightness and contrast tell an image of the lot from a trusted one")
        if shift.images
        else ("rows", "how often a row's columns tell one of the lot from a trusted one")
    )
    looks = _check(f"{name} of lot and trusted set look alike", shift.looks, LOOK_ALIKE, how)
    return drawn, looks


def _check(name: str, observed: float, limit: float, detail: str) -> Check:
    passed = observed <= limit
    return Check(
        name=f"evidence: {name}", passed=passed, observed=round(observed, 4), limit=limit, critical=False,
        detail="" if passed else detail,
    )  # fmt: skip


def shift_words(shift: Shift) -> tuple[str, ...]:
    """What it means for the decision, as one sentence; none where the lot is drawn like the trusted set."""
    if not shift.certain:
        return ()
    what = (
        "The images of the lot do not look like the trusted ones (other optics, light, size or compression)"
        if shift.looks_different and shift.images
        else "The lot is not drawn like the trusted set (another batch, source or season)"
    )
    return (
        f"{what}: what is only new in it counts as suspect where trusted samples contradict the label, and not "
        f"elsewhere. To find poison with right labels too, vet some samples of this lot, add them to the trusted set "
        f"and screen again.",
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
