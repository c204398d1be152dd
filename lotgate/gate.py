"""The gate: runs the committed expectation suites and says, check by check, whether a lot may pass.

Great Expectations fails open: an expectation whose class is not registered is dropped, an empty suite or frame passes,
and so does a column of missing values. So nothing passes here because GX said so. Every expectation of the committed
suite must come back evaluated, once, with the arguments that were committed, on every row and without an exception;
whatever does not is a failed critical check that names what was not evaluated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module, resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from lotgate.contract import Contract, ContractSettings
from lotgate.findings import FINDINGS_COLUMNS, P_OF_CLASS, VERDICTS_COLUMNS, Check, GateResult
from lotgate.policy import Policy

Committed = dict[str, Any]
SHOWN = 5


def gate_contract(contract: Contract, settings: ContractSettings, docs: Path | None) -> GateResult:
    """Judges the manifest and the lot's measures before any model is trained.

    Args:
        contract: from `lotgate.contract.contract`.
        settings: the limits.
        docs: folder for Data Docs, readable offline; None writes none.

    Returns:
        One check per promise that applies to the lot. Promises that compare with a trusted set are, without one,
        failed non-critical checks with nothing observed.
    """
    n = len(contract.rows)
    limits = settings.model_dump() | {
        "max_unknown_class_rows": settings.unknown_class_limit(n),
        "max_excluded_rate": (n - 1) / max(n, 1),
    }
    facts = {"modality": contract.modality, "task": contract.task}
    frames = {"manifest": contract.rows, "lot": contract.summary}
    return GateResult(
        checks=tuple(
            check
            for table, frame in frames.items()
            for check in judge_table(table, frame, limits, facts, trusted=contract.trusted, docs=docs)
        )
    )


def gate_verdicts(
    findings: pd.DataFrame,
    verdicts: pd.DataFrame,
    ids: Sequence[str],
    scanned_ids: Sequence[str],
    voters: Sequence[str],
    policy: Policy,
    docs: Path | None,
) -> GateResult:
    """Judges what the detectors found and what was decided.

    Args:
        findings: of all detectors, voters or not. verdicts: one row per sample.
        ids: every sample of the lot. scanned_ids: those that each voter had to score.
        voters: the voters that apply to this lot; none at all fails.
        policy: the limits on quarantine.
        docs: folder for Data Docs; None writes none.
    """
    task = "regression" if "label" in verdicts and pd.api.types.is_float_dtype(verdicts["label"]) else "classification"
    limits = _limits(scanned_ids, voters, policy)
    found = _judged_findings(findings, scanned_ids, voters)
    decided = _judged_verdicts(verdicts, ids, scanned_ids)
    checks = judge_table("findings", found, limits, {}, trusted=True, docs=docs)
    checks += judge_table("verdicts", decided, limits, {"task": task}, trusted=True, docs=docs)
    return GateResult(checks=checks)


def gate_context(
    findings: pd.DataFrame, scanned_ids: Sequence[str], voters: Sequence[str], policy: Policy
) -> tuple[Check, ...]:
    """Judges what the detectors found in the lot and its context together, as `gate_verdicts` does of the lot alone."""
    found = _judged_findings(findings, scanned_ids, voters)
    checks = judge_table("findings", found, _limits(scanned_ids, voters, policy), {}, trusted=True, docs=None)
    return tuple(check.model_copy(update={"name": check.name.replace(":", " with context:", 1)}) for check in checks)


def _limits(scanned_ids: Sequence[str], voters: Sequence[str], policy: Policy) -> dict[str, Any]:
    """What the suites' parameters stand for."""
    return policy.model_dump() | {"voters": list(voters), "samples": len(set(scanned_ids))}


def _judged_findings(findings: pd.DataFrame, scanned_ids: Sequence[str], voters: Sequence[str]) -> pd.DataFrame:
    frame = findings[[column for column in FINDINGS_COLUMNS if column in findings]].reset_index(drop=True)
    wanted = frame.get("sample_id", pd.Series(dtype=object)).isin(set(scanned_ids))
    voter = frame.get("detector", pd.Series(dtype=object)).isin(set(voters))
    said = {P_OF_CLASS: _of_classes(findings).to_numpy()}
    return frame.assign(wanted=wanted.astype(bool), voter=voter.astype(bool), **said)


def _of_classes(findings: pd.DataFrame) -> pd.Series[Any]:
    """What each finding says of its class: 1 where its detector says nothing of classes, as where the column is absent.
    A value that is missing beside others of its detector stays so, and all do where nobody gives one.
    """
    if P_OF_CLASS not in findings or "detector" not in findings:
        return pd.Series(1.0, index=findings.index)
    said = findings[P_OF_CLASS]
    silent = said.isna().groupby(findings["detector"]).transform("all").to_numpy(dtype=bool)
    return said if silent.all() else said.mask(silent, 1.0)


