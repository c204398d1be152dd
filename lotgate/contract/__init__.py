"""The contract: what can be said of a lot without any model.

    flags.py        per sample and promise: broken or not, with the words for the reader
    population.py   per class or column and promise: one number, sampling noise taken off
    columns.py      values of lot and trusted set side by side
    idle.py         columns that no model looks at                   settings.py   the limits

Nothing here judges the lot: `lotgate.gate` holds the tables against the committed suites.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from lotgate.contract.columns import compared_columns
from lotgate.contract.flags import FLAGS, row_reasons
from lotgate.contract.idle import idle_columns
from lotgate.contract.population import population_measures
from lotgate.contract.settings import ContractSettings
from lotgate.data import MANIFEST_COLUMNS, Dataset, Modality, Task
from lotgate.errors import LotError, TrustedError

__all__ = ["FLAGS", "Contract", "ContractSettings", "contract"]


@dataclass(frozen=True, eq=False)
class Contract:
    """What the manifest suites look at, and what they quarantine.

    Attributes:
        modality, task: of the lot; they choose which promises apply.
        trusted: whether there was a trusted set to compare with.
        rows: one row per sample: sample_id, label, sha256, one boolean per FLAGS (True: the promise is broken) and
            `excluded` (True: quarantined before any model).
        summary: one row per (measure, subject): measure, subject (a class, a column), value, note (words or empty).
        exclusions: sample_id, reason; one row per excluded sample, its reasons joined by "; ".
    """

    modality: Modality
    task: Task
    trusted: bool
    rows: pd.DataFrame
    summary: pd.DataFrame
    exclusions: pd.DataFrame


def contract(suspect: Dataset, trusted: Dataset | None, settings: ContractSettings) -> Contract:
    """Looks at every sample of the lot and at the lot as a whole, against the trusted set where there is one.

    Args:
        suspect: the lot, N samples, unreadable ones included.
        trusted: the vetted set; None leaves every comparison out, and the gate says so.
        settings: the limits that a row-level flag depends on.

    Raises:
        LotError, TrustedError: a manifest lacks a column, or the trusted set is of another modality or task.
    """
    _require_manifest(suspect, LotError)
    if trusted is not None:
        _require_manifest(trusted, TrustedError)
        _require_same_kind(suspect, trusted)
    lot = replace(suspect, manifest=suspect.manifest.reset_index(drop=True))
    columns = () if trusted is None else compared_columns(lot, trusted)
    idle = () if trusted is None else idle_columns(lot, trusted)
    reasons = row_reasons(lot, trusted, columns, idle, settings)  # (N, FLAGS)
    flags = reasons != ""
    excluded = flags.any(axis=1).to_numpy(dtype=bool)
    told = ["; ".join(filter(None, words)) for words in reasons[excluded].itertuples(index=False)]
    rows = pd.concat([lot.manifest[["sample_id", "label", "sha256"]], flags], axis=1).assign(excluded=excluded)
    return Contract(
        modality=suspect.modality,
        task=suspect.task,
        trusted=trusted is not None,
        rows=rows,
        summary=population_measures(lot, trusted, columns, idle, excluded, settings),
        exclusions=pd.DataFrame({"sample_id": lot.ids[excluded].astype(str), "reason": pd.Series(told, dtype="str")}),
    )


def _require_manifest(dataset: Dataset, error: type[LotError] | type[TrustedError]) -> None:
    expected = list(MANIFEST_COLUMNS)
    if dataset.modality == "image":
        expected += ["width", "height", "channels", "bit_depth"]
    missing = [column for column in expected if column not in dataset.manifest.columns]
    if missing:
        raise error(f"the manifest lacks {', '.join(missing)}", where=dataset.root, action="ingest the data again")


def _require_same_kind(suspect: Dataset, trusted: Dataset) -> None:
    ours, theirs = (suspect.modality, suspect.task), (trusted.modality, trusted.task)
    if ours != theirs:
        raise TrustedError(
            f"the lot is {' '.join(ours)} and the trusted set is {' '.join(theirs)}",
            where=trusted.root,
            action="give a trusted set of the same kind as the lot",
        )
