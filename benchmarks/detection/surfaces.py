"""Drawn surfaces of parts, most of them faultless: what inspection lots are like where few parts are faulty.

Photographs of that kind that may be passed on are rare, and none has a class of a few per cent. Three materials, each
with scratches, pits and stains as faults; `weave` is for reports alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

SIDE = 32
ROWS = 2400
NAMES = ("faultless", "faulty")
Picture = npt.NDArray[np.float64]
DOWN, ACROSS = np.mgrid[:SIDE, :SIDE]


class Material(NamedTuple):
    """How a part of it is drawn, which share of the parts is faulty, and whether light and lens tint it."""

    draw: Callable[[np.random.Generator], Picture]
    faulty: float
    seed: int
    tinted: bool


@cache
def surfaces(name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """(ROWS, C, SIDE, SIDE) parts of a material and whether each is faulty (1); always the same."""
    material = MATERIALS[name]
    rng = np.random.default_rng(material.seed)
    y = (rng.random(ROWS) < material.faulty).astype(np.int64)
    parts = [_part(material, bool(faulty), rng) for faulty in y]
    return np.round(np.clip(parts, 0, 1) * 255).astype(np.uint8), y


def _part(material: Material, faulty: bool, rng: np.random.Generator) -> npt.NDArray[Any]:
    picture = material.draw(rng)
    if faulty:
        picture = FAULTS[int(rng.integers(len(FAULTS)))](picture, rng)
    if not material.tinted:
        return picture[None]
    tints, offsets = rng.normal([1, 0.95, 0.85], 0.03), rng.normal(0, 0.02, 3)
    return np.stack([picture * tint + offset for tint, offset in zip(tints, offsets, strict=True)])


def _metal(rng: np.random.Generator) -> Picture:
    """Brushed along one direction, under light from a side."""
    grain = gaussian_filter(rng.normal(size=(SIDE, SIDE)), (0.4, 3))
    light = 0.15 / SIDE * (rng.normal() * (ACROSS - SIDE / 2) + rng.normal() * (DOWN - SIDE / 2))
    noise = 0.02 * rng.normal(size=(SIDE, SIDE))
    return np.asarray(0.5 + 0.12 * rng.normal() + light + 0.06 * grain / grain.std() + noise)


def _cast(rng: np.random.Generator) -> Picture:
    """A ring seen from above, never quite in the middle."""
    x, y = SIDE * (0.5 + 0.04 * rng.normal(size=2))
    radius = np.hypot(ACROSS - x, DOWN - y) / SIDE
    grain = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1.5)
    outer, inner = 1 / (1 + np.exp((radius - 0.38 - 0.02 * rng.normal()) * 60)), 1 / (1 + np.exp((radius - 0.12) * 60))
    return np.asarray(0.25 + 0.35 * outer - 0.3 * inner + 0.04 * grain / grain.std() + 0.05 * rng.normal())


def _weave(rng: np.random.Generator) -> Picture:
    """Threads across each other, at a phase of their own."""
    pitch = 4 * (1 + 0.03 * rng.normal())
    warp, weft = (np.sin(2 * np.pi * (grid / pitch + rng.random())) for grid in (ACROSS, DOWN))
    noise = 0.04 * rng.normal(size=(SIDE, SIDE))
    return np.asarray(0.55 + 0.05 * rng.normal() + 0.12 * warp * weft + 0.05 * (warp - weft) + noise)


def _scratched(picture: Picture, rng: np.random.Generator) -> Picture:
    angle, (x, y), length = rng.uniform(0, np.pi), rng.uniform(0.3, 0.7, 2) * SIDE, rng.uniform(0.2, 0.45) * SIDE
    across = (ACROSS - x) * np.sin(angle) - (DOWN - y) * np.cos(angle)
    along = (ACROSS - x) * np.cos(angle) + (DOWN - y) * np.sin(angle)
    depth = rng.choice([-1, 1]) * rng.uniform(0.15, 0.35)
    return np.asarray(picture + depth * np.exp(-((across / 0.8) ** 2)) * (np.abs(along) < length))


def _pitted(picture: Picture, rng: np.random.Generator) -> Picture:
    for _ in range(int(rng.integers(2, 6))):
        (x, y), size = rng.uniform(0.2, 0.8, 2) * SIDE, rng.uniform(0.8, 1.6)
        hole = np.exp(-((ACROSS - x) ** 2 + (DOWN - y) ** 2) / (2 * size**2))
        picture = picture - rng.uniform(0.2, 0.4) * hole
    return picture


def _stained(picture: Picture, rng: np.random.Generator) -> Picture:
    (x, y), flat = rng.uniform(0.3, 0.7, 2) * SIDE, rng.uniform(0.6, 1.6)
    beyond = np.hypot(ACROSS - x, (DOWN - y) * flat) - rng.uniform(0.12, 0.22) * SIDE
    return np.asarray(picture - rng.uniform(0.12, 0.25) / (1 + np.exp(1.2 * beyond)))


MATERIALS = {
    "metal": Material(_metal, faulty=0.10, seed=1, tinted=False),
    "cast": Material(_cast, faulty=0.12, seed=2, tinted=True),
    "weave": Material(_weave, faulty=0.10, seed=3, tinted=True),
}
FAULTS: tuple[Callable[[Picture, np.random.Generator], Picture], ...] = (_scratched, _pitted, _stained)
