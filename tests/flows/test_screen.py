"""The main job on small real lots: the `lotgate run` command, a real Prefect server, real GX and a real registry."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

from flows.cli import add_commands
from lotgate import cli
from lotgate.release import RegistrySettings
from tasks.registry import verify
from tasks.registry.commands import git
from tests.small_lots import digit_lots, digits, snapshot, write_digits, write_settings

pytestmark = pytest.mark.usefixtures("prefect_server")


#: A file that appears when a step is over: the interruption falls into the next one.
BEGINS = {
    "ingest": "work/trusted",
    "gather": "work/seconds/contract.json",
    "detect": "work/seconds/gather.json",
    "publish": "../registry/.git/lotgate/journal.jsonl",
}


class Place:
    """A lot, a trusted set, an empty registry and settings, with everything written under one folder."""

    def __init__(self, base: Path, empty: Path) -> None:
        self.base = base
        self.lot, self.trusted = digit_lots(base)
        self.registry = RegistrySettings(path=str(base / "registry"), lock_timeout=5)
        shutil.copytree(empty / "registry", base / "registry")

    def settings(self, name: str = "params.yaml", train: bool = False, **changes: Any) -> Path:
        training = {"enabled": train, "epochs": 2, "out": str(self.base / "models"), "work": str(self.base / "room")}
        registry = self.registry.model_dump()
        return write_settings(self.base / name, train=training, registry=registry, **changes)

    def command(self, settings: Path, out: str = "out", lot: Path | None = None) -> list[str]:
        return [
            "run", str(lot or self.lot), "--dataset", "digits", "--trusted", str(self.trusted),
            "--settings", str(settings), "--out", str(self.base / out), "--quiet",
        ]  # fmt: skip

    def run(self, settings: Path, out: str = "out", lot: Path | None = None) -> int:
        return cli.run(self.command(settings, out, lot), add_commands)

    def decision(self, out: str = "out") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.base / out / "decision.json").read_text())
        return found

    def sign_of(self, step: str) -> Path:
        """The file that appears when a step begins, not there yet."""
        sign = self.base / "out" / BEGINS[step]
        if sign.is_dir():
            shutil.rmtree(sign)
        sign.unlink(missing_ok=True)
        return sign

    def refs(self) -> str:
        return git(Path(self.registry.path), "for-each-ref", "--format=%(refname) %(objectname)")

    def tags(self) -> list[str]:
        return git(Path(self.registry.path), "tag", "--list").split()

    def area(self, area: str) -> dict[str, str]:
        """Files under one area of the registry, by their path inside the lot's data folder."""
        root = Path(self.registry.path) / area
        return {p.split("/data/")[-1]: d for p, d in snapshot(root).items() if d != "folder" and "/data/" in p}


@pytest.fixture
def place(tmp_path: Path, empty_registry: Path) -> Place:
    return Place(tmp_path, empty_registry)


def training_runs(tag: str) -> list[Any]:
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[tag])))


def test_a_clean_lot_is_versioned_and_trained_on_and_again_is_the_same(place: Place) -> None:
    landing = snapshot(place.lot)
    settings = place.settings(train=True)
    assert place.run(settings, "first run") == cli.EXIT_ACCEPTED
    assert place.decision("first run")["decision"] == "accept"
    assert place.tags() == ["digits/v1"]
    record = verify(place.registry, "digits", 1)
    assert (record.n_kept, record.n_quarantined) == (100, 0)
    card = json.loads((place.base / "models/digits/v1/model.json").read_text())
    assert (card["tag"], card["measured_on"], card["n_train"]) == ("digits/v1", "trusted", 100)
    assert artifacts_of("first-run") == {"decision", "checks", "report", "files"}

    refs = place.refs()
    assert place.run(settings, "second run") == cli.EXIT_ACCEPTED
    first, second = (pd.read_parquet(place.base / f"{n} run" / "verdicts.parquet") for n in ("first", "second"))
    pd.testing.assert_frame_equal(first, second)
    assert place.refs() == refs
    runs = [run for run in training_runs("digits/v1") if run.parameters["registry"]["path"] == place.registry.path]
    assert len(runs) == 1 and runs[0].deployment_id is not None and runs[0].state.is_completed()
    assert snapshot(place.lot) == landing


