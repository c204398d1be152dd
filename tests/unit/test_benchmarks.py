"""The benchmark's own arithmetic and honesty: splits, measures, peers, resuming. Peers that are absent are skipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from benchmarks.detection import data, peers, peers_regression, results
from benchmarks.detection.cases import Case, Cases, Data, expand, load_cases
from benchmarks.detection.charts import heat_map, roc
from benchmarks.detection.data import Absent, Samples, load
from benchmarks.detection.goals import goal_table
from benchmarks.detection.lots import BY_NAME, _part, deal, in_step, make_lot
from benchmarks.detection.measures import GRID, measure
from benchmarks.detection.peers import ask, pyod_lof
from benchmarks.detection.peers_regression import duti, regression_peers, sever, trim
from benchmarks.detection.run import Wanted, run_case, run_peers
from benchmarks.detection.surfaces import FAULTS
from lotgate.data import Dataset
from lotgate.detector import Evidence
from lotgate.settings import Settings, load_settings


def _case(**fields: object) -> Case:
    given = {
        "split": "tune", "group": "g", "dataset": "digits", "data": Data(size=200, test=100), "label": "patch",
        "attack": "patch", "parameters": {}, "rate": 0.05, "trusted": 0.2, "poisoned_trusted": 0.0, "seed": 100,
    }  # fmt: skip
    return Case.model_validate(given | fields)


def test_every_case_names_an_attack_that_exists_and_splits_share_no_seed() -> None:
    from benchmarks.detection.art_attacks import ART_ATTACKS

    cases = load_cases()
    tuned, reported = expand(cases, "tune"), expand(cases, "report")
    for case in (*tuned, *reported):
        known = BY_NAME[case.attack] if case.attack in BY_NAME else ART_ATTACKS[case.attack]
        assert {*case.parameters} <= {*known.model_fields}
    assert not {c.seed for c in tuned} & {c.seed for c in reported}
    assert {c.attack for c in reported} >= {*BY_NAME}, "an attack that Lotgate ships is in no reported case"
    assert len({c.name for c in reported}) == len(reported)


def test_what_was_looked_at_is_not_held_out() -> None:
    cases = load_cases()
    data, attacks = cases.held_out()
    assert not data & {*cases.looked_at.datasets} and not attacks & {*cases.looked_at.attacks}
    assert "neu_two" not in data, "a part of what was looked at"
    assert {"reflection", "art_image"} <= attacks
    given = cases.model_dump() | {"looked_at": {"attacks": ["no_such_attack"]}}
    with pytest.raises(ValidationError, match="no_such_attack"):
        Cases.model_validate(given)


def test_a_file_whose_splits_share_a_seed_is_refused() -> None:
    given = load_cases().model_dump()
    given["tune"]["clean"]["seeds"] = (0,)
    with pytest.raises(ValidationError, match="share the seeds"):
        Cases.model_validate(given)


def test_lot_trusted_and_test_rows_are_disjoint_and_paired_over_attacks() -> None:
    pool = np.arange(1000)
    lot, trusted, test, earlier = deal(_case(), pool)
    assert len(earlier) == 0
    assert (len(lot), len(trusted), len(test)) == (200, 40, 100)
    assert len({*lot, *trusted, *test}) == 340
    same, other = deal(_case(label="blended", rate=0.1), pool), deal(_case(seed=101), pool)
    assert (same[0] == lot).all()
    assert (other[0] != lot).any()
    assert (deal(_case(split="report"), pool)[0] != lot).any()


def test_lots_in_order_are_neighbouring_stretches_with_all_classes() -> None:
    y = np.repeat([0, 1], [600, 300])  # sorted by class, as files often are
    pool = in_step(np.arange(900), y)
    lot, trusted, _, _ = deal(_case(data=Data(size=300, in_order=True, test=50)), pool)
    for c in (0, 1):
        mine, theirs = (np.sort(rows[y[rows] == c]) for rows in (lot, trusted))
        assert len(mine) == pytest.approx(len(lot) * (y == c).mean(), abs=2)
        assert np.isin(np.diff(mine), [1, (y == c).sum() - 1]).sum() >= len(mine) - 2, "a stretch, or its two ends"
        assert len(theirs) == pytest.approx(len(trusted) * (y == c).mean(), abs=2)
    assert not {*lot} & {*trusted}


def test_a_slow_drip_is_the_same_lot_with_lots_before_it(tmp_path: Path) -> None:
    drip, alone = Data(size=60, earlier=3, test=50), Data(size=60, drawn_as="digits", test=50)
    cases = _case(data=drip, rate=0.05), _case(dataset="alone", data=alone, rate=0.05)
    parts = deal(cases[0], np.arange(400))
    assert [len(part) for part in parts] == [60, 12, 50, 180] and len(set(np.concatenate(parts))) == 302
    first, second = (make_lot(case, load("digits"), tmp_path / case.name) for case in cases)
    assert first.truth.planted == second.truth.planted and second.context == () and second.earlier == {}
    assert [c.name for c in first.context] == ["digits@v1", "digits@v2", "digits@v3"]
    planted = [truth.planted for truth in first.earlier.values()]
    assert [(len(p), sum(p.values())) for p in planted] == [(60, 3)] * 3
    assert planted[0] != planted[1]
    assert results.definition(cases[0]) != results.definition(cases[1])
    after = _case(
        dataset="alone", data=Data(size=60, earlier=3, clean_before=True, drawn_as="digits", test=50), rate=0.05
    )
    third = make_lot(after, load("digits"), tmp_path / "after")
    assert third.truth.planted == first.truth.planted
    assert [(len(t.planted), sum(t.planted.values())) for t in third.earlier.values()] == [(60, 0)] * 3
    assert results.definition(after) not in {results.definition(case) for case in cases}


def test_halves_give_tune_and_report_different_samples(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((600, 3)).astype(np.float32)
    samples = Samples(x, np.arange(600) % 2, ("a", "b"), ("u", "v", "w"))
    drawn = {}
    for split in ("tune", "report"):
        case = _case(split=split, attack="none", rate=0, data=Data(size=150, halves=True, test=50))
        lot = make_lot(case, samples, tmp_path / split)
        tables = [pd.read_csv(path) for path in (lot.lot, lot.trusted)]
        drawn[split] = {tuple(row) for t in tables for row in t[["u", "v", "w"]].round(6).to_numpy().tolist()}
        assert list(tables[0].columns) == ["u", "v", "w", "target"], "nothing on disk tells what was planted"
    assert len(drawn["tune"]) == 180
    assert not drawn["tune"] & drawn["report"]


def test_no_part_of_a_dataset_gives_report_what_any_part_of_it_gives_tune() -> None:
    """Classes are chosen after the halves: the report's 4 and 9 lie in the half that tune's whole set never sees."""
    y = np.arange(1000) % 5
    samples = Samples(np.zeros((1000, 2), np.float32), y, tuple("abcde"), ("u", "v"))
    pools: dict[str, set[int]] = {"tune": set(), "report": set()}
    for split, rows in pools.items():
        for classes in ((), (1, 4), (2, 3), (0,)):
            data = Data(size=20, halves=True, classes=classes)
            rows |= set(_part(_case(split=split, attack="none", rate=0, data=data), samples)[1].tolist())
    assert [len(rows) for rows in pools.values()] == [500, 500]
    assert not pools["tune"] & pools["report"]


def test_truth_is_told_by_id_and_trusted_rows_are_clean_unless_the_case_spoils_them(tmp_path: Path) -> None:
    samples = load("digits")
    honest = make_lot(_case(), samples, tmp_path / "a")
    spoiled = make_lot(_case(poisoned_trusted=0.2), samples, tmp_path / "b")
    assert sum(honest.truth.planted.values()) == 10
    ids = np.array(sorted(honest.truth.planted))
    planted, cover = honest.truth.of(ids)
    assert {i for i, bad in zip(ids, planted, strict=True) if bad} == {i for i, p in honest.truth.planted.items() if p}
    assert not cover.any()
    zeros = [len(list((lot.trusted / "0").glob("*.png"))) for lot in (honest, spoiled)]
    assert zeros[1] - zeros[0] == 8, "a fifth of 40 trusted rows now says 0"


def test_measures_against_numbers_by_hand() -> None:
    planted = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
    cover = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1], bool)
    flagged = np.array([1, 1, 0, 1, 0, 0, 0, 0, 1, 0], bool)
    scores = np.array([9, 8, 3, 7, 2, 2, 1, 0, 99, 99])
    row = measure(planted, cover, flagged, scores)
    assert row["tpr"] == pytest.approx(2 / 3)
    assert row["fpr"] == pytest.approx(1 / 5)
    assert row["precision"] == row["f1"] == pytest.approx(2 / 3)
    assert row["balanced_accuracy"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert row["f1_clean"] == pytest.approx(8 / 10)
    assert row["flagged_share"] == pytest.approx(0.4)
    assert row["auroc"] == pytest.approx(14 / 15)
    assert row["roc_0"] == pytest.approx(2 / 3)
    assert row["roc_0.2"] == 1.0
    assert row["f1_best"] == pytest.approx(6 / 7)


def test_a_clean_lot_has_no_tpr_but_a_flagged_share() -> None:
    none = np.zeros(4, bool)
    row = measure(none, none, np.array([1, 0, 0, 0], bool), np.arange(4))
    assert row["tpr"] is row["f1"] is row["auroc"] is row["roc_1"] is None
    assert row["fpr"] == row["flagged_share"] == 0.25


def _regression_evidence(tmp_path: Path) -> tuple[Evidence, np.ndarray]:
    """300 rows of a linear law; 30 responses are far too high."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    y = (x @ np.array([1, -2, 0.5, 0, 1]) + 0.1 * rng.normal(size=400)).astype(np.float32)
    bad = np.zeros(300, bool)
    bad[rng.choice(300, 30, replace=False)] = True
    y[:300][bad] += 4

    def dataset(rows: slice, name: str) -> Dataset:
        store = tmp_path / f"{name}.npy"
        np.save(store, x[rows])
        ids = [f"{name}{i:03d}" for i in range(len(x[rows]))]
        manifest = pd.DataFrame({"sample_id": ids, "label": y[rows].astype(float), "row": range(len(ids))})
        return Dataset("table", "regression", manifest, tmp_path, store, features=tuple("abcde"))

    parts = dataset(slice(0, 300), "s"), dataset(slice(300, 350), "t"), dataset(slice(350, 400), "h")
    return Evidence(*parts), bad


