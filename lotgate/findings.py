"""Findings, verdicts and the rule between them.

    findings   one row per (sample × detector): what was measured
    verdicts   one row per sample: keep or quarantine, with a suspicion score and reasons in words
    Decision   one per lot: accept, accept_with_quarantine or reject

All functions here are pure: tables in, tables out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from lotgate.data import MANIFEST_COLUMNS
from lotgate.policy import Policy, Voice, are_classes, set_aside

Action = Literal["keep", "quarantine"]
Outcome = Literal["accept", "accept_with_quarantine", "reject"]
FINDINGS_COLUMNS = ("sample_id", "detector", "score", "p_value", "flagged")
P_OF_CLASS = "p_of_class"  # a further column, of voters that speak of a class as a whole (lotgate.surplus)
CERTAIN = 1.0  # the score of what the contract excluded; suspicion by detectors stays below
TOGETHER = ", like more samples than trusted ones explain"
ALOUD = 0.01  # a p-value that is worth a word beside that of the voter that found the sample
VERDICTS_COLUMNS = ("sample_id", "label", "action", "score", "reasons")


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

    @property
    def words(self) -> str:
        """The check and what was seen, on one line for a reader."""
        seen = "" if self.observed is None else f": {_number(self.observed)} (limit {_number(self.limit)})"
        return f"{self.name}{seen}" + (f"; {self.detail}" if self.detail else "")


class GateResult(BaseModel):
    """What a gate says: passed only if every critical check passed, and at least one check ran."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks if check.critical)


class ContextSummary(BaseModel):
    """What became of one earlier release that was judged together with the lot.

    Attributes:
        name: `dataset@v3`. fingerprint: see Dataset.fingerprint; of the release as fetched.
        n_samples: rows of the release; n_repeated: those that the lot, or a release named before it, has too.
        n_suspect: rows that would now be quarantined; None where the lot was stopped before any model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    n_samples: int
    n_repeated: int
    n_suspect: int | None


class Decision(BaseModel):
    """`decision.json`: the lot's decision and everything it rests on.

    Attributes:
        decision: accept, accept_with_quarantine or reject.
        reasons: why, in words; the first one is the headline.
        dataset, lot: names (empty for a bare scan). lot_fingerprint, trusted_fingerprint: see Dataset.fingerprint.
        trusted: whether the lot was judged against a trusted set.
        task, modality, n_samples, n_quarantined: of the lot.
        voters: detectors that voted; skipped: voters that do not apply, with the reason.
        context: the earlier releases that were judged with it.
        thresholds: per detector, the score above which it flags; None where trusted rows are too few for any to be.
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
    context: tuple[ContextSummary, ...] = ()
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


def combined_p_values(findings: pd.DataFrame, policy: Policy, *, of_classes: bool = True) -> pd.Series[float]:
    """Per sample, min over the voters of p · Σw / w, at most 1 (weighted Bonferroni; Genovese et al. 2006); p is what a
    voter says of the sample or of its class.

    Returns:
        p-values indexed by sample_id.
    """
    votes = _loudest(findings[findings["detector"].isin(policy.voters)])
    weights = {name: policy.weight(name, of_classes=of_classes) for name in votes["detector"].unique()}
    share = votes["detector"].map(weights).astype(float) / max(sum(weights.values()), 1e-12)
    paid = votes.assign(paid=votes["p_value"] / share)
    return paid.groupby("sample_id")["paid"].min().clip(upper=1.0)


def _of_class(findings: pd.DataFrame) -> pd.Series[float]:
    """What each finding says of its sample's class as a whole: a p-value, 1 where it says nothing."""
    if P_OF_CLASS not in findings:
        return pd.Series(1.0, index=findings.index)
    return findings[P_OF_CLASS].fillna(1.0)


def _loudest(findings: pd.DataFrame) -> pd.DataFrame:
    """The findings with the smaller of both p-values, of the sample and of its class, and `together` where that is its
    class's.
    """
    of_class = _of_class(findings)
    return findings.assign(p_value=findings["p_value"].clip(upper=of_class), together=of_class < findings["p_value"])


def quarantined(findings: pd.DataFrame, labels: pd.Series[Any], policy: Policy) -> pd.DataFrame:
    """The findings that quarantine their samples: those of voters that may speak, within their limits.

    A voter may speak if, for some p-value t, the estimated share of clean samples among those up to t, t·n / #{p ≤ t},
    is within its rate (Benjamini & Hochberg 1995; valid for conformal p-values: Bates et al. 2023). Its limit is then
    the t that gains most, #{p ≤ t} − (1 + false_alarm_cost)·t·n, which is where a sample's local false discovery rate
    reaches 1 / (1 + false_alarm_cost) (Efron 2004). The first voter to speak must keep its rate, false_discovery_rate
    times its weight: on a clean lot hardly any does. Then all are asked about the samples that are left, at follow_up
    times that rate, the one that gains most first, so that none pays with clean samples for what was found already:
    about the lot, and about each class that holds a good part of what was found, where suspects are fewer and poison is
    likelier. Voters in reserve are asked last, and after them what a voter says of a class as a whole; groups, and such
    classes, are nobody's of which half or more has been set aside. Before all that, voters of groups who see nearly
    the same group in a class decide who belongs to it.

    Args:
        findings: of all samples by all voters; P_OF_CLASS may be missing.
        labels: class names by sample_id; not strings (targets): no classes.
    """
    votes = findings[findings["detector"].isin(policy.voters)]
    table = votes.pivot(index="sample_id", columns="detector", values="p_value")
    p_values = {Voice(str(name)): table[name].to_numpy(np.float64) for name in table}
    said = votes.assign(p=_of_class(votes)).pivot(index="sample_id", columns="detector", values="p")
    p_values |= {
        Voice(str(name), of_class=True): said[name].to_numpy(np.float64) for name in said if said[name].min() < 1
    }
    found = set_aside(p_values, labels.reindex(table.index).to_numpy(dtype=object), policy)
    mine, rows = np.zeros(len(votes), bool), table.index.get_indexer(pd.Index(votes["sample_id"]))
    for name in found:
        of_voter = (votes["detector"] == name).to_numpy()
        mine[of_voter] = found[name][rows[of_voter]]
    return votes[mine]


