"""How raw columns become features: learned once from the defining set, then applied to any rows, row by row.

Each raw column has one record, plain JSON, of one of these kinds:

    numeric      (x − centre) / scale, squeezed beyond ±10; centre is the median, scale the interquartile range / 1.349
    boolean      −1, 1
    datetime     seconds since 1970, then as numeric
    categorical  one feature per category that the defining set has twice or oftener
    hashed       text of too many categories: one of a fixed number of buckets
    dropped      no feature; `why`: all missing, constant, identifier, index column (the contract looks at these:
                 lotgate/contract/idle.py), ignored
    label, carried   not features either

A missing value, and an infinite one, counts as the centre (0). `missing: true` means that the defining set had
some, and then the column has an indicator of its own.

What is rare, any other category, or a missing value in a column of which the defining set has none, sets one of a few
features that all columns share, so that it cannot hide a trigger; by a hash, so that one rare thing does not look like
another. A category seen once is as rare as one never seen: with a feature of its own, and all others in one, a lot of
many rare categories had a group that no trusted row could be in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lotgate.data import FloatArray
from lotgate.ingest.files import UNNAMED
from lotgate.ingest.intake import IngestSettings
from lotgate.ingest.labels import as_numbers, as_text, has_codes

Record = dict[str, Any]
CLIP = 10.0  # squeezed from here on, so that one poisoned outlier cannot wreck a training
ROOM = 0.1  # all that lies beyond, in order: what differs as it came must not look the same, nor be further away
NUMBERS = frozenset({"numeric", "boolean", "datetime"})
NO_FEATURE = frozenset({"dropped", "label", "carried"})
#: A text column whose values are all different is an identifier, if there are at least this many.
FEWEST_FOR_IDENTIFIER = 20
RARE = "rare"
RARE_BUCKETS = 16  # features for what is rare, in tables where that may be much
FEWEST_OF_CATEGORY = 2  # rows of the defining set
HASH_KEY = "lotgate ingest 1"  # 16 characters; a change changes every hashed feature


def learn(frame: pd.DataFrame, settings: IngestSettings) -> tuple[Record, ...]:
    """One record per column of `frame`, which holds features only."""
    return tuple(_learn_column(str(name), frame[name], settings) for name in frame.columns)


def _learn_column(name: str, values: pd.Series, settings: IngestSettings) -> Record:
    kind = kind_of_column(values)
    known = typed(values, kind)[0]
    present = known.dropna()
    missing = len(present) < len(known)
    why = _why_not(name, kind, present, missing)
    if why is not None:
        return {"column": name, "kind": "dropped", "why": why}
    if kind == "text":
        times = present.value_counts()
        if len(times) > settings.max_categories:
            return {"column": name, "kind": "hashed", "buckets": settings.hash_buckets, "missing": missing}
        categories = sorted(times.index[times >= FEWEST_OF_CATEGORY])
        rare = len(categories) < len(times)
        return {"column": name, "kind": "categorical", "categories": categories, "rare": rare, "missing": missing}
    centre, scale = (0.5, 0.5) if kind == "boolean" else _centre_and_scale(present.to_numpy())
    return {"column": name, "kind": kind, "centre": centre, "scale": scale, "missing": missing}


def _why_not(name: str, kind: str, present: pd.Series, missing: bool) -> str | None:
    """Why a column is no feature; None where it is one."""
    if name.startswith(UNNAMED) or name == "__index_level_0__":
        return "index column"
    distinct = present.nunique()
    if distinct == 0:
        return "all missing"
    if distinct == 1 and not missing:
        return "constant"
    if kind == "text" and distinct == len(present) >= FEWEST_FOR_IDENTIFIER:
        return "identifier"
    return None


def kind_of_column(values: pd.Series) -> str:
    """numeric, boolean, datetime or text, by the values and their type."""
    if pd.api.types.infer_dtype(values, skipna=True) == "boolean":
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or pd.api.types.is_timedelta64_dtype(values.dtype):
        return "datetime"
    if pd.api.types.is_numeric_dtype(values.dtype):
        return "numeric"
    numbers, bad = as_numbers(values)
    return "text" if bad.any() or numbers.isna().all() or has_codes(values) else "numeric"


def _centre_and_scale(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Robust location and scale; finite and positive whatever the values are."""
    with np.errstate(all="ignore"):
        low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
        for scale in ((high - low) / 1.349, values.std(), np.ptp(values)):
            if np.isfinite(scale) and scale > 0:
                return float(centre), float(scale)
    return float(np.nan_to_num(centre)), 1.0 if np.ptp(values) == 0 else float(np.finfo(np.float64).max)


def typed(values: pd.Series, kind: str) -> tuple[pd.Series, pd.Series]:
    """(float64 with NaN, or text with None; mask of values that cannot be of this kind)."""
    if kind in NUMBERS:
        numbers, bad = as_numbers(values)
        return numbers.where(np.isfinite(numbers)), bad
    return as_text(values), pd.Series(False, index=values.index)


