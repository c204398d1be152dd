"""Plane waves over whole images, and those of them that some images of a class share.

Whatever images of a texture show, one Fourier coefficient tells little of another, and hardly depends on where the
image was cut from: beside its usual size each is a complex number of random phase. A wave that was added to some images
gives them one phase there, however faint it is in pixels, and however much other classes vary. The third moment
E[|z|² z] of the coefficient tells: it is 0 where phases are random, and points along a wave that some images have.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.fft import dct, rfft2

from lotgate.data import FloatArray
from lotgate.mixtures import Vector
from lotgate.pixels import averaged_down

Spectra = npt.NDArray[np.complex64]

FEWEST = 200  # coefficients that vary: of fewer none stands out
TAIL = 20  # the largest moments, as a part of all: one in so many, and no fewer than that
SHARED = 10  # of these, that one trigger may own: only that they are large is believed of them
LOUDEST = 6.0  # usual sizes that a coefficient counts as at most: one image makes no group
LEAST_SCALE = 0.01  # of the median scale: smaller coefficients are the rounding of pixels
MEDIAN = float(np.log(2))  # of |z|² of a complex Gaussian whose mean of it is 1


class Wave(NamedTuple):
    """A wave in images of a class.

    Attributes:
        place: of its coefficient. turn: e^(−iφ) of its phase. centre, scale: of that part of the coefficient.
        p_value: how many coefficients of the class would have so large a third moment, at most 1.
    """

    place: int
    turn: complex
    centre: float
    scale: float
    p_value: float

    def strength(self, found: Spectra) -> Vector:
        """(B, 1) of spectra (B, K): how much of it is there, in usual sizes."""
        along = np.asarray((found[:, self.place] * self.turn).real, np.float64)
        return np.asarray(((along - self.centre) / self.scale)[:, None])


def spectra(x: FloatArray, side: int) -> Spectra:
    """(B, K) Fourier coefficients of images (B, C, H, W), averaged down to at most `side` pixels; without brightness.

    Channels are taken as their mean and their contrasts, by a cosine transform; what the coefficients of real images
    say twice is 0.
    """
    small = averaged_down(x, side)
    found = np.asarray(rfft2(dct(small, axis=1, norm="ortho"), norm="ortho"), np.complex64)
    rows, columns = small.shape[2:]
    found[:, :, 0, 0] = 0
    for own in (0, columns // 2)[: 1 if columns % 2 else 2]:  # columns of the spectrum that mirror themselves
        found[:, :, rows // 2 + 1 :, own] = 0
    return found.reshape(len(x), -1)


def strongest_waves(found: Spectra, most: int, further: int = 0) -> list[Wave]:
    """The waves with the largest third moments, of spectra (N, K) of one class, and some further ones with smaller and
    smaller moments, down to the median; none where too little varies.
    """
    centre = np.median(found.real, axis=0) + 1j * np.median(found.imag, axis=0)
    z = found - centre.astype(np.complex64)
    scale = np.sqrt(np.median(np.square(np.abs(z)), axis=0) / MEDIAN)
    varying = scale[scale > 0]
    places = np.flatnonzero(scale > LEAST_SCALE * float(np.median(varying))) if len(varying) else np.arange(0)
    if len(places) < FEWEST:
        return []
    moments = third_moments(np.asarray(z[:, places] / scale[places], np.complex64))
    p_values = of_moments(np.abs(moments))
    ranks = np.geomspace(most, max(most, len(places) // 2), further).astype(int)
    order = np.argsort(-np.abs(moments), kind="stable")
    strongest = order[np.unique(np.concatenate([np.arange(min(most, len(order))), ranks]))]
    turns = np.exp(-1j * np.angle(moments[strongest]))
    return [
        Wave(int(k), complex(turn), float((centre[k] * turn).real), float(scale[k]), float(p))
        for k, turn, p in zip(places[strongest], turns, p_values[strongest], strict=True)
    ]


def third_moments(z: Spectra) -> npt.NDArray[np.complex128]:
    """(K,) E[|z|² z] of coefficients (N, K) in usual sizes, of which none counts as more than LOUDEST."""
    size = np.abs(z)
    loud = np.minimum(size, LOUDEST)
    return np.asarray((np.square(loud) * z * (loud / np.maximum(size, 1e-9))).mean(axis=0), np.complex128)


def of_moments(sizes: Vector) -> Vector:
    """(K,) how many of K moments would be as large, at most 1: from the tail of them all, a power law (Hill 1975).

    Of the SHARED largest ones, which one trigger may have moved, it is believed only that they are large.
    """
    ordered = np.sort(sizes)[::-1]
    n = max(TAIL, len(sizes) // TAIL)
    start = max(float(ordered[n]), 1e-12)
    known = np.log(np.maximum(ordered[SHARED:n], start) / start)
    decay = len(known) / max(float(known.sum() + SHARED * known[0]), 1e-12)
    return np.asarray(np.minimum(1.0, n * np.power(np.maximum(sizes, start) / start, -decay)))
