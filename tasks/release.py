"""Tasks behind the gate: publish, and what a reader sees in Prefect."""

from __future__ import annotations

import re
from pathlib import Path

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from lotgate.findings import Check, Decision
from lotgate.release import RegistrySettings
from tasks.registry import Release

ROWS = 200  # a table artifact lies in Prefect's database as text


@task(name="publish", task_run_name="publish {dataset}")
def publish_lot(run: Path, dataset: str, lot: str, target: str | None, registry: RegistrySettings) -> Release:
    """Releases the accepted lot; the journal, not Prefect, makes it safe to run again."""
    from tasks.registry import publish

    return publish(run, dataset, lot, registry, target=target)


@task(name="artifacts")
def write_artifacts(run: Path, decision: Decision, report: Path) -> None:
    """The decision, the checks and the report's place, where Prefect shows them."""
    key = artifact_key(run.name)
    create_table_artifact(
        key=f"decision-{key}",
        table=[{"what": what, "value": str(value)} for what, value in _summary(decision).items()],
        description=f"# {decision.decision}\n\n" + "\n".join(f"- {reason}" for reason in decision.reasons),
    )
    create_table_artifact(
        key=f"checks-{key}",
        table=[_row(check) for check in decision.checks][:ROWS],
        description=f"{sum(not c.passed for c in decision.checks)} of {len(decision.checks)} checks failed",
    )
    create_link_artifact(key=f"report-{key}", link=report.resolve().as_uri(), link_text="report.html")
    create_markdown_artifact(key=f"files-{key}", markdown=f"Report: `{report.resolve()}`\n\nRun: `{run.resolve()}`")


def artifact_key(name: str) -> str:
    """A Prefect artifact key may hold lower-case letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"


def _summary(decision: Decision) -> dict[str, object]:
    return {
        "decision": decision.decision,
        "samples": decision.n_samples,
        "quarantined": decision.n_quarantined,
        "task": f"{decision.modality}, {decision.task}",
        "trusted set": "yes" if decision.trusted else "no",
        "voters": ", ".join(decision.voters),
        "judged with": ", ".join(f"{each.name} ({each.n_suspect} suspect)" for each in decision.context) or "nothing",
        "lot fingerprint": decision.lot_fingerprint,
        "seed": decision.seed,
    }


def _row(check: Check) -> dict[str, str]:
    return {
        "check": check.name,
        "passed": "yes" if check.passed else "NO",
        "observed": str(check.observed),
        "limit": str(check.limit),
        "critical": "yes" if check.critical else "no",
    }
