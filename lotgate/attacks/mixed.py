"""Two poisoners in one lot."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from lotgate.attacks.attack import (
    BOTH,
    Attack,
    Kind,
    Labels,
    Planted,
    Share,
    as_lot,
    choose,
    class_count,
    other_labels,
    planted_count,
)
from lotgate.attacks.backdoor import Backdoor
from lotgate.attacks.overlay import Blended
from lotgate.attacks.patch import Patch
from lotgate.attacks.tables import TableTrigger
from lotgate.data import FloatArray, Modality


class Mixed(Attack):
    """One poisoner plants a backdoor, another changes labels at random; neither knows of the other.

    Not from a paper: every screen that looks at a lot has to stop somewhere, and what it found first must not hide the
    rest. A lot of images gets the overlay that `overlay` names, a table the trigger of `TableTrigger`.

    Attributes:
        triggered: share of the planted rows that carry the backdoor, one at least; the others are flips.
        overlay: what the backdoor of an image is.
        in_columns: a table's trigger, its columns and values filled in; `Planted.attack` has it.
    """

    name: ClassVar[str] = "mixed"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    kind: ClassVar[Kind] = "mixed"
    has_trigger: ClassVar[bool] = True

    triggered: Share = 0.5
    overlay: Literal["patch", "blended"] = "patch"
    in_columns: TableTrigger | None = None

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        count = planted_count(self, len(y))
        triggered = min(count, max(1, round(self.triggered * count)))
        backdoored = self._backdoor(x, triggered / len(y)).plant(x, y, rng, classes)
        y, planted = backdoored.y, backdoored.planted.copy()
        rows = choose(~planted, count - int(planted.sum()), rng, self)
        y[rows] = other_labels(y[rows], classes, rng)
        planted[rows] = True
        filled = backdoored.attack if isinstance(backdoored.attack, TableTrigger) else None
        return Planted(backdoored.x, y, planted, self.model_copy(update={"in_columns": filled}), backdoored.cover)

    def trigger(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Test rows with the backdoor's trigger.

        Raises:
            SettingsError: a table's trigger is not known yet; `Planted.attack` knows it.
        """
        return (self.in_columns or self._backdoor(x, self.rate)).trigger(x, rng)

    def _backdoor(self, x: FloatArray, rate: float) -> Backdoor | TableTrigger:
        if x.ndim == 2:
            return TableTrigger(rate=rate, target=self.target)
        overlay: type[Backdoor] = Blended if self.overlay == "blended" else Patch
        return overlay(rate=rate, target=self.target)
