"""A run's folder, read as what may be released: refused unless it was judged and accepted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from lotgate.data import Dataset
from lotgate.errors import LotError
from lotgate.findings import Decision, GateResult
from lotgate.release import ACCEPTED, DetectorSummary

GATES = ("contract.json", "gate.json")


@dataclass(frozen=True, eq=False)
class Judged:
    """An accepted lot.

    Attributes:
        lot: every sample of it, unreadable ones included.
        decision: as in decision.json.
        kept, quarantined: manifest rows by verdict.
        verdicts, manifest: the run's files.
        detectors: summaries of the findings.
        release_id: SHA-256 over the lot's fingerprint and every verdict.
    """

    lot: Dataset
    decision: Decision
    kept: pd.DataFrame
    quarantined: pd.DataFrame
    verdicts: Path
    manifest: Path
    detectors: tuple[DetectorSummary, ...]
    release_id: str


def read_judged(run: Path) -> Judged:
    """Reads a finished run.

    Raises:
        LotError: the run is not finished, contradicts itself, or its lot was not accepted.
    """
    try:
        decision = Decision.model_validate_json((run / "decision.json").read_bytes())
        gates = {name: GateResult.model_validate_json((run / name).read_bytes()) for name in GATES}
        lot = Dataset.load(run / "work" / "lot")
        verdicts = pd.read_parquet(run / "verdicts.parquet")
        findings = pd.read_parquet(run / "findings.parquet")
        pd.read_parquet(run / "manifest.parquet", columns=["sample_id"])
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise LotError(
            f"the run is not a finished scan: {str(error).splitlines()[0]}",
            where=run,
            action="scan the lot again; nothing was released",
        ) from error
    _require_accepted(run, decision, gates)
    _require_consistent(run, decision, lot, verdicts)
    actions = verdicts.set_index("sample_id")["action"].reindex(lot.manifest["sample_id"]).to_numpy()
    return Judged(
        lot=lot,
        decision=decision,
        kept=lot.manifest[actions == "keep"],
        quarantined=lot.manifest[actions == "quarantine"],
        verdicts=run / "verdicts.parquet",
        manifest=run / "manifest.parquet",
        detectors=_summaries(findings, decision),
        release_id=_release_id(lot.fingerprint, verdicts),
    )


def _require_accepted(run: Path, decision: Decision, gates: dict[str, GateResult]) -> None:
    if decision.decision not in ACCEPTED:
        raise LotError(
            f"the lot was rejected: {'; '.join(decision.reasons)}",
            where=run / "decision.json",
            action="a rejected lot is never released; see the report",
        )
    for name, gate in gates.items():
        if not gate.passed:
            failed = [check.name for check in gate.checks if check.critical and not check.passed]
            raise LotError(
                f"a gate did not pass: {', '.join(failed) or 'no check ran'}",
                where=run / name,
                action="a lot is released only behind both gates; see the report",
            )


def _require_consistent(run: Path, decision: Decision, lot: Dataset, verdicts: pd.DataFrame) -> None:
    ids = lot.manifest["sample_id"]
    counted = int((verdicts["action"] == "quarantine").sum())
    faults = {
        "a sample id appears twice": bool(ids.duplicated().any() or verdicts["sample_id"].duplicated().any()),
        "verdicts and manifest name different samples": set(ids) != set(verdicts["sample_id"]),
        "a verdict is neither keep nor quarantine": not verdicts["action"].isin(["keep", "quarantine"]).all(),
        "decision and verdicts count differently": (decision.n_samples, decision.n_quarantined)
        != (len(verdicts), counted),
        "decision and lot have different fingerprints": decision.lot_fingerprint != lot.fingerprint,
        "nothing is kept": counted == len(verdicts),
    }
    for fault, found in faults.items():
        if found:
            raise LotError(f"the run contradicts itself: {fault}", where=run, action="scan the lot again")


def _summaries(findings: pd.DataFrame, decision: Decision) -> tuple[DetectorSummary, ...]:
    flagged = findings.groupby("detector")["flagged"].sum()
    return tuple(
        DetectorSummary(
            name=str(name),
            n_flagged=int(count),
            threshold=decision.thresholds.get(str(name)),
            voter=name in decision.voters,
        )
        for name, count in flagged.items()
    )


def _release_id(fingerprint: str, verdicts: pd.DataFrame) -> str:
    pairs = sorted(zip(verdicts["sample_id"], verdicts["action"], strict=True))
    lines = [fingerprint, *(json.dumps([str(i), str(action)]) for i, action in pairs)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
