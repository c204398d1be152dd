"""Each step of a screening: files in, one library call, files out. `run` is the run's folder.

The Prefect tasks and `lotgate scan` call these same functions; docs/architecture.md lists the files.
`decision.json` is written last: a folder without one is an interrupted run, and may be run again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lotgate.carriers import carriers
from lotgate.context import (
    Context,
    context_check,
    context_words,
    heard_twice,
    load_union,
    part_verdicts,
    read_context,
    summarise,
)
from lotgate.contract import contract as make_contract
from lotgate.crossfit import map_answers, train_crossfit
from lotgate.data import Dataset, Pool
from lotgate.detector import Evidence, judge
from lotgate.errors import ContextError, InputError, LotError, TrustedError
from lotgate.files import write_table, write_text
from lotgate.findings import Check, Decision, GateResult, findings_frame, outcome
from lotgate.findings import decide as make_verdicts
from lotgate.gate import gate_context, gate_contract, gate_verdicts
from lotgate.pair import read_pair
from lotgate.probe import Probe, Say, load_network, map_features, n_outputs, train_probe
from lotgate.report import report as write_report
from lotgate.run_folder import CONTEXT_VERDICTS, abandon_run, close_run, open_run
from lotgate.settings import BY_NAME, Settings
from lotgate.shift import load_shift, measure_shift, save_shift, shift_checks, shift_words
from lotgate.sittings import (
    WITH_CONTEXT,
    Sitting,
    alone,
    generator,
    load_datasets,
    load_evidence,
    load_trusted,
    sittings,
    split,
    stores,
)
from lotgate.statements import load_statements, save_statement
from lotgate.versions import versions
from lotgate.vetting import (
    NO_DOUBT,
    Doubt,
    doubt_check,
    doubt_labels,
    doubt_words,
    load_doubt,
    load_notes,
    load_unjudged,
    note_words,
    save_doubt,
    unjudged_check,
    unjudged_words,
    without_doubted,
)

log = logging.getLogger("lotgate")

STATEMENTS = Path("work/statements")
HEARD = frozenset(name for detector in BY_NAME.values() for name in detector.hears)


def ingest(
    run: Path,
    lot: Path,
    trusted: Path | None,
    target: str | None,
    task: str,
    settings: Settings,
    context: Sequence[Context] = (),
) -> Path:
    """Reads the trusted set, then the lot in its terms, then earlier releases to be judged with it → manifest.parquet.

    Raises:
        ContextError: an earlier release does not fit the lot, or one that the settings name was not fetched.
        TrustedError: there is no trusted set and the policy does not allow that.
        LotError: the lot cannot be read.
    """
    if trusted is None and not settings.policy.allow_untrusted:
        raise TrustedError(
            "no trusted set was given",
            where="--trusted",
            action="collect vetted samples of every class, ten or more of each (20% of a lot is plenty, 5% helps), and "
            "give their path; or set policy.allow_untrusted: true, and the decision will say that it had none",
        )
    absent = set(settings.context) - {each.name for each in context}
    if absent:
        raise ContextError(
            f"nobody fetched the context {', '.join(sorted(absent))}",
            where="settings, context",
            action="use `lotgate scan` or `lotgate run`, which know the registry; the library takes folders",
        )
    with timed(run, "ingest"):
        suspect, vetted = read_pair(run / "work", lot, trusted, target, task, settings.ingest)  # type: ignore[arg-type]
        record = {"lot_path": str(lot), "trusted_path": None if trusted is None else str(trusted)}
        write_text(run / "work/inputs.json", json.dumps(record))
        read_context(suspect, vetted or suspect, context, run / "work", settings.ingest)
        return write_table(run / "manifest.parquet", suspect.manifest)


def contract(run: Path, settings: Settings) -> GateResult:
    """Judges the manifest against the trusted set, before any model → contract.json, exclusions.parquet."""
    with timed(run, "contract"):
        suspect, trusted = load_datasets(run)
        tables = make_contract(suspect, trusted, settings.contract)
        result = gate_contract(tables, settings.contract, run / "data_docs")
        write_table(run / "exclusions.parquet", tables.exclusions)
        write_text(run / "contract.json", result.model_dump_json(indent=1))
        return result


def gather(run: Path, settings: Settings) -> Path:
    """Trains the probe, its twin and the cross-fitted models, and maps what they say → work/probe, twin, crossfit; with
    context once more of the union (lotgate.sittings).
    """
    with timed(run, "gather"):
        for sitting in sittings(run):
            _gather(sitting, settings)
        return run / "work/probe"


def _gather(sitting: Sitting, settings: Settings) -> None:
    evidence, work = split(sitting, settings), sitting.at / "work"
    suspect = evidence.suspect
    if len(suspect) < 2:
        raise LotError(
            "fewer than two samples are left to screen after the contract",
            where=sitting.run / "exclusions.parquet",
            action="read the reasons there and deliver the lot again",
        )
    shared, carrying = {"lot": suspect}, _carriers(evidence, settings)
    evidence = without_doubted(evidence, Doubt(carriers=carrying))
    if evidence.trusted is not None:
        shared["trusted"] = load_trusted(sitting.run).usable()
    both = Pool((suspect, *evidence.vetted))  # trained alike on both kinds, the probe treats clean rows of both alike
    probe = train_probe(both, settings.probe, generator(settings, "probe"), _say("probe"))
    map_features(probe, shared, work / "probe")
    if evidence.trusted is not None:
        map_features(_twin(sitting, evidence.trusted, settings), shared, work / "twin")
        if suspect.task == "classification":
            _crossfit(sitting, evidence, carrying, shared, settings)


def _carriers(evidence: Evidence, settings: Settings) -> tuple[str, ...]:
    """Trusted samples that probably carry a trigger, before any model learns from them."""
    lot = evidence.suspect
    if evidence.trusted is None or (lot.modality, lot.task) != ("image", "classification"):
        return ()
    found = carriers(lot, evidence.vetted, generator(settings, "carriers"))
    _say("trusted set")(f"{len(found)} samples probably carry a trigger")
    return found


def _twin(sitting: Sitting, trusted: Dataset, settings: Settings) -> Probe:
    """The model of trusted rows alone, which is the same in every sitting of a lot."""
    if sitting.with_context:
        return load_network(sitting.run / "work/twin", settings.probe, trusted.shape, n_outputs(trusted))
    return train_probe(trusted, settings.probe, generator(settings, "twin"), _say("twin"))


def detectors_for(run: Path, settings: Settings) -> list[str]:
    """The detectors to run on this lot: voters first, then those that only report; before each, whom it hears."""
    suspect = Dataset.load(run / "work/lot")
    asked = [n for n in (*settings.policy.voters, *settings.detectors) if not _skipped(settings, n, suspect)]
    return list(dict.fromkeys(name for n in asked for name in (*BY_NAME[n].hears, n)))


def detect(run: Path, detector: str, settings: Settings) -> Path:
    """Fits one detector and scores the lot, and what is on trial with it → work/findings/<detector>.parquet.

    A detector that fails leaves `<detector>.error` with the reason instead, and the gate turns that into a failed
    check: a crashed scan is never a skipped one.
    """
    with timed(run, detector):
        written = [_detect(sitting, detector, settings) for sitting in sittings(run)]
        return next((path for path in written if path.suffix == ".error"), written[0])


def _detect(sitting: Sitting, detector: str, settings: Settings) -> Path:
    folder, statements = sitting.at / "work/findings", sitting.at / STATEMENTS
    for suffix in ("parquet", "json", "error"):  # of an earlier fit: beside a failure they would vote
        (folder / f"{detector}.{suffix}").unlink(missing_ok=True)
    statement = statements / f"{detector}.npz"
    statement.unlink(missing_ok=True)
    try:
        made = settings.detector(detector)
        if "checkpoint" in type(made).model_fields:
            made = made.model_copy(update={"checkpoint": sitting.checkpoints / detector})
        evidence = load_evidence(sitting, settings)
        evidence = replace(evidence, statements=load_statements(statements, made.hears, stores(evidence)))
        made.require(evidence)
        scorer = made.fit(evidence, generator(settings, detector))
        judged = judge(made, scorer, evidence)
    except Exception as error:  # noqa: BLE001  whatever it is, it fails the gate
        log.error("%s failed: %s", detector, error)
        return write_text(folder / f"{detector}.error", f"{type(error).__name__}: {error}")
    threshold = float(judged.threshold) if np.isfinite(judged.threshold) else None
    said = {"threshold": threshold, "unjudged": judged.unjudged, "notes": getattr(scorer, "notes", ())}
    write_text(folder / f"{detector}.json", json.dumps(said))
    if judged.statement is not None and detector in HEARD:
        save_statement(judged.statement, statement, stores(evidence))
    return write_table(folder / f"{detector}.parquet", judged.findings)


def decide(run: Path, settings: Settings) -> Path:
    """Findings → one verdict per sample → findings.parquet, verdicts.parquet, context_verdicts.parquet.

    With context the rule is applied twice, to the lot and to the union, and a sample goes where either sends it; then
    the verdicts are parted.
    """
    with timed(run, "decide"):
        findings = _findings(run)
        words = {name: detector.reason for name, detector in BY_NAME.items()}
        manifest, exclusions = (pd.read_parquet(run / f"{name}.parquet") for name in ("manifest", "exclusions"))
        (run / CONTEXT_VERDICTS).unlink(missing_ok=True)
        verdicts = make_verdicts(findings, manifest, exclusions, settings.policy, words)
        union = load_union(run, set(exclusions["sample_id"]))
        together = _findings(run / WITH_CONTEXT)
        if union is not None and len(together):  # else alone, or stopped before any model
            judged = make_verdicts(together, union.manifest, exclusions, settings.policy, words)
            verdicts, earlier = part_verdicts(heard_twice(judged, verdicts), manifest)
            write_table(run / CONTEXT_VERDICTS, earlier)
        write_table(run / "findings.parquet", findings)
        return write_table(run / "verdicts.parquet", verdicts)


def gate(run: Path, settings: Settings) -> GateResult:
    """Judges findings and verdicts → gate.json."""
    with timed(run, "gate"):
        suspect = Dataset.load(run / "work/lot")
        voters = [name for name in settings.policy.voters if not _skipped(settings, name, suspect)]
        result = gate_verdicts(
            pd.read_parquet(run / "findings.parquet"), pd.read_parquet(run / "verdicts.parquet"),
            list(suspect.ids), list(split(alone(run), settings).suspect.ids), voters, settings.policy,
            run / "data_docs",
        )  # fmt: skip
        checks = result.checks
        for sitting in sittings(run)[1:]:
            on_trial = list(split(sitting, settings).suspect.ids)
            checks += gate_context(_findings(sitting.at), on_trial, voters, settings.policy)
        crashed = sorted(path for each in sittings(run) for path in (each.at / "work/findings").glob("*.error"))
        failed = tuple(
            Check(
                name=f"findings: a result of {file.stem}", passed=False, observed="none", limit="one",
                critical=file.stem in voters, detail=f"{file.stem} failed: {file.read_text(encoding='utf-8')}",
            )
            for file in crashed
        )  # fmt: skip
        result = GateResult(checks=(*failed, *checks))
        write_text(run / "gate.json", result.model_dump_json(indent=1))
        return result


def conclude(run: Path, settings: Settings, dataset: str = "", lot: str = "") -> Decision:
    """The lot's decision and everything it rests on → decision.json."""
    suspect = Dataset.load(run / "work/lot")
    trusted = load_datasets(run)[1]
    verdicts = pd.read_parquet(run / "verdicts.parquet")
    results = [GateResult.model_validate_json((run / name).read_text()) for name in _gates(run)]
    checks = tuple(check for result in results for check in result.checks)
    decision, reasons = outcome(verdicts, checks)
    if (shift := load_shift(run)) is not None:
        doubt, unjudged = load_doubt(run), load_unjudged(run, settings.policy.voters)
        checks = (*checks, *shift_checks(shift), doubt_check(doubt), unjudged_check(unjudged))
        notes = _notes(run, settings.policy.voters)
        reasons = (*reasons, *shift_words(shift), *doubt_words(doubt), *unjudged_words(unjudged), *note_words(notes))
    judged = run / CONTEXT_VERDICTS
    context = summarise(run, pd.read_parquet(judged) if judged.exists() else None)
    if context:
        checks = (*checks, context_check(context))
        reasons = (f"{reasons[0]} {context_words(context)}".rstrip(), *reasons[1:])
    if trusted is None:
        reasons = (*reasons, "This decision was made without a trusted set, as the policy allows: it is a weak one.")
    skipped = {name: why for name in settings.policy.voters if (why := _skipped(settings, name, suspect))}
    concluded = Decision(
        decision=decision, reasons=reasons, dataset=dataset, lot=lot, lot_fingerprint=suspect.fingerprint,
        trusted_fingerprint=None if trusted is None else trusted.fingerprint, trusted=trusted is not None,
        task=suspect.task, modality=suspect.modality, n_samples=len(suspect),
        n_quarantined=int((verdicts["action"] == "quarantine").sum()),
        voters=tuple(name for name in settings.policy.voters if name not in skipped), skipped=skipped,
        thresholds=_thresholds(run), context=context, checks=checks, seconds=_seconds(run), versions=versions(),
        seed=settings.seed, settings=settings.model_dump(mode="json"),
    )  # fmt: skip
    write_text(run / "decision.json", concluded.model_dump_json(indent=1))
    return concluded