@pytest.mark.parametrize("method", [trim, sever, duti])
def test_regression_peers_find_pulled_responses(method: object, tmp_path: Path) -> None:
    evidence, bad = _regression_evidence(tmp_path)
    answer = method(evidence, np.random.default_rng(0), rate=0.1)  # type: ignore[operator]
    assert answer.flagged.sum() == 30
    assert measure(bad, np.zeros(300, bool), answer.flagged, answer.scores)["tpr"] > 0.9


def test_the_peer_of_residuals_learns_from_all_trusted_rows_and_finds_pulled_responses(tmp_path: Path) -> None:
    evidence, bad = _regression_evidence(tmp_path)
    assert len(peers.trusted_rows(evidence)) == 100
    answer = peers.trusted_only_residual(evidence, np.random.default_rng(0))
    measured = measure(bad, np.zeros(300, bool), answer.flagged, answer.scores)
    assert measured["tpr"] > 0.9 and measured["auroc"] > 0.95
    blind = peers.trusted_only_residual(replace(evidence, heldout=None), np.random.default_rng(0))
    assert not np.array_equal(blind.scores, answer.scores), "held-out rows are trusted rows, too"


def test_peers_asked_anew_answer_for_the_same_rows_without_a_screening(tmp_path: Path) -> None:
    case = _case(rate=0.1, attack="label_flip_random", trusted=0.4)
    rows = run_peers(case, load_settings(None), tmp_path / "case", ("trusted_only",))
    assert [row["method"] for row in rows] == ["trusted_only"]
    assert rows[0]["n"] == 200 and rows[0]["n_planted"] == 20 and rows[0]["auroc"] > 0.9
    assert not (tmp_path / "case").exists()


