"""`--context` from the command to the registry and back: real Git, DVC, Prefect and GX."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from flows.cli import add_commands
from lotgate import cli
from lotgate.release import RegistrySettings, parse_record
from lotgate.run_folder import CONTEXT_VERDICTS
from lotgate.settings import load_settings
from lotgate.stages import screen
from tasks.registry import publish
from tests.flows.test_screen import Place
from tests.small_lots import digits, snapshot, write_digits, write_settings

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def drip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry where digits/v1 holds four turned labels that a careless scan let through; copied, never changed."""
    base = tmp_path_factory.mktemp("drip")
    x, y = digits()
    turned = y.copy()
    turned[:4] = 1 - y[:4]
    write_digits(base / "lot", x[:100], turned[:100])
    write_digits(base / "trusted", x[100:220], y[100:220])
    careless = {"voters": ["spectral_signatures"], "false_quarantine_rate": 1e-100}
    settings = load_settings(write_settings(base / "p.yaml", policy=careless))
    screen(base / "run", base / "lot", base / "trusted", settings)
    release = publish(base / "run", "digits", "lot", RegistrySettings(path=str(base / "registry")))
    assert (release.tag, parse_record(release.record.read_bytes(), "").n_kept) == ("digits/v1", 100)
    return base


@pytest.fixture
def place(tmp_path: Path, drip: Path, empty_registry: Path) -> Place:
    """That registry, and the next lot with four turned labels of its own."""
    place = Place(tmp_path, empty_registry)
    shutil.rmtree(place.registry.path)
    for name in ("registry", "registry-remote"):
        shutil.copytree(drip / name, tmp_path / name)
    x, y = digits()
    turned = y.copy()
    turned[220:224] = 1 - y[220:224]
    shutil.rmtree(place.lot)
    write_digits(place.lot, x[220:320], turned[220:320])
    return place


def told(place: Place, out: str) -> dict[str, object]:
    return {key: place.decision(out)[key] for key in ("decision", "context", "lot_fingerprint")}


def test_a_lot_is_judged_with_what_was_released_before(place: Place) -> None:
    settings = place.settings(
        policy={"voters": ["disagreement"], "false_quarantine_rate": 0.02, "false_discovery_rate": 0.5},
        detectors={"disagreement": {"drops": [], "epochs": 8}},
    )
    before, refs = snapshot(Path(place.registry.path) / "datasets"), place.refs()
    scan = [
        "scan", str(place.lot), "--trusted", str(place.trusted), "--settings", str(settings), "--quiet",
        "--context", "digits@v1",
    ]  # fmt: skip
    assert cli.run([*scan, "--out", str(place.base / "scan")], add_commands) == cli.EXIT_ACCEPTED
    (entry,) = place.decision("scan")["context"]
    assert (entry["name"], entry["n_samples"], entry["n_repeated"]) == ("digits@v1", 100, 0)
    assert 2 <= entry["n_suspect"] <= 8
    earlier = pd.read_parquet(place.base / "scan" / CONTEXT_VERDICTS)
    turned = {f"{1 - digits()[1][i]}/{i:04d}.png" for i in range(4)}
    assert len(turned & set(earlier.loc[earlier["suspect"], "sample_id"])) >= 2
    assert set(earlier["sample_id"]) == set(place.area("datasets"))
    assert place.decision("scan")["checks"][-1]["observed"] == entry["n_suspect"] == earlier["suspect"].sum()
    assert (place.refs(), snapshot(Path(place.registry.path) / "datasets")) == (refs, before)

    assert cli.run([*place.command(settings, "run"), "--context", "digits@1"], add_commands) == cli.EXIT_ACCEPTED
    assert told(place, "run") == told(place, "scan")
    assert place.tags() == ["digits/v1", "digits/v2"]
    record = next(
        p for p in Path(place.registry.path).glob("datasets/digits/*/release.json") if '"version": 2' in p.read_text()
    )
    assert json.loads(record.read_text())["settings"]["context"] == ["digits@v1"]
    assert place.decision("run")["n_samples"] == 100
    assert not list(Path(place.registry.path).glob(".git/lotgate/context-*"))


def test_context_that_cannot_be_had_is_exit_2_and_writes_nothing(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    settings, refs = place.settings(), place.refs()
    named = place.settings("named.yaml", context=["digits@v7"])
    scan = ["scan", str(place.lot), "--trusted", str(place.trusted), "--out", str(place.base / "out"), "--quiet"]

    def refused(argv: list[str], words: str) -> None:
        capfd.readouterr()
        assert cli.run(argv, add_commands) == cli.EXIT_INPUT
        said = capfd.readouterr().err
        assert words in said and "where:" in said and "next:" in said and "Traceback" not in said
        assert not (place.base / "out").exists() and place.refs() == refs

    for how in ([*scan, "--settings", str(settings)], place.command(settings)):
        refused([*how, "--context", "digits@v9"], "digits/v9 was not released")
        refused([*how, "--context", "others@v1"], "others/v1 was not released")
        refused([*how, "--context", "digits"], "names no version")
    refused([*scan, "--settings", str(named)], "digits/v7 was not released")
    nowhere = place.settings("nowhere.yaml", context=["digits@v1"])
    nowhere.write_text(nowhere.read_text().replace(str(place.registry.path), str(place.base / "none")))
    refused([*scan, "--settings", str(nowhere)], "there is no registry")
    victim = next(p for p in sorted(Path(f"{place.registry.path}-remote").rglob("*")) if p.is_file() and not p.suffix)
    content = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(content[::-1])
    for how in ([*scan, "--settings", str(settings)], place.command(settings)):
        refused([*how, "--context", "digits@v1"], "digits@v1 cannot be used as context")
    assert not list(Path(place.registry.path).glob(".git/lotgate/context-*"))