def report(run: Path) -> Path:
    """All tables → report.html."""
    return write_report(run)


def screen(
    run: Path,
    lot: Path,
    trusted: Path | None,
    settings: Settings,
    target: str | None = None,
    task: str = "auto",
    context: Sequence[Context] = (),
) -> Decision:
    """Every step in order, in this process, without Prefect; `context` are earlier releases, fetched and checked.

    A run that fails on its input leaves the folder as it was; an interrupted one leaves `work/` without a decision,
    from which running again resumes.
    """
    made = open_run(run)
    try:
        ingest(run, lot, trusted, target, task, settings, context)
        if contract(run, settings).passed:
            gather(run, settings)
            for detector in detectors_for(run, settings):
                detect(run, detector, settings)
            decide(run, settings)
            gate(run, settings)
        else:
            decide(run, settings)
        decision = conclude(run, settings)
        report(run)
    except (InputError, OSError):
        abandon_run(run, made)
        raise
    close_run(run)
    return decision


@contextmanager
def timed(run: Path, step: str) -> Iterator[None]:
    """Notes how many seconds the step took, under work/seconds/."""
    log.info("%s …", step)
    start = time.perf_counter()
    yield
    seconds = round(time.perf_counter() - start, 3)
    write_text(run / f"work/seconds/{step}.json", json.dumps({"at": time.time(), "seconds": seconds}))
    log.info("%s: %.1f s", step, seconds)


