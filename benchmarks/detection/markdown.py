"""Tables and lists in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Head and lines; a bar within a cell stays one."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def listed(words: Iterable[str]) -> str:
    """`a, b and c`, in alphabetical order."""
    ordered = sorted(words)
    return " and ".join([", ".join(ordered[:-1]), ordered[-1]] if len(ordered) > 1 else ordered)


def number(value: float, digits: int) -> str:
    """With so many digits; – where it was not measured."""
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """A share; – where it was not measured."""
    return "–" if pd.isna(value) else f"{value:.1%}"
