"""Publishing with real Git and real DVC: what a version is, and what a crash leaves behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lotgate.errors import IntegrityError, LotError, RegistryError, SettingsError
from lotgate.release import RegistrySettings, parse_record
from tasks.registry import STEPS, checkout, open_or_create, publish, verify
from tasks.registry.commands import git
from tasks.registry.recovery import recover
from tests.flows.conftest import Make, image_lot, snapshot, table_lot, write_images, write_run


def refs(path: str) -> str:
    return git(Path(path), "for-each-ref", "--format=%(refname) %(objectname)")


def test_a_release_holds_what_was_kept_and_what_was_quarantined(make_run: Make, tmp_path: Path) -> None:
    settings = RegistrySettings(path=str(tmp_path / "new" / "registry"))  # made on first use
    run = make_run("Line 7, März", quarantined=2)
    landing = snapshot(tmp_path / "landing")
    release = publish(run, "parts", "landing/Line 7, März", settings)
    assert (release.tag, release.version, release.new) == ("parts/v1", 1, True)
    assert release.lot.startswith("line-7-m-rz-")
    root = Path(settings.path)
    kept = snapshot(root / "datasets" / "parts" / release.lot / "data")
    held = snapshot(root / "quarantine" / "parts" / release.lot / "data")
    assert kept.keys().isdisjoint(held) and {**kept, **held} == landing_of(landing)
    assert len(held) == 2
    record = parse_record(release.record.read_bytes(), release.record)
    assert (record.n_kept, record.n_quarantined, record.entry, record.target) == (10, 2, ".", None)
    assert {f.path: f.sha256 for f in record.files} == kept
    assert record.detectors[0].model_dump() == {
        "name": "spectral_signatures", "n_flagged": 2, "threshold": 0.5, "voter": True,
    }  # fmt: skip
    assert git(root, "cat-file", "-t", "parts/v1") == "tag"
    assert git(root, "status", "--porcelain") == ""
    assert verify(settings, "parts", 1) == record
    assert snapshot(tmp_path / "landing") == landing

    again = publish(run, "parts", "landing/Line 7, März", settings)
    assert (again.tag, again.commit, again.record_sha256) == (release.tag, release.commit, release.record_sha256)
    assert not again.new

    fetched = tmp_path / "fetched"
    checkout(settings, "parts", 1, fetched)
    assert snapshot(fetched / "data") == kept
    assert all(path.stat().st_nlink == 1 for path in fetched.rglob("*.png"))


def landing_of(snapshot_of_landing: dict[str, str]) -> dict[str, str]:
    return {name.split("/", 1)[1]: digest for name, digest in snapshot_of_landing.items()}


def test_the_same_lot_judged_differently_is_a_new_version_of_the_same_folder(
    make_run: Make, tmp_path: Path, settings: RegistrySettings
) -> None:
    first = publish(make_run("lot", quarantined=1), "parts", "lot", settings)
    run = tmp_path / "runs" / "lot"
    write_run(run, image_lot(tmp_path / "landing/lot", images(tmp_path), run / "again"), set())
    second = publish(run, "parts", "lot", settings)
    assert (second.version, second.lot) == (2, first.lot)
    root = Path(settings.path)
    assert not (root / "quarantine" / "parts" / first.lot).exists()
    assert len(snapshot(root / "datasets" / "parts" / first.lot / "data")) == 12
    assert git(root, "status", "--porcelain") == ""
    assert verify(settings, "parts", 1).n_kept == 11
    assert verify(settings, "parts", 2).n_kept == 12


def images(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "landing" / "lot").rglob("*.png"))


def test_a_table_keeps_its_columns_and_a_manifest_lot_its_extras(tmp_path: Path, settings: RegistrySettings) -> None:
    rng = np.random.default_rng(3)
    lot = table_lot(tmp_path / "wear.parquet", tmp_path / "t", rng)
    release = publish(
        write_run(tmp_path / "run-t", lot, {"wear.parquet#11", "wear.parquet#3"}),
        "wear", "wear.parquet", settings, target="wear",
    )  # fmt: skip
    data = release.record.parent / "data" / "table.parquet"
    raw = pd.read_parquet(lot.raw)
    pd.testing.assert_frame_equal(pd.read_parquet(data), raw.drop(index=[3, 11]).reset_index(drop=True))
    held = Path(settings.path) / "quarantine" / "wear" / release.lot / "data" / "table.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(held), raw.loc[[3, 11]].reset_index(drop=True))
    record = parse_record(release.record.read_bytes(), "")
    assert (record.entry, record.target, record.task) == ("table.parquet", "wear", "regression")

    root = tmp_path / "landing"
    lot = image_lot(root, write_images(root, rng), tmp_path / "m", {"line": "L7"})
    release = publish(write_run(tmp_path / "run-m", lot, set()), "parts", "lot", settings)
    manifest = pd.read_csv(release.record.parent / "data" / "manifest.csv")
    assert list(manifest.columns) == ["path", "label", "line"]
    assert all((release.record.parent / "data" / path).is_file() for path in manifest["path"])
    assert parse_record(release.record.read_bytes(), "").entry == "manifest.csv"


def test_what_was_not_accepted_is_never_released(make_run: Make, tmp_path: Path) -> None:
    settings = RegistrySettings(path=str(tmp_path / "never-made"))
    with pytest.raises(LotError, match="rejected: as planned"):
        publish(make_run("bad", decision="reject"), "parts", "bad", settings)
    run = make_run("gate")
    (run / "gate.json").write_text('{"checks": []}')
    with pytest.raises(LotError, match="gate did not pass: no check ran"):
        publish(run, "parts", "gate", settings)
    (run / "gate.json").unlink()
    with pytest.raises(LotError, match="not a finished scan"):
        publish(run, "parts", "gate", settings)
    run = make_run("short")
    verdicts = pd.read_parquet(run / "verdicts.parquet")
    verdicts.iloc[1:].to_parquet(run / "verdicts.parquet")
    with pytest.raises(LotError, match="different samples"):
        publish(run, "parts", "short", settings)
    with pytest.raises(SettingsError):
        publish(run, "../parts", "short", settings)
    assert not Path(settings.path).exists()


def test_a_lot_that_changed_after_the_scan_is_refused(
    make_run: Make, tmp_path: Path, settings: RegistrySettings
) -> None:
    run = make_run("lot", quarantined=0)
    victim = tmp_path / "landing" / "lot" / "dark" / "part 0 ü.png"
    victim.write_bytes(victim.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match="changed after the scan"):
        publish(run, "parts", "lot", settings)
    victim.unlink()
    with pytest.raises(LotError, match="vanished"):
        publish(run, "parts", "lot", settings)
    assert refs(settings.path).count("refs/tags") == 0
    assert list((Path(settings.path) / ".git/lotgate/tx").iterdir()) == []


def crash_at(step: str, run: Path, lot: str, settings: RegistrySettings) -> int:
    """Publishes in a child process that dies at a step, without any clean-up: as a kill, a power cut, an OOM."""
    child = os.fork()
    if child == 0:
        publish(run, "parts", lot, settings, fault=lambda reached: os._exit(9) if reached == step else None)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_crash_at_every_step_leaves_no_half_version_and_the_next_run_finishes(
    make_run: Make, settings: RegistrySettings
) -> None:
    run = make_run("lot")
    registry = open_or_create(settings)
    tree = {name: digest for name, digest in snapshot(registry.root).items() if not name.startswith((".git", ".dvc"))}
    before = refs(settings.path)
    unseen = STEPS[: STEPS.index("tagged")]
    for step in unseen:
        assert crash_at(step, run, "lot", settings) == 9, step
        assert refs(settings.path) == before, step
        assert git(registry.root, "status", "--porcelain") == "", step
        now = snapshot(registry.root)
        assert {n: d for n, d in now.items() if not n.startswith((".git", ".dvc"))} == tree, step
        assert len(registry.journal.open_transactions()) == 1
    recover(registry)
    assert registry.journal.open_transactions() == {}
    assert list((registry.private / "tx").iterdir()) == []

    release = publish(run, "parts", "lot", settings)
    assert (release.version, release.new) == (1, True)
    for number, step in enumerate(STEPS[STEPS.index("tagged") :], start=2):
        run = make_run(f"lot{number}", seed=number)
        assert crash_at(step, run, f"lot{number}", settings) == 9, step
        again = publish(run, "parts", f"lot{number}", settings)
        assert (again.version, again.new) == (number, False), step
        assert len(snapshot(again.record.parent / "data")) == 11
        assert git(registry.root, "status", "--porcelain") == "", step
        assert list((registry.private / "tx").iterdir()) == []
    assert verify(settings, "parts", number).lot == again.lot


def test_ctrl_c_rolls_back_at_once(make_run: Make, settings: RegistrySettings) -> None:
    def interrupt(step: str) -> None:
        if step == "added":
            raise KeyboardInterrupt

    registry = open_or_create(settings)
    before = refs(settings.path)
    with pytest.raises(KeyboardInterrupt):
        publish(make_run(), "parts", "lot", settings, fault=interrupt)
    assert refs(settings.path) == before
    assert registry.journal.open_transactions() == {}
    assert list((registry.private / "tx").iterdir()) == []


def test_a_torn_journal_line_is_a_step_not_reached(make_run: Make, settings: RegistrySettings) -> None:
    registry = open_or_create(settings)
    registry.journal.append("old", "begun", tag="parts/v1", lot="parts/x", branch="main", head=registry.head())
    with registry.journal.path.open("a") as stream:
        stream.write('{"tx": "old", "step": "comm')
    assert [facts["step"] for facts in registry.journal.open_transactions().values()] == ["begun"]
    recover(registry)
    assert registry.journal.open_transactions() == {}


def test_a_file_missing_on_the_remote_stops_the_release(make_run: Make, settings: RegistrySettings) -> None:
    def lose_one(step: str) -> None:
        if step == "pushed":
            objects = sorted(Path(f"{settings.path}-remote").rglob("*"))
            next(path for path in objects if path.is_file() and path.suffix != ".dir").unlink()

    with pytest.raises(IntegrityError, match="cannot be fetched whole"):
        publish(make_run(), "parts", "lot", settings, fault=lose_one)
    assert "refs/tags" not in refs(settings.path)


@pytest.fixture
def team(tmp_path: Path, settings: RegistrySettings) -> RegistrySettings:
    """A clone of a team's registry with a Git remote, and a DVC remote that is not the default one."""
    registry = open_or_create(settings)
    origin, clone = tmp_path / "origin.git", tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--bare", str(registry.root), str(origin))
    git(tmp_path, "clone", "--quiet", str(origin), str(clone))
    with (clone / ".dvc" / "config").open("a") as config:
        config.write("['remote \"plant\"']\nurl = ../../plant\n")
    git(clone, "commit", "--quiet", "-am", "Our remote", env={"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"})  # fmt: skip
    git(clone, "push", "--quiet")
    return RegistrySettings(path=str(clone), remote="plant", lock_timeout=1)


