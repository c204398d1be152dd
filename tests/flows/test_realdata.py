"""Scans of real factory data: steel surface images and milling telemetry. Skipped where the data is absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lotgate import cli
from lotgate.policy import Policy
from lotgate.settings import BY_NAME
from tests.small_lots import snapshot, write_settings

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def data() -> Path:
    """`$LOTGATE_SHARED_DATA`, or `shared/data` beside the repository."""
    place = Path(os.environ.get("LOTGATE_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not (place / "unpack.py").is_file():
        pytest.skip(f"no data in {place}; name its folder in LOTGATE_SHARED_DATA")
    return place


def scan(lot: Path, trusted: Path, out: Path, settings: Path, *extra: str) -> pd.DataFrame:
    """Scans a clean lot and checks what every scan promises → its verdicts."""
    before = snapshot(lot)
    argv = ["scan", str(lot), "--trusted", str(trusted), "--out", str(out), "--settings", str(settings), *extra]
    assert cli.run([*argv, "--quiet"]) == cli.EXIT_ACCEPTED
    assert snapshot(lot) == before
    decision = json.loads((out / "decision.json").read_text())
    verdicts, manifest = (pd.read_parquet(out / f"{name}.parquet") for name in ("verdicts", "manifest"))
    assert decision["decision"] in {"accept", "accept_with_quarantine"}
    assert set(decision["skipped"]) == {
        name for name in Policy().voters if decision["modality"] not in BY_NAME[name].modalities
    }
    assert list(verdicts["sample_id"]) == list(manifest["sample_id"])
    assert decision["n_samples"] == len(verdicts)
    assert decision["n_quarantined"] == (verdicts["action"] == "quarantine").sum()
    assert verdicts["score"].between(0, 1).all()
    assert (verdicts["reasons"] != "").equals(verdicts["action"] == "quarantine")
    assert (out / "report.html").stat().st_size > 10_000
    return verdicts


def test_steel_surfaces(data: Path, tmp_path: Path) -> None:
    unpack = [sys.executable, str(data / "unpack.py"), "neu_steel", str(tmp_path / "all"), "--per-class", "45"]
    subprocess.run(unpack, check=True, capture_output=True)
    for folder in sorted((tmp_path / "all").iterdir()):
        for i, file in enumerate(sorted(folder.iterdir())):
            part = tmp_path / ("lot" if i < 20 else "trusted") / folder.name
            part.mkdir(parents=True, exist_ok=True)
            file.rename(part / file.name)
    settings = write_settings(tmp_path / "p.yaml", ingest={"image_size": 32})
    verdicts = scan(tmp_path / "lot", tmp_path / "trusted", tmp_path / "out", settings)
    assert len(verdicts) == 120 and verdicts["label"].nunique() == 6
    assert (verdicts["action"] == "quarantine").mean() <= 0.1


def test_milling_telemetry(data: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(data / "ai4i2020.csv").sample(frac=1, random_state=0)
    failures = rows["Machine failure"] == 1
    for name, part in (("lot", slice(0, 1)), ("trusted", slice(1, 2))):
        share = [
            rows[failures].iloc[part.start * 100 : part.stop * 100],
            rows[~failures].iloc[part.start * 500 : part.stop * 500],
        ]
        pd.concat(share).sample(frac=1, random_state=1).to_csv(tmp_path / f"{name}.csv", index=False)
    settings = write_settings(tmp_path / "p.yaml")
    verdicts = scan(
        tmp_path / "lot.csv", tmp_path / "trusted.csv", tmp_path / "out", settings, "--target", "Machine failure"
    )
    assert len(verdicts) == 600 and set(verdicts["label"]) == {"0", "1"}
    assert (verdicts["action"] == "quarantine").mean() <= 0.05
