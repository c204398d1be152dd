"""How sharp an image is, where and as a whole: energies of differences of neighbouring pixels, on a logarithmic scale.

Whatever an image shows, neighbouring pixels of natural images differ in a usual way. Warps, blurs, resampling and faint
overlays change that in the same places of every image they touch, though they leave hardly a trace in pixels.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from lotgate.data import FloatArray
from lotgate.pixels import ROUNDING, averaged_down, cell_means, halved

ROWS, COLUMNS = 2, 3
DIFFERENCES = ((COLUMNS,), (ROWS,), (ROWS, COLUMNS))  # along which axes neighbours are compared
ORDERS = (1, 2)  # the second sees what a bilinear warp smooths most
FINEST = 64  # pixels of the longer side of an image whose impression is taken
COARSEST = 4  # pixels of the shorter side: an octave of fewer shows nothing but brightness
BRIGHTNESS = 4.0  # a quarter of the pixel range counts as much as a factor of e in energy
LEAST_CONTRAST = 1e-4  # variance of an image, in units of the pixel range squared; below it nothing is known


def energies(x: FloatArray, side: int, cells: int) -> FloatArray:
    """(B, 6 c²) log of the mean square of first and second differences along rows, columns and both, in c × c cells.

    Args:
        x: (B, C, H, W) in [0, 1], averaged down to at most `side` pixels; squares are averaged over channels.
        cells: c, per side; never more than there are differences.
    """
    x = averaged_down(x, side)
    found = [cell_means(_differences(x, axes, order), cells) for order in ORDERS for axes in DIFFERENCES]
    return np.concatenate([np.log(energy + ROUNDING).reshape(len(x), -1) for energy in found], axis=1)


def impression(x: FloatArray) -> FloatArray:
    """(B, F) what images look like as a whole: energies at every octave, mean and log variance of each channel.

    Args:
        x: (B, C, H, W) in [0, 1], averaged down to at most FINEST pixels, then halved while COARSEST are left.
    """
    x = averaged_down(x, FINEST)
    found = [BRIGHTNESS * x.mean(axis=(2, 3)), np.log(x.var(axis=(2, 3)) + LEAST_CONTRAST)]
    while min(x.shape[2:]) >= COARSEST:
        found.append(energies(x, FINEST, cells=1))
        x = halved(x)
    return np.concatenate(found, axis=1)


def _differences(x: FloatArray, axes: tuple[int, ...], order: int) -> FloatArray:
    """(B, h, w) mean square over channels of differences of that order along the axes."""
    enough = {axis: min(order, x.shape[axis] - 1) for axis in axes}  # an image of one row has no differences
    change = reduce(lambda part, axis: np.diff(part, n=enough[axis], axis=axis), axes, x)
    return np.asarray(np.square(change).mean(axis=1))
