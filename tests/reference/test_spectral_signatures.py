"""Spectral signatures against Algorithm 1 of Tran, Li and Madry (2018), written down naively."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lotgate import probe as probe_module
from lotgate.checks import example
from lotgate.data import Dataset, fold_of
from lotgate.detector import scan
from lotgate.detectors import spectral_signatures
from lotgate.detectors.spectral_signatures import SpectralSignatures, class_directions
from lotgate.probe import Probe

Vector = npt.NDArray[np.float64]


def top_direction(features: Vector) -> tuple[Vector, Vector]:
    """Mean, and top right singular vector of the centred matrix: lines 5 to 7 of the algorithm."""
    centre = features.mean(axis=0)
    _, _, v = np.linalg.svd(features - centre, full_matrices=False)
    return centre, v[0]


def a_case(folder: Path) -> tuple[Probe, Dataset, Dataset, Dataset, npt.NDArray[np.bool_]]:
    made = example(folder, "backdoor", seed=5, n=300)
    evidence = made.evidence
    assert evidence.probe is not None and evidence.trusted is not None and evidence.heldout is not None
    return evidence.probe, evidence.suspect, evidence.trusted, evidence.heldout, made.planted


def test_directions_are_those_of_the_singular_value_decomposition(tmp_path: Path) -> None:
    probe, suspect, *_ = a_case(tmp_path)
    centres, directions = class_directions(probe, suspect, 3)
    features, half = probe.feature_matrix(suspect).astype(np.float64), fold_of(suspect.ids, 2)
    assert 0.4 < half.mean() < 0.6
    for h in (0, 1):
        for c in range(3):
            centre, v = top_direction(features[(half == 1 - h) & (suspect.y == c)])  # what the other half says
            np.testing.assert_allclose(centres[h, c], centre, rtol=1e-6)
            assert abs(directions[h, c] @ v) == pytest.approx(1, abs=1e-6)
            assert np.linalg.norm(directions[h, c]) == pytest.approx(1)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_read_in_batches_or_whole(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe, suspect, *_ = a_case(tmp_path)
    monkeypatch.setattr(spectral_signatures, "PASS_BATCH", len(suspect))
    whole = class_directions(probe, suspect, 3)
    monkeypatch.setattr(spectral_signatures, "PASS_BATCH", size)
    streamed = class_directions(probe, suspect, 3)
    np.testing.assert_allclose(streamed[0], whole[0], rtol=1e-9)
    np.testing.assert_allclose(np.abs((streamed[1] * whole[1]).sum(-1)), 1, atol=1e-9)
    assert probe_module.PASS_BATCH < 10_000


def test_scores_are_squared_distances_from_the_trusted_mean_in_trusted_deviations(tmp_path: Path) -> None:
    probe, suspect, trusted, heldout, planted = a_case(tmp_path)
    evidence = example(tmp_path / "again", "backdoor", seed=5, n=300).evidence
    scorer = SpectralSignatures().fit(evidence, np.random.default_rng(0))
    found = scorer.score(evidence.suspect.batch(np.arange(len(suspect))))
    features, half = probe.feature_matrix(suspect).astype(np.float64), fold_of(suspect.ids, 2)
    vetted = probe.feature_matrix(trusted).astype(np.float64)
    expected = np.zeros(len(suspect))
    for i in range(len(suspect)):
        same = suspect.y == suspect.y[i]
        centre, v = top_direction(features[same & (half != half[i])])
        along = (vetted[trusted.y == suspect.y[i]] - centre) @ v
        expected[i] = (((features[i] - centre) @ v - along.mean()) / along.std(ddof=1)) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.median(found[planted]) > 10 * np.median(found[~planted])
    clean = scorer.score(evidence.heldout.batch(np.arange(len(heldout)))) if evidence.heldout else found
    assert (scorer.p_value(clean) <= 0.1).mean() == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("held_out", ["nothing", "no row"])
def test_without_held_out_rows_the_lot_calibrates_itself(held_out: str, tmp_path: Path) -> None:
    evidence = example(tmp_path, "nothing", n=90).evidence
    assert evidence.heldout is not None
    rows = None if held_out == "nothing" else evidence.heldout.select([])
    findings = scan(SpectralSignatures(), replace(evidence, heldout=rows), np.random.default_rng(0))
    assert findings["p_value"].between(0, 1, inclusive="right").all()
    assert findings["p_value"].nunique() > 10
