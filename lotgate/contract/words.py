"""Why samples break a promise, in words; "" where they keep it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.object_]


def no_words(n: int) -> Words:
    """(n,) nothing to say of any sample."""
    return np.full(n, "", dtype=object)


def joined(before: str, reason: str) -> str:
    """One more reason, after those before it."""
    return f"{before}; {reason}" if before else reason
