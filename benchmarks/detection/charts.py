"""Heat map and ROC curves as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from benchmarks.detection.measures import GRID

OURS = "#d1495b"
GOLDEN_ANGLE = 137.508
CELL, ROW, LEFT, TOP, RIGHT = 62, 24, 190, 150, 90


def heat_map(table: pd.DataFrame, held_out: set[str], low_is_good: frozenset[str] = frozenset()) -> str:
    """Rows of `table` by its columns (methods); a cell is coloured by its value in [0, 1] and says it.

    Args:
        held_out: rows to be marked with a star. low_is_good: rows whose colour runs the other way.
    """
    width, height = LEFT + CELL * len(table.columns) + RIGHT, TOP + ROW * len(table) + 8
    parts = [_open(width, height, "heat map")]
    for j, method in enumerate(table.columns):
        x = LEFT + CELL * j + CELL / 2
        parts.append(
            f'<text transform="translate({x:.0f} {TOP - 8}) rotate(-45)" class="axis">{escape(str(method))}</text>'
        )
    for i, (name, row) in enumerate(table.iterrows()):
        y = TOP + ROW * i
        star = " *" if name in held_out else ""
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end" class="axis">{escape(str(name))}{star}</text>'
        )
        for j, value in enumerate(row):
            parts.append(_cell(LEFT + CELL * j, y, value, str(name) in low_is_good))
    return "".join([*parts, "</svg>"])


def _cell(x: float, y: float, value: float, low_is_good: bool) -> str:
    if pd.isna(value):
        return f'<text x="{x + CELL / 2:.0f}" y="{y + 16}" text-anchor="middle" class="none">–</text>'
    good = min(max(1 - value * 10 if low_is_good else value, 0.0), 1.0)
    hue, light = 8 + 150 * good, 52 - 10 * good
    place = f'x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{ROW - 2}" rx="3"'
    return (
        f'<rect {place} fill="hsl({hue:.0f} 45% {light:.0f}%)"/>'
        f'<text x="{x + CELL / 2:.0f}" y="{y + 16}" text-anchor="middle" class="cell">{value:.3f}</text>'
    )  # fmt: skip


def roc(curves: Mapping[str, Sequence[float] | None], title: str) -> str:
    """Mean TPR at the fixed false positive rates, FPR on a fourth-root axis so that the gate's corner is seen.

    Args:
        curves: by method, in the order of the legend, the first drawn heavier; None: no scores here.
    """
    side, pad = 230, 34
    parts = [_open(side + pad + 12, side + pad + 22, f"ROC, {title}")]
    parts.append(f'<text x="{pad}" y="14" class="title">{escape(title)}</text>')

    def at(fpr: float, tpr: float) -> tuple[float, float]:
        return pad + side * fpr**0.25, 22 + side * (1 - tpr)

    for tick in (0.001, 0.01, 0.1, 1.0):
        x, bottom = at(tick, 0)
        parts.append(f'<line x1="{x:.1f}" y1="22" x2="{x:.1f}" y2="{bottom}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" class="tick">{tick:g}</text>')
    for tick in (0.0, 0.5, 1.0):
        left, y = at(0, tick)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + side}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end" class="tick">{tick:g}</text>')
    for place, (name, values) in enumerate(curves.items()):
        if values is None:
            continue
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(f, t) for f, t in zip(GRID, values, strict=True)))
        heavy = 3 if place == 0 else 1.4
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour(place)}" stroke-width="{heavy}">'
            f"<title>{escape(name)}</title></polyline>"
        )
    return "".join([*parts, "</svg>"])


def legend(names: Sequence[str]) -> str:
    """The colours of the curves, in the order in which `roc` was given them."""
    dots = (f'<span><i style="background:{colour(i)}"></i>{escape(name)}</span>' for i, name in enumerate(names))
    return f'<p class="legend">{"".join(dots)}</p>'


def colour(place: int) -> str:
    """A colour for each place of a legend; the first one is Lotgate's."""
    return OURS if place == 0 else f"hsl({(190 + GOLDEN_ANGLE * place) % 360:.0f} 50% {38 + 14 * (place % 3)}%)"


def _open(width: float, height: float, label: str) -> str:
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{escape(label)}">'
