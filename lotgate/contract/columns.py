"""The values of a lot beside those of the trusted set: columns of a table, brightness and contrast of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from lotgate.data import Dataset
from lotgate.errors import LotError
from lotgate.ingest.encoding import NO_FEATURE, NUMBERS
from lotgate.ingest.labels import as_numbers, as_text

Mask = npt.NDArray[np.bool_]
PASS_IMAGES = 256
#: Trusted values from which on they tell a rule: a range, if so many are not the commonest one, or that there is one.
INFORMATIVE_ROWS = 20
#: Up to this share of trusted rows may be alone with a value, and what all others show is a rule still.
NATURAL_RATE = 0.01


@dataclass(frozen=True, eq=False)
class Column:
    """One measured property of every sample.

    Attributes:
        name: of the column in the table as it came; "brightness", "contrast" or "target" otherwise.
        numeric: float64 values with NaN for missing ones; else categories as strings with None for missing ones.
        suspect: (N,) values of the lot in manifest order. trusted: (M,) the same of the trusted set.
        misfit: (N,) True where the lot holds something that is no number in a column of numbers.
    """

    name: str
    numeric: bool
    suspect: pd.Series
    trusted: pd.Series
    misfit: Mask


def readable(dataset: Dataset) -> Mask:
    """(N,) whether each sample was read."""
    return (dataset.rows >= 0) & dataset.manifest["defect"].isna().to_numpy(dtype=bool)


def compared_columns(suspect: Dataset, trusted: Dataset) -> tuple[Column, ...]:
    """Every property that both sets have; what unreadable samples would show counts as missing there."""
    pairs = _image_columns if suspect.modality == "image" else _table_columns
    columns = tuple(pairs(suspect, trusted))
    if suspect.task == "regression":
        columns += (_column("target", suspect.manifest["label"], trusted.manifest["label"]),)
    return columns


def feature_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the raw columns that become features, in the order of the encoding."""
    kept = (entry for entry in dataset.encoding if entry.get("kind") not in NO_FEATURE)
    return tuple(dict.fromkeys(str(entry["column"]) for entry in kept))


def raw_names(dataset: Dataset) -> frozenset[str]:
    """Names of all raw columns; empty for images."""
    return frozenset() if dataset.raw is None else frozenset(pq.read_schema(dataset.raw).names)


def _table_columns(suspect: Dataset, trusted: Dataset) -> Iterator[Column]:
    shared = raw_names(suspect) & raw_names(trusted)
    names = [name for name in feature_names(trusted) if name in shared]
    ours, theirs = raw_columns(suspect, names), raw_columns(trusted, names)
    kinds = {str(entry["column"]): entry.get("kind") for entry in trusted.encoding}
    for name in names:
        yield _column(name, ours[name], theirs[name], kinds[name])


def raw_columns(dataset: Dataset, names: list[str], as_filed: bool = False) -> pd.DataFrame:
    """(N, names) the table as it came, in manifest order; sample ids of tables end with the position in the file.

    Args:
        as_filed: in the file's order instead.
    """
    if dataset.raw is None:
        raise LotError("a table came without its raw columns", where=dataset.root, action="ingest the data again")
    if as_filed:
        return pd.read_parquet(dataset.raw, columns=names)
    rows = dataset.manifest["sample_id"].str.rsplit("#", n=1).str[1].to_numpy(dtype=np.int64)
    return pd.read_parquet(dataset.raw, columns=names).iloc[rows].reset_index(drop=True)


def _column(name: str, suspect: pd.Series, trusted: pd.Series, kind: str | None = None) -> Column:
    """A column whose kind is not said goes by its type in the trusted file."""
    if not (_holds_numbers(trusted) if kind is None else kind in NUMBERS):
        return Column(name, False, as_text(suspect), as_text(trusted), np.zeros(len(suspect), bool))
    numbers, bad = as_numbers(suspect)
    return Column(name, True, numbers, as_numbers(trusted)[0], bad.to_numpy(dtype=bool))


def _holds_numbers(values: pd.Series) -> bool:
    kinds = pd.api.types
    return kinds.is_numeric_dtype(values) or kinds.is_datetime64_any_dtype(values) or kinds.is_timedelta64_dtype(values)


def _image_columns(suspect: Dataset, trusted: Dataset) -> Iterator[Column]:
    ours, theirs = _light(suspect), _light(trusted)
    for name in ours.columns:
        yield _column(name, ours[name], theirs[name])


def _light(dataset: Dataset) -> pd.DataFrame:
    """(N, 2) mean and standard deviation of each image's pixels in [0, 1]; NaN where it could not be read."""
    light = np.full((len(dataset), 2), np.nan)
    where = np.flatnonzero(readable(dataset))
    for start in range(0, len(where), PASS_IMAGES):
        index = where[start : start + PASS_IMAGES]
        x = dataset.batch(index).x.reshape(len(index), -1)  # (B, C·H·W)
        light[index] = np.column_stack([x.mean(axis=1), x.std(axis=1)])
    return pd.DataFrame(light, columns=["brightness", "contrast"])
