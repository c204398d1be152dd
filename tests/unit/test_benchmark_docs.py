"""Pages of the detectors and the table of goals, from made-up rows in the schema of the results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest

from benchmarks.detection import docs, goals, page, results
from benchmarks.detection.against import attacks_on_the_gate, lots_that_peers_judged, where_a_peer_is_ahead
from benchmarks.detection.cases import expand, load_cases
from benchmarks.detection.docs import HEADINGS, pages, sections, write_docs
from benchmarks.detection.goals import every_goal, goal_table
from benchmarks.detection.page import coverage, ordered_methods, write_page
from benchmarks.detection.quotes import QUOTES, README, quoted, write_quotes
from benchmarks.detection.results import COLUMNS
from benchmarks.detection.standing import standing
from lotgate.detectors import DETECTORS
from lotgate.detectors.spectral_signatures import SpectralSignatures
from lotgate.errors import LotgateError
from lotgate.policy import Policy

VOTER, REPORTER = "disagreement", "spectral_signatures"


def _lot(methods: dict[str, dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """The rows of one lot: what all share, then what each method says."""
    common = {
        "split": "report", "group": "images", "dataset": "digits", "attack": "patch", "kind": "backdoor", "rate": 0.05,
        "trusted": 0.2, "poisoned_trusted": 0.0, "seed": 0, "classes": 10, "decision": "accept_with_quarantine",
        "n": 1200, "n_planted": 60, "fpr": 0.001, "flagged_share": 0.05, "seconds": 2.0, "code": "abc",
    } | fields  # fmt: skip
    seed, attack = common["seed"], common["attack"]
    name = f"{common['dataset']}-{attack}-r{common['rate']:g}-t{common['trusted']:g}-s{seed}"
    families = {"lotgate": "lotgate", VOTER: "detector", REPORTER: "reporter", "pyod_lof": "peer"}
    return [
        common | {"case": name, "method": method, "family": families.get(method, "detector")} | said
        for method, said in methods.items()
    ]


def _said(tpr: float, f1: float, **more: Any) -> dict[str, Any]:
    return {"tpr": tpr, "f1": f1, "auroc": (1 + tpr) / 2} | more


def _rows() -> pd.DataFrame:
    """Patches that only the reporter finds, flips that only the voter finds, and a clean lot; an attack has 2 seeds."""
    rows: list[dict[str, Any]] = []
    for seed, (found, f1) in enumerate(((0.9, 0.9375), (0.8, 0.8125))):
        patch = {
            "lotgate": _said(found, f1, seconds=10.0), VOTER: _said(0.1, 0.125), "pyod_lof": _said(0.0, 0.0),
            REPORTER: _said(found, f1, seconds=1.0),
        }  # fmt: skip
        rows += _lot(patch, seed=seed)
        flips = {"lotgate": _said(0.9, 0.9), VOTER: _said(0.75, 0.75), REPORTER: _said(0.2, 0.25)}
        rows += _lot(flips, seed=seed, attack="label_flip_random", kind="label_flip")
    quiet = {"n_planted": 0, "tpr": None, "f1": None, "auroc": None, "flagged_share": 0.0, "decision": "accept"}
    clean = {"lotgate": quiet, VOTER: quiet | {"flagged_share": 0.0625}, REPORTER: quiet | {"flagged_share": 0.004}}
    rows += _lot(clean, attack="none", kind="none", rate=0.0)
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def test_a_page_has_the_words_of_the_docstring_and_the_figures_of_the_rows() -> None:
    text = pages(_rows())[f"{VOTER}.md"]
    told = sections(next(detector for detector in DETECTORS if detector.name == VOTER))
    for heading, title in HEADINGS.items():
        assert f"\n## {title}\n" in text
        assert told[heading] in text
    assert "| patch | 2 | 0.100 | 0.100 | 0.0010 | 0.0010 | 0.125 | 0.125 | 0.550 | 0.550 |" in text
    assert "| **all** | 4 | 0.425 | 0.100 |" in text
    assert "It votes by default" in text
    assert "cases run, a verdict so far; the rule is in the [index]" in text
    assert "it flags 0.0625 of clean lots, more than 0.02" in text, "it carries a case, and is too loud"
    assert "| digits | label_flip_random | 0.05 | 0.2 | 0 | 2 | 0.750 |" in text
    assert "| images | 1 | 0.0625 | 0.0625 (digits) | 5 | 2.00 |" in text
    assert "### Regression: 5% poison, 20% trusted\n\nNot measured yet." in text


def test_a_detector_that_does_not_vote_says_so_with_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = Policy(voters=tuple(name for name in Policy().voters if name != REPORTER))
    monkeypatch.setattr(docs, "Policy", lambda: fewer)
    found = pages(_rows())
    top = found[f"{REPORTER}.md"].split("## What it catches")[0]
    assert "**It does not vote by default**" in top
    assert "mean F1 0.562 on images at 5% poison, 0.0040 of clean lots flagged" in top
    assert "alone in finding half of the poison in 2 of 4 poisoned lots, ahead of every other voter in 1 of 2" in top
    assert "**It earns its place**" in top, "what contradicts the policy is said, and not smoothed over"
    (line,) = [line for line in found["README.md"].splitlines() if f"[{REPORTER}]" in line]
    assert "| **no** | 0.562 (4) | – | – | 0.0040 | 2 of 4 | 1 of 2 | – | yes |" in line


def test_being_alone_needs_half_of_the_poison_and_no_other_voter() -> None:
    rows = _rows()
    before = standing(rows, REPORTER)
    assert (len(before.alone), before.carried, before.led, before.earns) == (2, 1, 1, True)
    rows.loc[(rows["method"] == VOTER) & (rows["attack"] == "patch"), ["tpr", "f1"]] = 0.78125
    after = standing(rows, REPORTER)
    assert (len(after.alone), after.carried, after.led, after.earns) == (0, 0, 0, False), (
        "0.875 leads 0.781 by too little"
    )
    assert "the other voters do as well in each of 2 cases" in after.short_of()
    assert len(standing(rows, VOTER).alone) == 4, "a reporter takes nothing from a voter"


def test_a_vote_that_the_gate_needs_earns_its_place_and_one_that_harms_it_loses_it() -> None:
    rows = _rows()
    patches, mine = rows["attack"] == "patch", rows["method"] == REPORTER
    rows.loc[(rows["method"] == VOTER) & patches, ["tpr", "f1"]] = 0.78125
    rows.loc[mine & patches, "f1_without"] = 0.765625  # of .9375 and .8125: .109375 less on average
    assert standing(rows, REPORTER).worth.tolist() == [0.109375]
    assert standing(rows, REPORTER).earns, "though another voter does as well by itself"
    assert not standing(rows, VOTER).worth.size, "it was not left out"
    flips = rows["attack"] == "label_flip_random"
    rows.loc[(rows["method"] == "lotgate") & flips, "f1"] = 0.75
    rows.loc[mine & flips, "f1_without"] = [0.875, 1.0]
    found = standing(rows, REPORTER)
    assert found.earns is False, "what it loses the gate in flips outweighs what it gains in patches"
    assert found.short_of() == ["without its vote the gate's mean F1 is 0.0391 higher"]
    text = pages(rows)
    assert "by +0.039 on average over 2 cases, by -0.109 to +0.188" in text[f"{REPORTER}.md"]
    assert "| +0.039 (2) | **no** |" in text["README.md"]
    rows.loc[mine, "code"] = "older"
    assert not standing(rows, REPORTER).worth.size, "verdicts of another state of the code are not compared"


def test_a_detector_that_failed_is_counted_and_not_averaged() -> None:
    rows = _rows()
    silent = (rows["method"] == REPORTER) & (rows["seed"] == 1) & (rows["attack"] == "patch")
    rows.loc[silent, ["n", "n_planted", "tpr", "fpr", "f1", "auroc", "flagged_share"]] = float("nan")
    rows.loc[silent, "family"] = "detector"
    found = standing(rows, REPORTER)
    assert (found.failed, found.poisoned, len(found.alone)) == (1, 3, 1)
    assert "Lots without an answer: 1." in pages(rows)[f"{REPORTER}.md"]
    assert ordered_methods(rows)[:3] == ["lotgate", VOTER, REPORTER], "named once, though of two families"


def test_without_results_every_page_is_there_and_none_has_a_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path / "nothing")
    written = write_docs(tmp_path / "docs")
    assert {path.name for path in written} == {"README.md", *(f"{detector.name}.md" for detector in DETECTORS)}
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert "ot measured yet" in text
        assert "AUROC |" not in text and "Its row: " not in text


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_missing_or_empty_heading_raises(heading: str) -> None:
    text = SpectralSignatures.__doc__ or ""
    for broken in (text.replace(f"    {heading}:\n", ""), _emptied(text, heading)):

        class Undocumented(SpectralSignatures):
            name: ClassVar = "undocumented"

        Undocumented.__doc__ = broken
        with pytest.raises(LotgateError, match=f"undocumented says nothing under {heading}"):
            sections(Undocumented)


def _emptied(text: str, heading: str) -> str:
    before, _, after = text.partition(f"    {heading}:\n")
    lines = after.split("\n")
    rest = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(" " * 8)), len(lines))
    return f"{before}    {heading}:\n" + "\n".join(lines[rest:])


def test_committed_pages_are_those_of_the_committed_results(tmp_path: Path) -> None:
    for path in write_docs(tmp_path):
        committed = docs.FOLDER / path.name
        assert committed.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), (
            f"{committed.name} is stale: run python -m benchmarks.detection docs"
        )


def test_readme_quotes_the_committed_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert {"goals", "images", "tables", "few"} <= {*re.findall(r"<!-- quote (\w+) -->", text)}
    assert quoted(text, results.read_csv("report")) == text, "stale: run python -m benchmarks.detection docs"


@pytest.mark.parametrize("name", QUOTES)
def test_a_quote_of_a_partial_run_says_what_there_is(name: str) -> None:
    text = quoted(f"<!-- quote {name} -->\n<!-- end of quote -->", _rows())
    assert len(text.splitlines()) > 4 and "nan" not in text


def test_without_results_readme_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    before = README.read_text(encoding="utf-8")
    (readme := tmp_path / "README.md").write_text(before, encoding="utf-8")
    assert write_quotes(readme).read_text(encoding="utf-8") == before


def test_a_quote_has_our_f1_beside_the_best_peers_and_the_higher_in_bold() -> None:
    rows = _rows()
    text = quoted("<!-- quote images -->\nold\n<!-- end of quote -->", rows)
    assert "old" not in text
    assert "| patch | **.88** .00 |" in text
    assert "| random flips | **.90** |" in text, "no peer was asked"
    assert "| *clean rows lost, mean* | 0.1% |" in text and "| *worst clean lot* | 0.0% |" in text
    rows.loc[rows["method"] == "pyod_lof", ["f1", "fpr"]] = [0.95, 0.2]
    told = rows[rows["method"] == "pyod_lof"].assign(method="trim_told", f1=1.0)
    rows = pd.concat([rows, told], ignore_index=True)
    assert "| patch | .88 **.95** |" in quoted("<!-- quote images -->\n<!-- end of quote -->", rows)
    ahead = quoted("<!-- quote ahead -->\n<!-- end of quote -->", rows)
    assert "in 1 of 1 cases, in 1 with a fifth trusted or more. There it loses 20.0% of the clean rows" in ahead


def test_a_quote_says_how_many_states_of_the_code_measured() -> None:
    ask, rows = "<!-- quote extent -->\n<!-- end of quote -->", _rows()
    assert "seeds 0, 1; code abc." in quoted(ask, rows)
    rows.loc[rows["seed"] == 1, "code"] = "def"
    assert "seeds 0, 1; 2 states of the code" in quoted(ask, rows)


def test_quotes_of_rates_need_three_of_them() -> None:
    rows = _rows()
    ask = "<!-- quote rates -->\n<!-- end of quote -->"
    assert "patch" not in quoted(ask, rows)
    more = [rows[rows["attack"] == "patch"].assign(rate=rate, f1=rate) for rate in (0.01, 0.2)]
    assert "| digits | patch | .01 | .88 | .20 |" in quoted(ask, pd.concat([rows, *more], ignore_index=True))


def test_what_a_model_obeys_is_quoted_of_attacks_that_work() -> None:
    rows = _rows()
    own = (rows["method"] == "lotgate") & rows["attack"].isin(["patch", "label_flip_random"])
    rows.loc[own, ["clean_raw", "clean_kept", "clean_perfect"]] = [0.9, 0.95, 0.96]
    rows.loc[own, ["attack_success_raw", "attack_success_kept", "attack_success_perfect"]] = [0.4, 0.3, 0.0]
    rows.loc[own & (rows["attack"] == "patch"), ["attack_success_raw", "attack_success_kept"]] = [0.8, 0.02]
    text = quoted("<!-- quote trained -->\n<!-- end of quote -->", rows)
    assert "| digits | 1 of 2 | 80.0% | 2.0% | 0.0% | 2.0% (patch) | 90.0% | 95.0% | 96.0% |" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- quote nothing -->\n<!-- end of quote -->", "no quote is called nothing"),
        ("<!-- quote goals -->\n and text", "a quote has no end"),
        ("<!-- quote goals -->\n<!-- quote images -->\n<!-- end of quote -->", "a quote has no end"),
    ],
)
def test_a_quote_that_nobody_makes_or_that_does_not_end_is_an_error(text: str, words: str) -> None:
    with pytest.raises(LotgateError, match=words):
        quoted(text, _rows())


def test_goals_say_what_was_reached_over_how_many_cases_and_what_has_no_rows() -> None:
    rows = _rows()
    found = {goal.goal: goal for goal in every_goal(rows)}
    f1 = found["mean F1, all attacks but plain label flips, ≥ 1% poison, 20% trusted"]
    assert (f1.reached, f1.cases, f1.short) == (False, 1, 0)
    assert f1.measured.startswith("0.875, least 0.875")
    clean = found["clean lots: quarantined share, worst lot; none rejected"]
    assert (clean.reached, clean.cases) == (True, 1)
    unmeasured = found["two-class lots: clean lots: quarantined share, worst lot; none rejected"]
    assert (unmeasured.reached, unmeasured.cases) == (None, 0)
    assert unmeasured not in goal_table(rows)
    rows.loc[(rows["method"] == "lotgate") & (rows["attack"] == "none"), ["decision", "flagged_share"]] = [
        "refused", float("nan"),
    ]  # fmt: skip
    (clean,) = [goal for goal in goal_table(rows) if goal.goal.startswith("clean lots")]
    assert (clean.reached, clean.short) == (False, 1), "a clean lot that was refused is a clean lot that was rejected"


def test_the_cost_of_a_scan_is_told_in_trainings_with_and_without_de_pois() -> None:
    """Seconds of Lotgate leave out detectors that only report, so that De-Pois' come on top where it reported."""
    rows = _rows()
    own = (rows["method"] == "lotgate") & (rows["attack"] == "patch")
    rows.loc[own, ["training_seconds", "training_mb", "peak_mb"]] = [20.0, 400.0, 800.0]
    names = [f"images: a whole scan{what}, in trainings of the downstream model"
             for what in (", De-Pois included", " without De-Pois")]  # fmt: skip
    alone = {goal.goal: goal for goal in every_goal(rows)}
    assert (alone[names[0]].reached, alone[names[0]].cases) == (None, 0), "De-Pois was not asked"
    assert (alone[names[1]].measured.split()[0], alone[names[1]].reached) == ("0.500", False)
    critic = rows[own].assign(method="de_pois", family="reporter", seconds=7.0)
    rows = pd.concat([rows, critic], ignore_index=True)
    both = {goal.goal: goal for goal in every_goal(rows)}
    assert (both[names[0]].measured.split()[0], both[names[0]].reached) == ("0.850", True)
    assert both[names[1]].measured.split()[0] == "0.500"
    assert goals.cost_in_trainings(rows).loc["digits", "memory"] == 2.0


