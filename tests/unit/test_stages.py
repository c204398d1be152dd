"""Steps of a screening: what each step draws, and what a run's folder goes through."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lotgate import run_folder, stages
from lotgate.data import Dataset, Pool
from lotgate.errors import LotError, OutputError, TrustedError
from lotgate.probe import Probe
from lotgate.settings import Settings, load_settings
from lotgate.sittings import alone, load_evidence
from tests.small_lots import digit_lots, digits, snapshot, write_digits, write_settings


def test_each_step_draws_from_a_generator_of_its_own() -> None:
    drawn = {
        step: tuple(stages.generator(Settings(), step).random(4)) for step in ("probe", "twin", "split", "de_pois")
    }
    assert len(set(drawn.values())) == 4
    assert tuple(stages.generator(Settings(), "twin").random(4)) == drawn["twin"]
    assert tuple(stages.generator(Settings(seed=1), "twin").random(4)) != drawn["twin"]


def test_a_folder_of_others_is_refused_and_left_alone(tmp_path: Path) -> None:
    for name in ("thesis.docx", "works", ".git"):
        folder = tmp_path / name / "out"
        folder.mkdir(parents=True)
        (folder / name).write_text("years of work")
        (folder / "report.html").write_text("mine")
        before = snapshot(tmp_path)
        with pytest.raises(OutputError, match="holds other files") as caught:
            run_folder.open_run(folder)
        assert caught.value.where == str(folder) and caught.value.action
        assert snapshot(tmp_path) == before


def test_a_new_folder_goes_with_the_parents_that_were_made_for_it(tmp_path: Path) -> None:
    run = tmp_path / "a/b/run"
    made = run_folder.open_run(run)
    assert made == tmp_path / "a" and run.is_dir()
    run_folder.abandon_run(run, made)
    assert list(tmp_path.iterdir()) == []
    run.mkdir(parents=True)
    assert run_folder.open_run(run) is None
    (run / "work/lot").mkdir(parents=True)
    run_folder.abandon_run(run, None)
    assert run.is_dir() and list(run.iterdir()) == []


def a_finished_run(run: Path) -> dict[str, str]:
    """Every file that a run leaves, with its own name as content → its snapshot."""
    for name in (*run_folder.OUTPUTS, "data_docs/index.html", "work/probe/probe.json", "work/checkpoints/de_pois"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    return snapshot(run)


def test_results_stay_until_the_next_run_has_ended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = a_finished_run(run)
    assert run_folder.open_run(run) is None
    assert not (run / run_folder.DECISION).exists() and (run / "work/checkpoints/de_pois").exists()
    (run / "manifest.parquet").write_text("of another lot")
    run_folder.open_run(run)  # the run before was killed
    (run / "work/lot").mkdir(parents=True)
    run_folder.abandon_run(run, None)
    assert snapshot(run) == before

    run_folder.open_run(run)
    (run / run_folder.DECISION).write_text("new")
    run_folder.close_run(run)
    assert {p.name for p in run.iterdir()} == {run_folder.DECISION, "work"}
    assert {p.name for p in (run / "work").iterdir()} == {"checkpoints"}


@pytest.mark.parametrize("moved", range(len(run_folder.OUTPUTS) + len(run_folder.FOLDERS)))
def test_a_kill_while_results_are_set_aside_loses_none(moved: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = a_finished_run(run)
    names = sorted({*run_folder.OUTPUTS, *run_folder.FOLDERS}, key=lambda name: name == run_folder.DECISION)
    (run / run_folder.EARLIER).mkdir()
    for name in names[:moved]:
        (run / name).replace(run / run_folder.EARLIER / name)
    run_folder.open_run(run)
    run_folder.abandon_run(run, None)
    assert snapshot(run) == before


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A finished scan of digits."""
    base = tmp_path_factory.mktemp("judged")
    lot, trusted = digit_lots(base, 60, 60)
    settings = load_settings(write_settings(base / "p.yaml", policy={"voters": ["spectral_signatures"]}))
    stages.screen(base / "run", lot, trusted, settings)
    return base / "run", settings


