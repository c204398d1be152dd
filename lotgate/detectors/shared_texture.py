"""Shared texture: groups inside a class whose images are sharper or smoother in the same places than others are."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from lotgate.apart import StandsApart
from lotgate.data import Pool
from lotgate.pixels import View
from lotgate.texture import energies


class SharedTexture(StandsApart):
    """Groups of a class in local energies of fine detail: which stand apart, untrusted?

    Catches:
        Backdoors, dirty- and clean-label, that change how sharp images are in the same places: warps, whose
        interpolation smooths; waves and noise too faint for pixels; overlays, patches at one place, on plain
        backgrounds and on textures where pixels themselves vary too much.
    Misses:
        Triggers that lie elsewhere in every image (shared_detail); smooth patterns over detailed images
        (shared_pattern); warps of plain shapes, where most of an image has no detail to smooth (some of them are in
        shared_detail); label flips; poison without company; what every class carries.
    Assumes:
        Images of lot and trusted set come through the same optics, resampling and compression; trusted rows of each
        class are drawn like the clean rows of the lot.
    Method:
        Images, averaged down to at most `side` pixels → first and second differences of neighbouring pixels along
        rows, columns and both; their mean squares over channels and over cells × cells parts of the image, plus
        1 / 255², → logarithms (N, 6 cells²): a contrast that doubles adds the same everywhere, and the ratio of second
        to first differences, which a bilinear warp lowers most, is a direction. From there on groups are found and
        judged as in shared_pattern: principal axes, whitening per class by the others, mixtures and independent
        components, p_size and p_pattern.
    Cost:
        One pass over the images, the rest as shared_pattern; seconds for 10,000 images.
    Source:
        Own. Groups as in shared_pattern. That resampling leaves traces in the energies of local differences is
        known from image forensics: Popescu & Farid, IEEE Transactions on Signal Processing 53(2), 2005.
    Differs:
        From image forensics: no trace is looked for by name; a group of one class has it, trusted rows do not.
    """

    name: ClassVar = "shared_texture"
    reason: ClassVar = "it is sharper or smoother in the same places as part of its class, as no trusted sample is"

    cells: Annotated[int, Field(ge=2, le=32)] = 12

    def view(self, pool: Pool, rng: np.random.Generator) -> View:
        return partial(energies, side=self.side, cells=self.cells)
