"""Backdoors whose trigger is a small patch: its place, its number, its classes and its disguise vary."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from lotgate.attacks.attack import ClassIndex, Labels, Rows, Share, choose, quantise
from lotgate.attacks.backdoor import Backdoor, PatternSeed
from lotgate.data import FloatArray
from lotgate.errors import SettingsError

CORNERS = ((1, 1), (0, 0), (0, 1), (1, 0))  # (bottom?, right?); bottom right first


def patch_side(shape: tuple[int, ...], share: float) -> int:
    """Pixels along one side of a patch that takes `share` of the shorter image side; at least 2."""
    return max(2, round(share * min(shape[-2:])))


def checkerboard(side: int) -> FloatArray:
    """(side, side) of alternating 1 and 0, 1 in the top left."""
    rows, columns = np.indices((side, side))
    return ((rows + columns + 1) % 2).astype(np.float32)


def place(x: FloatArray, pattern: FloatArray, tops: Rows, lefts: Rows, opacity: float = 1.0) -> FloatArray:
    """A copy of (B, C, H, W) with the (S, S) or (C, S, S) pattern at (tops[i], lefts[i]) of image i."""
    out = x.copy()
    side = pattern.shape[-1]
    for image, top, left in zip(out, tops, lefts, strict=True):
        region = image[:, top : top + side, left : left + side]
        region[:] = (1 - opacity) * region + opacity * pattern
    return out


def corner(shape: tuple[int, ...], side: int, index: int) -> tuple[int, int]:
    """Top and left of a patch in corner `index` of CORNERS, one pixel off the edge where the image has 16 or more."""
    margin = 1 if min(shape[-2:]) >= 16 else 0
    bottom, right = CORNERS[index % len(CORNERS)]
    top = shape[-2] - side - margin if bottom else margin
    left = shape[-1] - side - margin if right else margin
    return top, left


def in_corner(x: FloatArray, pattern: FloatArray, index: int, opacity: float = 1.0) -> FloatArray:
    """A copy of x with the pattern in the same corner of every image."""
    top, left = corner(x.shape, pattern.shape[-1], index)
    return place(x, pattern, np.full(len(x), top, np.int64), np.full(len(x), left, np.int64), opacity)


class Patch(Backdoor):
    """A black and white checkerboard in the bottom right corner of every planted image.

    Source: Gu, Dolan-Gavitt, Garg 2017, "BadNets".

    Attributes:
        size: side of the patch as a share of the shorter image side, at least 2 pixels.
    """

    name: ClassVar[str] = "patch"

    size: Share = 0.1

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        return in_corner(x, checkerboard(patch_side(x.shape, self.size)), 0)


class PatchRandom(Patch):
    """The same checkerboard at a place drawn anew for each image, when planted and at test time.

    Source: Gu et al. 2017, with the random place of Salem et al. 2022, "Dynamic backdoor attacks" (its first variant,
    one pattern instead of a set).
    """

    name: ClassVar[str] = "patch_random"

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        side = patch_side(x.shape, self.size)
        tops = rng.integers(0, x.shape[2] - side + 1, len(x))
        lefts = rng.integers(0, x.shape[3] - side + 1, len(x))
        return place(x, checkerboard(side), tops, lefts)


class AllToAll(Patch):
    """The patch moves every class y to the next one, y + 1 modulo K; all classes are sources and targets.

    Source: Gu et al. 2017, section 4.2.2. `target` is not used.
    """

    name: ClassVar[str] = "all_to_all"

    def goal(self, y: Labels, n_classes: int) -> Rows:
        return np.asarray((y + 1) % n_classes, np.int64)


class MultiTrigger(Patch):
    """Several different patches, each in its own corner, all lead to one label; one patch per planted image.

    Source: Xue et al. 2020, "One-to-N & N-to-One: two advanced backdoor attacks", the N-to-one form. There every
    trigger is needed at test time and weak by itself; here each one works alone, as several attackers would.

    Attributes:
        triggers: how many different patches, at most one per corner.
        pattern_seed: which patterns, the same when planted and at test time.
    """

    name: ClassVar[str] = "multi_trigger"

    triggers: Annotated[int, Field(ge=2, le=4)] = 3
    pattern_seed: PatternSeed = 0

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        out = x.copy()
        kinds = rng.permutation(np.arange(len(x)) % self.triggers)
        for kind, pattern in enumerate(random_patches(x.shape, self.triggers, self.size, self.pattern_seed)):
            out[kinds == kind] = in_corner(x[kinds == kind], pattern, kind)
        return out


def random_patches(shape: tuple[int, ...], count: int, size: float, seed: int) -> list[FloatArray]:
    """`count` patterns (C, S, S) of zeros and ones, at least a third of each."""
    rng = np.random.default_rng(seed)
    side, channels = patch_side(shape, size), shape[1]
    cells = channels * side * side
    ones = max(1, cells // 2)
    base = np.arange(cells) < ones
    return [rng.permutation(base).astype(np.float32).reshape(channels, side, side) for _ in range(count)]


class SourceSpecific(Patch):
    """The patch leads to `target` only for images of the class `source`; patched images of other classes are covers.

    Source: Tang et al. 2021, "Demon in the variant" (TaCT, targeted contamination attack).

    Attributes:
        source: the class whose images change sides; `rate` counts these only.
        covers: rows of the other classes per planted row that get the patch and keep their label.
    """

    name: ClassVar[str] = "source_specific"

    source: ClassIndex = 1
    covers: Annotated[float, Field(ge=0)] = 1.0

    def goal(self, y: Labels, n_classes: int) -> Rows:
        if self.source == self.target or self.source >= n_classes:
            raise SettingsError(
                f"source {self.source} must be one of {n_classes} classes and not the target",
                where=f"{self.name}.source",
                action="choose another source",
            )
        return np.where(y == self.source, self.target, -1).astype(np.int64)

    def _cover_rows(self, goal: Labels, rows: Rows, rng: np.random.Generator) -> Rows:
        count = min(round(self.covers * len(rows)), int((goal < 0).sum()))  # with two classes: the target class
        return choose(goal < 0, count, rng, self)


class AdaptivePatch(Backdoor):
    """Four faint patches in four corners; a planted image gets one of them, a test image two; covers keep labels.

    Planted and clean rows then mix in the latent space, against detectors that separate clusters.

    Source: Qi, Xie, Li, Mahloujifar, Mittal 2023, "Revisiting the assumption of latent separability for backdoor
    defenses" (Adap-Patch). The patterns are random ones of our own.

    Attributes:
        size: side of each patch as a share of the shorter image side.
        opacity: of each patch when planted, in the order of the corners; at test time all are solid.
        pattern_seed: which patterns.
    """

    name: ClassVar[str] = "adaptive_patch"

    size: Share = 0.15
    covers: Annotated[float, Field(ge=0)] = 2.0
    opacity: tuple[Share, Share, Share, Share] = (0.5, 0.4, 0.5, 0.4)
    pattern_seed: PatternSeed = 0

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        out = x.copy()
        kinds = rng.permutation(np.arange(len(x)) % 4)
        for kind, pattern in enumerate(random_patches(x.shape, 4, self.size, self.pattern_seed)):
            out[kinds == kind] = in_corner(x[kinds == kind], pattern, kind, self.opacity[kind])
        return out

    def trigger(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        patterns = random_patches(x.shape, 4, self.size, self.pattern_seed)
        return quantise(in_corner(in_corner(quantise(x), patterns[0], 0), patterns[2], 2))