def test_a_team_registry_gets_branch_and_tag_at_once(make_run: Make, team: RegistrySettings, tmp_path: Path) -> None:
    origin = tmp_path / "origin.git"
    run = make_run()
    before = refs(str(origin))
    assert crash_at("committed", run, "lot", team) == 9
    assert refs(str(origin)) == before
    assert crash_at("shared", run, "lot", team) == 9  # the team can see it: it is completed, not undone
    release = publish(run, "parts", "lot", team)
    assert (release.tag, release.new) == ("parts/v1", False)
    assert git(origin, "rev-parse", "main") == git(origin, "rev-parse", "parts/v1^{commit}") == release.commit
    assert (tmp_path / "plant").is_dir() and not (tmp_path / "registry-remote").exists()

    other = RegistrySettings(path=str(tmp_path / "other"), remote="plant")
    git(tmp_path, "clone", "--quiet", str(origin), other.path)
    assert verify(other, "parts", 1).lot == release.lot
    git(Path(other.path), "tag", "--force", "parts/v1", "HEAD^")
    with pytest.raises(IntegrityError, match="not an annotated one"):
        verify(other, "parts", 1)
    git(Path(other.path), "tag", "--force", "-a", "-m", "moved", "parts/v1", "HEAD^",
        env={"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"})  # fmt: skip
    with pytest.raises(IntegrityError, match="not the tag of the Git remote"):
        verify(other, "parts", 1)


