"""Expectations of our own. Importing this module registers them; a suite that names an unregistered one shrinks.

Each reads the whole batch once through a metric, and fails on what it cannot judge: no rows, a missing value where
a boolean or a number is due. No threshold has a default that could let a lot pass: the suites name every one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from great_expectations.core.suite_parameters import SuiteParameterDict
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

Outcome = dict[str, Any]
Limit = float | SuiteParameterDict


def _frame(engine: PandasExecutionEngine, domain: dict[str, Any]) -> pd.DataFrame:
    return engine.get_compute_domain(domain, domain_type="table")[0]


def _outcome(success: bool, observed: Any, failing: list[str], unjudged: str = "") -> Outcome:
    """`failing` names what broke the promise; `unjudged` says what kept it from being judged at all."""
    details = {"failing": failing, "unjudged": unjudged}
    return {"success": bool(success) and not unjudged, "result": {"observed_value": observed, "details": details}}


class _Judged(BatchExpectation):
    """An expectation about one table metric."""

    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id", "table")

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> Outcome:
        return self.judge(metrics[self.metric_dependencies[0]])

    def judge(self, measured: Any) -> Outcome:
        raise NotImplementedError(type(self).__name__)


class FlagCounts(TableMetricProvider):
    """How many rows are flagged in one boolean column, and how many hold no boolean."""

    metric_name = "table.flag_counts"
    value_keys = ("column",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, execution_engine, metric_domain_kwargs, metric_value_kwargs, **_: Any) -> dict[str, int]:
        values = _frame(execution_engine, metric_domain_kwargs)[metric_value_kwargs["column"]]
        if pd.api.types.is_bool_dtype(values) and not values.hasnans:
            return {"rows": len(values), "flagged": int(values.sum()), "invalid": 0}
        valid = values.map(lambda value: isinstance(value, (bool, np.bool_)))
        return {"rows": len(values), "flagged": int((values[valid] == True).sum()), "invalid": int((~valid).sum())}  # noqa: E712


class ExpectFlagRateAtMost(_Judged):
    """At most `max_rate` of the rows are flagged in `column`; every row says True or False."""

    column: str
    max_rate: Limit
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.flag_counts",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "max_rate")

    def judge(self, measured: dict[str, int]) -> Outcome:
        rate = measured["flagged"] / measured["rows"] if measured["rows"] else 1.0
        failing = [f"{measured['flagged']} of {measured['rows']} rows"] if measured["flagged"] else []
        unjudged = f"{measured['invalid']} rows are neither true nor false" if measured["invalid"] else ""
        return _outcome(rate <= self.max_rate, rate, failing, unjudged)


class MeasuredValues(TableMetricProvider):
    """Subject, value and note of every row of one measure."""

    metric_name = "table.measured_values"
    value_keys = ("measure",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls, execution_engine, metric_domain_kwargs, metric_value_kwargs, **_: Any
    ) -> list[tuple[str, float, str]]:
        frame = _frame(execution_engine, metric_domain_kwargs)
        rows = frame[frame["measure"] == metric_value_kwargs["measure"]]
        return list(zip(rows["subject"], rows["value"].astype(float), rows["note"], strict=True))


class ExpectMeasureBetween(_Judged):
    """Every row of `measure` has a finite value in [min_value, max_value], and there is at least one."""

    measure: str
    min_value: Limit
    max_value: Limit
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.measured_values",)
    success_keys: ClassVar[tuple[str, ...]] = ("measure", "min_value", "max_value")

    def judge(self, measured: list[tuple[str, float, str]]) -> Outcome:
        bad = [row for row in measured if not self.min_value <= row[1] <= self.max_value]  # NaN is bad too
        shown = bad or measured
        # the value farthest from the middle of what is allowed stands for all
        worst = max((row[1] for row in shown), key=lambda v: max(v - self.max_value, self.min_value - v), default=None)
        failing = [f"{subject} ({note})" if note else str(subject) for subject, _, note in bad]
        unjudged = "" if measured and all(np.isfinite(row[1]) for row in measured) else "a value is missing"
        return _outcome(not bad, worst, failing, unjudged)


class VoterRows(TableMetricProvider):
    """Per detector: rows, distinct samples, and rows about samples that nobody asked for."""

    metric_name = "table.voter_rows"
    value_keys = ()

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, execution_engine, metric_domain_kwargs, **_: Any) -> dict[str, tuple[int, int, int]]:
        frame = _frame(execution_engine, metric_domain_kwargs)
        groups = frame.assign(strange=frame["wanted"] != True).groupby("detector")  # noqa: E712
        counted = groups.agg(rows=("sample_id", "size"), distinct=("sample_id", "nunique"), strange=("strange", "sum"))
        return {
            str(name): tuple(int(v) for v in row) for name, row in zip(counted.index, counted.to_numpy(), strict=True)
        }


class ExpectVotersRanOnEverySample(_Judged):
    """Each of `voters` has exactly one finding for each of the `samples` wanted ones, and none besides."""

    voters: list[str] | SuiteParameterDict
    samples: int | SuiteParameterDict
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.voter_rows",)
    success_keys: ClassVar[tuple[str, ...]] = ("voters", "samples")

    def judge(self, measured: dict[str, tuple[int, int, int]]) -> Outcome:
        failing = []
        for voter in self.voters:
            rows, distinct, strange = measured.get(voter, (0, 0, 0))
            if not rows:
                failing.append(f"{voter} did not run")
            elif (rows, distinct, strange) != (self.samples, self.samples, 0):
                failing.append(f"{voter} has {rows} findings on {distinct} samples, {strange} of them not asked for")
        complete = len(self.voters) - len(failing)
        return _outcome(bool(self.voters) and self.samples > 0 and not failing, complete, failing)


class ScoreFaults(TableMetricProvider):
    """Rows whose number is missing, infinite or outside [low, high]; of voters only, where the table knows them."""

    metric_name = "table.score_faults"
    value_keys = ("column", "min_value", "max_value")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, execution_engine, metric_domain_kwargs, metric_value_kwargs, **_: Any) -> dict[str, Any]:
        frame = _frame(execution_engine, metric_domain_kwargs)
        if "voter" in frame:
            frame = frame[frame["voter"]]
        values = pd.to_numeric(frame[metric_value_kwargs["column"]], errors="coerce").to_numpy(dtype=np.float64)
        bad = ~np.isfinite(values)
        if metric_value_kwargs["min_value"] is not None:
            bad |= values < metric_value_kwargs["min_value"]
        if metric_value_kwargs["max_value"] is not None:
            bad |= values > metric_value_kwargs["max_value"]
        return {"rows": len(values), "bad": int(bad.sum()), "ids": [str(i) for i in frame["sample_id"][bad].head(5)]}


class ExpectScoresFinite(_Judged):
    """Every number in `column` is finite and within [min_value, max_value] where these are given."""

    column: str
    min_value: float | None
    max_value: float | None
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.score_faults",)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "min_value", "max_value")

    def judge(self, measured: dict[str, Any]) -> Outcome:
        return _outcome(measured["rows"] > 0 and measured["bad"] == 0, measured["bad"], measured["ids"])


class IdFaults(TableMetricProvider):
    """Samples of the lot without a verdict, with several, and verdicts on samples that the lot does not have."""

    metric_name = "table.id_faults"
    value_keys = ()

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, execution_engine, metric_domain_kwargs, **_: Any) -> dict[str, list[str]]:
        frame = _frame(execution_engine, metric_domain_kwargs)
        expected = frame["expected"] == True  # noqa: E712
        faults = {
            "without a verdict": expected & ~(frame["copies"] >= 1),
            "with several verdicts": frame["copies"] > 1,
            "not of this lot": ~expected,
            "without an id": frame["sample_id"].isna(),
        }
        return {fault: [str(i) for i in frame["sample_id"][mask]] for fault, mask in faults.items() if mask.any()}


class ExpectIdsComplete(_Judged):
    """Every sample of the lot has exactly one verdict, and no other sample has one."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.id_faults",)
    success_keys: ClassVar[tuple[str, ...]] = ()

    def judge(self, measured: dict[str, list[str]]) -> Outcome:
        failing = [f"{len(ids)} {fault} ({', '.join(ids[:3])})" for fault, ids in measured.items()]
        return _outcome(not measured, sum(map(len, measured.values())), failing)


