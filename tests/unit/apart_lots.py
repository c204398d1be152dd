"""Small lots for detectors of groups that stand apart: digits, and models that contradict the labels named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lotgate.crossfit import CrossFit, Ensemble
from lotgate.data import Dataset
from lotgate.detector import Detector, Evidence, scan
from tests.small_lots import digits, image_dataset

ROWS, TRUSTED = 900, 300


class SaidOf(CrossFit):
    """Models of trusted rows that contradict the labels of these samples, and of no others."""

    def __init__(self, contradicted: set[str]) -> None:
        nobody = Ensemble(())
        super().__init__(nobody, nobody, nobody)
        object.__setattr__(self, "named", contradicted)

    def contradicted(self, dataset: Dataset) -> np.ndarray:
        return np.array([i in self.named for i in dataset.ids], bool)  # type: ignore[attr-defined]


def lot(n: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    x, y = digits(10)
    return x[:n].copy(), y[:n].copy()


def evidence(folder: Path, x: np.ndarray, y: np.ndarray, contradicted: np.ndarray | None = None) -> Evidence:
    vetted_x, vetted_y = (part[-TRUSTED:] for part in digits(10))
    suspect, vetted = image_dataset(folder / "lot", x, y), image_dataset(folder / "trusted", vetted_x, vetted_y)
    half = TRUSTED // 2
    named = set() if contradicted is None else set(suspect.ids[contradicted])
    return Evidence(suspect, vetted.select(vetted.ids[:half]), vetted.select(vetted.ids[half:]), crossfit=SaidOf(named))


def p_values(detector: Detector, found: Evidence, seed: int = 0) -> np.ndarray:
    return scan(detector, found, np.random.default_rng(seed))["p_value"].to_numpy()
