"""How names and numbers are put into words: safe for any reader's screen, and short.

HTML is escaped by the templates. Here is what escaping does not do: length, control characters, writing direction.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import numpy as np

NONE = "–"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_JOINERS = frozenset("\u200c\u200d")  # emoji and several scripts need them


def plain(value: object, limit: int = 160) -> str:
    """The value as one line of at most about `limit` characters, shortened in the middle.

    Characters that are invisible or turn the direction of writing are spelled out (⟨U+202E⟩): in a file name they
    are news. What cannot be encoded becomes U+FFFD.
    """
    text = str(value)
    if len(text) > limit:
        tail = limit // 3  # the end of a path says more than its middle
        text = f"{text[: limit - tail]} … {text[-tail:]}"
    return " ".join("".join(map(_visible, text)).split())


def _visible(char: str) -> str:
    match unicodedata.category(char):
        case "Cs":
            return "\ufffd"
        case "Cc" | "Zl" | "Zp":
            return " " if char.isspace() else f"⟨U+{ord(char):04X}⟩"
        case "Cf" if char not in _JOINERS and not 0xE0020 <= ord(char) <= 0xE007F:
            return f"⟨U+{ord(char):04X}⟩"
    return char


def figure(value: Any, digits: int = 4) -> str:
    """A number to `digits` significant digits, other values as text, a missing one as a dash."""
    if value is None:
        return NONE
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return grouped(int(value)) if abs(int(value)) < 10**15 else _scientific(f"{int(value):.3g}")
    if isinstance(value, float | np.floating):
        return _decimal(float(value), digits)
    return plain(value)


def _decimal(value: float, digits: int) -> str:
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 10**digits and size < 1e9:
        return grouped(round(value))
    return _scientific(f"{value:.{digits}g}")


def _scientific(text: str) -> str:
    """1e-06 as 1 × 10⁻⁶; a number without exponent as it is, with a true minus."""
    mantissa, _, exponent = text.partition("e")
    power = f" × 10{str(int(exponent)).translate(_RAISED)}" if exponent else ""
    return mantissa.replace("-", "−") + power


def grouped(value: int) -> str:
    """12345 as 12 345, with a narrow no-break space."""
    return (
        f"{value:,}".replace(",", "\u202f").replace("-", "−") if abs(value) >= 10_000 else f"{value}".replace("-", "−")
    )


def percent(rate: float) -> str:
    """A fraction in [0, 1] as a percentage; never rounds something down to nothing or up to all."""
    if not math.isfinite(rate):
        return NONE
    if 0 < rate < 0.001:
        return "< 0.1%"
    if 0.999 < rate < 1:
        return "> 99.9%"
    return f"{100 * rate:.1f}".removesuffix(".0") + "%"


def seconds(value: float) -> str:
    """A duration, as short as is honest."""
    if not math.isfinite(value):
        return NONE
    if value < 59.95:  # from there on it would be shown as 60.0 s
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