class QuarantineRates(TableMetricProvider):
    """Share of quarantined rows per value of `by`, or of all rows; whatever is not "keep" counts as quarantined.

    A class of which the detectors saw nothing (an unknown label, all broken) is the contract's affair: it has limits
    of its own for these.
    """

    metric_name = "table.quarantine_rates"
    value_keys = ("by",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(cls, execution_engine, metric_domain_kwargs, metric_value_kwargs, **_: Any) -> dict[str, float]:
        frame = _frame(execution_engine, metric_domain_kwargs)
        away, by = frame["action"] != "keep", metric_value_kwargs["by"]
        if by is None:
            return {"all": float(away.mean())} if len(frame) else {}
        groups = pd.DataFrame({"away": away, "scanned": frame["scanned"], "of": frame[by].astype(str)}).groupby("of")
        rates = groups.agg(rate=("away", "mean"), scanned=("scanned", "any"))
        return {str(name): float(rate) for name, rate in rates.loc[rates["scanned"], "rate"].items()}


class ExpectQuarantineRateBelow(_Judged):
    """At most `max_rate` is quarantined, of all rows or of each value of `by`; and never everything."""

    by: str | None
    max_rate: Limit
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.quarantine_rates",)
    success_keys: ClassVar[tuple[str, ...]] = ("by", "max_rate")

    def judge(self, measured: dict[str, float]) -> Outcome:
        over = {name: rate for name, rate in measured.items() if not (rate <= self.max_rate and rate < 1)}
        failing = [f"{name}: {rate:.1%}" for name, rate in over.items()]
        return _outcome(bool(measured) and not over, max(measured.values(), default=None), failing)
