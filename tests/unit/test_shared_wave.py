"""Shared wave on made-up textures: a faint wave is found beside a class that varies in everything, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lotgate.detector import Evidence
from lotgate.detectors.shared_pattern import SharedPattern
from lotgate.detectors.shared_wave import SharedWave
from lotgate.shift import Shift
from lotgate.waves import FEWEST, SHARED, TAIL, of_moments, spectra, strongest_waves, third_moments
from tests.small_lots import image_dataset
from tests.unit import apart_lots
from tests.unit.apart_lots import SaidOf

SIDE = 32
p_values = partial(apart_lots.p_values, SharedWave())


def textures(n: int, rng: np.random.Generator, spread: float) -> np.ndarray:
    """(n, SIDE, SIDE) smoothed noise around grey, of different contrast in each image."""
    noise = ndimage.gaussian_filter(rng.normal(size=(n, SIDE, SIDE)), (0, 0.7, 0.7), mode="wrap")
    return 128 + spread * noise * np.exp(rng.normal(0, 0.4, (n, 1, 1)))


def lots(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lot and trusted images: class 0 varies little, class 1 by ten times as much."""
    rng = np.random.default_rng(seed)
    x, vetted = (np.concatenate([textures(n, rng, 8), textures(n, rng, 80)]) for n in (200, 40))
    return x, np.repeat([0, 1], 200), vetted, np.repeat([0, 1], 40)


def wave(phases: np.ndarray) -> np.ndarray:
    """(n, 1, SIDE) of amplitude 1."""
    return np.sin(2 * np.pi * 6 * np.arange(SIDE) / SIDE + phases[:, None])[:, None]


def evidence(folder: Path, x: np.ndarray, y: np.ndarray, vetted: np.ndarray, vetted_y: np.ndarray) -> Evidence:
    suspect, trusted = (
        image_dataset(folder / name, part.clip(0, 255).round().astype(np.uint8), labels)
        for name, part, labels in (("lot", x, y), ("trusted", vetted, vetted_y))
    )
    return Evidence(suspect, trusted, trusted.select([]), crossfit=SaidOf(set()))


@pytest.mark.parametrize("seed", range(4))
def test_clean_textures_share_no_wave(seed: int, tmp_path: Path) -> None:
    assert p_values(evidence(tmp_path, *lots(seed))).min() > 0.01


@pytest.mark.parametrize("rows", [20, 60])
def test_a_wave_is_found_beside_a_class_that_varies_by_more(rows: int, tmp_path: Path) -> None:
    x, *others = lots(0)
    x[:rows] += 3 * wave(np.zeros(rows))
    found = evidence(tmp_path, x, *others)
    p = p_values(found)
    assert (p[:rows] < 5e-3).mean() > 0.9
    assert (p[rows:] > 5e-3).mean() > 0.99
    in_pixels = apart_lots.p_values(SharedPattern(), found)[:rows].min()
    assert in_pixels > 3 * p[:rows].max(), "pixels tell as much"


