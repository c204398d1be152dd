"""The geometry of the charts, in percent of their width and height; the template draws it.

Bars are drawn in an SVG that stretches; labels are HTML, so that they keep their size on a narrow screen.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lotgate.report.text import figure, grouped, percent, plain

BINS = 48
LOG_ABOVE = 40  # with a larger highest bin a handful of samples could no longer be seen on a linear scale
MOST_CLASSES = 40
TARGET_BINS = 12
_HUGE = 1e300  # beyond it differences overflow
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tick:
    """A label at `at` percent from the left or the top."""

    at: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """Scores of one detector: kept samples rise from the baseline, quarantined ones hang from it.

    Attributes:
        kept, quarantined: SVG paths in a 100 × 100 box; baseline: its height in that box.
        across, upright: ticks of the scores and of the counts.
        threshold: percent from the left; None where there is none or it lies off the axis.
        threshold_label: the threshold as a number, or why it is not drawn.
        logarithmic: whether counts are on a logarithmic scale.
        note: what the axis does not show, in a sentence; empty where it shows all.
    """

    kept: str
    quarantined: str
    baseline: float
    across: tuple[Tick, ...]
    upright: tuple[Tick, ...]
    threshold: float | None
    threshold_label: str
    logarithmic: bool
    note: str


@dataclass(frozen=True)
class ClassBar:
    """Counts of one class (or of a range of the target); `width_*` in percent of the widest bar."""

    name: str
    kept: int
    quarantined: int
    rate: float
    over_limit: bool
    width_kept: float
    width_quarantined: float


def histogram(scores: Floats, quarantined: npt.NDArray[np.bool_], threshold: float | None) -> Histogram | None:
    """The histogram of (N,) scores, any values, and where they are flagged: above a threshold that may be infinite, or
    None where it is not recorded. None where no score is finite.
    """
    finite = np.isfinite(scores)
    if not finite.any():
        return None
    shown = np.clip(scores[finite], -_HUGE, _HUGE)
    edges, marked = _edges(shown, threshold)
    inside = np.clip(shown, edges[0], edges[-1])
    mask = quarantined[finite]
    kept_counts = np.histogram(inside[~mask], edges)[0]
    quarantined_counts = np.histogram(inside[mask], edges)[0]
    highest = int(max(kept_counts.max(), quarantined_counts.max()))
    logarithmic = highest > LOG_ABOVE
    up, down = _heights(kept_counts, logarithmic), _heights(quarantined_counts, logarithmic)
    room = up.max() + down.max()
    baseline = 100.0 * float(up.max() / room)
    beyond = int(((shown < edges[0]) | (shown > edges[-1])).sum())
    return Histogram(
        kept=_path(up, baseline, 100.0 / room, -1),
        quarantined=_path(down, baseline, 100.0 / room, 1),
        baseline=round(baseline, 2),
        across=tuple(Tick(_place(value, edges), figure(value)) for value in _ticks(edges)),
        upright=_count_ticks(float(up.max()), float(down.max()), room, logarithmic),
        threshold=_place(threshold, edges) if marked and threshold is not None else None,
        threshold_label=_threshold_label(threshold, marked),
        logarithmic=logarithmic,
        note=_note(beyond, scores, edges),
    )


def _edges(scores: Floats, threshold: float | None) -> tuple[Floats, bool]:
    """Bin edges, and whether the threshold lies on the axis; if so it is one of the edges.

    The axis covers the bulk of the scores and as much again on both sides, so that one far outlier does not
    press all others into one bin.
    """
    low, high = float(scores.min()), float(scores.max())
    left, right = (float(q) for q in np.quantile(scores, [0.005, 0.995]))
    if right > left:
        reach = right - left
        low, high = max(low, left - reach), min(high, right + reach)
    marked = threshold is not None and math.isfinite(threshold) and abs(threshold) < _HUGE
    if marked and threshold is not None:
        reach = 3 * max(high - low, 1e-9 * max(abs(low), abs(high)))
        marked = high == low or low - reach <= threshold <= high + reach
        if marked:
            low, high = min(low, threshold), max(high, threshold)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        middle = low
        low, high = middle - 0.5 * max(abs(middle), 1.0), middle + 0.5 * max(abs(middle), 1.0)
    width = (high - low) / BINS
    if marked and threshold is not None:
        bins_left = math.ceil((threshold - low) / width - 1e-9)
        bins_right = max(1, math.ceil((high - threshold) / width - 1e-9))
        return threshold + width * np.arange(-max(1, bins_left), bins_right + 1, dtype=np.float64), True
    return low + width * np.arange(BINS + 1, dtype=np.float64), False


def _heights(counts: npt.NDArray[np.int64], logarithmic: bool) -> Floats:
    return np.log10(1.0 + counts) if logarithmic else counts.astype(np.float64)


def _path(heights: Floats, baseline: float, unit: float, direction: int) -> str:
    """One path of all bars; a bar that is not empty is at least a hairline high."""
    step = 100.0 / len(heights)
    gap = 0.12 * step
    bars = []
    for i in np.flatnonzero(heights > 0):
        height = direction * max(float(heights[i]) * unit, 0.8)
        bars.append(f"M{i * step + gap / 2:.2f} {baseline:.2f}v{height:.2f}h{step - gap:.2f}V{baseline:.2f}z")
    return "".join(bars)


def _place(value: float, edges: Floats) -> float:
    return round(float(100.0 * (value - edges[0]) / (edges[-1] - edges[0])), 2)


def _ticks(edges: Floats) -> list[float]:
    """Four to seven round numbers on the axis."""
    low, high = float(edges[0]), float(edges[-1])
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.95)
    first = math.ceil(low / step)
    values = [step * (first + i) for i in range(9) if step * (first + i) <= high]
    if len({figure(value) for value in values}) < len(values):  # too fine for four digits: name the ends
        return [low, high]
    return values


def _count_ticks(up: float, down: float, room: float, logarithmic: bool) -> tuple[Tick, ...]:
    """Gridlines of the counts above and below the baseline, the baseline (0) included."""
    top = max(up, down)
    if logarithmic:
        marks = [(math.log10(1 + 10**k), grouped(10**k)) for k in range(12)]
    else:
        step = max(1, next(s for s in (1, 2, 5, 10, 20) if s * 3 >= top))
        marks = [(float(k), str(k)) for k in range(step, int(top) + 1, step)]
    ticks = [Tick(round(100.0 * up / room, 2), "0")]
    ticks += [Tick(round(100.0 * (up - at) / room, 2), label) for at, label in marks if at <= up]
    ticks += [Tick(round(100.0 * (up + at) / room, 2), label) for at, label in marks if at <= down]
    return tuple(_apart(sorted(ticks, key=lambda tick: tick.at)))


def _apart(ticks: list[Tick]) -> list[Tick]:
    """Without those that would be printed over their neighbour; zero stays."""
    zero = next(tick for tick in ticks if tick.label == "0")
    placed = [zero]
    for tick in sorted(ticks, key=lambda tick: -abs(tick.at - zero.at)):
        if all(abs(tick.at - other.at) >= 11 for other in placed):
            placed.append(tick)
    return sorted(placed, key=lambda tick: tick.at)


def _threshold_label(threshold: float | None, marked: bool) -> str:
    if threshold is None:
        return "not recorded"
    if math.isinf(threshold):
        return "out of reach"  # so few trusted rows that none may be flagged at that rate
    return figure(threshold) if marked else f"{figure(threshold)}, off this axis"


def _note(beyond: int, scores: Floats, edges: Floats) -> str:
    parts = []
    if beyond:
        finite = scores[np.isfinite(scores)]
        reach = f"scores reach from {figure(float(finite.min()))} to {figure(float(finite.max()))}"
        parts.append(f"{_samples(beyond)} beyond the axis: counted in the outermost bars ({reach})")
    kinds = (("not a number", np.isnan(scores)), ("+∞", np.isposinf(scores)), ("−∞", np.isneginf(scores)))
    parts += [f"{_samples(int(mask.sum()))} with the score {name}: not drawn" for name, mask in kinds if mask.any()]
    return "; ".join(parts)


def _samples(count: int) -> str:
    return f"{grouped(count)} sample{'' if count == 1 else 's'}"


def class_bars(verdicts: pd.DataFrame, task: str, limit: float | None) -> tuple[ClassBar, ...]:
    """Counts per class, the largest share in quarantine first; past MOST_CLASSES the rest is one bar.

    For regression the target's range is cut into TARGET_BINS equal parts, in their order.
    """
    if verdicts.empty:
        return ()
    quarantined = (verdicts["action"] == "quarantine").to_numpy()
    labels = verdicts["label"]
    if task == "regression":
        names, order = _target_ranges(labels)
    else:
        names, order = [_class_name(label) for label in labels], []
    totals, bad = Counter(names), Counter(itertools.compress(names, quarantined))
    table = [(name, totals[name], bad[name]) for name in totals]
    if task == "regression":
        table.sort(key=lambda row: order.index(row[0]))
    else:
        table.sort(key=lambda row: (-row[2] / row[1], _natural(row[0])))
    if len(table) > MOST_CLASSES + 1:
        rest = table[MOST_CLASSES:]
        name = f"{len(rest)} further classes"
        table = [*table[:MOST_CLASSES], (name, sum(row[1] for row in rest), sum(row[2] for row in rest))]
    widest = max(row[1] for row in (table[:MOST_CLASSES] or table))
    return tuple(_class_bar(name, total, bad, widest, limit) for name, total, bad in table)


def _class_bar(name: str, total: int, bad: int, widest: int, limit: float | None) -> ClassBar:
    length = 100.0 * min(1.0, total / widest)  # the bar of the rest may not be longer than the widest
    part = max(length * bad / total, 0.8) if bad else 0.0  # even one sample is seen
    return ClassBar(
        name=plain(name, 60),
        kept=total - bad,
        quarantined=bad,
        rate=bad / total,
        over_limit=limit is not None and bad / total > limit,
        width_kept=round(max(length - part, 0.0), 2),
        width_quarantined=round(part, 2),
    )


def _class_name(label: object) -> str:
    missing = label is None or (isinstance(label, float) and math.isnan(label)) or label == ""
    return "(no label)" if missing else str(label)


def _target_ranges(labels: pd.Series[float]) -> tuple[list[str], list[str]]:
    """Each target's range in words, and all ranges from low to high."""
    values = pd.to_numeric(labels, errors="coerce").to_numpy(dtype=np.float64)
    finite = values[np.isfinite(values)]
    edges = np.unique(np.linspace(finite.min(), finite.max(), TARGET_BINS + 1)) if len(finite) else np.zeros(1)
    if len(edges) < 2:
        edges = np.array([edges[0], edges[0]])
    order = [f"{figure(float(a))} to {figure(float(b))}" for a, b in itertools.pairwise(edges)]
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(order) - 1)
    names = [order[i] if np.isfinite(v) else "(no target)" for i, v in zip(index, values, strict=True)]
    return names, [*order, "(no target)"]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts "class 10" behind "class 9"."""
    parts = re.split(r"(\d{1,18})", name[:200])
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def spoken(name: str, scored: int, flagged: int, quarantined: int) -> str:
    """The chart in words, for those who cannot see it."""
    return (
        f"Histogram of the scores of {name}: {grouped(scored)} samples scored, {grouped(flagged)} above the threshold, "
        f"{grouped(quarantined)} quarantined ({percent(quarantined / scored) if scored else 'none'})."
    )
