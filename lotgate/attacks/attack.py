"""Attack and Planted: what every planted poison is made of. For tests and benchmarks only.

An attack is a frozen set of parameters. `plant` changes rows of a clean lot in place of the originals, so that the
number of rows stays; `trigger` makes the inputs that an attacker would show the trained model. A lot of images is
returned as it would be read back from 8-bit PNG files, all rows alike, so that the rounding tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from lotgate.data import FloatArray, Modality, Task
from lotgate.errors import LotError, SettingsError

Kind = Literal[
    "backdoor",
    "clean_label_backdoor",
    "label_flip",
    "targeted",
    "availability",
    "regression",
    "out_of_distribution",
    "mixed",
    "none",
]
Labels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Rate = Annotated[float, Field(ge=0, lt=1)]
ClassIndex = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]

IMAGES: frozenset[Modality] = frozenset({"image"})
TABLES: frozenset[Modality] = frozenset({"table"})
BOTH: frozenset[Modality] = IMAGES | TABLES
CLASSES: frozenset[Task] = frozenset({"classification"})
NUMBERS: frozenset[Task] = frozenset({"regression"})


@dataclass(frozen=True, eq=False)
class Planted:
    """A lot with poison in it, and the ground truth that no detector may see.

    Attributes:
        x: (N, C, H, W) float32 in [0, 1] at 8-bit levels, or (N, F) float32.
        y: (N,) int64 classes or float32 targets.
        planted: (N,) rows that carry the attack.
        attack: the attack with every choice that depends on the data filled in; call `trigger` on this one.
        cover: (N,) rows that the attacker changed but whose label is true: they hide the attack and do no harm by
            themselves. They are neither hits nor false alarms, and never in `planted`.
        victims: (V, C, H, W) the test images a targeted attack is aimed at; empty for the others.
    """

    x: FloatArray
    y: Labels
    planted: Mask
    attack: Attack
    cover: Mask = field(default_factory=lambda: np.zeros(0, bool))
    victims: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))


class Attack(BaseModel):
    """A named way to poison a lot.

    Attributes:
        rate: share of the rows of the lot that are planted; the count is rate·N, rounded.
        target: index of the class that the attacker wants, where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    modalities: ClassVar[frozenset[Modality]]
    tasks: ClassVar[frozenset[Task]] = CLASSES
    kind: ClassVar[Kind]
    has_trigger: ClassVar[bool] = False

    rate: Rate = 0.05
    target: ClassIndex = 0

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        """A poisoned copy of the lot.

        Args:
            x: (N, C, H, W) float32 in [0, 1] or (N, F) float32; left as it is.
            y: (N,) int64 classes or float32 targets; left as it is.
            rng: source of every random choice.
            n_classes: K; the largest label + 1 where it is not given.

        Raises:
            LotError: the lot is of another shape or too small for the attack.
            SettingsError: the rate asks for more rows than the attack can use.
        """
        raise TypeError(f"{type(self).__name__} does not say how it plants")

    def trigger(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Test inputs that carry the trigger, same shape as x; x is left as it is.

        Raises:
            SettingsError: the attack has no trigger.
        """
        raise SettingsError(f"{self.name} has no trigger", where=self.name, action="ask has_trigger first")

    def goal(self, y: Labels, n_classes: int) -> npt.NDArray[np.int64]:
        """(N,) the class that the attacker wants for triggered rows of true class y; -1 where he wants nothing."""
        return np.where(y == self.target, -1, self.target).astype(np.int64)


def quantise(x: FloatArray) -> FloatArray:
    """Images clipped to [0, 1] and rounded to 8-bit levels, as a PNG file would hold them; a new array."""
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.float32) / np.float32(255)


def as_lot(x: FloatArray, y: Labels, attack: Attack) -> tuple[FloatArray, Labels]:
    """Copies of x and y in the types a lot is written in.

    Raises:
        LotError: the attack is not made for data of this shape, or x and y differ in length.
    """
    modality: Modality = "image" if x.ndim == 4 else "table"
    if x.ndim not in {2, 4} or modality not in attack.modalities:
        raise LotError(
            f"{attack.name} poisons {' or '.join(sorted(attack.modalities))} lots",
            where=f"x of shape {x.shape}",
            action="give (N, C, H, W) images or (N, F) tables, or choose another attack",
        )
    if len(x) != len(y) or len(x) == 0:
        raise LotError(f"{len(x)} rows and {len(y)} labels", where=attack.name, action="give one label for each row")
    classes = "classification" in attack.tasks and not np.issubdtype(y.dtype, np.floating)
    if not classes and "regression" not in attack.tasks:
        raise LotError("labels are not class indices", where=attack.name, action="give y as integers")
    return quantise(x) if modality == "image" else x.astype(np.float32, copy=True), y.astype(
        np.int64 if classes else np.float32, copy=True
    )


def class_count(y: Labels, n_classes: int | None, attack: Attack) -> int:
    """K of the lot.

    Raises:
        LotError: there is only one class.
        SettingsError: the target is none of the classes.
    """
    count = int(y.max()) + 1 if n_classes is None else n_classes
    if count < 2:
        raise LotError(f"{attack.name} needs at least two classes", where=f"{count} class", action="give more classes")
    if attack.target >= count:
        raise SettingsError(
            f"target {attack.target} is none of the {count} classes",
            where=f"{attack.name}.target",
            action=f"choose a class from 0 to {count - 1}",
        )
    return count


def choose(allowed: Mask, count: int, rng: np.random.Generator, attack: Attack) -> Rows:
    """`count` different rows out of those allowed, ascending.

    Raises:
        SettingsError: there are fewer.
    """
    rows = np.flatnonzero(allowed)
    if count > len(rows):
        raise SettingsError(
            f"{attack.name} at rate {attack.rate:g} needs {count} rows, the lot has {len(rows)} it can use",
            where=f"{attack.name}.rate",
            action="lower the rate or give a larger lot",
        )
    return np.sort(rng.choice(rows, count, replace=False)).astype(np.int64)


def planted_count(attack: Attack, n: int) -> int:
    """rate·n, rounded.

    Raises:
        SettingsError: that is no row at all, though the rate is above 0.
    """
    count = round(attack.rate * n)
    if count == 0 and attack.rate > 0:
        raise SettingsError(
            f"{attack.rate:g} of {n} rows is less than one row",
            where=f"{attack.name}.rate",
            action="raise the rate or give a larger lot",
        )
    return count


def other_labels(y: Labels, classes: int, rng: np.random.Generator) -> Labels:
    """(P,) for each of these labels a random other one of the classes."""
    return (y + rng.integers(1, classes, len(y))) % classes


def mask_of(rows: Rows, n: int) -> Mask:
    """(n,) True at `rows`."""
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask


def inside_columns(moved: FloatArray, x: FloatArray) -> FloatArray:
    """Table rows (P, F) brought inside the columns' ranges in x, and whole numbers where x has only such."""
    whole = (x == np.rint(x)).all(axis=0)
    inside = np.clip(moved, x.min(axis=0), x.max(axis=0))
    return np.where(whole, np.rint(inside), inside).astype(np.float32)
