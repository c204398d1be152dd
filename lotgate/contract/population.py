"""Promises that the lot keeps as a whole, as numbers with the sampling noise taken off.

Lot (n rows) and trusted set (m rows) are two samples. Of any difference between them, what two random samples of one
population could show is subtracted first, so 0 means "no more than chance" at every size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

from lotgate.contract.columns import Column, Mask, feature_names, raw_names, readable
from lotgate.contract.counters import counted
from lotgate.contract.flags import NONE_READ, known_labels, shown_classes, unread_classes
from lotgate.contract.idle import IdleColumn
from lotgate.contract.settings import ContractSettings
from lotgate.data import Dataset

#: Columns of `Contract.summary`.
SUMMARY_COLUMNS = ("measure", "subject", "value", "note")
Measured = tuple[str, float, str]


def population_measures(
    suspect: Dataset,
    trusted: Dataset | None,
    columns: Sequence[Column],
    idle: Sequence[IdleColumn],
    excluded: Mask,
    settings: ContractSettings,
) -> pd.DataFrame:
    """One row per (measure, subject). A measure whose promise does not apply or cannot be compared has no row.

    Args:
        columns, idle: from `compared_columns` and `idle_columns`; empty without a trusted set.
        excluded: (N,) samples that are quarantined already; they are not counted among the rows of their class.
    """
    measures: dict[str, Iterable[Measured]] = {"copies": _copies(suspect, trusted)}
    if suspect.task == "classification":
        measures["class_rows"] = _class_rows(suspect, trusted, excluded)
    if trusted is not None:
        measures["out_of_range"] = [_outside(column, settings) for column in columns if column.numeric]
        measures["label_drift"], measures["label_drift_p"] = _label_drift(suspect, trusted, settings)
        if suspect.task == "classification":
            measures["absent_classes"] = _absent(suspect, trusted)
            measures["unknown_classes"] = _unknown(suspect, trusted)
        if suspect.modality == "table":
            measures["missing_columns"] = _missing_columns(suspect, trusted)
            measures["missing_rate"] = [_missing(column, settings) for column in columns]
            measures["unseen_categories"] = [_unseen(column, settings) for column in columns if not column.numeric]
            measures["counters"] = counted(suspect, trusted)
            measures["unseen_values"] = [_departures(column, len(trusted), settings) for column in idle]
    rows = [(name, *row) for name, found in measures.items() for row in (list(found) or [("none", 0.0, "none")])]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).astype({"value": "float64"})


def _counts(dataset: Dataset, where: Mask) -> pd.Series:
    return dataset.manifest.loc[where, "label"].value_counts()


def _class_rows(suspect: Dataset, trusted: Dataset | None, excluded: Mask) -> list[Measured]:
    usable = _counts(suspect, ~excluded)
    labels = sorted(suspect.manifest["label"].dropna().unique()) if trusted is None else shown_classes(trusted)
    return [(str(label), float(usable.get(label, 0)), "") for label in labels]


def _absent(suspect: Dataset, trusted: Dataset) -> list[Measured]:
    present = set(suspect.manifest["label"].dropna())
    return [(str(label), float(label not in present), "") for label in shown_classes(trusted)]


def _unknown(suspect: Dataset, trusted: Dataset) -> list[Measured]:
    unknown = ~known_labels(suspect, trusted) & suspect.manifest["label"].notna().to_numpy(dtype=bool)
    unread = unread_classes(trusted)
    counts = _counts(suspect, unknown).items()
    return [(str(label), float(rows), f"{rows} rows" + NONE_READ * (label in unread)) for label, rows in counts]


def _copies(suspect: Dataset, trusted: Dataset | None) -> list[Measured]:
    """Share of further copies in the lot, beyond the trusted set's own share of them."""
    ours = _copy_rate(suspect)
    natural = 0.0 if trusted is None else _copy_rate(trusted)
    return [("all", max(0.0, ours - natural), f"{ours:.1%} of the lot, {natural:.1%} of the trusted set")]


def _copy_rate(dataset: Dataset) -> float:
    rows = dataset.manifest[readable(dataset)]
    return float(rows.duplicated(["content_sha256", "label"]).mean()) if len(rows) else 0.0


