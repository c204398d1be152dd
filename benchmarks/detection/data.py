"""Samples of each dataset as arrays, images decoded once and kept under build/."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_classification, make_regression

from benchmarks.detection import surfaces
from lotgate.data import FloatArray

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build/benchmarks"
WHOLE = 0  # pixels of a side: as they come
PACKED = {  # file of images, and what they are averaged down to before anything is planted in them
    "cifar10": ("cifar10", WHOLE), "mnist_t10k": ("mnist_t10k", WHOLE),
    "neu_steel": ("neu_steel", 64),  # of 200 × 200, as Lotgate's ingest does by default
    "neu_whole": ("neu_steel", WHOLE),
}  # fmt: skip
WIDE_ROWS, WIDE_COLUMNS = 26_000, 50  # a lot of 20,000, its trusted set and test rows
AI4I_FAILURES = ["TWF", "HDF", "PWF", "OSF", "RNF"]  # modes of the failure that the label already tells


class Absent(Exception):
    """The data of a case is not on this machine."""


@dataclass(frozen=True, eq=False)
class Samples:
    """A dataset as it came.

    Attributes:
        x: (N, C, H, W) uint8, memory-mapped, or (N, F) float32.
        y: (N,) int64 classes or float32 targets.
        names: class names; empty for regression. columns: names of features; empty for images.
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    names: tuple[str, ...]
    columns: tuple[str, ...] = ()

    @property
    def is_image(self) -> bool:
        return self.x.ndim == 4

    def take(self, rows: npt.NDArray[np.int64]) -> tuple[FloatArray, npt.NDArray[Any]]:
        """x as float32 (images in [0, 1]) and y at these rows."""
        x = np.asarray(self.x[rows])
        return (x.astype(np.float32) / 255 if x.dtype == np.uint8 else x.astype(np.float32)), self.y[rows]


def shared() -> Path:
    """The folder of data that is not part of the project."""
    return Path(os.environ.get("LOTGATE_SHARED_DATA", ROOT.parent / "shared/data"))


def load(name: str) -> Samples:
    """The dataset of this name.

    Raises:
        Absent: it is not on this machine.
    """
    if name in PACKED:
        return _images(name)
    if name in surfaces.MATERIALS:
        return Samples(*surfaces.surfaces(name), surfaces.NAMES)
    loaders = {
        "digits": _digits, "breast_cancer": _breast_cancer, "diabetes": _diabetes,
        "fourclass": _fourclass, "ai4i2020": _ai4i2020, "house_prices": _house_prices,
        "wide_classes": _wide_classes, "wide_targets": _wide_targets,
    }  # fmt: skip
    return loaders[name]()


def _shared_file(name: str) -> Path:
    path = shared() / name
    if not path.is_file():
        raise Absent(f"{name} is not in {shared()} (LOTGATE_SHARED_DATA names the folder)")
    return path


def _images(name: str) -> Samples:
    file, side = PACKED[name]
    packed = _shared_file(f"{file}.parquet")
    folder = BUILD / "data" / name
    if not (folder / "names.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        table = pd.read_parquet(packed)
        names = sorted(table["label"].astype(str).unique())
        pixels = np.stack([_decoded(data, side) for data in table["image"]])
        index = {label: i for i, label in enumerate(names)}
        np.save(folder / "x.npy", pixels)
        np.save(folder / "y.npy", np.array([index[str(label)] for label in table["label"]], np.int64))
        (folder / "names.json").write_text(json.dumps(names))  # last: its presence says that all is there
    x = np.load(folder / "x.npy", mmap_mode="r", allow_pickle=False)
    y = np.load(folder / "y.npy", allow_pickle=False)
    return Samples(x, y, tuple(json.loads((folder / "names.json").read_text())))


def _decoded(data: bytes, side: int) -> npt.NDArray[np.uint8]:
    """(C, H, W), C = 1 for grey images."""
    image = Image.open(io.BytesIO(data))
    image = image.convert("L" if image.mode in {"L", "1", "I;16", "I"} else "RGB")
    if side != WHOLE:
        image = image.resize((side, side), Image.Resampling.BOX)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _digits() -> Samples:
    data = load_digits()
    x = np.rint(data.images[:, None] * (255 / 16)).astype(np.uint8)
    return Samples(x, data.target.astype(np.int64), tuple(map(str, range(10))))


def _breast_cancer() -> Samples:
    data = load_breast_cancer()
    columns = tuple(str(n) for n in data.feature_names)
    return Samples(data.data.astype(np.float32), data.target.astype(np.int64), ("malignant", "benign"), columns)


def _diabetes() -> Samples:
    data = load_diabetes()
    return Samples(data.data.astype(np.float32), data.target.astype(np.float32), (), tuple(data.feature_names))


def _fourclass() -> Samples:
    table = pd.read_csv(_shared_file("fourclass.csv"))
    y = (table["label"] == "pos").to_numpy(np.int64)
    return Samples(table[["x1", "x2"]].to_numpy(np.float32), y, ("neg", "pos"), ("x1", "x2"))


def _ai4i2020() -> Samples:
    table = pd.read_csv(_shared_file("ai4i2020.csv"))
    y = table["Machine failure"].to_numpy(np.int64)
    features = table.drop(columns=["UDI", "Product ID", "Machine failure", *AI4I_FAILURES])
    features["Type"] = features["Type"].map({"L": 0, "M": 1, "H": 2})
    return Samples(features.to_numpy(np.float32), y, ("runs", "fails"), tuple(features.columns))


def _house_prices() -> Samples:
    table = pd.read_csv(_shared_file("house_prices.csv"))
    y = table["SalePrice"].to_numpy(np.float32)
    features = table.drop(columns=["SalePrice"])
    return Samples(features.to_numpy(np.float32), y, (), tuple(features.columns))


def _wide_classes() -> Samples:
    """Made up: three classes of two clusters each in 12 of 50 columns, the others noise or mixtures of these."""
    x, y = make_classification(
        WIDE_ROWS, WIDE_COLUMNS, n_informative=12, n_redundant=8, n_classes=3, flip_y=0, class_sep=1.5, random_state=0
    )
    return Samples(x.astype(np.float32), y.astype(np.int64), ("a", "b", "c"), _numbered(WIDE_COLUMNS))


def _wide_targets() -> Samples:
    """Made up: a linear function of 12 of 50 columns, and noise."""
    x, y = make_regression(WIDE_ROWS, WIDE_COLUMNS, n_informative=12, noise=20.0, random_state=0)
    return Samples(x.astype(np.float32), y.astype(np.float32), (), _numbered(WIDE_COLUMNS))


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"c{i:02}" for i in range(count))
