"""Tasks of the screening flow: one per step of `lotgate.stages`, paths in, paths out, no retries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import get_run_logger, task

from lotgate import stages
from lotgate.context import Context
from lotgate.errors import LotgateError
from lotgate.findings import Decision, GateResult
from lotgate.release import RegistrySettings
from lotgate.settings import Settings


@task(name="fetch")
def fetch(names: tuple[str, ...], registry: RegistrySettings, room: Path) -> tuple[Context, ...]:
    """Earlier releases, each compared with its record."""
    from tasks.registry import fetch_context

    return fetch_context(names, registry, room)


@task(name="ingest")
def ingest(
    run: Path,
    lot: Path,
    trusted: Path | None,
    target: str | None,
    task: str,
    settings: Settings,
    context: tuple[Context, ...] = (),
) -> Path:
    return stages.ingest(run, lot, trusted, target, task, settings, context)


@task(name="contract")
def contract(run: Path, settings: Settings) -> GateResult:
    return _told(stages.contract(run, settings))


@task(name="gather")
def gather(run: Path, settings: Settings) -> Path:
    return stages.gather(run, settings)


@task(name="detect", task_run_name="detect {detector}")
def detect(run: Path, detector: str, settings: Settings) -> Path:
    """Scans with one detector. One that fails shows as a failed task; the flow goes on and the gate rejects."""
    written = stages.detect(run, detector, settings)
    if written.suffix == ".error":
        raise LotgateError(f"{detector} failed: {written.read_text(encoding='utf-8')}", where=written)
    return written


@task(name="decide")
def decide(run: Path, settings: Settings) -> Path:
    return stages.decide(run, settings)


@task(name="gate")
def gate(run: Path, settings: Settings) -> GateResult:
    return _told(stages.gate(run, settings))


@task(name="conclude")
def conclude(run: Path, settings: Settings, dataset: str, lot: str) -> Decision:
    concluded = stages.conclude(run, settings, dataset, lot)
    get_run_logger().info("%s: %s", concluded.decision, "; ".join(concluded.reasons))
    return concluded


@task(name="report")
def report(run: Path) -> Path:
    return stages.report(run)


def _told(result: GateResult) -> GateResult:
    for check in result.checks:
        if not check.passed:
            get_run_logger().warning("%s: observed %s, limit %s", check.name, check.observed, check.limit)
    return result


@contextmanager
def shown_in_prefect() -> Iterator[None]:
    """The library's progress lines also go to the log of the Prefect run that they belong to."""
    from prefect.logging.handlers import APILogHandler

    handler = APILogHandler()
    logger = logging.getLogger("lotgate")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