def test_a_table_of_the_size_that_was_asked_for_is_what_counts() -> None:
    rows = _rows().assign(dataset="wide_classes")
    (small,) = [goal for goal in every_goal(rows) if goal.goal.startswith("tables")]
    assert small.reached is None and "not measured at that size" in small.measured
    rows.loc[rows["seed"] == 0, "n"] = 20_000
    (large,) = [goal for goal in every_goal(rows) if goal.goal.startswith("tables")]
    assert (large.reached, large.measured) == (True, "20,000 rows in 10 s")


def test_exact_copies_are_no_flips_that_a_peer_could_lose() -> None:
    rows = _rows()
    rows.loc[rows["attack"] == "patch", ["attack", "kind"]] = ["trusted_copy", "label_flip"]
    found = {goal.goal: goal for goal in every_goal(rows)}
    assert found["label flips 5–20%, separable sets: F1"].cases == 1


def test_regression_is_held_against_peers_that_know_the_share_of_poison_too() -> None:
    rows = _rows().assign(classes=0, dataset="diabetes")
    rows.loc[rows["method"] == "pyod_lof", ["method", "f1"]] = ["trim", 0.5]
    told = rows[rows["method"] == "trim"].assign(method="trim_told", f1=0.99)
    found = {goal.goal: goal for goal in every_goal(pd.concat([rows, told], ignore_index=True))}
    assert found["regression: F1 above TRIM, Sever and DUTI, on each case"].reached is True
    assert found["regression: the same where these are told the share of poison"].reached is False


