"""Which column is the label, what task it makes, and labels as clean values."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lotgate.data import Task
from lotgate.ingest.intake import MISSING, Intake, listed

#: Text that stands for "no label". "None" and "NA" are not in it: both are names of real classes.
NO_LABEL = frozenset({"", "nan", "NaN", "<NA>", "#N/A"})
TRUTH = {"True": "1", "true": "1", "TRUE": "1", "False": "0", "false": "0", "FALSE": "0"}
#: Digits behind a zero: the name of something, not a number. "01" and "1" are two of them.
CODE = re.compile(r"\s*0[0-9]+\s*")
#: Up to this many distinct whole numbers are read as classes.
MOST_INTEGER_CLASSES = 20
SURELY_CLASSES = 5  # distinct whole numbers, however few the rows
#: Up to this share of texts among numbers is taken for slips in a numeric column; their rows become defective.
MOST_BAD_NUMBERS = 0.05


def find_target(columns: list[str], intake: Intake) -> str:
    """The label column: the one asked for, else `label`, else `target`."""
    wanted = [intake.target] if intake.target is not None else ["label", "target"]
    for name in wanted:
        if name in columns:
            return name
    missing = f"no column named {intake.target!r}" if intake.target is not None else "no column `label` or `target`"
    raise intake.error(
        f"{intake.noun} has {missing}; its columns are {listed(columns)}",
        "name the label column with --target COLUMN",
    )


def as_text(values: pd.Series) -> pd.Series:
    """Values as text, None where missing. Whole numbers have no decimals, so 1, 1.0 and "1" are one label."""
    if pd.api.types.is_bool_dtype(values.dtype) and not values.hasnans:
        return values.map({True: "True", False: "False"}).astype(object)
    if isinstance(values.dtype, pd.StringDtype):
        return values.astype(object).where(values.notna(), None)
    missing = values.isna().to_numpy()
    texts = np.empty(len(values), dtype=object)
    texts[~missing] = [_text(value) for value in values[~missing].tolist()]
    return pd.Series(texts, index=values.index, dtype=object)


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def label_texts(values: pd.Series) -> pd.Series:
    """Class names (N,) as object, None where there is no label."""
    texts = as_text(values)
    return texts.where(~texts.isin(NO_LABEL), None)


def as_numbers(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """(values as float64, NaN where there is no number; mask of values that are there but are not numbers).

    Booleans count as 1 and 0, times as seconds since 1970.
    """
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        utc = pd.to_datetime(values, utc=True)
        return (utc - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), pd.Series(False, index=values.index)
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return values.dt.total_seconds(), pd.Series(False, index=values.index)
    if pd.api.types.is_bool_dtype(values.dtype) or pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype("float64"), pd.Series(False, index=values.index)
    texts = as_text(values)
    numbers = pd.to_numeric(texts.replace(TRUTH), errors="coerce").astype("float64")
    return numbers, numbers.isna() & texts.notna() & ~texts.isin(MISSING)


def has_codes(values: pd.Series) -> bool:
    """Whether one of these values is a code such as "01": then all of them are texts, whatever the others look like."""
    if pd.api.types.is_bool_dtype(values.dtype) or pd.api.types.is_numeric_dtype(values.dtype):
        return False
    return bool(as_text(values).str.fullmatch(CODE).any())


def are_texts(names: Sequence[str]) -> bool:
    """Whether some of these class names change when a file of them is read as numbers or truth values."""
    texts = pd.Series(list(names), dtype=object)
    return not (texts.isin(["True", "False"]) | (as_text(as_numbers(texts)[0]) == texts)).all()


def decide_task(values: pd.Series, intake: Intake, column: str) -> Task:
    """The task of a table, checked against the values of its label column.

    Text, booleans and at most 20 distinct whole numbers that repeat are classes; other numbers are a regression target.
    A number with a leading zero is text.
    """
    present = values[~values.isna() & ~as_text(values).isin(NO_LABEL)]
    if present.empty:
        raise intake.error(
            f"every label is missing: column `{column}` is empty",
            "fill the label column, or name another with --target",
        )
    numbers, bad = as_numbers(present)
    is_text = bool(bad.mean() > MOST_BAD_NUMBERS) or has_codes(present)
    is_text = is_text or pd.api.types.infer_dtype(present) == "boolean"
    finite = numbers[np.isfinite(numbers)]
    whole = bool((finite == finite.round()).all())
    few = finite.nunique() <= MOST_INTEGER_CLASSES
    repeated = finite.nunique() <= max(SURELY_CLASSES, len(finite) // 2)  # 15 targets of 15 rows are no classes
    seen: Task = "classification" if is_text or (whole and few and repeated) else "regression"
    wished = intake.like.task if intake.like is not None else intake.task
    if wished == "auto":
        return seen
    if wished == "regression" and bool(bad.mean() > 0.5):
        raise intake.error(
            f"regression needs a numeric target, but column `{column}` holds text such as {present[bad].iloc[0]!r}",
            "use --task classification, or name a numeric column with --target",
        )
    if wished == "classification" and not is_text and not few and not whole:
        raise intake.error(
            f"classification needs classes, but column `{column}` is continuous: "
            f"{finite.nunique():,} distinct values such as {finite.iloc[0]:g}",
            "use --task regression, or name a column of classes with --target",
        )
    return wished