def test_only_peers_that_say_so_are_told_the_rate(tmp_path: Path) -> None:
    evidence, _ = _regression_evidence(tmp_path)
    rng = np.random.default_rng(0)
    counts = {name: int(peer(evidence, rng).flagged.sum()) for name, peer in regression_peers(0.02).items()}
    assert {n for n, c in counts.items() if c == 6} == {"trim_told", "sever_told", "duti_told"}
    assert {n for n, c in counts.items() if c == 30} == {"trim", "sever", "duti"}


def test_a_peer_whose_matrix_would_not_fit_is_absent_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers_regression, "MOST_ROWS", 299)
    heard = ask(regression_peers(0.1)["duti"], _regression_evidence(tmp_path)[0], np.random.default_rng(0))
    assert heard.answer is None and "300 rows" in heard.absent


def test_a_peer_that_is_not_installed_is_absent_and_says_why() -> None:
    def missing(evidence: Evidence, rng: np.random.Generator) -> object:
        import lotgate_has_no_such_module

        return lotgate_has_no_such_module

    heard = ask(missing, Evidence(None), np.random.default_rng(0))  # type: ignore[arg-type]
    assert heard.answer is None
    assert "lotgate_has_no_such_module" in heard.absent


def test_absent_data_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOTGATE_SHARED_DATA", str(tmp_path))
    with pytest.raises(Absent, match=r"house_prices\.csv"):
        load("house_prices")