def test_where_a_peer_is_ahead_is_named_with_what_it_costs() -> None:
    rows = _rows()
    assert where_a_peer_is_ahead(rows)[0].empty
    rows.loc[rows["method"] == "pyod_lof", ["f1", "fpr"]] = [0.95, 0.2]
    told = rows[rows["method"] == "pyod_lof"].assign(method="trim_told", f1=1.0)
    table, judged = where_a_peer_is_ahead(pd.concat([rows, told], ignore_index=True))
    assert judged == 1 and table["peer"].tolist() == ["pyod_lof"]
    assert table.loc[0, ["f1", "f1_peer", "fpr_peer"]].tolist() == [0.875, 0.95, 0.2]


def test_means_over_methods_are_of_the_lots_that_peers_judged() -> None:
    rows = _rows()
    lone = rows[(rows["attack"] == "patch") & (rows["family"] != "peer")].assign(case="other", f1=0.0)
    shared = lots_that_peers_judged(pd.concat([rows, lone], ignore_index=True))
    assert "other" not in set(shared["case"])
    assert set(shared["attack"]) == {"patch", "label_flip_random", "none"}, "nobody else judged flips: they stay"


def test_attacks_on_the_gate_are_shown_with_the_detectors_that_they_aim_at() -> None:
    rows = _rows()
    rows.loc[(rows["attack"] == "patch") & (rows["seed"] == 1), "poisoned_trusted"] = 0.05
    rows.loc[rows["attack"] == "label_flip_random", "attack"] = "adaptive_blend"
    table = attacks_on_the_gate(rows).set_index("attack")
    assert table.loc["patch", ["poisoned_trusted", "lots", "spectral_signatures f1"]].tolist() == [0.05, 1, 0.8125]
    assert table.loc["adaptive_blend", "lots"] == 2


def test_every_missed_goal_of_the_committed_rows_says_what_was_tried() -> None:
    missed = [goal.goal for goal in every_goal(results.read_csv("report")) if goal.reached is False]
    assert missed and not [goal for goal in missed if not goals.tried(goal)]


def test_the_page_of_a_partial_run_names_what_was_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    results.write_csv("report", _rows())
    (tmp_path / "versions.json").write_text('{"lotgate": "0.1.0"}')
    table = coverage(_rows(), "report")
    images = [case for case in expand(load_cases(), "report") if case.group == "images"]
    run = sum(case.name in set(_rows()["case"]) for case in images)
    assert run == 4
    assert (table.loc["images", "cases"], table.loc["images", "run"]) == (len(images), run)
    text = write_page("report").read_text(encoding="utf-8")
    assert f"{int(table['run'].sum())} of {int(table['cases'].sum())} cases run" in text
    assert 'class="text not-measured"' in text and 'class="text missed"' in text
    assert "mnist_t10k" in text
