"""Columns that number or date the rows: part numbers, times, batches. Whatever comes later holds others there.

Models learn nothing from them that holds for the next lot, and the trusted rows' range is no promise: these parts were
made at another time. So where more than MOSTLY of a lot lies beyond the trusted values, a column is asked whether it
counts on. Files tell: it is a time; or it never falls (or never rises) from row to row; or its equal values all stand
together, as parts of one batch do; or its whole numbers do not repeat where as many others would.

Trusted rows must show it themselves, and the lot must follow: what was planted in the lot can make no counter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln
from scipy.stats import poisson

from lotgate.contract.columns import feature_names, raw_columns, raw_names
from lotgate.contract.idle import MOSTLY
from lotgate.data import Dataset
from lotgate.ingest.encoding import kind_of_column
from lotgate.ingest.intake import MISSING
from lotgate.ingest.labels import as_numbers, as_text

#: Probability that a column is so orderly, or repeats so seldom, by chance.
ORDER_RISK = 1e-6
#: Share of a lot's neighbouring rows that keep the order; poison may have been appended.
ORDERLY = 0.9
#: Times as many rows as the largest trusted batch that one of the lot may have.
LARGER = 4


def counters(suspect: Dataset, trusted: Dataset) -> tuple[str, ...]:
    """Names of the features of a table that count on from the trusted set to the lot; none if no other feature is left.

    Args:
        suspect: the lot. trusted: the vetted set, whose encoding says what is a feature.
    """
    shared = raw_names(suspect) & raw_names(trusted)
    names = [name for name in feature_names(trusted) if name in shared]
    if not names:
        return ()
    ours, theirs = (raw_columns(dataset, names, as_filed=True) for dataset in (suspect, trusted))
    kinds = {str(entry["column"]): str(entry["kind"]) for entry in trusted.encoding}
    found = tuple(name for name in names if _counts_on(kinds[name], ours[name], theirs[name]))
    return found if len(found) < len(feature_names(trusted)) else ()


def counted(suspect: Dataset, trusted: Dataset) -> Iterator[tuple[str, float, str]]:
    """Name of each column that was left aside so, share of the lot beyond the trusted values, and both in words."""
    names = [str(entry["column"]) for entry in trusted.encoding if entry.get("why") == "counter"]
    ours, theirs = (raw_columns(dataset, names) for dataset in (suspect, trusted))
    for name in names:
        values, vetted = ours[name].dropna(), theirs[name].dropna()
        text = kind_of_column(vetted) == "text"
        if not text and not _is_time(vetted):
            values, vetted = as_numbers(values)[0], as_numbers(vetted)[0]
        ends = [f"{end:.15g}" if isinstance(end, float) else str(end) for end in (vetted.min(), vetted.max())]
        known = f"the {vetted.nunique():,} trusted ones" if text else " … ".join(ends)
        beyond = ~values.isin(vetted) if text else (values < vetted.min()) | (values > vetted.max())
        yield name, float(beyond.mean()), f"{beyond.mean():.1%} beyond {known}"


def _counts_on(kind: str, ours: pd.Series, theirs: pd.Series) -> bool:
    if kind in ("numeric", "datetime"):
        numbers, vetted = (_numbers(values) for values in (ours, theirs))
        if not _moved((numbers < vetted.min(initial=np.inf)) | (numbers > vetted.max(initial=-np.inf)), vetted):
            return False
        return _is_time(theirs) or _in_order(numbers, vetted) or _never_repeats(numbers, vetted)
    texts, known = (_texts(values) for values in (ours, theirs))
    return kind != "boolean" and _moved(~np.isin(texts, known), known) and _in_batches(texts, known)


def _numbers(values: pd.Series) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = as_numbers(values)[0].to_numpy(dtype=np.float64)
    finite: npt.NDArray[np.float64] = numbers[np.isfinite(numbers)]
    return finite


def _texts(values: pd.Series) -> npt.NDArray[Any]:
    texts = as_text(values)
    return texts[texts.notna() & ~texts.isin(MISSING)].to_numpy(dtype=str)


def _moved(beyond: npt.NDArray[np.bool_], vetted: npt.NDArray[Any]) -> bool:
    return len(vetted) > 0 and len(beyond) > 0 and float(beyond.mean()) > MOSTLY


def _is_time(values: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(values.dtype)


def _in_order(numbers: npt.NDArray[np.float64], vetted: npt.NDArray[np.float64]) -> bool:
    """Whether the (m,) trusted numbers all run one way, which chance does not do, and nearly all (n,) of the lot's."""
    steps, lot_steps = np.diff(vetted), np.diff(numbers)
    falling = bool((steps <= 0).all())
    if not falling and not (steps >= 0).all():
        return False
    keeps = lot_steps <= 0 if falling else lot_steps >= 0
    return math.log(2) + _log_orders(vetted) < math.log(ORDER_RISK) and _mostly(keeps)


def _in_batches(texts: npt.NDArray[Any], vetted: npt.NDArray[Any]) -> bool:
    """Whether equal values stand together in all of the trusted file and nearly all of the lot, in batches like its."""
    if not _together(vetted).all() or not _mostly(_together(texts)):
        return False
    batches, lot_batches = (np.unique(values, return_counts=True)[1] for values in (vetted, texts))
    chance = _log_orders(vetted) + float(gammaln(len(batches) + 1))
    return chance < math.log(ORDER_RISK) and int(lot_batches.max()) <= LARGER * int(batches.max())


def _never_repeats(numbers: npt.NDArray[np.float64], vetted: npt.NDArray[np.float64]) -> bool:
    """Whether these are whole numbers of which fewer are equal than of as many drawn from their span."""
    everyone = np.concatenate([numbers, vetted])
    if (everyone != np.floor(everyone)).any():
        return False
    _, times = np.unique(everyone, return_counts=True)
    due = len(everyone) * (len(everyone) - 1) / 2 / (float(np.ptp(everyone)) + 1)
    return bool(poisson.cdf((times * (times - 1) / 2).sum(), due) < ORDER_RISK)


def _log_orders(values: npt.NDArray[Any]) -> float:
    """Logarithm of the probability that shuffled values come out in one given order: Π counts! / m!."""
    _, counts = np.unique(values, return_counts=True)
    return float(gammaln(counts + 1).sum() - gammaln(len(values) + 1))


def _together(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """(m - 1,) which rows hold what the row before holds, or what no earlier one does."""
    first = ~pd.Series(values).duplicated().to_numpy()
    return np.asarray(first[1:] | (values[1:] == values[:-1]))


def _mostly(keeps: npt.NDArray[np.bool_]) -> bool:
    return len(keeps) > 0 and float(keeps.mean()) >= ORDERLY
