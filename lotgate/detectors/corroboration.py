"""Corroboration: labels that models lean against, on samples that look unlike their class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.stats import rankdata

from lotgate.calibration import calibrate
from lotgate.data import Batch
from lotgate.detector import CalibratedScorer, Detector, Evidence, Scorer, Scores
from lotgate.statements import Statement, statement_of
from lotgate.tails import EXPONENTIAL


class Corroboration(Detector):
    """How far a sample is among the oddest of its class to two witnesses at once: to disagreement, trusted distance.

    Catches:
        What neither of both is sure of alone, where a class has few trusted samples: warps and other triggers over the
        whole image in two-class lots, flips between classes that look alike.
    Misses:
        Clean-label poison and small triggers, which no model contradicts and which look like their class; whatever one
        witness sees alone, for that one says so itself.
    Assumes:
        Trusted rows are drawn like the clean rows of the lot: where they are not (lotgate.shift), it says nothing.
    Method:
        Within each class, lot and trusted rows together are ranked by either witness's score, the oddest first, and a
        row scores −log r₁ − log r₂ with r = rank / (rows + 1). Both kinds are treated alike, so that clean and trusted
        rows stay exchangeable. Trusted rows, none of which the witnesses' models have seen, give p-values. However
        the witnesses depend on each other on clean rows, P(score ≥ s) ≤ 2 exp(−s / 2), so that the tail may be
        exponential. A class that holds more odd rows than its trusted ones explain is suspected as a whole
        (lotgate.surplus).
    Cost:
        Two sorts a class. Nothing is trained: it has the witnesses' scores.
    Source:
        Own. The score is Fisher's (Statistical Methods for Research Workers, 1932, section 21.1) of two rank p-values.
    Differs:
        Not referred to χ² with four degrees of freedom, which takes independent witnesses, but to trusted rows.
    """

    name: ClassVar = "corroboration"
    modalities: ClassVar = frozenset({"image"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"trusted"})
    hears: ClassVar = ("disagreement", "trusted_distance")
    crossfitted: ClassVar = True
    counts_surplus: ClassVar = True
    reason: ClassVar = "models trained without it lean against its label, and it looks unlike its class"

    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        rows = (evidence.suspect, *evidence.vetted)
        y = np.concatenate([d.y for d in rows])
        witnesses = [evidence.statements[name].of_all(rows) for name in self.hears]
        scores = np.zeros(len(y)) if evidence.shift.certain else corroborated(witnesses, y)
        parts = np.split(scores, np.cumsum([len(d) for d in rows])[:-1])
        calibration = calibrate(np.concatenate(parts[1:]), parts[0], lightest=EXPONENTIAL)
        found = statement_of(list(zip(rows, parts, strict=True)))
        return CorroborationScorer(found, rate=self.rate, calibration=calibration)


def corroborated(witnesses: Sequence[Scores], y: npt.NDArray[Any]) -> Scores:
    """(N,) −Σ log r over the witnesses, r = rank / (rows + 1) within the row's class, the highest score first.

    Args:
        witnesses: scores (N,), higher is odder. y: (N,) classes.
    """
    found = np.zeros(len(y))
    for c in np.unique(y):
        own = y == c
        for scores in witnesses:
            found[own] -= np.log(rankdata(-scores[own]) / (own.sum() + 1))
    return found


@dataclass(frozen=True, eq=False)
class CorroborationScorer(CalibratedScorer):
    """Scores of the rows that were ranked."""

    found: Statement

    def score(self, batch: Batch) -> Scores:
        return self.found.of(batch)
