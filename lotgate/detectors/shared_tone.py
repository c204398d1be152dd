"""Shared tone: groups inside a class whose images have the same cast of colour, brightness or contrast."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np

from lotgate.apart import StandsApart
from lotgate.data import Pool
from lotgate.pixels import View
from lotgate.tones import tones


class SharedTone(StandsApart):
    """Groups of a class in what their dark, middling and bright pixels look like: which stand apart, untrusted?

    Catches:
        Backdoors, dirty- and clean-label, whose trigger is a colour: gains of channels, channels exchanged or mixed;
        of images that were taken alike also other brightness or contrast. They change every pixel alike, so that no
        place, detail or texture tells of them.
    Misses:
        Casts that light makes as well: small offsets of channels, other exposure or contrast where images vary in that
        anyway; triggers in a few pixels; label flips; poison without company; what every class carries.
    Assumes:
        Images of lot and trusted set come through the same optics and the same white balance; trusted rows of each
        class are drawn like the clean rows of the lot.
    Method:
        Images, averaged down to at most `side` pixels → the mean of each channel over the darkest, the middling and
        the brightest 4% (8% in the middle) of the pixels, and the mean square of differences of neighbouring pixels in
        each channel and in each difference of two channels → logarithms (N, 15 in colour, 4 in grey). A gain is the
        same step in all levels of a channel, an offset one in the dark, and a cast of either kind lets edges, which in
        most images are hardly coloured, show between channels. From there on groups are found and judged as in
        shared_pattern: principal axes, whitening per class by the others, mixtures and independent components, p_size
        and p_pattern.
    Cost:
        One pass over the images, the rest as shared_pattern, of few columns; seconds for 10,000 images.
    Source:
        Own. Groups as in shared_pattern. Triggers that are a shift in a space of colours: Jiang, Li, Xu, Zhang, CVPR
        2023, "Color Backdoor: A Robust Poisoning Attack in Color Space".
    Differs:
        Nothing is learned from triggers; a group of one class has the cast, trusted rows do not.
    """

    name: ClassVar = "shared_tone"
    reason: ClassVar = "it has the same cast of colour or contrast as part of its class, as no trusted sample has"

    def view(self, pool: Pool, rng: np.random.Generator) -> View:
        return partial(tones, side=self.side)