def test_every_file_of_the_architecture_is_there(judged: tuple[Path, Settings]) -> None:
    run, _ = judged
    outputs = {*run_folder.OUTPUTS} - {run_folder.CONTEXT_VERDICTS}
    assert {p.name for p in run.iterdir()} == {*outputs, *run_folder.FOLDERS}
    assert (run / "data_docs/index.html").is_file()
    for name in ("lot/store.npy", "trusted/dataset.json", "probe/weights.safetensors", "twin/probe.json"):
        assert (run / "work" / name).is_file()


def test_a_run_that_was_moved_still_reports_and_is_judged_alike(judged: tuple[Path, Settings], tmp_path: Path) -> None:
    run, settings = judged
    moved = tmp_path / "archive" / "run 1"
    shutil.copytree(run, moved)
    away = run.with_name("away")
    run.rename(away)
    try:
        (moved / "report.html").unlink()
        page = stages.report(moved).read_text()
        assert "data:image/png;base64" in page
        findings = pd.read_parquet(moved / "findings.parquet")
        stages.detect(moved, "spectral_signatures", settings)
        stages.decide(moved, settings)
        pd.testing.assert_frame_equal(pd.read_parquet(moved / "findings.parquet"), findings)
    finally:
        away.rename(run)


def test_a_step_may_be_run_again_alone(judged: tuple[Path, Settings]) -> None:
    run, settings = judged
    before = pd.read_parquet(run / "verdicts.parquet")
    probe = (run / "work/probe/weights.safetensors").read_bytes()
    stages.gather(run, settings)
    assert (run / "work/probe/weights.safetensors").read_bytes() == probe
    stages.detect(run, "spectral_signatures", settings)
    stages.decide(run, settings)
    pd.testing.assert_frame_equal(pd.read_parquet(run / "verdicts.parquet"), before)