def test_a_trigger_of_many_waves_is_found_though_it_owns_the_largest_moments(tmp_path: Path) -> None:
    x, *others = lots(0)
    rows, columns = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    for i in range(40):
        x[:40] += np.sin(2 * np.pi * ((5 + i % 8) * columns + (3 + i // 8) * rows) / SIDE + i)
    p = p_values(evidence(tmp_path, x, *others))
    assert (p[:40] < 5e-3).mean() > 0.9
    assert (p[40:] > 5e-3).mean() > 0.99


def test_in_a_shifted_lot_only_what_models_contradict_is_accused(tmp_path: Path) -> None:
    x, *others = lots(0)
    x[:20] += 3 * wave(np.zeros(20))
    found = replace(evidence(tmp_path, x, *others), shift=Shift(chance=0.9, error=0.001))
    assert found.shift.certain
    assert (p_values(found) == 1).all()
    said = replace(found, crossfit=SaidOf(set(found.suspect.ids[:20])))
    assert (p_values(said)[:20] < 0.05).mean() > 0.9


def test_a_wave_that_trusted_images_have_too_is_natural(tmp_path: Path) -> None:
    x, y, vetted, vetted_y = lots(0)
    x[:60] += 3 * wave(np.zeros(60))
    vetted[:12] += 3 * wave(np.zeros(12))
    assert p_values(evidence(tmp_path, x, y, vetted, vetted_y)).min() > 0.05


def test_waves_of_any_phase_are_usual(tmp_path: Path) -> None:
    x, *others = lots(0)
    x[:40] += 3 * wave(np.random.default_rng(0).uniform(0, 2 * np.pi, 40))
    assert p_values(evidence(tmp_path, x, *others)).min() > 0.01


def test_repeats_of_one_image_are_no_wave(tmp_path: Path) -> None:
    x, *others = lots(0)
    x[:25] = x[0] + np.random.default_rng(0).normal(0, 1, (25, SIDE, SIDE))
    assert p_values(evidence(tmp_path, x, *others)).min() > 0.01


def test_small_images_are_left_to_others(tmp_path: Path) -> None:
    x, y, vetted, vetted_y = lots(0)
    x[:40, :8, :8] += 30
    found = evidence(tmp_path, x[:, :8, :8], y, vetted[:, :8, :8], vetted_y)
    assert (p_values(found) == 1).all()


@pytest.mark.parametrize(("rows", "columns", "own_conjugates"), [(24, 20, 3), (24, 21, 1), (23, 20, 1), (23, 21, 0)])
def test_every_real_image_has_as_many_coefficients_as_pixels_but_its_brightness(
    rows: int, columns: int, own_conjugates: int
) -> None:
    x = np.random.default_rng(0).random((3, 3, rows, columns)).astype(np.float32)
    found = spectra(x, 64)
    complex_ones = (rows * columns - 1 - own_conjugates) // 2  # the others are real, at half the sampling rate
    assert ((found != 0).sum(axis=1) == 3 * (complex_ones + own_conjugates)).all()
    constant = spectra(np.full_like(x, 0.7), 64)
    assert np.abs(constant).max() < 1e-5


def test_further_waves_have_smaller_and_smaller_moments() -> None:
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(100, 600)) + 1j * rng.normal(size=(100, 600))).astype(np.complex64)
    z[:10, :5] += 6
    first, more = strongest_waves(z, 5), strongest_waves(z, 5, 20)
    assert [w.place for w in more[:5]] == [w.place for w in first]
    assert len({w.place for w in more}) == len(more) > 20
    p = [w.p_value for w in more]
    assert p == sorted(p) and p[0] < p[-1] == 1


def test_a_moment_points_along_the_phase_that_some_share() -> None:
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(400, 300)) + 1j * rng.normal(size=(400, 300))).astype(np.complex64) / np.sqrt(2)
    z[:40, 7] += 4 * np.exp(1j * 0.9)
    moments = third_moments(z)
    assert np.abs(moments).argmax() == 7
    assert np.angle(moments[7]) == pytest.approx(0.9, abs=0.1)
    first, *_ = strongest_waves(z, 3)
    assert first.place == 7 and first.p_value < 1e-4
    assert 3 < first.strength(z)[:40].mean() < 4, "the wave makes what is usual a little larger"
    loud = z.copy()
    loud[50, 11] = 1e4
    assert next(iter(strongest_waves(loud, 2))).place == 7, "one image makes no group"


@pytest.mark.parametrize("decay", [3.0, 8.0])
def test_moments_count_how_many_would_be_as_large(decay: float) -> None:
    rng = np.random.default_rng(0)
    expected = []
    for _ in range(200):
        sizes = rng.pareto(decay, 2000) + 1
        sizes[-1] = 2000 ** (1 / decay) * 2 ** (1 / decay)  # reached by half a coefficient of 2,000
        expected.append(of_moments(sizes)[-1])
    assert np.median(expected) == pytest.approx(0.5, rel=0.25)


def test_a_trigger_of_a_few_waves_does_not_hide_itself() -> None:
    sizes = np.random.default_rng(0).pareto(6.0, FEWEST * 10) + 1
    sizes[:SHARED] = 30
    assert TAIL > SHARED
    assert of_moments(sizes)[0] < 5e-3
