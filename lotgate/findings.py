"""Findings, verdicts and the rule between them.

    findings   one row per (sample × detector): what was measured
    verdicts   one row per sample: keep or quarantine, with a suspicion score and reasons in words
    Decision   one per lot: accept, accept_with_quarantine or reject

All functions here are pure: tables in, tables out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

Action = Literal["keep", "quarantine"]
Outcome = Literal["accept", "accept_with_quarantine", "reject"]
Rate = Annotated[float, Field(ge=0.0, le=1.0)]

FINDINGS_COLUMNS = ("sample_id", "detector", "score", "p_value", "flagged")
VERDICTS_COLUMNS = ("sample_id", "label", "action", "score", "reasons")


class Policy(BaseModel):
    """Who votes, and the limits.

    Attributes:
        voters: detectors whose findings quarantine. Others report only. A voter that does not apply to the lot's
            modality or task (see `lotgate detectors`) is left out of that lot, and the decision says so.
        false_quarantine_rate: largest expected share of a clean lot that may be quarantined by the voters.
        false_discovery_rate: largest expected share of clean samples among the quarantined ones.
        max_quarantined_rate: above this share of the lot in quarantine the lot is rejected.
        max_quarantined_rate_per_class: the same within any one class.
        allow_untrusted: screen a lot without a trusted set; the decision then says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    voters: tuple[str, ...] = ("activation_clustering", "spectral_signatures", "de_pois")
    false_quarantine_rate: Annotated[float, Field(gt=0.0, le=0.5)] = 0.01
    false_discovery_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    max_quarantined_rate: Rate = 0.2
    max_quarantined_rate_per_class: Rate = 0.6
    allow_untrusted: bool = False


class Check(BaseModel):
    """One promise that was tested.

    Attributes:
        name: what was tested, e.g. "manifest: labels known to the trusted set".
        passed: whether it held.
        observed: what was seen; limit: what is allowed. Both as shown to a reader.
        critical: a failed critical check rejects the lot; a failed other check is reported.
        detail: one sentence for the reader, empty where the name says it all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    passed: bool
    observed: float | int | str | None
    limit: float | int | str | None
    critical: bool = True
    detail: str = ""


class GateResult(BaseModel):
    """What a gate says: passed only if every critical check passed, and at least one check ran."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks if check.critical)


class Decision(BaseModel):
    """`decision.json`: the lot's decision and everything it rests on.

    Attributes:
        decision: accept, accept_with_quarantine or reject.
        reasons: why, in words; the first one is the headline.
        dataset, lot: names (empty for a bare scan). lot_fingerprint, trusted_fingerprint: see Dataset.fingerprint.
        trusted: whether the lot was judged against a trusted set.
        task, modality, n_samples, n_quarantined: of the lot.
        voters: detectors that voted; skipped: voters that do not apply, with the reason.
        checks: contract and gate checks, observed against limit.
        seconds: per step. versions: of lotgate and its stack. seed: of the scan.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Outcome
    reasons: tuple[str, ...]
    dataset: str = ""
    lot: str = ""
    lot_fingerprint: str
    trusted_fingerprint: str | None
    trusted: bool
    task: str
    modality: str
    n_samples: int
    n_quarantined: int
    voters: tuple[str, ...]
    skipped: dict[str, str] = {}
    thresholds: dict[str, float | None] = {}
    checks: tuple[Check, ...]
    seconds: dict[str, float]
    versions: dict[str, str]
    seed: int
    settings: dict[str, Any] = {}


def findings_frame(
    ids: npt.NDArray[Any],
    detector: str,
    scores: npt.NDArray[Any],
    p_values: npt.NDArray[Any],
    flagged: npt.NDArray[Any],
) -> pd.DataFrame:
    """One finding per sample, in the schema of `findings.parquet`."""
    return pd.DataFrame(
        {
            "sample_id": pd.Series(ids, dtype="str"),
            "detector": pd.Series(np.full(len(ids), detector), dtype="str"),
            "score": np.asarray(scores, np.float64),
            "p_value": np.asarray(p_values, np.float64),
            "flagged": np.asarray(flagged, bool),
        }
    )
