"""Images as vectors: coordinates in the principal axes of what a view makes of them, and their usual scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.covariance import oas

from lotgate.data import Dataset, FloatArray, Pool

Vector = npt.NDArray[np.float64]
View = Callable[[FloatArray], FloatArray]
MOST_ROWS = 2000  # rows that the axes are taken from: more add little, and their products grow with the square
PASS_BATCH = 512
COARSE = 16  # pixels of a side: finer detail only adds noise to a distance
LEAST_VARIANCE = 1e-6  # of the largest: axes below it are the rounding of pixels
JITTER = 1e-9
ROUNDING = np.float32(1 / 255) ** 2  # a difference that 8 bits can barely hold; below it nothing is known


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal axes of what a view makes of images.

    Attributes:
        view: (B, D) of images (B, C, H, W); a row depends on its own image alone.
        centre: (D,) its mean. axes: (D, m) orthonormal, the first with the largest variance; none where nothing varies.
    """

    view: View
    centre: FloatArray
    axes: FloatArray

    def coordinates(self, x: FloatArray) -> Vector:
        """(B, m) of images (B, C, H, W)."""
        return np.asarray((self.view(x) - self.centre) @ self.axes, np.float64)

    def coordinates_of(self, dataset: Dataset) -> Vector:
        """(N, m) of all rows of a dataset."""
        found = [self.coordinates(batch.x) for batch in dataset.batches(PASS_BATCH)]
        return np.concatenate(found) if found else np.zeros((0, self.axes.shape[1]))


def fit_basis(pool: Pool, view: View, most_axes: int, rng: np.random.Generator) -> Basis:
    """The principal axes of a sample of the rows: at most a third as many as rows, or they describe single ones."""
    rows = np.sort(rng.choice(len(pool), min(MOST_ROWS, len(pool)), replace=False))
    x = np.concatenate([view(part) for part in images(pool, rows)])
    centre = x.mean(axis=0)
    x -= centre
    tall = x.shape[0] > x.shape[1]
    values, directions = np.linalg.eigh((x.T @ x if tall else x @ x.T).astype(np.float64))
    keep = np.flatnonzero(values > max(float(values[-1]) * LEAST_VARIANCE, 0.0))[::-1]
    keep = keep[: max(1, min(most_axes, len(pool) // 3))]
    axes = directions[:, keep] if tall else (x.T @ directions[:, keep]) / np.sqrt(values[keep])
    return Basis(view, centre, np.asarray(axes, np.float32))


def images(pool: Pool, rows: npt.NDArray[np.int64]) -> Iterator[FloatArray]:
    """The rows' inputs in batches, never many whole images at once."""
    return (pool.take(part)[0] for part in np.split(rows, range(PASS_BATCH, len(rows), PASS_BATCH)))


def whitening(rows: Vector) -> tuple[Vector, Vector]:
    """Mean (m,) and lower L (m, m) of rows (N, m): L⁻¹ (x − mean) is white. L Lᵀ is their covariance, shrunk towards a
    multiple of the identity (oracle approximating shrinkage: Chen, Wiesel, Eldar, Hero 2010).
    """
    mean = rows.mean(axis=0)
    shrunk, _ = oas(rows - mean, assume_centered=True)
    scale = max(float(np.trace(shrunk)) / len(shrunk), LEAST_VARIANCE)
    return mean, np.asarray(np.linalg.cholesky(shrunk + JITTER * scale * np.eye(len(shrunk))))


def averaged_down(x: FloatArray, side: int) -> FloatArray:
    """(B, C, h, w) with h, w ≤ side: means over whole blocks of (B, C, H, W); a ragged edge is left out."""
    return _block_means(x, -(-x.shape[2] // side), -(-x.shape[3] // side))


def halved(x: FloatArray) -> FloatArray:
    """(B, C, H // 2, W // 2) means over blocks of 2 × 2 of (B, C, H, W), H, W ≥ 2; a ragged edge is left out."""
    return _block_means(x, 2, 2)


def _block_means(x: FloatArray, rows: int, columns: int) -> FloatArray:
    if rows == columns == 1:
        return np.asarray(x, np.float32)
    b, c, height, width = x.shape
    h, w = height // rows, width // columns
    blocks = x[:, :, : h * rows, : w * columns].reshape(b, c, h, rows, w, columns)
    return np.asarray(blocks.mean(axis=(3, 5)), np.float32)


def cell_means(x: FloatArray, cells: int) -> FloatArray:
    """(B, c, c, …) means of (B, h, w, …) over a grid of c × c cells; c = `cells`, or h and w where they are less."""
    for axis in (1, 2):
        n = x.shape[axis]
        starts = np.unique(np.arange(cells) * n // cells)
        counts = np.diff(np.append(starts, n)).astype(np.float32)
        sums = np.add.reduceat(x, starts, axis=axis)
        x = np.asarray(sums / counts.reshape([-1 if a == axis else 1 for a in range(x.ndim)]), np.float32)
    return x


def vectors(x: FloatArray, side: int) -> FloatArray:
    """(B, D) of images (B, C, H, W), averaged down."""
    return averaged_down(x, side).reshape(len(x), -1)
