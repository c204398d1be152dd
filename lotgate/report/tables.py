"""What the report needs from a run's folder, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import ValidationError

from lotgate.data import Dataset
from lotgate.errors import InputError
from lotgate.findings import FINDINGS_COLUMNS, VERDICTS_COLUMNS, Decision
from lotgate.report.rows import Deviation, deviations
from lotgate.report.thumbnails import thumbnail
from lotgate.run_folder import CONTEXT_VERDICTS

MOST_SUSPICIOUS = 24
FEWEST_SHOWN = 12
TYPICAL = 8
EXCLUSIONS_COLUMNS = ("sample_id", "reason")
CONTEXT_COLUMNS = ("context", "sample_id", "label", "suspect", "score", "reasons")


@dataclass(frozen=True, eq=False)
class ReportTables:
    """Everything on the page.

    Attributes:
        decision: of the lot.
        verdicts: one row per sample (VERDICTS_COLUMNS); empty where the lot was rejected before any verdict.
        findings: one row per (sample × detector) (FINDINGS_COLUMNS); empty where the contract rejected the lot.
        exclusions: sample_id, reason: what the contract quarantined.
        earlier: context, sample_id, label, suspect, score, reasons: of releases that were judged with the lot.
        pictures: sample id → PNG as a data URI, for the samples that `suspects` and `typical` name (images).
        deviations: sample id → what stands out in its row, most deviating column first (tables).
    """

    decision: Decision
    verdicts: pd.DataFrame
    findings: pd.DataFrame
    exclusions: pd.DataFrame
    earlier: pd.DataFrame = field(default_factory=lambda: _nothing(CONTEXT_COLUMNS))
    pictures: Mapping[str, str] = field(default_factory=dict)
    deviations: Mapping[str, tuple[Deviation, ...]] = field(default_factory=dict)


def read_tables(run: Path) -> ReportTables:
    """Reads a run's folder. Pictures and rows are read for the few samples that are shown only.

    Raises:
        InputError: no decision, or a table that the decision rests on is missing or unreadable.
    """
    decision = _decision(run / "decision.json")
    may_lack = decision.decision == "reject"  # the contract may have stopped the lot before any table
    verdicts = _table(run / "verdicts.parquet", VERDICTS_COLUMNS, may_lack)
    findings = _table(run / "findings.parquet", FINDINGS_COLUMNS, may_lack)
    exclusions = _table(run / "exclusions.parquet", EXCLUSIONS_COLUMNS, True)
    judged = any(each.n_suspect is not None for each in decision.context)
    earlier = _table(run / CONTEXT_VERDICTS, CONTEXT_COLUMNS, not judged)
    tables = ReportTables(decision, verdicts, findings, exclusions, earlier)
    shown = suspects(tables)
    if not len(shown) or not (run / "work" / "lot" / "dataset.json").exists():
        return tables
    lot = Dataset.load(run / "work" / "lot")
    if lot.modality == "image":
        wanted = pd.concat([shown, typical(tables)])["sample_id"]
        pictures = ((sample_id, thumbnail(lot, sample_id)) for sample_id in wanted)
        return replace(tables, pictures={i: picture for i, picture in pictures if picture})
    kept = verdicts.loc[verdicts["action"] == "keep", "sample_id"]
    rows = deviations(lot, list(shown["sample_id"]), kept)
    return replace(tables, deviations=rows)


def suspects(tables: ReportTables) -> pd.DataFrame:
    """The verdicts worth showing, quarantined first, then by falling score: at most MOST_SUSPICIOUS rows.

    What the contract excluded was not judged by a model and has its own section. Where few samples are quarantined
    some that were kept follow, down to FEWEST_SHOWN rows, so that the reader sees what passed narrowly.
    """
    if tables.findings.empty:
        return tables.verdicts.iloc[:0]
    judged = tables.verdicts[~tables.verdicts["sample_id"].isin(tables.exclusions["sample_id"])]
    quarantined = (judged["action"] == "quarantine").to_numpy()
    ranked = judged.assign(_kept=~quarantined).sort_values(
        ["_kept", "score", "sample_id"], ascending=[True, False, True], kind="stable"
    )
    shown = min(MOST_SUSPICIOUS, max(FEWEST_SHOWN, int(quarantined.sum())))
    return ranked.drop(columns="_kept").head(shown)


def typical(tables: ReportTables) -> pd.DataFrame:
    """One kept sample of least suspicion for each class among the suspects: at most TYPICAL rows."""
    shown = suspects(tables)
    if tables.decision.task == "regression" or shown.empty:
        return shown.iloc[:0]
    kept = tables.verdicts[(tables.verdicts["action"] == "keep") & tables.verdicts["label"].isin(shown["label"])]
    calm = kept.sort_values(["score", "sample_id"], kind="stable").drop_duplicates("label")
    return calm.sort_values("label", kind="stable").head(TYPICAL)


def _decision(path: Path) -> Decision:
    try:
        return Decision.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            "there is no readable decision to report on", where=path, action="run `lotgate scan` with this --out first"
        ) from error


def _nothing(columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})


def _table(path: Path, columns: tuple[str, ...], may_lack: bool) -> pd.DataFrame:
    if may_lack and not path.exists():
        return _nothing(columns)
    try:
        return pd.read_parquet(path, columns=list(columns))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(
            "a table that the report rests on is missing or unreadable", where=path, action="run the scan again"
        ) from error
