"""Small real lots, built by hand: scikit-learn's digits as images, its tables as tables."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from lotgate.data import Dataset


def digits(folder: Path, rows: np.ndarray) -> Dataset:
    """These rows of the handwritten digits as 8×8 grey images with 8 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    bunch = load_digits()
    pixels = (bunch.images[rows] * 15).astype(np.uint8)[:, None]  # (N, 1, 8, 8)
    manifest = _manifest(
        [f"{bunch.target[r]}/{r:04d}.png" for r in rows],
        [str(bunch.target[r]) for r in rows],
        [hashlib.sha256(x.tobytes()).hexdigest() for x in pixels],
    ).assign(width=8, height=8, channels=1, bit_depth=8)
    np.save(folder / "store.npy", pixels)
    manifest = manifest.sort_values("sample_id").reset_index(drop=True)
    classes = tuple(sorted(set(manifest["label"])))
    return Dataset("image", "classification", manifest, folder, folder / "store.npy", classes)


def table(folder: Path, rows: np.ndarray, *, regression: bool = False) -> Dataset:
    """These rows of the breast-cancer or diabetes table, with a category and a column that is partly missing."""
    bunch = load_diabetes(as_frame=True, scaled=False) if regression else load_breast_cancer(as_frame=True)
    frame = bunch.frame.iloc[rows].reset_index(drop=True)
    target = frame["target"].astype(float) if regression else frame["target"].map({0: "malignant", 1: "benign"})
    frame["target"] = target
    frame["machine"] = np.where(rows % 3 == 0, "press", "lathe")
    frame.loc[rows % 7 == 0, frame.columns[0]] = np.nan
    return from_frame(folder, frame, "regression" if regression else "classification")


def from_frame(folder: Path, frame: pd.DataFrame, task: str) -> Dataset:
    """A table as ingest would hold it; the column `target` is the label."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "raw.parquet", index=False)
    features = frame.drop(columns="target")
    hashes = [hashlib.sha256(repr(row).encode()).hexdigest() for row in features.itertuples(index=False)]
    manifest = _manifest([f"lot.csv#{i}" for i in range(len(frame))], list(frame["target"]), hashes)
    np.save(folder / "store.npy", np.zeros((len(frame), 1), np.float32))
    return Dataset(
        "table", task, manifest, folder, folder / "store.npy",
        classes=() if task == "regression" else tuple(sorted(frame["target"].dropna().unique())),
        features=("unused",), raw=folder / "raw.parquet",
        encoding=tuple({"column": name} for name in features.columns),
    )  # fmt: skip


def change(dataset: Dataset, where: slice | list[int], **values: object) -> Dataset:
    """The same dataset with these manifest columns set at these positions."""
    manifest = dataset.manifest.copy()
    for name, value in values.items():
        manifest.loc[manifest.index[where], name] = value
    return replace(dataset, manifest=manifest)


def split(n: int, seed: int, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a lot and of a trusted set drawn from n rows."""
    order = np.random.default_rng(seed).permutation(n)
    return order[int(share * n) :], order[: int(share * n)]


def _manifest(ids: list[str], labels: list[object], hashes: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": ids, "uri": ids, "label": labels, "source": "line 1", "sha256": hashes,
            "content_sha256": hashes,
            "row": np.arange(len(ids)), "defect": pd.Series([None] * len(ids), dtype=object),
        }
    )  # fmt: skip