def _judged_verdicts(verdicts: pd.DataFrame, ids: Sequence[str], scanned_ids: Sequence[str]) -> pd.DataFrame:
    """One row per verdict, and one per sample without any, with what the expectations look at."""
    wanted = pd.DataFrame({"sample_id": pd.Series(list(dict.fromkeys(ids)), dtype=object), "expected": True})
    decided = verdicts.reindex(columns=list(VERDICTS_COLUMNS)).astype({"sample_id": object})
    copies = decided["sample_id"].value_counts()
    frame = wanted.merge(decided, on="sample_id", how="outer").astype({"reasons": object})
    scanned = frame["sample_id"].isin(set(scanned_ids)).to_numpy(dtype=bool)
    keep = frame["action"].eq("keep").to_numpy(dtype=bool)
    told = frame["reasons"].fillna("").astype(str).str.strip().ne("").to_numpy(dtype=bool)
    return frame.assign(
        expected=frame["expected"].eq(True).to_numpy(dtype=bool),
        copies=frame["sample_id"].map(copies).fillna(0).to_numpy(dtype=np.int64),
        scanned=scanned,
        kept_unscanned=keep & ~scanned,
        unexplained=~keep & ~told,
    )


def committed_suite(table: str) -> Committed:
    """The suite as committed: name, meta, expectations."""
    text = resources.files("expectations").joinpath(f"{table}.json").read_text(encoding="utf-8")
    suite: Committed = json.loads(text)
    return suite


def judge_table(
    table: str,
    frame: pd.DataFrame,
    limits: Mapping[str, Any],
    facts: Mapping[str, str],
    *,
    trusted: bool,
    docs: Path | None,
) -> tuple[Check, ...]:
    """Holds one table against its committed suite: one check per expectation that applies.

    Args:
        limits: values of the suite's `$PARAMETER`s.
        facts: modality and task of the lot; expectations made for others do not apply.
        trusted: whether expectations that need a trusted set can be evaluated.
    """
    suite = committed_suite(table)
    all_of_it = suite["expectations"]
    whole = bool(all_of_it) and len(all_of_it) == suite["meta"]["expectations"]
    short = [] if whole else [f"the suite has {len(all_of_it)} of {suite['meta']['expectations']} expectations"]
    applying = [e for e in all_of_it if all(facts.get(k) == v for k, v in e["meta"].get("when", {}).items())]
    runnable = [e for e in applying if trusted or e["meta"].get("needs") != "trusted"]
    skipped = tuple(_not_run(table, e) for e in applying if e not in runnable)
    with TemporaryDirectory(prefix="lotgate-docs-") as folder:
        site = None if docs is None else Path(folder)
        results, trouble = _evaluate(table, runnable, frame, limits, site)
        checks = [_check(table, e, results.pop(e["meta"]["key"], []), limits, len(frame)) for e in runnable]
        checks += [_failure(table, f"{key} was evaluated but is not in the committed suite") for key in results]
        checks += [_failure(table, words) for words in short + trouble]
        if docs is not None:
            _site().publish(Path(folder), docs, table, passed=sum(c.passed for c in checks), checks=len(checks))
    return (*checks, *skipped)


def _evaluate(
    table: str, expectations: list[Committed], frame: pd.DataFrame, limits: Mapping[str, Any], site: Path | None
) -> tuple[dict[str, list[Any]], list[str]]:
    """GX's results by the committed key, and what went wrong as a whole."""
    if frame.empty:
        return {}, ["there is not a single row"]
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions import GreatExpectationsError

    with _quiet():
        try:
            validations = _run_checkpoint(table, expectations, frame, limits, site)
        except (GreatExpectationsError, ValidationError) as error:
            return {}, [f"the suite could not be evaluated: {error}"]
    results: dict[str, list[Any]] = {}
    for result in (result for validation in validations for result in validation.results):
        results.setdefault(str((result.expectation_config.meta or {}).get("key")), []).append(result)
    evaluated = sum(validation.statistics["evaluated_expectations"] for validation in validations)
    if len(validations) != 1 or evaluated != len(expectations):
        return results, [f"{evaluated} of {len(expectations)} expectations were evaluated"]
    return results, []


