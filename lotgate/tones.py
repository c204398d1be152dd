"""The tones of an image: what its darkest, its middling and its brightest pixels look like, and how much each channel
and each contrast between channels varies, on logarithmic scales.

A gain is the same step at every brightness, an offset shows in the dark, a curve or a loss of contrast moves dark and
bright apart. Light changes from image to image, but its colour moves dark, middling and bright pixels alike, and
neighbouring pixels of most things differ in brightness and hardly in colour.
"""

from __future__ import annotations

import numpy as np

from lotgate.data import FloatArray
from lotgate.pixels import ROUNDING, averaged_down

PART = 0.04  # of an image's pixels, that stand for its darkest, middling and brightest ones
FAINT = np.float32(0.01)  # of the pixel range: below it nothing is known of a tone


def tones(x: FloatArray, side: int) -> FloatArray:
    """(B, 4 C + P) logarithms of each channel's mean over dark, middling and bright pixels, and of the mean square of
    differences of neighbouring pixels, in each of the C channels and of the P pairs of channels.

    Args:
        x: (B, C, H, W) in [0, 1], averaged down to at most `side` pixels. P = C for C > 2, and C − 1 below.
    """
    x = averaged_down(x, side)
    found = [np.log(level + FAINT) for level in levels(x)]
    found += [np.log(variation(part) + ROUNDING) for part in (x, _between(x))]
    return np.concatenate(found, axis=1)


def levels(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Each channel's mean (B, C) over the darkest, the middling (twice as many) and the brightest PART of the pixels,
    as told by their mean over channels.
    """
    flat = x.reshape(*x.shape[:2], -1)
    order = np.argsort(flat.mean(axis=1), axis=1, kind="stable")
    n = order.shape[1]
    few, middle = max(1, round(PART * n)), n // 2
    parts = order[:, :few], order[:, max(0, middle - few) : middle + few], order[:, -few:]
    dark, middling, bright = (np.take_along_axis(flat, part[:, None, :], axis=2).mean(axis=2) for part in parts)
    return dark, middling, bright


def _between(x: FloatArray) -> FloatArray:
    """(B, P, H, W) each channel less the next one, in a ring of three or more."""
    channels = x.shape[1]
    return (x - np.roll(x, -1, axis=1))[:, : channels if channels > 2 else channels - 1]


def variation(x: FloatArray) -> FloatArray:
    """(B, C) mean square of differences of neighbouring pixels, over rows and columns alike."""
    found = [np.square(np.diff(x, axis=axis)).mean(axis=(2, 3)) for axis in (2, 3) if x.shape[axis] > 1]
    return np.asarray(sum(found) / len(found) if found else np.zeros(x.shape[:2], np.float32))