def test_a_case_from_lot_to_rows_and_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real steps on a small real table; the row agrees with the decision of the run, and a CSV with the files."""
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "BUILD", tmp_path / "build")
    settings = load_settings(None).model_copy(
        update={"policy": Settings().policy.model_copy(update={"voters": ("disagreement",)})}
    )
    case = _case(
        dataset="breast_cancer", data=Data(size=300, test=80), label="label_flip_random", attack="label_flip_random",
        rate=0.1,
    )  # fmt: skip
    monkeypatch.setattr("benchmarks.detection.product.BY_NAME", {"disagreement": None})
    rows = run_case(case, settings, tmp_path / "case", Wanted(peers=False, downstream="auto"))
    assert not (tmp_path / "case").exists()
    assert [row["method"] for row in rows] == ["lotgate", "disagreement"]
    ours = rows[0]
    assert (ours["n"], ours["n_planted"], ours["kind"]) == (300, 30, "label_flip")
    assert ours["auroc"] > 0.9
    assert 0.85 < ours["clean_perfect"] <= 1
    without = {name: rows[1][f"{name}_without"] for name in ("f1", "tpr", "fpr", "flagged_share")}
    assert set(without.values()) == {0.0}, "nobody else has a vote"
    results.save_rows(case, rows, "abc")
    frame = results.load_rows("tune", [case])
    results.write_csv("tune", frame)
    results.row_file(case).unlink()
    again = results.load_rows("tune", [case])
    assert again["method"].tolist() == ["disagreement", "lotgate"]
    assert again.set_index("method").loc["lotgate", "f1"] == pytest.approx(ours["f1"], abs=1e-5)
    assert set(again["definition"]) == {results.definition(case)} != {results.definition(_case())}
    assert json.loads(json.dumps(rows[0], default=float))["decision"] == ours["decision"]


def test_a_method_that_is_not_asked_again_keeps_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "BUILD", tmp_path / "build")
    case, other = _case(), _case(seed=101)
    common = {"split": "tune", "dataset": "digits", "rate": 0.05, "trusted": 0.2, "family": "x"}
    for one in (case, other):
        measured = [{"case": one.name, "method": name, "f1": 0.1} | common for name in ("lotgate", "peer")]
        results.save_rows(one, measured, "old")
    results.write_csv("tune", results.load_rows("tune", [case, other]))
    results.row_file(other).unlink()
    results.save_rows(case, [{"case": case.name, "method": "lotgate", "f1": 0.9} | common], "new")
    rows = results.load_rows("tune", [case, other]).set_index(["case", "method"])
    assert rows["f1"].to_dict() == {
        (case.name, "lotgate"): 0.9, (case.name, "peer"): 0.1, (other.name, "lotgate"): 0.1, (other.name, "peer"): 0.1,
    }  # fmt: skip
    assert rows["code"].tolist() == ["old", "old", "old", "new"]
    monkeypatch.setattr(results, "definition", lambda one: "another lot")
    results.save_rows(case, [{"case": case.name, "method": "lotgate", "f1": 0.9} | common], "new")
    assert results.load_rows("tune", [case])["method"].tolist() == ["lotgate"]


def test_a_lot_that_lotgate_refuses_is_a_row_and_not_a_crash(tmp_path: Path) -> None:
    (row,) = run_case(_case(trusted=0.0), load_settings(None), tmp_path / "case", Wanted())
    assert (row["method"], row["decision"]) == ("lotgate", "refused")
    assert "trusted" in row["absent"]


def test_pyod_flags_a_tenth_by_default() -> None:
    pytest.importorskip("pyod")
    from lotgate.probe import FeatureMap, Probe

    store = Path("memory.npy")
    features = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    manifest = pd.DataFrame(
        {"sample_id": [f"{i:03d}" for i in range(100)], "label": ["a", "b"] * 50, "row": range(100)}
    )
    suspect = Dataset("table", "classification", manifest, Path(), store, classes=("a", "b"))
    probe = Probe(None, {store: FeatureMap(features, features[:, :2])})  # type: ignore[arg-type]
    assert pyod_lof(Evidence(suspect, probe=probe), np.random.default_rng(0)).flagged.sum() == 10


def test_goals_are_missed_by_rows_that_miss_them() -> None:
    base = {
        "poisoned_trusted": 0.0, "trusted": 0.2, "classes": 10, "family": "lotgate", "method": "lotgate",
        "attack_success_kept": np.nan, "clean_kept": np.nan, "clean_perfect": np.nan, "decision": "accept",
    }  # fmt: skip
    good = {"dataset": "digits", "attack": "patch", "kind": "backdoor", "rate": 0.05, "f1": 0.99}
    good |= {"tpr": 0.99, "fpr": 0.001}
    clean = {"dataset": "digits", "attack": "none", "kind": "none", "rate": 0.0, "flagged_share": 0.0, "case": "c"}
    reached = pd.DataFrame([base | good, base | clean])
    assert all(goal.reached for goal in goal_table(reached))
    missed = pd.DataFrame([base | good | {"f1": 0.7, "tpr": 0.7}, base | clean | {"flagged_share": 0.02}])
    assert not any(goal.reached for goal in goal_table(missed))


def test_charts_say_their_numbers_and_escape_names() -> None:
    drawn = heat_map(pd.DataFrame({"lotgate": [0.912], "<b>": [np.nan]}, index=["patch"]), {"patch"})
    assert "0.912" in drawn
    assert "patch *" in drawn
    assert "<b>" not in drawn
    curve = roc({"lotgate": [g**0.5 for g in GRID]}, "patch")
    assert curve.count("<polyline") == 1
    assert "http" not in drawn + curve


def test_shared_data_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOTGATE_SHARED_DATA", str(tmp_path))
    assert data.shared() == tmp_path


@pytest.mark.parametrize(("name", "channels", "faulty"), [("metal", 1, 0.10), ("cast", 3, 0.12), ("weave", 3, 0.10)])
def test_drawn_parts_are_mostly_faultless(name: str, channels: int, faulty: float) -> None:
    samples = load(name)
    assert samples.x.shape[1:] == (channels, 32, 32) and samples.names == ("faultless", "faulty")
    assert samples.y.mean() == pytest.approx(faulty, abs=0.02)
    assert len(np.unique(samples.x, axis=0)) == len(samples.x)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_shows_and_leaves_most_of_the_part(fault: Callable[..., Any]) -> None:
    for seed in range(20):
        change = np.abs(fault(np.zeros((32, 32)), np.random.default_rng(seed)))
        assert change.max() > 0.1 and (change > 0.01).mean() < 0.5
