"""Small real lots, written as a line would deliver them, and settings under which a scan takes seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits

from lotgate.data import Dataset

#: Settings of a quick scan; de_pois and disagreement are trained just enough to say something.
QUICK: dict[str, Any] = {
    "seed": 0,
    "probe": {"epochs": 6, "min_steps": 0, "batch_size": 16, "width": 16},
    "detectors": {
        "de_pois": {"augment_steps": 30, "mimic_steps": 40, "window": 20, "batch_size": 16, "image_size": 8},
        "disagreement": {"drops": [], "folds": 2, "epochs": 2},
        "trusted_distance": {},
        "unexplained_clusters": {"clusters": [2]},
    },
}


def write_settings(path: Path, **changes: Any) -> Path:
    """QUICK as a settings file, with top-level sections merged over it; of the detectors only the voters run."""
    merged = {**QUICK}
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    voters = changes.get("policy", {}).get("voters", merged["detectors"])
    merged["detectors"] = {name: value for name, value in merged["detectors"].items() if name in voters}
    path.write_text(yaml.safe_dump(merged))
    return path


def digits(classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits 0 … classes − 1: (N, 8, 8) uint8 and labels, in a fixed random order."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(np.flatnonzero(data.target < classes))
    return np.round(data.images[order] / 16 * 255).astype(np.uint8), data.target[order]


def write_digits(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """One sub-folder per class, one PNG per image."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{i:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def image_dataset(folder: Path, images: np.ndarray, labels: np.ndarray) -> Dataset:
    """Images (N, H, W) or (N, C, H, W), uint8, as the dataset that ingest would make of them, without their files."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "store.npy", images if images.ndim == 4 else images[:, None])
    names = tuple(str(c) for c in range(int(labels.max()) + 1))
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    manifest = pd.DataFrame(
        {
            "sample_id": [f"{folder.name}/{i:05d}" for i in range(len(images))],
            "uri": "", "label": [names[c] for c in labels], "source": None,
            "sha256": hashes, "content_sha256": hashes,
            "row": np.arange(len(images)), "defect": None,
        }
    )  # fmt: skip
    return Dataset("image", "classification", manifest, folder, folder / "store.npy", names)


def digit_lots(base: Path, n: int = 100, n_trusted: int = 120) -> tuple[Path, Path]:
    """A clean lot and a trusted set of two classes of digits."""
    x, y = digits()
    lot = write_digits(base / "lot", x[:n], y[:n])
    return lot, write_digits(base / "trusted", x[n : n + n_trusted], y[n : n + n_trusted])


def tumour_lots(base: Path, n: int = 150, n_trusted: int = 150) -> tuple[Path, Path]:
    """A clean CSV lot and its trusted set: scikit-learn's breast-cancer table, column `diagnosis`."""
    data = load_breast_cancer()
    frame = pd.DataFrame(data.data, columns=[name.replace(" ", "_") for name in data.feature_names]).iloc[:, :8]
    frame = frame.assign(diagnosis=[data.target_names[k] for k in data.target])
    frame = frame.sample(frac=1, random_state=0)
    base.mkdir(parents=True, exist_ok=True)
    lot, trusted = base / "lot.csv", base / "trusted.csv"
    frame.iloc[:n].to_csv(lot, index=False)
    frame.iloc[n : n + n_trusted].to_csv(trusted, index=False)
    return lot, trusted


def snapshot(place: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder (or of a file), and every folder, by path."""
    found = sorted(place.rglob("*")) if place.is_dir() else [place]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder" for p in found}
