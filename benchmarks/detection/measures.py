"""Scores and flags against ground truth. Poison is the positive class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve

GRID = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
Mask = npt.NDArray[np.bool_]
Measured = dict[str, float | int | None]


def measure(planted: Mask, cover: Mask, flagged: Mask, scores: npt.NDArray[Any] | None) -> Measured:
    """Counts and rates of one method on one lot; None where a rate is not defined (no poison: no TPR).

    Args:
        planted: (N,) poison. cover: (N,) rows left out of every count but `flagged_share`.
        scores: (N,) higher is more suspicious; None where the method only flags.
    """
    counted = ~cover
    p, f = planted[counted], flagged[counted]
    hits, false = int((p & f).sum()), int((~p & f).sum())
    missed, passed = int((p & ~f).sum()), int((~p & ~f).sum())
    tpr, fpr = _ratio(hits, hits + missed), _ratio(false, false + passed)
    row: Measured = {
        "n": len(planted), "n_planted": int(planted.sum()), "n_cover": int(cover.sum()),
        "n_flagged": int(flagged.sum()),
        "tpr": tpr, "fpr": fpr, "precision": _ratio(hits, hits + false) if p.any() else None,
        "f1": _ratio(2 * hits, 2 * hits + false + missed) if p.any() else None,
        "balanced_accuracy": None if tpr is None or fpr is None else (tpr + 1 - fpr) / 2,
        "accuracy": _ratio(hits + passed, len(p)),
        "f1_clean": _ratio(2 * passed, 2 * passed + false + missed),
        "flagged_share": float(flagged.mean()),
    }  # fmt: skip
    return row | _ranking(p, None if scores is None else np.asarray(scores, np.float64)[counted])


def _ranking(planted: Mask, scores: npt.NDArray[np.float64] | None) -> Measured:
    """AUROC, the ROC curve as TPR at fixed false positive rates, and the F1 of the best threshold there is (`f1_best`).

    `f1_best` is chosen with the truth in hand: a ceiling that tells a bad threshold from a bad score, no result.
    """
    empty: Measured = {"auroc": None, "f1_best": None} | {f"roc_{g:g}": None for g in GRID}
    if scores is None or not planted.any() or planted.all():
        return empty
    scores = np.nan_to_num(scores, nan=np.nanmin(scores) if np.isfinite(scores).any() else 0.0)
    fpr, tpr, _ = roc_curve(planted, scores, drop_intermediate=False)
    hits, false = tpr * planted.sum(), fpr * (~planted).sum()
    reached = {f"roc_{g:g}": float(tpr[fpr <= g + 1e-12].max()) for g in GRID}
    best = float((2 * hits / (hits + false + planted.sum())).max())
    return {"auroc": float(roc_auc_score(planted, scores)), "f1_best": best} | reached


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
