"""Words of small windows, by hand and on what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotgate import vocabulary
from lotgate.data import Pool
from lotgate.vocabulary import Vocabulary, loud_words, usual_words, windows
from tests.small_lots import digits, image_dataset

SIDE = 64


def some(folder: Path, n: int = 120) -> tuple[Pool, np.ndarray]:
    x, y = digits(10)
    dataset = image_dataset(folder, x[:n], y[:n])
    return Pool((dataset,)), dataset.batch(np.arange(n)).x


def naive(words: Vocabulary, image: np.ndarray) -> np.ndarray:
    """(P, K) distances of every window of one image to every word."""
    w, rows = words.scale.width, []
    for i in range(image.shape[1] - w + 1):
        for j in range(image.shape[2] - w + 1):
            window = image[:, i : i + w, j : j + w].astype(np.float64).ravel()
            window -= window.mean()
            rows.append((window / np.sqrt(window.var() + 0.01) if words.scale.even else window) @ words.scale.white)
    return np.linalg.norm(np.array(rows)[:, None] - words.words, axis=2)


def test_nearness_is_the_least_distance_of_any_window(tmp_path: Path) -> None:
    pool, x = some(tmp_path)
    words = loud_words(pool, 20, 3, SIDE, np.random.default_rng(0))
    apart = naive(words, x[7])
    assert words.words.shape == (20, 9)
    assert np.allclose(words.nearness(x[7:8])[0], -np.log1p(apart.min(axis=0) ** 2), atol=1e-5)


def test_responses_are_what_is_nearer_than_the_mean_word_in_each_part(tmp_path: Path) -> None:
    pool, x = some(tmp_path)
    words = usual_words(pool, 20, 5, SIDE, np.random.default_rng(0))
    apart = naive(words, x[3])
    near = np.maximum(apart.mean(axis=1, keepdims=True) - apart, 0).reshape(4, 4, 20)  # 4 × 4 windows of 5 in 8 pixels
    expected = [near[i : i + 2, j : j + 2].mean(axis=(0, 1)) for i in (0, 2) for j in (0, 2)]
    assert np.allclose(words.responses(x[3:4], 2)[0], np.concatenate(expected), atol=1e-5)


def test_a_mark_makes_a_word_wherever_it_lies(tmp_path: Path) -> None:
    x, y = digits(10)
    rng, marked = np.random.default_rng(1), np.arange(300) < 30
    for image in x[:30]:
        i, j = rng.integers(0, 6, 2)
        image[i : i + 3, j : j + 3] = 255 * ((np.indices((3, 3)).sum(0) + 1) % 2)
    pool = Pool((image_dataset(tmp_path, x[:300], y[:300]),))
    words = loud_words(pool, 128, 3, SIDE, np.random.default_rng(0))
    near = words.nearness(pool.take(np.arange(300))[0])
    best = near[:, np.argmax(near[marked].mean(axis=0) - near[~marked].mean(axis=0))]
    assert best[marked].min() > best[~marked].max()


def test_contrast_does_not_matter_where_it_is_evened() -> None:
    x = np.random.default_rng(2).random((1, 1, 9, 9), np.float32)
    faint, loud = (windows(x * c, 3, even=True) for c in (4, 8))
    assert np.allclose(faint, loud, atol=0.05)
    assert np.allclose(2 * windows(0.9 * x, 3, even=False), windows(1.8 * x, 3, even=False), atol=1e-5)


def test_batches_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, x = some(tmp_path)
    words = loud_words(pool, 20, 3, SIDE, np.random.default_rng(0))
    whole = words.nearness(x)
    monkeypatch.setattr(vocabulary, "CHUNK", 40)
    assert np.allclose(words.nearness(x), whole, atol=1e-6)
    assert np.allclose(words.nearness(x[5:6]), whole[5:6], atol=1e-6)


@pytest.mark.parametrize("make", [loud_words, usual_words])
@pytest.mark.parametrize("shape", [(5, 12, 12), (5, 2, 2), (1, 3, 3)])
def test_images_without_any_difference_have_words_too(make: object, shape: tuple[int, ...], tmp_path: Path) -> None:
    pool = Pool((image_dataset(tmp_path, np.full(shape, 80, np.uint8), np.zeros(shape[0], int)),))
    words = make(pool, 256, 3, SIDE, np.random.default_rng(0))  # type: ignore[operator]
    assert np.isfinite(words.nearness(pool.take(np.arange(len(pool)))[0])).all()


@pytest.mark.parametrize("make", [loud_words, usual_words])
def test_windows_fit_into_images_that_were_averaged_down(make: object, tmp_path: Path) -> None:
    x = np.random.default_rng(3).integers(0, 256, (6, 9, 9), np.uint8)  # → 4 × 4 pixels
    words = make(Pool((image_dataset(tmp_path, x, np.zeros(6, int)),)), 8, 5, 8, np.random.default_rng(0))  # type: ignore[operator]
    assert words.scale.width == 4
    assert words.nearness(x[:, None] / np.float32(255)).shape == (6, len(words.words))
