"""Ways in which Great Expectations lets a lot through; the gate fails closed each time, and says what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from great_expectations import ExpectationSuite
from great_expectations.core.factory.suite_factory import SuiteFactory
from great_expectations.expectations.registry import _registered_expectations

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from verdict_tables import Screened, failed, screened

import lotgate.gate
from expectations import custom_expectations
from lotgate.contract import FLAGS, Contract, ContractSettings
from lotgate.gate import committed_suite, gate_contract

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def unregistered() -> Iterator[None]:
    """The process has not imported `expect_ids_complete`: GX drops it from the suite and the suite passes."""
    kept = _registered_expectations.pop("expect_ids_complete")
    yield
    _registered_expectations["expect_ids_complete"] = kept


def test_a_custom_expectation_that_is_not_registered(unregistered: None) -> None:
    result = screened().gate()
    assert not result.passed
    assert any("0 results of expect_ids_complete" in line for line in failed(result))
    assert any("7 of 8 expectations were evaluated" in line for line in failed(result))


def with_suite(monkeypatch: pytest.MonkeyPatch, edit: Edit, table: str = "verdicts") -> Screened:
    """The committed suite as somebody might edit it."""

    def edited(name: str) -> dict[str, Any]:
        suite = committed_suite(name)
        if name == table:
            edit(suite)
        return suite

    monkeypatch.setattr(lotgate.gate, "committed_suite", edited)
    return screened()


SUITE_EDITS: dict[str, Edit] = {
    "empty suite": lambda s: s["expectations"].clear(),
    "empty suite that says so": lambda s: (s["expectations"].clear(), s["meta"].update(expectations=0)),
    "expectation deleted": lambda s: s["expectations"].pop(),
    "unknown type": lambda s: s["expectations"][1].update(type="expect_nothing_in_particular"),
    "parameter nobody fills": lambda s: s["expectations"][6]["kwargs"].update(max_rate={"$PARAMETER": "nobody"}),
    "misspelt argument": lambda s: s["expectations"][6]["kwargs"].update(max_rat=1.0),
    "argument left out": lambda s: s["expectations"][6]["kwargs"].pop("max_rate"),
    "column that is not there": lambda s: s["expectations"][4]["kwargs"].update(column="gone"),
    "key given twice": lambda s: s["expectations"][2]["meta"].update(key="rows"),
}


@pytest.mark.parametrize("edit", SUITE_EDITS)
def test_a_damaged_suite(edit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not with_suite(monkeypatch, SUITE_EDITS[edit]).gate().passed


def tampered(monkeypatch: pytest.MonkeyPatch, tamper: Callable[[list[Any]], None]) -> None:
    """Whatever happens to a suite between its file and its evaluation happens here."""
    add = SuiteFactory.add

    def changed(self: SuiteFactory, suite: ExpectationSuite) -> ExpectationSuite:
        tamper(suite.expectations)
        return add(self, suite)

    monkeypatch.setattr(SuiteFactory, "add", changed)


def test_a_suite_that_shrinks_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    tampered(monkeypatch, lambda expectations: expectations.pop())
    assert any("0 results of" in line for line in failed(screened().gate()))


def test_a_suite_whose_limit_is_loosened_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def loosen(expectations: list[Any]) -> None:
        for expectation in expectations:
            if hasattr(expectation, "max_rate"):
                expectation.max_rate = 1.0

    tampered(monkeypatch, loosen)
    assert any("it ran with" in line for line in failed(screened().gate()))


def test_an_exception_inside_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> pd.DataFrame:
        raise RuntimeError("the metric crashed")

    monkeypatch.setattr(custom_expectations, "_frame", broken)
    result = screened().gate()
    assert not result.passed
    assert any("not evaluated: an exception" in line for line in failed(result))


def a_contract() -> Contract:
    """A lot of twenty tables rows that keeps every promise, without comparing to trust."""
    rows = pd.DataFrame({"sample_id": [f"lot.csv#{i}" for i in range(20)], "label": "a", "sha256": "0" * 64})
    rows = rows.assign(**dict.fromkeys(FLAGS, False), excluded=False)
    summary = pd.DataFrame(
        [("copies", "all", 0.0, ""), ("class_rows", "a", 20.0, "")], columns=["measure", "subject", "value", "note"]
    )
    return Contract("table", "classification", False, rows, summary, rows.head(0))


def contract_passes(held: Contract) -> bool:
    return gate_contract(held, ContractSettings(), None).passed


def test_the_contract_that_the_following_break_is_sound() -> None:
    assert contract_passes(a_contract())


def test_an_empty_frame() -> None:
    held = a_contract()
    assert not contract_passes(replace(held, rows=held.rows.head(0)))
    assert not contract_passes(replace(held, summary=held.summary.head(0)))


NEED_TRUST = {"unseen_format", "out_of_range", "unseen_value", "trusted_conflict"}


@pytest.mark.parametrize("column", sorted({*FLAGS, "excluded", "sample_id", "sha256"} - NEED_TRUST))
def test_a_column_of_missing_values(column: str) -> None:
    held = a_contract()
    assert not contract_passes(replace(held, rows=held.rows.assign(**{column: np.nan})))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_measure_without_a_value(value: float) -> None:
    held = a_contract()
    summary = held.summary.assign(value=[0.0, value])
    assert not contract_passes(replace(held, summary=summary))


def test_a_measure_that_was_not_taken() -> None:
    held = a_contract()
    assert not contract_passes(replace(held, summary=held.summary.head(1)))


def test_trusted_comparisons_that_were_not_taken() -> None:
    """A lot with a trusted set whose comparisons are absent from the summary is not "nothing to complain of"."""
    result = gate_contract(replace(a_contract(), trusted=True), ContractSettings(), None)
    assert not result.passed


@pytest.mark.parametrize("column", ["action", "score", "reasons"])
def test_a_verdict_column_of_missing_values(column: str) -> None:
    run = screened()
    assert not run.but(verdicts=run.verdicts.assign(**{column: None})).gate().passed
    assert not run.but(verdicts=run.verdicts.drop(columns=column)).gate().passed
