"""Two ways to count one screening: the paper's, where clean rows are the positive class, and ours, where poison is.

The paper does not say which class is positive. Its own figures do: accuracy, recall and F1 of one cell fix the share of
the positive class (`positive_share`), and at a poisoning rate R_p = |S_p| / |S_c| of 20% most cells of Table III give
about .83 = 1 / (1 + R_p), the share of clean rows. Equation (11) puts the 2 of F1 into the denominator, which would
bound F1 by .25; the figures are those of the usual F1, which is what we count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.detection.measures import measure

Mask = npt.NDArray[np.bool_]
OURS = ("tpr", "fpr", "precision", "f1", "auroc", "balanced_accuracy")
PAPERS = ("paper_accuracy", "paper_recall", "paper_precision", "paper_f1")


@dataclass(frozen=True)
class Implied:
    """What figures in the paper's convention say of the poison. Not clipped: outside [0, 1] they contradict it."""

    tpr: float
    fpr: float
    balanced_accuracy: float


def planted_share(r_p: float) -> float:
    """Poison as a share of all rows, for the paper's rate R_p = |S_p| / |S_c|."""
    return r_p / (1 + r_p)


def in_paper(planted: Mask, flagged: Mask) -> dict[str, float]:
    """Accuracy, recall, precision and F1 with clean as the positive class; 0 where a rate is not defined.

    Args:
        planted, flagged: (N,).
    """
    clean, passed = ~planted, ~flagged
    kept = int((clean & passed).sum())
    recall = kept / int(clean.sum()) if clean.any() else 0.0
    precision = kept / int(passed.sum()) if passed.any() else 0.0
    f1 = 2 * precision * recall / (precision + recall) if kept else 0.0
    figures = (float((planted == flagged).mean()), recall, precision, f1)
    return dict(zip(PAPERS, figures, strict=True))


def in_ours(planted: Mask, flagged: Mask, scores: npt.NDArray[Any] | None) -> dict[str, float]:
    """TPR, FPR, precision, F1, AUROC and balanced accuracy with poison as the positive class; NaN where undefined."""
    counted = measure(planted, np.zeros(len(planted), bool), flagged, scores)
    return {name: math.nan if (value := counted[name]) is None else float(value) for name in OURS}


def both(planted: Mask, flagged: Mask, scores: npt.NDArray[Any] | None) -> dict[str, float]:
    """Every figure of one screening, in both conventions."""
    return in_ours(planted, flagged, scores) | in_paper(planted, flagged)


def positive_share(accuracy: float, recall: float, f1: float) -> float:
    """Share of the positive class that these three figures of one screening imply.

    With precision p = f1·r / (2r − f1): accuracy = 1 − π(1 − r) − πr(1 − p)/p.
    """
    precision = f1 * recall / (2 * recall - f1)
    return (1 - accuracy) / (1 - recall + recall * (1 - precision) / precision)


def implied(accuracy: float, recall: float, r_p: float) -> Implied:
    """Rates of the poison behind figures in the paper's convention, from the share of clean rows 1 / (1 + R_p)."""
    poison = planted_share(r_p)
    tpr = (accuracy - (1 - poison) * recall) / poison
    return Implied(tpr, 1 - recall, (tpr + recall) / 2)
