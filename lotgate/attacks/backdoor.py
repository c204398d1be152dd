"""The two ways a trigger gets into a lot: with the attacker's label (dirty), or in rows of the target class (clean)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from lotgate.attacks.attack import (
    IMAGES,
    Attack,
    Kind,
    Labels,
    Planted,
    Rows,
    as_lot,
    choose,
    class_count,
    mask_of,
    planted_count,
    quantise,
)
from lotgate.data import FloatArray, Modality

PatternSeed = Annotated[int, Field(ge=0)]


class Backdoor(Attack):
    """Rows of other classes get the trigger and the label `target` (Gu et al. 2017, "BadNets").

    Attributes:
        covers: rows per planted row that get the trigger as well but keep their true label.
    """

    modalities: ClassVar[frozenset[Modality]] = IMAGES
    kind: ClassVar[Kind] = "backdoor"
    has_trigger: ClassVar[bool] = True

    covers: Annotated[float, Field(ge=0)] = 0.0

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """(B, C, H, W) with the trigger as it is planted; not yet rounded to 8 bits."""
        raise TypeError(f"{type(self).__name__} has no stamp")

    def stamp_cover(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """The same for cover rows."""
        return self.stamp(x, rng)

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        goal = self.goal(y, class_count(y, n_classes, self))
        count = planted_count(self, len(x))
        rows = choose(goal >= 0, count, rng, self)
        covers = self._cover_rows(goal, rows, rng)
        x[rows], x[covers] = quantise(self.stamp(x[rows], rng)), quantise(self.stamp_cover(x[covers], rng))
        y[rows] = goal[rows]
        return Planted(x, y, mask_of(rows, len(x)), self, mask_of(covers, len(x)))

    def trigger(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        return quantise(self.stamp(quantise(x), rng))

    def _cover_rows(self, goal: Labels, rows: Rows, rng: np.random.Generator) -> Rows:
        free = ~mask_of(rows, len(goal))
        return choose(free, round(self.covers * len(rows)), rng, self)


class CleanLabelBackdoor(Attack):
    """Rows of the class `target` get the trigger and keep their label, which is true."""

    modalities: ClassVar[frozenset[Modality]] = IMAGES
    kind: ClassVar[Kind] = "clean_label_backdoor"
    has_trigger: ClassVar[bool] = True

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """(B, C, H, W) with the trigger as it is planted; not yet rounded to 8 bits."""
        raise TypeError(f"{type(self).__name__} has no stamp")

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        class_count(y, n_classes, self)
        rows = choose(y == self.target, planted_count(self, len(x)), rng, self)
        x[rows] = quantise(self.stamp(x[rows], rng))
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool))

    def trigger(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        return quantise(self.stamp(quantise(x), rng))