def artifacts_of(key: str) -> set[str]:
    """Which of the artifacts of a run exist, each with the content that a reader needs."""
    from prefect.artifacts import Artifact

    found = {kind: Artifact.get(f"{kind}-{key}") for kind in ("decision", "checks", "report", "files")}
    summary = {row["what"]: row["value"] for row in json.loads(found["decision"].data)}
    assert summary["decision"] in found["decision"].description
    assert all({"check", "passed", "observed", "limit"} <= set(row) for row in json.loads(found["checks"].data))
    link = found["report"].data.split("](")[1].rstrip(")")
    assert link.startswith("file://") and link.endswith("/report.html")
    return {kind for kind, artifact in found.items() if artifact is not None}


def spoil(lot: Path) -> tuple[str, str]:
    """A file with nothing in it, and a second copy of an image → their sample ids."""
    (lot / "0" / "empty.png").touch()
    original = min((lot / "1").iterdir())
    shutil.copy(original, lot / "1" / "zz copy ü.png")
    return "0/empty.png", "1/zz copy ü.png"


def test_what_is_suspect_goes_to_quarantine_and_not_into_the_dataset(place: Place) -> None:
    bad = spoil(place.lot)
    x, y = digits()
    flipped = write_digits(place.base / "flips", x[300:306], 1 - y[300:306])
    shutil.copytree(flipped, place.lot, dirs_exist_ok=True, copy_function=copy_as_flip)
    flips = [f"{p.parent.name}/flip-{p.name}" for p in flipped.rglob("*.png")]
    landing = snapshot(place.lot)
    settings = place.settings(
        policy={"voters": ["disagreement"], "false_discovery_rate": 0.6, "false_alarm_costs": {"disagreement": 0.2}},
        detectors={"disagreement": {"drops": [0.3, 0.1], "epochs": 8}},
    )
    assert place.run(settings) == cli.EXIT_ACCEPTED
    decision = place.decision()
    assert decision["decision"] == "accept_with_quarantine"
    verdicts = pd.read_parquet(place.base / "out/verdicts.parquet").set_index("sample_id")
    caught = [flip for flip in flips if verdicts.loc[flip, "action"] == "quarantine"]
    assert len(verdicts) == 108 and set(verdicts.loc[[*bad], "action"]) == {"quarantine"} and len(caught) >= 5
    assert "zero bytes" in verdicts.loc[bad[0], "reasons"] and "copy" in verdicts.loc[bad[1], "reasons"]
    assert all("disagreement" in reason for reason in verdicts.loc[caught, "reasons"])
    held, kept = set(place.area("quarantine")), set(place.area("datasets"))
    assert held == set(verdicts.index[verdicts["action"] == "quarantine"]) and held >= {*bad, *caught}
    assert kept == set(verdicts.index[verdicts["action"] == "keep"])
    assert len(held) == decision["n_quarantined"] <= 12
    assert verify(place.registry, "digits", 1).n_quarantined == len(held)
    assert not (place.base / "models").exists()  # train.enabled: false
    assert snapshot(place.lot) == landing


def copy_as_flip(source: str, target: str) -> str:
    return str(shutil.copy(source, Path(target).with_name(f"flip-{Path(target).name}")))


def test_a_rejected_lot_is_not_released_and_nothing_is_trained(place: Place) -> None:
    refs, before = place.refs(), snapshot(Path(place.registry.path))
    spoil(place.lot)
    strict = place.settings("strict.yaml", train=True, policy={"max_quarantined_rate": 0.0})
    assert place.run(strict, "strict") == cli.EXIT_REJECTED
    assert place.decision("strict")["decision"] == "reject"
    headline, reason = place.decision("strict")["reasons"]
    assert "are suspect: too many for the rest to be trusted" in headline
    assert "share of the lot in quarantine: 0.01961 (limit 0)" in reason

    shutil.rmtree(place.lot / "1")  # a class of the trusted set is absent: the contract says no before any model
    assert place.run(place.settings(train=True), "contract") == cli.EXIT_REJECTED
    assert "classes of the trusted set that the lot lacks: 1 (limit 0); 1" in place.decision("contract")["reasons"][1]
    assert not (place.base / "contract/work/probe").exists()
    assert len(pd.read_parquet(place.base / "contract/verdicts.parquet")) == place.decision("contract")["n_samples"]
    for out in ("strict", "contract"):
        assert (place.base / out / "report.html").stat().st_size > 10_000
        assert artifacts_of(out) == {"decision", "checks", "report", "files"}
    assert (place.refs(), snapshot(Path(place.registry.path))) == (refs, before)
    assert not (place.base / "models").exists() and not (place.base / "room").exists()


