"""Excess confidence: labels that only the lot itself makes plausible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from lotgate.calibration import calibrate
from lotgate.crossfit import Excess, fit_excess
from lotgate.data import Batch
from lotgate.detector import CalibratedScorer, Detector, Evidence, Scorer, Scores

MIN_ROWS = 100  # models of fewer trusted rows fail on whole kinds of samples: no tail tells how far


class ExcessConfidence(Detector):
    """How much surer of a sample's label the rest of the lot makes a model than trusted rows alone do.

    Catches:
        Backdoors, dirty- and clean-label, with any trigger that the probe can learn: other poisoned rows teach it,
        trusted rows do not.
    Misses:
        Poison that teaches nothing to other rows: label flips at random, single outliers; triggers too rare or too
        faint to be learned from half of the lot.
    Assumes:
        Trusted rows are drawn like the clean rows of the lot.
    Method:
        e = log p_learned(y | x) − ½ log p_vouched(y | x) − ½ log p_sifted(y | x) of the cross-fitted models of the
        evidence (lotgate.crossfit), none of which saw the sample: trained on lot and trusted rows; on trusted rows; on
        these and the 70% of the lot that they contradict least, which is a better model with little of the
        poison. s = (e − m_f) / d_f, with the median of the trusted rows of fold f and its distance to their 90%
        quantile, half a nat at least. Trusted rows, answered in the same way, give p-values. Where the lot is not
        drawn like them (lotgate.shift), p-values are under the lot's empirical null, and 1 unless another class has
        a larger ½ log p_vouched + ½ log p_sifted: such a lot knows its clean rows better, too.
    Cost:
        None of its own. The gather step trains ten probes: on half of lot and trusted rows, on half of the trusted rows
        and 70% of half of the lot, two each; on parts of the trusted rows, six. About two trainings on the lot.
    Source:
        Own. The score is the reducible loss of Mindermann et al., ICML 2022 (section 3), with its sign and its use
        turned round; cross-fitting: Chernozhukov et al. 2018, section 3.
    Differs:
        From the reducible loss: both models are cross-fitted, and the score is compared with that of trusted rows.
    """

    name: ClassVar = "excess_confidence"
    modalities: ClassVar = frozenset({"image", "table"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"trusted", "crossfit"})
    own_null: ClassVar = True
    needs_contradiction: ClassVar = True
    crossfitted: ClassVar = True
    reason: ClassVar = "other samples of the lot make its label plausible, and trusted samples do not"

    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        crossfit = evidence.crossfit
        assert crossfit is not None  # require() has checked them
        excess = fit_excess(crossfit, (crossfit.learned.logits,), evidence.vetted)
        calibration = calibrate(excess.usual, excess.of_all((evidence.suspect,)), MIN_ROWS)
        return ExcessScorer(excess, rate=self.rate, calibration=calibration)


@dataclass(frozen=True, eq=False)
class ExcessScorer(CalibratedScorer):
    """Log-likelihood ratios of the two ensembles, calibrated on trusted rows."""

    excess: Excess

    def score(self, batch: Batch) -> Scores:
        return self.excess.of(batch)
