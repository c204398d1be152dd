"""Small windows of images as words: what stands out anywhere in an image, and what it is made of where.

A detail that is the same in every image that has it, as a trigger is, makes a word of its own wherever it lies
(`nearness`). And what images consist of, edges and textures, is had without labels (`responses`): little is then left
to learn from them (lotgate.machines). A window counts without its mean and on the scale that windows usually have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from lotgate.data import FloatArray, Pool
from lotgate.pixels import averaged_down, cell_means, images

Vector = npt.NDArray[np.float64]

MOST_IMAGES = 5_000  # that words are taken from
USUAL_IMAGES = 100  # that tell how windows usually vary
MOST_WINDOWS = 50_000  # of them
LOUDEST = 4  # windows of each image that may become words: those that stand out most
FLOOR = 0.1  # of the mean variance of a window's directions: less is noise
FAINT = 0.01  # variance of a window beside which evening its contrast stops, in units of the pixel range squared
PER_WORD = 4  # windows, at least, that a word describes
CHUNK = 2_000  # windows that are compared at once: their distances to all words stay in the cache
BATCH = 2048  # windows of one step of k-means


@dataclass(frozen=True, eq=False)
class Scale:
    """The scale on which windows are compared.

    Attributes:
        white: (d, d) whitening of windows of `width` × `width` pixels in all channels.
        side: pixels of the longer side of an image, at most.
        even: whether windows of low contrast count like those of high contrast.
    """

    white: Vector
    width: int
    side: int
    even: bool

    def windows(self, x: FloatArray) -> Iterator[Vector]:
        """(b, P, d) all windows of images (B, C, H, W), row by row, a few images at a time."""
        x = averaged_down(x, self.side)
        rows, columns = self.grid(x)
        step = max(1, CHUNK // (rows * columns))
        parts = (windows(x[start : start + step], self.width, even=self.even) for start in range(0, len(x), step))
        return (part @ self.white for part in parts)

    def grid(self, x: FloatArray) -> tuple[int, int]:
        """Rows and columns of windows in averaged-down images."""
        return x.shape[2] - self.width + 1, x.shape[3] - self.width + 1


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words (K, d) and the scale on which windows are compared with them."""

    scale: Scale
    words: Vector

    def nearness(self, x: FloatArray) -> FloatArray:
        """(B, K) −log(1 + least squared distance of any window of the image to each word), of images (B, C, H, W)."""
        found = [-np.log1p(self._apart(rows).min(axis=1)) for rows in self.scale.windows(x)]
        return np.asarray(np.concatenate(found), np.float32)

    def responses(self, x: FloatArray, cells: int) -> FloatArray:
        """(B, K c²) how much nearer than to the mean word windows lie to each word, averaged over c × c parts of the
        image; 0 where they lie farther off (the triangle activation of Coates, Ng, Lee 2011).
        """
        grid, found = self.scale.grid(averaged_down(x[:1], self.scale.side)), []
        for rows in self.scale.windows(x):
            apart = np.sqrt(self._apart(rows))
            near = np.maximum(apart.mean(axis=2, keepdims=True) - apart, 0).astype(np.float32)  # (b, P, K)
            found.append(cell_means(near.reshape(len(rows), *grid, -1), cells).reshape(len(rows), -1))
        return np.concatenate(found)

    def _apart(self, rows: Vector) -> Vector:
        """(b, P, K) squared distances of windows (b, P, d) to the words."""
        squares = np.square(rows).sum(axis=2, keepdims=True) + np.square(self.words).sum(axis=1)
        return np.asarray(np.maximum(squares - 2 * rows @ self.words.T, 0))


def loud_words(pool: Pool, size: int, width: int, side: int, rng: np.random.Generator) -> Vocabulary:
    """At most `size` words, of the windows that stand out most in each image."""
    scale = fit_scale(pool, width, side, rng, even=False)
    return _vocabulary(scale, [_loudest(part) for part in _parts(pool, scale, rng)], size, rng)


def usual_words(pool: Pool, size: int, width: int, side: int, rng: np.random.Generator) -> Vocabulary:
    """At most `size` words, of windows from anywhere, whatever their contrast."""
    scale = fit_scale(pool, width, side, rng, even=True)
    return _vocabulary(scale, [_anywhere(part, rng) for part in _parts(pool, scale, rng)], size, rng)


def fit_scale(pool: Pool, width: int, side: int, rng: np.random.Generator, *, even: bool) -> Scale:
    """How windows usually vary; directions in which they hardly do stay small."""
    some = rng.permutation(len(pool))[:USUAL_IMAGES]
    usual = np.concatenate([averaged_down(x, side) for x in images(pool, some)])
    width = min(width, *usual.shape[2:])
    flat = windows(usual, width, even=even).reshape(-1, usual.shape[1] * width**2)
    flat = flat[:: max(1, len(flat) // MOST_WINDOWS)]
    values, directions = np.linalg.eigh(flat.T @ flat / len(flat))
    floor = FLOOR * float(values.mean())
    white = directions / np.sqrt(np.maximum(values, 0) + (floor or 1.0))
    return Scale(np.asarray(white), width, side, even)


def windows(x: FloatArray, width: int, *, even: bool) -> Vector:
    """(B, P, C·width²) all windows of images (B, C, H, W), each without its mean, and on request on one contrast."""
    views = np.lib.stride_tricks.sliding_window_view(x, (width, width), axis=(2, 3))  # (B, C, h, w, width, width)
    flat = views.transpose(0, 2, 3, 1, 4, 5).reshape(len(x), -1, x.shape[1] * width**2).astype(np.float64)
    flat -= flat.mean(axis=2, keepdims=True)
    return np.asarray(flat / np.sqrt(flat.var(axis=2, keepdims=True) + FAINT) if even else flat)


def _parts(pool: Pool, scale: Scale, rng: np.random.Generator) -> Iterator[Vector]:
    rows = np.sort(rng.choice(len(pool), min(MOST_IMAGES, len(pool)), replace=False))
    return (part for x in images(pool, rows) for part in scale.windows(x))


def _loudest(rows: Vector) -> Vector:
    """(b · LOUDEST, d) windows of each image that lie farthest from zero, of (b, P, d)."""
    order = np.argsort(-np.square(rows).sum(axis=2), axis=1, kind="stable")[:, :LOUDEST]
    return np.asarray(np.take_along_axis(rows, order[:, :, None], axis=1).reshape(-1, rows.shape[2]))


def _anywhere(rows: Vector, rng: np.random.Generator) -> Vector:
    """As many windows of each image from random places."""
    places = rng.integers(rows.shape[1], size=(len(rows), LOUDEST))
    return np.asarray(np.take_along_axis(rows, places[:, :, None], axis=1).reshape(-1, rows.shape[2]))


def _vocabulary(scale: Scale, some: list[Vector], size: int, rng: np.random.Generator) -> Vocabulary:
    """k-means of the windows."""
    chosen = np.concatenate(some)
    words = max(1, min(size, len(chosen) // PER_WORD))
    means = MiniBatchKMeans(words, n_init=3, batch_size=BATCH, random_state=int(rng.integers(2**31 - 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different windows than words: some coincide
        return Vocabulary(scale, np.asarray(means.fit(chosen).cluster_centers_, np.float64))