def test_a_voter_that_crashes_rejects_the_lot_and_says_so(place: Place) -> None:
    settings = place.settings(
        probe={"model": "tests.small_models:breaks_once_gathered"}, policy={"voters": ["spectral_signatures"]}
    )
    assert place.run(settings) == cli.EXIT_REJECTED
    assert any("spectral_signatures failed: ModelError: " in reason for reason in place.decision()["reasons"])
    assert place.tags() == []
    assert "spectral_signatures failed" in (place.base / "out/report.html").read_text()


def test_bad_input_through_the_flow_is_exit_2_and_starts_nothing(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    command = place.command(place.settings(), lot=place.base / "nowhere")
    assert cli.run(command, add_commands) == cli.EXIT_INPUT
    told = capfd.readouterr().err
    assert "the lot does not exist" in told and "where:" in told and "next:" in told
    assert "Traceback" not in told
    assert not (place.base / "out").exists()
    (Path(place.registry.path) / "datasets").mkdir()
    (Path(place.registry.path) / "datasets" / "note.txt").write_text("half done")
    assert place.run(place.settings()) == cli.EXIT_INPUT
    told = capfd.readouterr().err
    assert "dirty: uncommitted changes" in told and "Traceback" not in told
    assert place.decision()["decision"] == "accept"  # the judgement is not lost; the release can be repeated
    assert place.tags() == []


def wait_for(sign: Path, ended: Callable[[], bool]) -> bool:
    """Waits until the file exists; false where the run ended first."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if sign.exists():
            return True
        if ended():
            return False
        time.sleep(0.002)
    return False


def check_nothing_is_broken(place: Place, landing: dict[str, str], refs: str, step: str) -> None:
    assert snapshot(place.lot) == landing, step
    assert place.refs() == refs, step
    assert git(Path(place.registry.path), "status", "--porcelain") == "", step


#: Imports everything once, then forks a `lotgate` command per line, and says its process id and how it ended.
LAUNCHER = """
import json, os, sys
import great_expectations, flows.screen, tasks.registry
from flows.cli import main
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        sys.argv = ["lotgate", *json.loads(line)]
        main()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def launcher() -> Iterator[subprocess.Popen[str]]:
    """A process that starts commands which use the tests' Prefect server."""
    from prefect.settings import PREFECT_API_URL

    env = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    yield child
    child.communicate("", timeout=60)


def test_killed_at_each_step_and_run_again(place: Place, launcher: subprocess.Popen[str]) -> None:
    assert launcher.stdin is not None and launcher.stdout is not None
    settings = place.settings(policy={"voters": ["spectral_signatures"]})
    landing, refs = snapshot(place.lot), place.refs()
    for step in BEGINS:
        sign = place.sign_of(step)
        launcher.stdin.write(json.dumps(place.command(settings)) + "\n")
        launcher.stdin.flush()
        pid = int(launcher.stdout.readline())
        assert wait_for(sign, lambda pid=pid: not Path(f"/proc/{pid}").exists()), step
        os.kill(pid, signal.SIGKILL)
        assert int(launcher.stdout.readline()) == -signal.SIGKILL, step
        check_nothing_is_broken(place, landing, refs, step)
    assert place.run(settings) == cli.EXIT_ACCEPTED
    assert verify(place.registry, "digits", 1).n_kept == 100
    assert snapshot(place.lot) == landing


def test_ctrl_c_at_each_step_and_run_again(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    settings = place.settings(policy={"voters": ["spectral_signatures"]})
    landing, refs = snapshot(place.lot), place.refs()
    for step in BEGINS:
        ended, sign = threading.Event(), place.sign_of(step)

        def press(sign: Path = sign, ended: threading.Event = ended) -> None:
            if wait_for(sign, ended.is_set):
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=press)
        thread.start()
        code = place.run(settings)
        ended.set()
        thread.join()
        assert code == cli.EXIT_INTERRUPTED, step
        assert "interrupted; nothing was published" in capfd.readouterr().err
        check_nothing_is_broken(place, landing, refs, step)
    assert place.run(settings) == cli.EXIT_ACCEPTED
    assert verify(place.registry, "digits", 1).n_kept == 100
    assert snapshot(place.lot) == landing