def names(encoding: Sequence[Record]) -> tuple[str, ...]:
    """The feature names (F,), in the order of `encode`'s columns; empty if no column carries information."""
    result: list[str] = []
    for record in encoding:
        column = record["column"]
        if record["kind"] in NUMBERS:
            result.append(column)
        elif record["kind"] == "categorical":
            result += [f"{column}={category}" for category in record["categories"]]
        elif record["kind"] == "hashed":
            result += [f"{column}#{bucket}" for bucket in range(record["buckets"])]
        if record.get("missing"):
            result.append(f"{column}: missing")
    return (*result, *(f"{RARE}#{bucket}" for bucket in range(_rare_buckets(encoding)))) if result else ()


def _rare_buckets(encoding: Sequence[Record]) -> int:
    """How many features there are for what is rare: one where the defining set shows nothing of the kind."""
    return RARE_BUCKETS if any(record.get("rare") or record.get("missing") for record in encoding) else 1


def raw_values(frame: pd.DataFrame, record: Record) -> pd.Series:
    """The raw column that a record is about."""
    return frame[str(record["column"])]


def encode(frame: pd.DataFrame, encoding: Sequence[Record]) -> FloatArray:
    """(N, F) float32, finite, of rows with the raw columns that `encoding` names."""
    blocks: list[FloatArray] = []
    rare = np.zeros((len(frame), _rare_buckets(encoding)), dtype=np.float32)
    for record in encoding:
        if record["kind"] in NO_FEATURE:
            continue
        values = typed(raw_values(frame, record), record["kind"])[0]
        missing = values.isna().to_numpy()
        odd = missing & (not record["missing"])
        if record["kind"] in NUMBERS:
            blocks.append(_standardised(values.to_numpy(), record)[:, None])
        elif record["kind"] == "categorical":
            blocks.append(_one_hot(values, record["categories"]))
            odd |= ~missing & ~blocks[-1].any(axis=1)
        else:
            blocks.append(_hashed(values, record["buckets"]))
        if record["missing"]:
            blocks.append(missing.astype(np.float32)[:, None])
        if odd.any():
            held = values[odd].astype(object).fillna("")
            rare[odd] = np.maximum(rare[odd], _hashed(f"{record['column']}=" + held, rare.shape[1]))
    return np.concatenate([*blocks, rare], axis=1)


def _standardised(values: npt.NDArray[np.float64], record: Record) -> FloatArray:
    with np.errstate(over="ignore"):
        scaled = _squeezed((values - record["centre"]) / record["scale"])
    standardised: FloatArray = np.nan_to_num(scaled, nan=0.0).astype(np.float32)
    return standardised


def _squeezed(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N,) with what lies beyond ±CLIP brought within ROOM of it; NaN stays."""
    size = np.abs(scaled)
    inside = np.minimum(size, CLIP)
    beyond = ROOM * (1 - CLIP / (CLIP + np.maximum(size - CLIP, 0.0)))
    return np.asarray(np.sign(scaled) * (inside + beyond))


def _unsqueezed(encoded: float) -> float:
    """The standardised value; what lies so far beyond CLIP that single precision cannot tell is infinite."""
    beyond = max(0.0, abs(encoded) - CLIP)
    far = CLIP * beyond / (ROOM - beyond) if beyond < ROOM else np.inf
    return float(np.sign(encoded) * (min(abs(encoded), CLIP) + far))


def as_it_came(encoding: Sequence[Record], feature: str, encoded: float) -> str:
    """A value of a feature as its column had it, in words; about, where it was squeezed. What is no number stays."""
    record = next((r for r in encoding if r["column"] == feature and "scale" in r), None)
    if record is None:
        return f"{encoded:.6g}"
    value = _unsqueezed(encoded) * record["scale"] + record["centre"]
    return f"about {value:.2g}" if abs(encoded) > CLIP else f"{value:.6g}"


def _one_hot(values: pd.Series, categories: list[str]) -> FloatArray:
    """(N, categories); a value that is none of them, or missing, sets none."""
    index = pd.Index(categories, dtype=object).get_indexer(pd.Index(values, dtype=object))
    block = np.zeros((len(values), len(categories)), dtype=np.float32)
    block[index >= 0, index[index >= 0]] = 1.0
    return block


def _hashed(values: pd.Series, buckets: int) -> FloatArray:
    """(N, buckets), one bucket set per value by a keyed hash that is the same on every machine."""
    block = np.zeros((len(values), buckets), dtype=np.float32)
    there = values.notna().to_numpy()
    if there.any():
        hashes = pd.util.hash_array(values[there].to_numpy(dtype=object), hash_key=HASH_KEY)
        block[there, hashes % np.uint64(buckets)] = 1.0
    return block
