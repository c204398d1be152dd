"""The gate over findings and verdicts: quiet on a sound screening, and each promise noticed when broken."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from verdict_tables import VOTERS, Screened, failed, screened

from lotgate.contract import FLAGS, Contract, ContractSettings
from lotgate.findings import P_OF_CLASS
from lotgate.gate import committed_suite, gate_contract
from lotgate.policy import Policy

TABLES = ("manifest", "lot", "findings", "verdicts")


def verdict(run: Screened, at: int, **values: object) -> Screened:
    verdicts = run.verdicts.copy()
    for name, value in values.items():
        verdicts.loc[at, name] = value
    return run.but(verdicts=verdicts)


def finding(run: Screened, column: str, value: object) -> Screened:
    findings = run.findings.astype({column: object})
    findings.loc[7, column] = value
    return run.but(findings=findings)


def of_class(run: Screened, value: float | None) -> Screened:
    """The first voter speaks of classes, and says this in one finding; the other does not."""
    speaks = (run.findings["detector"] == VOTERS[0]).to_numpy()
    said = run.findings.assign(**{P_OF_CLASS: np.where(speaks, 0.5, np.nan)})
    return finding(run.but(findings=said), P_OF_CLASS, value)


def repeated(frame: pd.DataFrame, at: int) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[at]]], ignore_index=True)


def quarantined(run: Screened, share: float, label: str | None = None) -> Screened:
    verdicts = run.verdicts.copy()
    pool = verdicts.index if label is None else verdicts.index[verdicts["label"] == label]
    verdicts.loc[pool[: int(np.ceil(share * len(pool)))], ["action", "reasons"]] = ["quarantine", "suspicious"]
    return run.but(verdicts=verdicts)


def test_a_sound_screening_passes() -> None:
    result = screened().gate()
    assert result.passed
    assert failed(result) == []
    ran = next(check for check in result.checks if "exactly one finding" in check.name)
    assert (ran.observed, ran.limit) == (2, 2)


def test_a_regression_has_no_classes() -> None:
    run = screened()
    verdicts = run.verdicts.assign(label=np.linspace(0, 1, len(run.ids)))
    result = run.but(verdicts=verdicts).gate()
    assert result.passed
    assert not any("of a class" in check.name for check in result.checks)


def test_rows_of_others_than_voters_do_not_gate() -> None:
    run = screened()
    trial = run.findings[run.findings["detector"] == VOTERS[0]].head(5).assign(detector="on_trial", score=np.nan)
    assert run.but(findings=pd.concat([run.findings, trial])).gate().passed


def test_who_does_not_speak_of_classes_says_nothing_of_them() -> None:
    for value in (0.0, 1e-300, 1):
        assert of_class(screened(), value).gate().passed, value


BROKEN: dict[str, tuple[Callable[[Screened], Screened], str]] = {
    "a voter did not run": (
        lambda r: r.but(findings=r.findings[r.findings["detector"] != VOTERS[0]]),
        "activation_clustering did not run",
    ),
    "a voter skipped a sample": (lambda r: r.but(findings=r.findings.drop(index=5)), "57 findings on 57 samples"),
    "a voter scored twice": (lambda r: r.but(findings=repeated(r.findings, 5)), "59 findings on 58 samples"),
    "a voter scored a stranger": (
        lambda r: finding(r, "sample_id", "from/another lot.png"),
        "1 of them not asked for",
    ),
    "no voter applies": (lambda r: r.but(voters=()), "exactly one finding"),
    "a score is NaN": (lambda r: finding(r, "score", np.nan), "without a finite score"),
    "a score is infinite": (lambda r: finding(r, "score", np.inf), "without a finite score"),
    "a p-value is 2": (lambda r: finding(r, "p_value", 2.0), "without a p-value"),
    "a p-value of a class is -5": (lambda r: of_class(r, -5.0), "whose p_of_class"),
    "a p-value of a class is 2": (lambda r: of_class(r, 2.0), "whose p_of_class"),
    "a p-value of a class is NaN": (lambda r: of_class(r, np.nan), "whose p_of_class"),
    "no p-value of a class at all": (
        lambda r: r.but(findings=r.findings.assign(**{P_OF_CLASS: np.nan})),
        "whose p_of_class",
    ),
    "a flag is missing": (lambda r: finding(r, "flagged", None), "neither true nor false"),
    "no finding at all": (lambda r: r.but(findings=r.findings.head(0)), "not a single row"),
    "a column of findings is gone": (lambda r: r.but(findings=r.findings.drop(columns="p_value")), "of the schema"),
    "a verdict is missing": (lambda r: r.but(verdicts=r.verdicts.drop(index=9)), "1 without a verdict"),
    "a verdict is given twice": (lambda r: r.but(verdicts=repeated(r.verdicts, 9)), "with several verdicts"),
    "a verdict on a stranger": (lambda r: verdict(r, 9, sample_id="else.png"), "1 not of this lot"),
    "a third action": (lambda r: verdict(r, 9, action="maybe"), "keep or quarantine"),
    "a score above one": (lambda r: verdict(r, 9, score=1.5), "without a score in [0, 1]"),
    "a verdict without a score": (lambda r: verdict(r, 9, score=np.nan), "without a score in [0, 1]"),
    "quarantined without a word": (lambda r: verdict(r, 0, reasons=" "), "without a reason"),
    "an excluded sample is kept": (lambda r: verdict(r, 59, action="keep"), "no detector saw"),
    "too much in quarantine": (lambda r: quarantined(r, 0.3), "share of the lot in quarantine"),
    "too much of one class": (lambda r: quarantined(r.but(policy=Policy(max_quarantined_rate=1)), 0.7, "OK"), "OK: 7"),
    "everything in quarantine": (
        lambda r: quarantined(r.but(policy=Policy(max_quarantined_rate=1, max_quarantined_rate_per_class=1)), 1.0),
        "all: 100.0%",
    ),
    "nothing was scanned": (lambda r: r.but(scanned=()), "exactly one finding"),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_promise_fails(broken: str) -> None:
    change, words = BROKEN[broken]
    result = change(screened()).gate()
    assert not result.passed
    assert any(words in line for line in failed(result)), failed(result)


def test_a_class_that_only_the_contract_quarantined_has_no_share() -> None:
    """A handful of unknown labels, all excluded, must not read as "100% of that class"."""
    run = verdict(verdict(screened(), 58, label="scratch"), 59, label="scratch")
    assert run.gate().passed


def test_data_docs_can_be_read_offline(tmp_path: Path) -> None:
    docs = tmp_path / "data docs"
    screened().gate(docs)
    BROKEN["a score is NaN"][0](screened()).gate(docs)  # a second run replaces the first
    index = (docs / "index.html").read_text()
    assert {page.name for page in docs.iterdir()} == {
        "index.html",
        "findings.html",
        "verdicts.html",
        "validations.json",
    }
    for page in docs.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?\s*(?:https?:)?//", text), page
        assert not re.search(r"<(?:script|link|img|iframe)\b", text), page
        for target in re.findall(r"href=[\"']([^\"'#]+)[\"']", text):
            assert (docs / target).exists(), target
    assert index.index("findings.html") < index.index(">failed") < index.index("verdicts.html") < index.index(">passed")
    assert "findings of voters without a finite score" in (docs / "findings.html").read_text()


def test_the_suites_look_at_everything_that_is_measured() -> None:
    suites = {table: committed_suite(table) for table in TABLES}
    for table, suite in suites.items():
        keys = [expectation["meta"]["key"] for expectation in suite["expectations"]]
        assert len(set(keys)) == len(keys) == suite["meta"]["expectations"], table
        assert "rows" in keys
        assert all(expectation["severity"] in ("critical", "warning") for expectation in suite["expectations"])
    columns = {expectation["kwargs"].get("column") for expectation in suites["manifest"]["expectations"]}
    assert columns >= {*FLAGS, "excluded", "sample_id", "sha256"}
    known = set(ContractSettings.model_fields) | {"max_unknown_class_rows", "max_excluded_rate"}
    known |= set(Policy.model_fields) | {"voters", "samples"}
    for suite in suites.values():
        named = re.findall(r"'\$PARAMETER': '(\w+)'", str(suite))
        assert set(named) <= known


def test_a_million_rows_do_not_list_their_failures() -> None:
    """SUMMARY, never COMPLETE: the result holds no more than a few of 200,000 failing rows."""
    n = 200_000
    rows = pd.DataFrame({"sample_id": np.arange(n).astype(str), "label": "a", "sha256": None})
    rows = rows.assign(**dict.fromkeys(FLAGS, True), excluded=True)
    summary = pd.DataFrame({"measure": ["copies"], "subject": ["all"], "value": [0.0], "note": [""]})
    held = Contract("table", "classification", False, rows, summary, rows.head(0))
    result = gate_contract(held, ContractSettings(), None)
    assert not result.passed
    assert len(result.model_dump_json()) < 10_000


def test_logging_of_the_host_is_left_alone() -> None:
    logger = logging.getLogger("great_expectations")
    logger.setLevel(logging.DEBUG)
    screened().gate()
    assert logger.level == logging.DEBUG
    logger.setLevel(logging.NOTSET)
