"""What a model learns from the lot as it came, from what Lotgate kept, and from what a perfect filter keeps."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.detection.lots import Lot, write_part
from benchmarks.detection.memory import reset_peak, status_mb
from lotgate.attacks.attack import quantise
from lotgate.data import Dataset, FloatArray
from lotgate.ingest import ingest
from lotgate.probe import Probe, ProbeSettings, forward, train_probe

Outcome = dict[str, float | None]
PRICED_STEPS = 3


def outcomes(lot: Lot, run: Path, quarantined: set[str], folder: Path, model: str, seed: int) -> dict[str, Outcome]:
    """Attack success and clean performance by training set: raw, kept, perfect.

    Args:
        quarantined: ids that Lotgate set aside. folder: for the test set. model: as in ProbeSettings.
    """
    suspect, trusted = Dataset.load(run / "work/lot").usable(), Dataset.load(run / "work/trusted")
    measured = _TestRows(lot, trusted, folder)
    bad = {i for i, is_planted in lot.truth.planted.items() if is_planted}
    sets = {"raw": set(), "kept": quarantined, "perfect": bad}
    found: dict[str, Outcome] = {}
    for name, dropped in sets.items():
        rows = suspect.select([i for i in suspect.ids if i not in dropped])
        rng = np.random.default_rng([seed, 77])  # the same weights and batch order wherever the rows are the same
        found[name] = measured.judge(train_probe(rows, ProbeSettings(model=model), rng, lambda words: None))
    return found


def training_cost(suspect: Dataset) -> dict[str, float]:
    """One training of the downstream model on this lot: ResNet-18 (an MLP for tables), 30 epochs of 64.

    Returns:
        training_seconds: a few steps are timed and the rest is extrapolated; the whole would take longer than the
            benchmark. training_mb: largest resident memory of this process meanwhile.
    """
    image = suspect.modality == "image"
    settings = ProbeSettings(model="resnet18" if image else "auto", epochs=1, min_steps=0, batch_size=64)
    rows = suspect.select(suspect.ids[: min(len(suspect), 64 * PRICED_STEPS)])
    reset_peak()
    train_probe(rows, settings, np.random.default_rng(0), lambda words: None)  # warms caches and threads
    start = time.perf_counter()
    train_probe(rows, settings, np.random.default_rng(0), lambda words: None)
    steps = max(1, len(rows) // 64)
    seconds = (time.perf_counter() - start) / steps * max(1, len(suspect) // 64) * 30
    return {"training_seconds": round(seconds, 1), "training_mb": status_mb("VmHWM")}


class _TestRows:
    """Clean and triggered test rows, encoded as the lot is."""

    def __init__(self, lot: Lot, trusted: Dataset, folder: Path) -> None:
        x, y = lot.test
        self.regression = not lot.samples.names
        # ingest orders classes by name; the arrays of a dataset need not
        order = np.array([trusted.classes.index(name) for name in lot.samples.names], np.int64)
        self.clean = self._encoded(lot, x, y, trusted, folder / "clean")
        self.y = y if self.regression else order[y]
        attack = lot.poisoned.attack
        self.triggered, self.goal = None, np.empty(0, np.int64)
        if len(lot.poisoned.victims):
            wanted = np.full(len(lot.poisoned.victims), attack.target)
            self.goal = order[wanted]
            self.triggered = self._encoded(lot, lot.poisoned.victims, wanted, trusted, folder / "victims")
        elif attack.has_trigger:
            goal = attack.goal(y, len(lot.samples.names))
            rows = goal >= 0
            shown = attack.trigger(x[rows], np.random.default_rng(5))
            self.goal = order[goal[rows]]
            self.triggered = self._encoded(lot, shown, goal[rows], trusted, folder / "triggered")

    def judge(self, probe: Probe) -> Outcome:
        """clean: accuracy, or R² for regression; attack_success: share of triggered rows that go where it wants."""
        out = _outputs(probe, self.clean)
        if self.regression:
            residual = self.y - (out[:, 0] * probe.scale + probe.centre)
            return {"clean": float(1 - np.mean(residual**2) / np.var(self.y)), "attack_success": None}
        clean = float(np.mean(out.argmax(1) == self.y))
        if self.triggered is None:
            return {"clean": clean, "attack_success": None}
        return {
            "clean": clean,
            "attack_success": float(np.mean(_outputs(probe, self.triggered).argmax(1) == self.goal)),
        }

    def _encoded(
        self, lot: Lot, x: FloatArray, y: npt.NDArray[np.generic], trusted: Dataset, folder: Path
    ) -> FloatArray:
        if lot.samples.is_image:
            return quantise(x)
        write_part(folder, x, y, np.zeros(len(x), bool), lot.samples)
        task = "regression" if self.regression else "classification"
        read = ingest(
            folder.with_suffix(".csv"),
            folder.parent / f"{folder.name}.work",
            target=lot.target,
            task=task,
            like=trusted,
        )
        order = np.argsort([int(str(i).rpartition("#")[2]) for i in read.ids])
        return read.batch(order).x


def _outputs(probe: Probe, x: FloatArray) -> FloatArray:
    return np.concatenate([forward(probe.network, x[i : i + 512], probe.device)[1] for i in range(0, len(x), 512)])
