"""Lotgate's own steps on a lot on disk, timed, with the memory they took."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.detection.memory import reset_peak, status_mb
from lotgate import stages
from lotgate.context import Context
from lotgate.findings import Decision
from lotgate.run_folder import CONTEXT_VERDICTS
from lotgate.settings import BY_NAME, Settings

PRODUCT = "lotgate"


@dataclass(frozen=True, eq=False)
class Screened:
    """A finished screening.

    Attributes:
        findings: of every detector, voters or not. verdicts: one per sample of the lot.
        seconds: per step, as the steps noted them. wall: seconds of all steps together.
        peak_mb: largest resident memory of this process while the steps ran; base_mb: before they began.
        failed: detector → error, for those that did not run to their end.
        earlier: verdicts of the context, None without one.
        without: voter → the lot's verdicts had it had no vote; whoever hears it heard it all the same.
    """

    run: Path
    decision: Decision
    findings: pd.DataFrame
    verdicts: pd.DataFrame
    seconds: dict[str, float]
    wall: float
    base_mb: float
    peak_mb: float
    failed: dict[str, str]
    earlier: pd.DataFrame | None
    without: dict[str, pd.DataFrame]


def bench_settings(settings: Settings, seed: int, skip: tuple[str, ...] = ()) -> Settings:
    """The settings with the case's seed, and with every detector reporting but those to skip; who votes stays."""
    every = {name: settings.detectors.get(name, {}) for name in BY_NAME if name not in skip}
    return settings.model_copy(update={"seed": seed, "detectors": every})


def screen(
    run: Path, lot: Path, trusted: Path, target: str | None, settings: Settings, context: Sequence[Context] = ()
) -> Screened:
    """What `lotgate scan` does, step by step; the page of the run is left out.

    A lot that fails its contract is decided without models, as the product does; its models are trained afterwards,
    outside the clock, so that peers find their features.
    """
    stages.open_run(run)
    reset_peak()
    base, start = status_mb("VmRSS"), time.perf_counter()
    stages.ingest(run, lot, trusted, target, "auto", settings, context)
    passed = stages.contract(run, settings).passed
    if passed:
        stages.gather(run, settings)
        for detector in stages.detectors_for(run, settings):
            stages.detect(run, detector, settings)
    stages.decide(run, settings)
    if passed:
        stages.gate(run, settings)
    decision = stages.conclude(run, settings)
    wall, peak = time.perf_counter() - start, status_mb("VmHWM")
    if not passed:
        stages.gather(run, settings)
    records = {f.stem: json.loads(f.read_text())["seconds"] for f in (run / "work/seconds").glob("*.json")}
    findings, verdicts = (pd.read_parquet(run / f"{name}.parquet") for name in ("findings", "verdicts"))
    return Screened(
        run, decision, findings, verdicts, records, wall, base, peak,
        {f.stem: f.read_text(encoding="utf-8") for f in (run / "work/findings").glob("*.error")},
        pd.read_parquet(earlier) if (earlier := run / CONTEXT_VERDICTS).exists() else None,
        _without_each(run, sorted(set(findings["detector"]) & set(settings.policy.voters)), settings),
    )  # fmt: skip


def _without_each(run: Path, voters: Sequence[str], settings: Settings) -> dict[str, pd.DataFrame]:
    """The verdicts of the same findings with one of the voters silent, for each of them; decides anew with all."""
    found = {}
    for voter in voters:
        others = tuple(name for name in settings.policy.voters if name != voter)
        policy = settings.policy.model_copy(update={"voters": others})
        found[voter] = pd.read_parquet(stages.decide(run, settings.model_copy(update={"policy": policy})))
    stages.decide(run, settings)
    return found
