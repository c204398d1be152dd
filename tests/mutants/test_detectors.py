"""Defects of detectors, re-created: the promises of lotgate.checks must notice each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lotgate.checks import check_trusted_rows_are_judged_unseen
from lotgate.data import Batch, Task
from lotgate.detector import Evidence, Scores
from lotgate.detectors.disagreement import Disagreement, DisagreementScorer


@dataclass(frozen=True, eq=False, kw_only=True)
class Remembering(DisagreementScorer):
    """Knows the labels of some rows by heart, and so contradicts them less."""

    by_heart: frozenset[str]

    def score(self, batch: Batch) -> Scores:
        return super().score(batch) - 3.0 * np.array([i in self.by_heart for i in batch.ids])


class LabelsByHeart(Disagreement):
    """Calls itself cross-fitted, and judges the trusted rows it was given by models that learned from them."""

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Remembering:
        assert evidence.trusted is not None
        return Remembering(**vars(super().fit(evidence, rng)), by_heart=frozenset(evidence.trusted.ids))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_trusted_rows_that_a_detector_has_seen(task: Task, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="scores the trusted rows it has seen"):
        check_trusted_rows_are_judged_unseen(LabelsByHeart(folds=2, epochs=2), tmp_path, "table", task)
