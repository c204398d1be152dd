"""What a release starts: a small model trained on it, measured, and written beside what it was made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from lotgate.data import Dataset
from lotgate.errors import LotError
from lotgate.probe import PASS_BATCH, Probe, ProbeSettings, Say, forward, train_probe
from lotgate.release import TrainSettings, sha256_file

MODEL, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model and how good it is.

    Attributes:
        probe: the network, with the centre and scale of a regression target.
        metrics: {"accuracy"} for classes; {"mae", "r2"} for regression, in the units of the target.
        measured_on: "trusted", or "holdout" where there was no trusted set.
        n_train, n_test: rows.
        classes: names in the order of the logits.
    """

    probe: Probe
    metrics: dict[str, float]
    measured_on: str
    n_train: int
    n_test: int
    classes: tuple[str, ...]


def train_model(
    released: Dataset, trusted: Dataset | None, settings: TrainSettings, rng: np.random.Generator, say: Say
) -> TrainedModel:
    """Trains on the released rows and measures on the trusted ones, or on rows held out where there are none.

    Raises:
        LotError: too few rows to hold any out.
    """
    rows = released.usable()
    if trusted is None:
        order = rng.permutation(len(rows))
        held = max(1, round(settings.holdout_rate * len(rows)))
        train, test, measured_on = rows.select(rows.ids[order[held:]]), rows.select(rows.ids[order[:held]]), "holdout"
    else:
        train, test, measured_on = rows, trusted.usable(), "trusted"
    if len(train) < 2 or not len(test):
        raise LotError(
            f"too little to train on: {len(train)} rows, and {len(test)} to measure with",
            where=released.root,
            action="release a larger lot, or give a trusted set",
        )
    probe = train_probe(train, _network(settings), rng, say)
    return TrainedModel(probe, measure(probe, test), measured_on, len(train), len(test), released.classes)


def measure(probe: Probe, test: Dataset) -> dict[str, float]:
    """Accuracy, or mean absolute error and R², of a model on usable rows."""
    outputs = [forward(probe.network, batch.x, probe.device)[1] for batch in test.batches(PASS_BATCH)]
    predicted = np.concatenate(outputs)  # (N, K)
    if test.task == "classification":
        return {"accuracy": float(np.mean(predicted.argmax(axis=1) == test.y))}
    error = predicted[:, 0].astype(np.float64) * probe.scale + (probe.centre - test.y)  # (N,)
    spread = float(np.square(test.y - test.y.mean()).sum())
    r2 = 1.0 - float(np.square(error).sum()) / spread if spread else 0.0
    return {"mae": float(np.abs(error).mean()), "r2": r2}


def write_model(model: TrainedModel, origin: Mapping[str, Any], folder: Path) -> Path:
    """Writes `model.safetensors` and `model.json` as one new folder, replacing an earlier one → path of the card.

    Args:
        origin: what the model was made from: dataset, version, digests, settings, seed.
    """
    building = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    weights = {name: value.cpu().contiguous() for name, value in model.probe.network.state_dict().items()}
    save_file(weights, building / MODEL)
    card = {
        **origin,
        **model.metrics,
        "measured_on": model.measured_on,
        "n_train": model.n_train,
        "n_test": model.n_test,
        "classes": list(model.classes),
        "centre": model.probe.centre,
        "scale": model.probe.scale,
        "model_sha256": sha256_file(building / MODEL),
    }
    (building / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    building.replace(folder)
    return folder / CARD


def _network(settings: TrainSettings) -> ProbeSettings:
    return ProbeSettings(
        model=settings.model,
        width=settings.width,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
    )