def _run_checkpoint(
    table: str, expectations: list[Committed], frame: pd.DataFrame, limits: Mapping[str, Any], site: Path | None
) -> list[Any]:
    """Runs the suite in a context of its own; pages of Data Docs go under `site`."""
    import great_expectations as gx

    import_module("expectations.custom_expectations")  # registers ours; unregistered ones would be dropped
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("lotgate").add_dataframe_asset(table)
    batch = asset.add_batch_definition_whole_dataframe("all")
    told = [e | {"description": _described(e, limits)} for e in expectations]
    suite = context.suites.add(gx.ExpectationSuite(name=table, expectations=told))
    definition = gx.ValidationDefinition(name=table, data=batch, suite=suite)
    checkpoint = gx.Checkpoint(
        name=table,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[] if site is None else _site().actions(context, site),
        result_format={"result_format": "SUMMARY"},
    )
    outcome = context.checkpoints.add(checkpoint).run(
        batch_parameters={"dataframe": frame},
        expectation_parameters={name: limits[name] for name in _parameters(expectations) if name in limits},
        run_id=gx.RunIdentifier(run_name=table),
    )
    return list(outcome.run_results.values())


def _site() -> Any:
    return import_module("expectations.data_docs")


def _check(table: str, expectation: Committed, results: list[Any], limits: Mapping[str, Any], rows: int) -> Check:
    """The check that one committed expectation comes to; anything but one sound evaluation fails it."""
    name = f"{table}: {expectation['description']}"
    kwargs = {k: _filled(v, limits) for k, v in expectation["kwargs"].items()}
    limit = _shown(kwargs.get(expectation["meta"].get("limit"), expectation["meta"].get("limit")))
    wrong = _unsound(expectation, kwargs, results, rows)
    if wrong:
        return Check(
            name=name, passed=False, observed=None, limit=limit, critical=True, detail=f"not evaluated: {wrong}"
        )
    (result,) = results
    found = result.result
    failing = found.get("details", {}).get("failing", [])
    more = f" and {len(failing) - SHOWN} more" if len(failing) > SHOWN else ""
    return Check(
        name=name,
        passed=bool(result.success),
        observed=_shown(found.get("observed_value", found.get("unexpected_count"))),
        limit=limit,
        critical=expectation["severity"] == "critical",
        detail="" if result.success else ", ".join(failing[:SHOWN]) + more,
    )


def _unsound(expectation: Committed, kwargs: Mapping[str, Any], results: list[Any], rows: int) -> str:
    """Why these results are not one evaluation of this expectation on every row; "" if they are."""
    if len(results) != 1:
        return f"{len(results)} results of {expectation['type']}"
    config, found, raised = results[0].expectation_config, results[0].result, results[0].exception_info
    given = {k: v for k, v in config.kwargs.items() if k != "batch_id" and v is not None}
    nulls = 0 if expectation["type"] == "expect_column_values_to_not_be_null" else found.get("missing_count", 0)
    if raised and raised.get("raised_exception", True):
        wrong = f"an exception: {raised.get('exception_message') or raised}"
    elif config.type != expectation["type"]:
        wrong = f"{config.type} ran instead of {expectation['type']}"
    elif given != {k: v for k, v in kwargs.items() if v is not None}:
        wrong = f"it ran with {given}"
    elif "element_count" in found and (found["element_count"] != rows or nulls):
        wrong = f"{found['element_count']} of {rows} rows, {nulls} of them without a value"
    elif found.get("details", {}).get("unjudged"):
        wrong = found["details"]["unjudged"]
    elif "element_count" not in found and "observed_value" not in found:
        wrong = "nothing was observed"
    else:
        wrong = ""
    return wrong


def _not_run(table: str, expectation: Committed) -> Check:
    limit = expectation["meta"].get("limit")
    name = f"{table}: {expectation['description']}"
    return Check(
        name=name, passed=False, observed=None, limit=_shown(limit), critical=False, detail="not run: no trusted set"
    )


def _failure(table: str, words: str) -> Check:
    return Check(
        name=f"{table}: the suite was evaluated in full", passed=False, observed=None, limit=None, detail=words
    )


def _described(expectation: Committed, limits: Mapping[str, Any]) -> str:
    """The description with its limit, for Data Docs."""
    text, name = expectation["description"], expectation["meta"].get("limit")
    limit = _shown(_filled(expectation["kwargs"].get(name), limits))
    return text if limit is None else f"{text} ({'at least' if name == 'min_value' else 'limit'} {limit})"


def _parameters(expectations: list[Committed]) -> set[str]:
    values = [value for e in expectations for value in e["kwargs"].values()]
    return {value["$PARAMETER"] for value in values if isinstance(value, dict) and "$PARAMETER" in value}


def _filled(value: Any, limits: Mapping[str, Any]) -> Any:
    return limits.get(value["$PARAMETER"]) if isinstance(value, dict) and "$PARAMETER" in value else value


def _shown(value: Any) -> float | int | str | None:
    if value is None or isinstance(value, (int, float, str)):
        return value
    return len(value) if isinstance(value, (list, tuple, set)) else str(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what GX tells about its own progress; its errors stay audible."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("great_expectations.")]
    loggers = [logging.getLogger(name) for name in ("great_expectations", *names)]  # some set a level of their own
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.WARNING))
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
