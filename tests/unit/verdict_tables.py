"""Findings and verdicts of a small screened lot, as scan and decide leave them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lotgate.findings import GateResult, findings_frame
from lotgate.gate import gate_verdicts
from lotgate.policy import Policy

VOTERS = ("activation_clustering", "spectral_signatures")


@dataclass(frozen=True)
class Screened:
    """Sixty samples of two classes; the last two were excluded by the contract, the first three are quarantined."""

    findings: pd.DataFrame
    verdicts: pd.DataFrame
    ids: tuple[str, ...]
    scanned: tuple[str, ...]
    voters: tuple[str, ...] = VOTERS
    policy: Policy = field(default_factory=lambda: Policy(voters=VOTERS))

    def gate(self, docs: Path | None = None) -> GateResult:
        return gate_verdicts(self.findings, self.verdicts, self.ids, self.scanned, self.voters, self.policy, docs)

    def but(self, **changes: object) -> Screened:
        return replace(self, **changes)


def screened(n: int = 60) -> Screened:
    ids = tuple(f"{'OK' if i % 2 else 'NG'}/part {i:02d}.png" for i in range(n))
    scanned = ids[:-2]
    rng = np.random.default_rng(0)
    findings = pd.concat(
        [
            findings_frame(
                np.array(scanned), name, rng.normal(size=n - 2), rng.uniform(0.01, 1, n - 2), np.arange(n - 2) < 3
            )
            for name in VOTERS
        ],
        ignore_index=True,
    )
    away = np.isin(np.arange(n), [0, 1, 2, n - 2, n - 1])
    verdicts = pd.DataFrame(
        {
            "sample_id": ids,
            "label": [i.split("/")[0] for i in ids],
            "action": np.where(away, "quarantine", "keep"),
            "score": np.where(away, 0.99, 0.1),
            "reasons": np.where(away, "forms a group that trusted samples do not", ""),
        }
    )
    return Screened(findings, verdicts, ids, scanned)


def failed(result: GateResult) -> list[str]:
    return [f"{check.name} | {check.detail}" for check in result.checks if not check.passed]
