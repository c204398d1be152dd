"""Images that look like nothing trusted, and small changes of a stable line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotgate.calibration import FEW_KNOWN
from lotgate.detector import Evidence, judge
from lotgate.detectors.trusted_distance import TrustedDistance, whitening
from tests.small_lots import digits, image_dataset

JUNK = 12


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Scores and p-values of 240 digits of two classes, the first JUNK of them overwritten with stripes and noise."""
    folder, (x, y) = tmp_path_factory.mktemp("lots"), digits()
    lot = x[:240].copy()
    lot[0:JUNK:2] = np.where(np.arange(8) % 4 < 2, 0, 255)
    lot[1:JUNK:2] = np.random.default_rng(0).integers(0, 256, (JUNK // 2, 8, 8))
    suspect = image_dataset(folder / "lot", lot, y[:240])
    trusted, heldout = (image_dataset(folder / f"t{i}", x[240 + i : 360 : 2], y[240 + i : 360 : 2]) for i in (0, 1))
    scorer = TrustedDistance().fit(Evidence(suspect, trusted, heldout), np.random.default_rng(0))
    found = np.concatenate([scorer.score(batch) for batch in suspect.batches(64)])
    return found, scorer.p_value(found)


def test_junk_lies_farther_from_trusted_images_than_any_other(scores: tuple[np.ndarray, np.ndarray]) -> None:
    found, p = scores
    assert found[0:JUNK:2].min() > found[JUNK:].max()  # stripes
    assert np.median(found[1:JUNK:2]) > found[JUNK:].max()  # noise of 8 × 8 pixels
    assert found[:JUNK].min() > np.quantile(found[JUNK:], 0.98)
    assert p[0:JUNK:2].max() < 0.005
    assert (p[JUNK:] < 0.005).mean() <= 0.01


def test_a_statistic_that_never_varies_does_not_make_every_change_strange() -> None:
    x = np.random.default_rng(1).normal(size=(500, 3)) * [1, 2, 1e-6]
    white = whitening(x).white(x.mean(axis=0) + np.array([[0, 0, 0.1], [0, 0, 3.0]]))
    assert np.linalg.norm(white, axis=1) == pytest.approx([0.1 / np.sqrt(0.1), 3 / np.sqrt(0.1)], rel=1e-3)


def test_one_row_and_equal_rows_can_be_whitened() -> None:
    for x in (np.ones((1, 3)), np.ones((5, 1))):
        assert np.isfinite(whitening(x).white(x)).all()


def test_rows_of_a_class_without_trusted_images_are_compared_with_all(tmp_path: Path) -> None:
    x, y = digits(3)
    lot, trusted = image_dataset(tmp_path / "lot", x[:60], y[:60]), y[60:200] != 2
    vetted = image_dataset(tmp_path / "trusted", x[60:200][trusted], y[60:200][trusted])
    scorer = TrustedDistance().fit(Evidence(lot, vetted, vetted), np.random.default_rng(0))
    found = np.concatenate([scorer.score(batch) for batch in lot.batches(64)])
    assert np.isfinite(found).all() and (found > 0).all()


@pytest.mark.parametrize(("vetted", "covered"), [(FEW_KNOWN - 2, False), (3 * FEW_KNOWN, True)])
def test_a_kind_that_few_trusted_images_of_a_class_do_not_show_is_not_accused(
    tmp_path: Path, vetted: int, covered: bool
) -> None:
    """Part of a class comes brighter, and none of its trusted images does: of a few, that may be chance."""
    x, y = digits()
    lot, rest, brighter = np.arange(200), np.arange(200, len(x)), np.arange(200) % 3 == 0
    brighter &= y[lot] == 0
    images = np.where(brighter[:, None, None], 128 + x[lot] // 2, x[lot]).astype(np.uint8)
    known = np.concatenate([rest[y[rest] == 0][:vetted], rest[y[rest] == 1][:40]])
    suspect = image_dataset(tmp_path / "lot", images, y[lot])
    trusted, heldout = (image_dataset(tmp_path / f"t{i}", x[known[i::2]], y[known[i::2]]) for i in (0, 1))
    evidence = Evidence(suspect, trusted, heldout)
    judged = judge(TrustedDistance(), TrustedDistance().fit(evidence, np.random.default_rng(0)), evidence)
    p = judged.findings["p_value"].to_numpy()
    assert judged.unjudged == (() if covered else ("0",))
    assert (p[brighter] < 0.005).all() if covered else (p[y[lot] == 0] == 1).all()
    assert (p[y[lot] == 1] < 1).any(), "of the other class it speaks"
