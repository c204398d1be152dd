"""Rows that do not belong: out-of-distribution junk, copies of trusted rows under another label, and no attack."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from lotgate.attacks.attack import (
    BOTH,
    CLASSES,
    NUMBERS,
    Attack,
    Kind,
    Labels,
    Planted,
    as_lot,
    choose,
    class_count,
    mask_of,
    other_labels,
    planted_count,
    quantise,
)
from lotgate.data import FloatArray, Modality, Task
from lotgate.errors import SettingsError


class OutOfDistribution(Attack):
    """Rows replaced by junk under a random label; `target` is not used.

    Not from a paper: what a wrong upload, a broken camera or a lazy crowd worker delivers. The trigger-free
    "indiscriminate" end of Biggio & Roli 2018, "Wild patterns".

    Images: "noise" is uniform pixel noise, "blobs" smoothed noise stretched to the full range, "stripes" bars of a
    random width and direction; "mixed" a third of each. Tables: uniform over a box `wider` times the lot's range.

    Attributes:
        junk: which junk, for images.
        wider: width of the box in units of each column's range.
    """

    name: ClassVar[str] = "out_of_distribution"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    tasks: ClassVar[frozenset[Task]] = CLASSES | NUMBERS
    kind: ClassVar[Kind] = "out_of_distribution"

    junk: Literal["noise", "blobs", "stripes", "mixed"] = "mixed"
    wider: Annotated[float, Field(gt=0)] = 1.5

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        rows = choose(np.ones(len(x), bool), planted_count(self, len(x)), rng, self)
        if x.ndim == 4:
            x[rows] = quantise(self._images((len(rows), *x.shape[1:]), rng))
        else:
            low, high = x.min(axis=0), x.max(axis=0)
            margin = (self.wider - 1) / 2 * (high - low)
            x[rows] = rng.uniform(low - margin, high + margin, (len(rows), x.shape[1])).astype(np.float32)
        if y.dtype == np.int64:
            y[rows] = rng.integers(0, class_count(y, n_classes, self), len(rows))
        else:
            y[rows] = rng.uniform(y.min(), y.max(), len(rows))
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool))

    def _images(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        kinds = ("noise", "blobs", "stripes") if self.junk == "mixed" else (self.junk,)
        draw = {"noise": _noise, "blobs": _blobs, "stripes": _stripes}
        images = [draw[kinds[i % len(kinds)]](shape[1:], rng) for i in range(shape[0])]
        return np.asarray(images, np.float32).reshape(shape)


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    return np.asarray(rng.random(shape), np.float32)


def _blobs(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    smooth = ndimage.gaussian_filter(rng.random(shape), (0, shape[1] / 10, shape[2] / 10))
    return np.asarray((smooth - smooth.min()) / max(float(np.ptp(smooth)), 1e-9), np.float32)


def _stripes(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    rows, columns = np.indices(shape[1:])
    angle, width = rng.uniform(0, np.pi), max(1.0, min(shape[1:]) / rng.uniform(3, 8))
    bars = ((rows * np.cos(angle) + columns * np.sin(angle)) // width) % 2
    dark, light = rng.uniform(0, 0.5, (shape[0], 1, 1)), rng.uniform(0.5, 1, (shape[0], 1, 1))
    return np.asarray(dark + (light - dark) * bars, np.float32)


class TrustedCopy(Attack):
    """Exact copies of trusted rows under another label: the lot quotes the trusted set against itself.

    Not from a paper: an attack on the gate itself, which takes trusted rows as true. `target` is not used.
    """

    name: ClassVar[str] = "trusted_copy"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    kind: ClassVar[Kind] = "label_flip"

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        """Always an error: this attack needs the trusted rows; see `plant_copies`.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(
            "trusted_copy copies trusted rows, which plant is not given",
            where=self.name,
            action="call plant_copies(x, y, rng, trusted_x=..., trusted_y=...)",
        )

    def plant_copies(
        self,
        x: FloatArray,
        y: Labels,
        rng: np.random.Generator,
        n_classes: int | None = None,
        *,
        trusted_x: FloatArray,
        trusted_y: Labels,
    ) -> Planted:
        """A copy of the lot in which rate·N rows are trusted rows under a random other label.

        Args:
            trusted_x, trusted_y: the trusted set; each row is copied at most once.

        Raises:
            SettingsError: there are fewer trusted rows than the rate asks for.
        """
        x, y = as_lot(x, y, self)
        trusted_x, trusted_y = as_lot(trusted_x, trusted_y, self)
        classes = class_count(np.concatenate([y, trusted_y]), n_classes, self)
        rows = choose(np.ones(len(x), bool), planted_count(self, len(x)), rng, self)
        copied = rng.permutation(choose(np.ones(len(trusted_x), bool), len(rows), rng, self))
        x[rows] = trusted_x[copied]
        y[rows] = other_labels(trusted_y[copied], classes, rng)
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool))


class NoAttack(Attack):
    """The lot as it is, in the form the other attacks return it: the case on which every flag is a false alarm."""

    name: ClassVar[str] = "none"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    tasks: ClassVar[frozenset[Task]] = CLASSES | NUMBERS
    kind: ClassVar[Kind] = "none"

    rate: Annotated[float, Field(ge=0, le=0)] = 0.0

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        return Planted(x, y, np.zeros(len(x), bool), self, np.zeros(len(x), bool))