def suspicion(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """p-values as scores in [0, 1): e / (1 + e) with e = −log₁₀ p, so p = .1 scores .5 and p = .01 two thirds."""
    evidence = -np.log10(np.clip(p_values, 1e-300, 1.0))
    return np.asarray(evidence / (1 + evidence))


def decide(
    findings: pd.DataFrame,
    manifest: pd.DataFrame,
    exclusions: pd.DataFrame,
    policy: Policy,
    words: Mapping[str, str],
) -> pd.DataFrame:
    """One verdict per sample of the lot.

    Args:
        findings: of the samples that were scanned; may be empty.
        manifest: every sample of the lot; its extra columns are carried through.
        exclusions: sample_id, reason: what the contract quarantined; such samples score 1.
        policy: the voters and the error rates.
        words: detector name → clause for the reasons.

    Returns:
        Verdicts: sample_id, label, action, score, reasons, then source and the lot's extra columns.
    """
    p = combined_p_values(findings, policy, of_classes=are_classes(manifest["label"]))
    excluded = dict(zip(exclusions["sample_id"], exclusions["reason"], strict=True))
    ids = manifest["sample_id"]
    found = quarantined(findings, manifest.set_index("sample_id")["label"], policy)
    spoken = _reasons(findings, found, policy, words)
    scores = dict(zip(p.index, suspicion(np.asarray(p, np.float64)), strict=True))
    reasons = [excluded.get(i) or spoken.get(i, "") for i in ids]
    carried = [c for c in manifest.columns if c == "source" or c not in MANIFEST_COLUMNS]
    verdicts = pd.DataFrame(
        {
            "sample_id": ids,
            "label": manifest["label"],
            "action": pd.Series(["quarantine" if reason else "keep" for reason in reasons], dtype="str"),
            "score": [CERTAIN if i in excluded else float(scores.get(i, 0.0)) for i in ids],
            "reasons": pd.Series(reasons, dtype="str"),
        }
    )
    return pd.concat([verdicts, manifest[carried]], axis=1)


def _reasons(findings: pd.DataFrame, found: pd.DataFrame, policy: Policy, words: Mapping[str, str]) -> dict[str, str]:
    """Per quarantined sample, the clauses of the voters that found it or agree aloud, the strongest first."""
    votes = _loudest(
        findings[findings["detector"].isin(policy.voters) & findings["sample_id"].isin(found["sample_id"])]
    )
    loud = votes[(votes["p_value"] <= ALOUD) | votes.index.isin(found.index)]
    clauses: dict[str, list[str]] = {}
    for sample, detector, p, together in loud.sort_values(["p_value", "detector"])[
        ["sample_id", "detector", "p_value", "together"]
    ].itertuples(index=False):
        clause = words.get(detector, detector) + (TOGETHER if together else "")
        clauses.setdefault(sample, []).append(f"{clause} ({detector}, p {_short(p)})")
    return {sample: "; ".join(parts) for sample, parts in clauses.items()}


def _number(value: float | int | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(p: float) -> str:
    return f"= {p:.2g}" if p >= 1e-12 else "< 1e-12"


def outcome(verdicts: pd.DataFrame, checks: tuple[Check, ...]) -> tuple[Outcome, tuple[str, ...]]:
    """The lot's decision and why: rejected when a critical check failed or none ran, else by what is quarantined."""
    failed = [check for check in checks if check.critical and not check.passed]
    n, n_quarantined = len(verdicts), int((verdicts["action"] == "quarantine").sum())
    if failed or not checks:
        return "reject", (_rejection(failed, n, n_quarantined), *(check.words for check in failed))
    if n_quarantined == 0:
        return "accept", (f"All {n:,} samples meet the contract, and no detector found evidence of poisoning.",)
    broken = int((verdicts.loc[verdicts["action"] == "quarantine", "score"] == CERTAIN).sum())
    return "accept_with_quarantine", (_set_aside(n, n_quarantined - broken, broken),)


def _set_aside(n: int, suspect: int, broken: int) -> str:
    """The headline of a quarantine: `suspect` samples were found by detectors, `broken` ones by the contract."""
    some = f"{suspect + broken:,} of {n:,} samples ({(suspect + broken) / n:.1%})"
    if suspect and broken:
        return (
            f"{some} were set aside, {suspect:,} as suspect and {broken:,} for breaking the contract; the rest passed."
        )
    why = "are suspect" if suspect else "do not meet the contract"
    return f"{some} {why} and were set aside; the rest passed."


def _rejection(failed: list[Check], n: int, n_quarantined: int) -> str:
    """The headline of a rejection, by what kind of promise was broken."""
    broken = {check.name.partition(":")[0] for check in failed}
    if not failed:
        return "No check was run, so nothing is known of this lot."
    if broken & {"manifest", "lot"}:
        return "The lot does not meet its contract; no model was trained on it."
    if all(check.name.startswith("verdicts:") and "in quarantine" in check.name for check in failed):
        share = n_quarantined / max(n, 1)
        return f"{n_quarantined:,} of {n:,} samples ({share:.1%}) are suspect: too many for the rest to be trusted."
    return "The screening is incomplete, so the lot cannot be trusted."
