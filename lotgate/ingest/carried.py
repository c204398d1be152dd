"""The columns that travel with a sample and are never a feature: its source, its line, whatever the lot adds."""

from __future__ import annotations

import pandas as pd

from lotgate.data import MANIFEST_COLUMNS
from lotgate.ingest.labels import as_text

#: Names that the manifest, or the verdicts made from it, already use.
RESERVED = frozenset(MANIFEST_COLUMNS) | {"width", "height", "channels", "bit_depth", "action", "score", "reasons"}


def carried(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Extra columns as they go into the manifest: reserved names get `_given` behind them, mixed values become text."""
    result = {}
    for name in columns:
        free = name
        while free in RESERVED or free in result or (free != name and free in columns):
            free = f"{free}_given"
        values = frame[name]
        result[free] = as_text(values) if values.dtype == object else values
    return pd.DataFrame(result, index=frame.index)


def sources(frame: pd.DataFrame) -> pd.Series:
    """Where each row came from, "" where it does not say."""
    if "source" not in frame.columns:
        return pd.Series("", index=frame.index, dtype=object)
    return as_text(frame["source"]).fillna("")