def test_a_registry_in_no_state_to_release_is_refused(make_run: Make, team: RegistrySettings, tmp_path: Path) -> None:
    run, clone = make_run(), Path(team.path)
    who = {f"GIT_{role}_{part}": "t" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}

    def refused(match: str, settings: RegistrySettings = team) -> None:
        with pytest.raises(RegistryError, match=match) as caught:
            publish(run, "parts", "lot", settings)
        assert caught.value.where and caught.value.action

    (clone / "datasets").mkdir()
    (clone / "datasets" / "note.txt").write_text("half done")
    refused("dirty: uncommitted changes in datasets/note.txt")
    shutil.rmtree(clone / "datasets")

    git(clone, "commit", "--quiet", "--allow-empty", "-m", "mine", env=who)
    refused(r"is ahead of its Git remote \(1 commits here only")
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), str(other))
    git(other, "commit", "--quiet", "--allow-empty", "-m", "theirs", env=who)
    git(other, "push", "--quiet")
    refused("has diverged from its Git remote")
    git(clone, "reset", "--quiet", "--hard", "HEAD^")
    refused(r"is behind its Git remote \(0 commits here only, 1 there only")
    git(clone, "checkout", "--quiet", "--detach")
    refused("detached HEAD")
    git(clone, "switch", "--quiet", "main")
    git(clone, "pull", "--quiet", "--ff-only")
    refused("no DVC remote 'nowhere'", team.model_copy(update={"remote": "nowhere"}))
    refused("not a Git repository", RegistrySettings(path=str(tmp_path / "runs")))
    refused("no registry", RegistrySettings(path=str(tmp_path / "new"), remote="plant"))
    (tmp_path / "origin.git").rename(tmp_path / "gone.git")
    refused("cannot be fetched")

    held = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); "
         "print('held', flush=True); sys.stdin.read()", str(clone / ".git" / "lotgate" / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert held.stdout is not None and held.stdout.readline() == b"held\n"
    refused("locked by another process")
    held.kill()
    held.wait()
    held.stdout.close()
