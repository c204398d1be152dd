"""What stands out in a table's row: each column against the samples of the same label that were kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import ndtri

from lotgate.data import Dataset
from lotgate.report.text import NONE, figure, plain

MAX_COLUMNS = 500
MAX_PEERS = 20_000
STANDS_OUT = 3.5  # robust standard deviations; Iglewicz and Hoaglin's customary limit for a modified z-score
STRONGEST = 99.0
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Deviation:
    """One value of one row.

    Attributes:
        column, value, usual: as shown; `usual` is the peers' median, or their most common value.
        strength: robust standard deviations from the median; for categories the normal quantile of their rarity.
        stands_out: strength above STANDS_OUT.
        span: for numbers, percentages of the strip's width: peers' 5% and 95% quantile, median, value.
    """

    column: str
    value: str
    usual: str
    strength: float
    stands_out: bool
    span: tuple[float, float, float, float] | None = None


def deviations(lot: Dataset, ids: Sequence[str], kept: Iterable[str]) -> dict[str, tuple[Deviation, ...]]:
    """For each of the sample ids its row's values, most deviating first; empty for a lot without a raw table.

    Columns are read one at a time, so memory does not grow with the width of the table. Peers are the kept samples
    of the same label (all kept samples for regression); at most MAX_PEERS of them, evenly spread, are looked at.
    """
    if lot.raw is None or not ids:
        return {}
    file = pq.ParquetFile(lot.raw)
    manifest = lot.manifest[["sample_id", "label"]].assign(line=_lines(lot.ids))
    manifest = manifest[manifest["line"].between(0, file.metadata.num_rows - 1)]
    shown = manifest.set_index("sample_id").reindex([i for i in ids if i in set(manifest["sample_id"])])
    peers = manifest[manifest["sample_id"].isin(set(kept))]
    group = "line" if lot.task == "regression" else "label"
    groups = {
        label: _spread(
            peers.loc[peers[group] == label, "line"].to_numpy() if group == "label" else peers["line"].to_numpy()
        )
        for label in (shown["label"].unique() if group == "label" else [None])
    }
    found: dict[str, list[Deviation]] = {str(i): [] for i in shown.index}
    for name in file.schema_arrow.names[:MAX_COLUMNS]:
        column = file.read(columns=[name]).column(0)
        for label, lines in groups.items():
            members = shown if label is None else shown[shown["label"] == label]
            for sample, value in zip(members.index, _column(name, column, lines, members["line"]), strict=True):
                found[str(sample)].append(value)
    return {i: tuple(sorted(values, key=lambda d: -d.strength)) for i, values in found.items()}


def _lines(ids: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """(N,) rows of the file: a table's sample id is `<file name>#<row>`; -1 where it is not."""
    tails = (str(i).rpartition("#")[2] for i in ids)
    return np.array([int(t) if t.isascii() and t.isdigit() else -1 for t in tails], dtype=np.int64)


def _spread(lines: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return lines[:: max(1, -(-len(lines) // MAX_PEERS))]


def _column(name: str, column: pa.ChunkedArray, peers: npt.NDArray[np.int64], lines: pd.Series[int]) -> list[Deviation]:
    """One deviation for each line."""
    kind = column.type
    usual = column.take(pa.array(peers))
    mine = column.take(pa.array(lines.to_numpy()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = usual.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        own = mine.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return _numeric(name, numbers.astype(np.float64), own.astype(np.float64))
    return _categorical(name, [_word(v) for v in usual.to_pylist()], [_word(v) for v in mine.to_pylist()])


def _word(value: object) -> str:
    return NONE if value is None else plain(value, 60)


def _numeric(name: str, peers: Floats, values: Floats) -> list[Deviation]:
    """Distance from the peers' median in robust standard deviations."""
    finite = peers[np.isfinite(peers)]
    if not len(finite):
        return [Deviation(plain(name, 60), _number(v), NONE, 0.0, False) for v in values]
    low, median, high = (float(q) for q in np.quantile(finite, [0.05, 0.5, 0.95]))
    mad = float(np.median(np.abs(finite - median)))
    scale = max(1.4826 * mad, (high - low) / 3.29)  # the second: a column that is mostly one value has MAD 0
    return [
        Deviation(
            plain(name, 60),
            _number(value),
            figure(median),
            strength := _strength(float(value), median, scale, len(finite) / len(peers)),
            strength > STANDS_OUT,
            _span(low, high, median, float(value)),
        )
        for value in values
    ]


def _strength(value: float, median: float, scale: float, present: float) -> float:
    if not np.isfinite(value):
        return STRONGEST if present > 0.99 else 0.0  # missing where hardly any peer is
    if value == median:
        return 0.0
    return min(abs(value - median) / scale, STRONGEST) if scale > 0 else STRONGEST


def _span(low: float, high: float, median: float, value: float) -> tuple[float, float, float, float] | None:
    """Where the peers' range, their median and the value lie on a strip, in percent."""
    if not np.isfinite(value):
        return None
    left, right = min(low, value), max(high, value)
    width = right - left
    if not np.isfinite(width) or width <= 0:
        return None
    place = [round(6 + 88 * (v - left) / width, 1) for v in (low, high, median, value)]
    return place[0], place[1], place[2], place[3]


def _number(value: float) -> str:
    return NONE if np.isnan(value) else figure(int(value) if float(value).is_integer() else float(value))


def _categorical(name: str, peers: list[str], values: list[str]) -> list[Deviation]:
    """How rare the value is among the peers. A column with a value of its own per row says nothing."""
    counts = pd.Series(peers, dtype=object).value_counts()
    if not len(counts) or len(counts) > max(1, len(peers) // 2):
        return [Deviation(plain(name, 60), v, NONE, 0.0, False) for v in values]
    common = sorted(counts.index[counts == counts.max()])[0]
    found = []
    for value in values:
        rate = (float(counts.get(value, 0)) + 0.5) / (len(peers) + 1)
        strength = 0.0 if value == common else float(max(0.0, -ndtri(rate / 2)))
        found.append(Deviation(plain(name, 60), value, str(common), strength, strength > STANDS_OUT))
    return found
