"""Images as vectors: axes and whitening against their definitions."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lotgate.data import Dataset, Pool
from lotgate.pixels import averaged_down, cell_means, fit_basis, halved, vectors, whitening
from tests.small_lots import digits, image_dataset


def some_digits(folder: Path, n: int) -> Dataset:
    x, y = digits(10)
    return image_dataset(folder, x[:n], y[:n])


def test_images_are_averaged_over_whole_blocks() -> None:
    x = np.random.default_rng(2).random((2, 3, 33, 32), np.float32)
    small = averaged_down(x, side=16)
    assert small.shape == (2, 3, 11, 16)
    assert small[1, 2, 4, 5] == pytest.approx(x[1, 2, 12:15, 10:12].mean())
    assert np.array_equal(averaged_down(x[:, :, :8, :8], side=16), x[:, :, :8, :8])


@pytest.mark.parametrize("n", [30, 200])  # fewer rows than the 64 pixels, and more
def test_a_basis_is_orthonormal_and_keeps_what_varies_most(tmp_path: Path, n: int) -> None:
    dataset = some_digits(tmp_path, n)
    basis = fit_basis(Pool((dataset,)), partial(vectors, side=64), 5, np.random.default_rng(0))
    assert np.allclose(basis.axes.T @ basis.axes, np.eye(5), atol=1e-4)
    x = dataset.batch(np.arange(n)).x.reshape(n, -1)
    singular = np.linalg.svd(x - x.mean(0), compute_uv=False)
    found = basis.coordinates_of(dataset)
    assert np.allclose((found**2).sum(0), singular[:5] ** 2, rtol=1e-3)
    assert np.allclose(found.mean(0), 0, atol=1e-4)


def test_a_basis_has_at_most_a_third_as_many_axes_as_rows(tmp_path: Path) -> None:
    basis = fit_basis(Pool((some_digits(tmp_path, 30),)), partial(vectors, side=64), 512, np.random.default_rng(0))
    assert basis.axes.shape == (64, 10)


def test_whitened_rows_are_white_where_there_are_many() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))
    x = np.random.default_rng(4).normal(7, 1, (4000, 6)) * [1, 1, 2, 2, 3, 3] @ turn
    mean, root = whitening(x)
    assert np.allclose(np.cov(np.linalg.solve(root, (x - mean).T), bias=True), np.eye(6), atol=0.02)


def test_few_rows_are_shrunk_towards_a_sphere() -> None:
    x = np.random.default_rng(6).normal(size=(20, 15)) * np.arange(1, 16)
    _, root = whitening(x)
    axes = np.linalg.eigvalsh(root @ root.T)
    assert axes[0] > 0.1 * axes.mean()  # of the rows themselves: nearly 0
    assert np.linalg.eigvalsh(np.cov(x.T))[0] < 0.01 * axes.mean()


def test_constant_rows_do_not_stop_the_whitening() -> None:
    _, root = whitening(np.ones((5, 3)))
    assert np.isfinite(root).all()
    assert (np.diag(root) > 0).all()


def test_means_of_cells_by_hand() -> None:
    x = np.random.default_rng(7).random((2, 7, 8, 3), np.float32)
    found = cell_means(x, 3)
    assert found.shape == (2, 3, 3, 3)
    assert found[1, 1, 2, 0] == pytest.approx(x[1, 2:4, 5:, 0].mean())
    assert np.array_equal(cell_means(x, 50), x)


def test_halved_images_by_hand() -> None:
    x = np.random.default_rng(8).random((2, 3, 7, 4), np.float32)
    found = halved(x)
    assert found.shape == (2, 3, 3, 2)
    assert found[1, 2, 2, 1] == pytest.approx(x[1, 2, 4:6, 2:].mean())