def _outside(column: Column, settings: ContractSettings) -> Measured:
    """Share of a column's values outside the trusted range beyond chance.

    Each end of the range of m exchangeable values leaves 1 / (m + 1) of the population outside, give or take as much
    (an exponential tail mass); the lot's finite size adds its binomial deviation.
    """
    ours = column.suspect[np.isfinite(column.suspect)]
    theirs = column.trusted[np.isfinite(column.trusted)]
    if ours.empty or theirs.empty:
        return column.name, 0.0, "no value to compare"
    share = float(((ours < theirs.min()) | (ours > theirs.max())).mean())
    mass = (2 + settings.noise_deviations * np.sqrt(2)) / (len(theirs) + 1)
    noise = mass + settings.noise_deviations * np.sqrt(min(mass, 0.25) / len(ours))
    note = f"{share:.1%} outside {theirs.min():.6g} … {theirs.max():.6g}"
    return column.name, max(0.0, share - noise), note


def _missing(column: Column, settings: ContractSettings) -> Measured:
    """Difference of missing rates beyond chance; half a row of each set keeps the noise of rare events above zero."""
    ours, theirs = column.suspect.isna(), column.trusted.isna()
    n, m = len(ours), len(theirs)
    pooled = (ours.sum() + theirs.sum() + 1) / (n + m + 2)
    noise = settings.noise_deviations * np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    excess = max(0.0, abs(float(ours.mean() - theirs.mean())) - noise)
    return column.name, excess, f"{ours.mean():.1%} missing, {theirs.mean():.1%} in the trusted set"


def _unseen(column: Column, settings: ContractSettings) -> Measured:
    """Share of values in categories unseen in the trusted set, beyond the new ones to be expected."""
    ours, theirs = column.suspect.dropna(), column.trusted.dropna()
    if ours.empty or theirs.empty:
        return column.name, 0.0, "no value to compare"
    share = float((~ours.isin(theirs.unique())).mean())
    noise = _new_by_chance(int((theirs.value_counts() == 1).sum()), len(ours), len(theirs), settings)
    return column.name, max(0.0, share - noise), f"{share:.1%} in categories new to the trusted set"


def _departures(column: IdleColumn, vetted: int, settings: ContractSettings) -> Measured:
    """Share of values unlike what all trusted rows have, beyond chance, which has no say in values that come again."""
    share = float(column.departs.mean())
    noise = 0.0 if column.habit == "distinct" else _new_by_chance(0, len(column.departs), vetted, settings)
    return column.name, max(0.0, share - noise), column.note


def _new_by_chance(once: int, n: int, m: int, settings: ContractSettings) -> float:
    """Share of n values that chance may make new to m trusted ones, `once` of which are seen once (Good-Turing)."""
    expected = (once + 1) / (m + 1)
    return float(expected + settings.noise_deviations * np.sqrt(expected * (1 - min(expected, 1.0)) * (1 / n + 1 / m)))


def _missing_columns(suspect: Dataset, trusted: Dataset) -> list[Measured]:
    present = raw_names(suspect)
    return [(name, float(name not in present), "") for name in feature_names(trusted)]


def _label_drift(
    suspect: Dataset, trusted: Dataset, settings: ContractSettings
) -> tuple[list[Measured], list[Measured]]:
    """Distance between the label distributions beyond chance, and the p-value of "there is none"."""
    ours = suspect.manifest.loc[known_labels(suspect, trusted), "label"]
    theirs = trusted.manifest.loc[known_labels(trusted, trusted), "label"]
    if ours.empty or theirs.empty:
        return [("all", 1.0, "no label to compare")], [("all", 0.0, "no label to compare")]
    n, m = len(ours), len(theirs)
    if suspect.task == "regression":
        test = ks_2samp(ours.to_numpy(np.float64), theirs.to_numpy(np.float64), method="asymp")
        distance, p_value, noise = float(test.statistic), float(test.pvalue), np.sqrt(1 / n + 1 / m)
        name = "Kolmogorov-Smirnov test"
    else:
        labels = sorted(theirs.unique())
        table = np.array([values.value_counts().reindex(labels, fill_value=0) for values in (ours, theirs)])  # (2, K)
        share, pooled = table / table.sum(axis=1, keepdims=True), table.sum(axis=0) / table.sum()
        distance = float(np.abs(share[0] - share[1]).sum() / 2)
        noise = float(np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)).sum() / 2)
        p_value = float(chi2_contingency(table).pvalue) if len(labels) > 1 else 1.0
        name = "chi-squared test"
    excess = max(0.0, distance - noise * min(settings.noise_deviations, 2.0))
    return [("all", excess, f"distance {distance:.3f}")], [("all", p_value, f"{name}, distance {distance:.3f}")]