def _crossfit(
    sitting: Sitting, evidence: Evidence, carrying: tuple[str, ...], shared: dict[str, Dataset], settings: Settings
) -> None:
    """Trains the cross-fitted models and maps their answers → work/crossfit."""
    vetted = evidence.vetted
    trained = train_crossfit(
        evidence.suspect, vetted, settings.probe, generator(settings, "crossfit"), _say("crossfit")
    )
    mapped = map_answers(trained, shared, sitting.at / "work/crossfit")
    save_shift(shift := measure_shift(mapped, evidence.suspect, vetted), sitting.at)
    doubt = NO_DOUBT if shift.looks_different else doubt_labels(mapped, vetted)  # models learned from those on trial
    save_doubt(replace(doubt, carriers=carrying), sitting.at)


def _skipped(settings: Settings, name: str, suspect: Dataset) -> str:
    """Why a detector does not judge this lot; empty where it does."""
    if settings.detector(name).applies_to(suspect):
        return ""
    return f"does not apply to {suspect.modality} lots with a {suspect.task} label"


def _say(step: str) -> Say:
    return lambda words: log.info("%s: %s", step, words)


def _findings(at: Path) -> pd.DataFrame:
    """What every detector left in one sitting, all on trial included."""
    files = sorted((at / "work/findings").glob("*.parquet"))
    empty = findings_frame(nothing := np.array([]), "", nothing, nothing, nothing)
    return pd.concat([pd.read_parquet(f) for f in files], ignore_index=True) if files else empty


def _notes(run: Path, voters: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By voter, what its groups share, in words: of the lot alone, or else with its context."""
    heard = [load_notes(each.at, voters) for each in sittings(run)]
    return {name: next((said[name] for said in heard if said.get(name)), ()) for name in voters}


def _gates(run: Path) -> list[str]:
    return [name for name in ("contract.json", "gate.json") if (run / name).exists()]


def _thresholds(run: Path) -> dict[str, float | None]:
    files = sorted((run / "work/findings").glob("*.json"))
    return {file.stem: json.loads(file.read_text())["threshold"] for file in files}


def _seconds(run: Path) -> dict[str, float]:
    records = {file.stem: json.loads(file.read_text()) for file in (run / "work/seconds").glob("*.json")}
    return {step: record["seconds"] for step, record in sorted(records.items(), key=lambda item: item[1]["at"])}