def test_the_probe_learns_from_lot_and_trusted_rows_alike_and_its_twin_from_trusted_rows(
    judged: tuple[Path, Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, settings = tmp_path / "run", judged[1]
    shutil.copytree(judged[0], run)
    taught: list[set[str]] = []
    train = stages.train_probe

    def watched(rows: Dataset | Pool, *args: Any) -> Probe:
        parts = rows.parts if isinstance(rows, Pool) else (rows,)
        taught.append({i for part in parts for i in part.ids})
        return train(rows, *args)

    monkeypatch.setattr(stages, "train_probe", watched)
    stages.gather(run, settings)
    evidence = load_evidence(alone(run), settings)
    assert evidence.trusted is not None and evidence.heldout is not None
    assert taught[0] == {*evidence.suspect.ids, *evidence.trusted.ids, *evidence.heldout.ids}
    assert taught[1] == {*evidence.trusted.ids}


def test_a_detector_that_fails_leaves_no_finding_and_fails_the_gate(
    judged: tuple[Path, Settings], tmp_path: Path
) -> None:
    run, settings = tmp_path / "run", judged[1]
    shutil.copytree(judged[0], run)
    (run / "work/probe/probe.json").write_text("{}")
    (run / "work/findings/spectral_signatures.parquet").unlink()
    written = stages.detect(run, "spectral_signatures", settings)
    assert written.suffix == ".error" and "KeyError" in written.read_text()
    stages.decide(run, settings)
    result = stages.gate(run, settings)
    assert not result.passed
    assert any("a result of spectral" in check.name and not check.passed for check in result.checks)
    concluded = stages.conclude(run, settings)
    assert concluded.decision == "reject"
    assert "incomplete" in concluded.reasons[0]
    assert "spectral_signatures failed: KeyError" in concluded.reasons[1]


def test_what_a_failed_detector_left_behind_does_not_vote(judged: tuple[Path, Settings], tmp_path: Path) -> None:
    """The findings of an earlier fit beside a fresh failure are not findings."""
    run, settings = tmp_path / "run", judged[1]
    shutil.copytree(judged[0], run)
    (run / "work/probe/probe.json").write_text("{}")
    stages.detect(run, "spectral_signatures", settings)
    stages.decide(run, settings)
    assert pd.read_parquet(run / "findings.parquet").query("detector == 'spectral_signatures'").empty
    shutil.copytree(judged[0] / "work/probe", run / "work/probe", dirs_exist_ok=True)
    stages.detect(run, "spectral_signatures", settings)
    stages.decide(run, settings)
    assert stages.gate(run, settings).passed


def test_who_is_heard_judges_first_with_or_without_a_vote(judged: tuple[Path, Settings]) -> None:
    run, settings = judged
    witnesses = ["disagreement", "trusted_distance"]
    for voters in (["corroboration"], ["corroboration", "disagreement"], ["spectral_signatures", "corroboration"]):
        policy = settings.policy.model_copy(update={"voters": tuple(voters)})
        order = stages.detectors_for(run, settings.model_copy(update={"policy": policy}))
        assert set(order) == {*voters, *witnesses} and len(order) == len(set(order))
        assert order.index("corroboration") > max(order.index(name) for name in witnesses)


def test_nobody_weighs_what_a_witness_said_of_another_fit(judged: tuple[Path, Settings], tmp_path: Path) -> None:
    """A witness that fails takes back what it said, so that who hears it fails, too."""
    run, settings = tmp_path / "run", judged[1]
    shutil.copytree(judged[0], run)
    for name in ("disagreement", "trusted_distance", "corroboration"):
        assert stages.detect(run, name, settings).suffix == ".parquet"
    weights = run / "work/crossfit/sifted/0/weights.safetensors"
    kept = weights.read_bytes()
    weights.unlink()
    assert stages.detect(run, "disagreement", settings).suffix == ".error"
    weights.write_bytes(kept)
    written = stages.detect(run, "corroboration", settings)
    assert written.suffix == ".error" and "statement of disagreement" in written.read_text()


def test_no_trusted_set_and_too_few_rows_are_said(tmp_path: Path) -> None:
    lot, trusted = digit_lots(tmp_path, 40, 40)
    run_folder.open_run(tmp_path / "run")
    with pytest.raises(TrustedError, match="no trusted set"):
        stages.ingest(tmp_path / "run", lot, None, None, "auto", Settings())
    settings = load_settings(write_settings(tmp_path / "p.yaml"))
    stages.ingest(tmp_path / "run", lot, trusted, None, "auto", settings)
    stages.contract(tmp_path / "run", settings)
    ids = pd.read_parquet(tmp_path / "run/manifest.parquet")["sample_id"]
    pd.DataFrame({"sample_id": ids[1:], "reason": "set aside"}).to_parquet(tmp_path / "run/exclusions.parquet")
    with pytest.raises(LotError, match="fewer than two samples"):
        stages.gather(tmp_path / "run", settings)


@pytest.mark.parametrize("turned", [False, True], ids=["alike", "camera turned"])
def test_a_lot_that_is_not_drawn_like_the_trusted_set_says_so(turned: bool, tmp_path: Path) -> None:
    """A clean lot whose camera was turned by a right angle; its own rows teach what trusted ones cannot know."""
    x, y = digits(4)
    lot = write_digits(tmp_path / "lot", np.rot90(x[:200], 1 + turned, (1, 2)), y[:200])
    trusted = write_digits(tmp_path / "trusted", np.rot90(x[200:320], 1, (1, 2)), y[200:320])
    settings = load_settings(write_settings(tmp_path / "p.yaml", policy={"voters": ["unexplained_clusters"]}))
    decision = stages.screen(tmp_path / "run", lot, trusted, settings)
    check = next(check for check in decision.checks if "drawn alike" in check.name)
    assert (check.passed, check.critical) == (not turned, False)
    told = [reason for reason in decision.reasons if "where trusted samples contradict the label" in reason]
    assert len(told) == turned and decision.decision != "reject"
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert ("where trusted samples contradict the label" in page) == turned
