"""Poisoned data recognition (section IV-C): the trained mimic, what calibrates it, and the two boundaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.stats import norm

from lotgate.calibration import Calibration, calibrate
from lotgate.data import Batch
from lotgate.detector import Scores
from lotgate.detectors._de_pois.losses import detection_boundary
from lotgate.detectors._de_pois.networks import MimicCritic
from lotgate.detectors._de_pois.offsets import Offsets, learn_offsets
from lotgate.detectors._de_pois.scaling import Pool, Scaling

Boundary = Literal["calibrated", "paper"]

FLAG_RATE = 0.01
SCORE_BATCH = 256


@dataclass(frozen=True, eq=False)
class MimicScorer:
    """The mimic model with what calibrates it.

    Attributes:
        critic: D_w in eval mode, on `device`.
        scaling, offsets: what comes before and after it.
        mean, deviation: μ and σ of its standardised outputs over S_aug.
        paper_boundary: y_thr of (10) on the same scale.
        calibration: of the scores of held-out trusted rows.
        boundary: which of the two judges.
        two_sided: whether an output that is too high is suspicious, too.
    """

    critic: MimicCritic
    scaling: Scaling
    offsets: Offsets
    mean: float
    deviation: float
    paper_boundary: float
    calibration: Calibration
    boundary: Boundary
    two_sided: bool
    device: str

    @property
    def threshold(self) -> float:
        """Score above which a sample is flagged: held-out clean rows exceed it in 1% of cases, or −y_thr."""
        return -self.paper_boundary if self.boundary == "paper" else self.calibration.threshold(FLAG_RATE)

    def score(self, batch: Batch) -> Scores:
        """(B,) −D_w(x|y), or its size if `two_sided`, in deviations from what is usual at this y."""
        pool = Pool(self.scaling.samples(batch), self.scaling.condition(batch.y))
        outputs = self.offsets.standardise(mimic_outputs(self.critic, pool, self.device), self.scaling.values(pool))
        return np.abs(outputs) if self.two_sided else -outputs

    def p_value(self, scores: Scores) -> Scores:
        """(B,) from held-out trusted rows, or from the normal law by which the paper reads S_aug."""
        if self.boundary == "calibrated":
            return self.calibration.p_value(scores)
        tail = norm.sf((scores + self.mean) / max(self.deviation, 1e-12))
        return np.asarray(np.clip((1 + self.two_sided) * tail, 1e-300, 1.0), np.float64)


def make_scorer(
    critic: MimicCritic,
    scaling: Scaling,
    augmented: Pool,
    heldout: Pool,
    *,
    standardise: bool,
    boundary: Boundary,
    two_sided: bool,
    z_s: float,
    device: str,
) -> MimicScorer:
    """Offsets and y_thr from S_aug, the calibration from held-out rows."""
    raw = mimic_outputs(critic, augmented, device)
    offsets = learn_offsets(raw, scaling.values(augmented), scaling.classes, standardise)
    usual = offsets.standardise(raw, scaling.values(augmented))  # (|S_aug|,)
    held = offsets.standardise(mimic_outputs(critic, heldout, device), scaling.values(heldout))
    return MimicScorer(
        critic=critic, scaling=scaling, offsets=offsets, mean=float(usual.mean()), deviation=float(usual.std()),
        paper_boundary=detection_boundary(torch.from_numpy(usual), z_s),
        calibration=calibrate(np.abs(held) if two_sided else -held),
        boundary=boundary, two_sided=two_sided, device=device,
    )  # fmt: skip


def mimic_outputs(critic: MimicCritic, pool: Pool, device: str) -> Scores:
    """(N,) y_pre = D_w(x|y) of every row."""
    with torch.inference_mode():
        parts = zip(torch.split(pool.x, SCORE_BATCH), torch.split(pool.condition, SCORE_BATCH), strict=True)
        outputs = [critic(x.float().to(device), condition.to(device)).double().cpu() for x, condition in parts]
    return np.asarray(torch.cat(outputs).numpy(), np.float64)
