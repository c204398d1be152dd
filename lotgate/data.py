"""Dataset and Batch: the light handles that every later stage reads from.

A dataset is a manifest (one row per sample) and a *store*: one `.npy` file, read through a memory map, that
holds the decoded samples once: uint8 or uint16 pixels (N, C, H, W), or encoded features (N, F) float32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Modality = Literal["image", "table"]
Task = Literal["classification", "regression"]
FloatArray = npt.NDArray[np.float32]

#: Columns that every manifest has; further columns of the lot's own manifest are carried behind them.
MANIFEST_COLUMNS = ("sample_id", "uri", "label", "source", "sha256", "content_sha256", "row", "defect")


@dataclass(frozen=True, eq=False)
class Batch:
    """A few samples with their ids.

    Attributes:
        ids: (B,) sample ids.
        x: (B, C, H, W) float32 in [0, 1] for images, (B, F) float32 encoded features for tables.
        y: (B,) int64 class indices, or float64 targets in the units of the lot.
        store: the `.npy` file the rows come from; None for samples that lie in no store (live screening).
        rows: (B,) int64 positions in the store; empty without a store.
    """

    ids: npt.NDArray[np.object_]
    x: FloatArray
    y: npt.NDArray[Any]
    store: Path | None = None
    rows: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: npt.NDArray[Any]) -> Batch:
        """The samples at `index`: integer positions or a boolean mask."""
        rows = self.rows[index] if self.store is not None else self.rows
        return replace(self, ids=self.ids[index], x=self.x[index], y=self.y[index], rows=rows)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A lot or a trusted set, ingested.

    Attributes:
        modality: "image" or "table".
        task: "classification" or "regression".
        manifest: one row per sample, sorted by `sample_id`; MANIFEST_COLUMNS first. `label` is a string
            (classification) or float64 (regression); `row` is the position in the store, -1 where the sample
            could not be read, and then `defect` says why in words (else it is None). `sha256` is that of the file
            as it came, `content_sha256` that of what it shows, whatever file that is in: equal pixels have the same.
            For rows of tables both are that of the values. Images also have `width`, `height`, `channels`, `bit_depth`
            of the file as it came.
        root: the folder that `uri` is relative to.
        store: the `.npy` file with the decoded samples.
        classes: the class names in index order; those of the trusted set where there is one. Empty for regression.
        features: names of the encoded columns (F,); empty for images.
        raw: Parquet file with the table's columns as they came, aligned with the file's rows; None for images.
        encoding: how raw columns become features, as plain JSON; empty for images.
    """

    modality: Modality
    task: Task
    manifest: pd.DataFrame
    root: Path
    store: Path
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    raw: Path | None = None
    encoding: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.manifest)

    @cached_property
    def ids(self) -> npt.NDArray[np.object_]:
        """(N,) sample ids in manifest order."""
        return self.manifest["sample_id"].to_numpy(dtype=object)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded sample: (C, H, W) or (F,)."""
        return tuple(self._open().shape[1:])

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """(N,) positions in the store; -1 for what could not be read."""
        return self.manifest["row"].to_numpy(dtype=np.int64)

    @cached_property
    def y(self) -> npt.NDArray[Any]:
        """(N,) int64 class indices (-1: a label outside `classes`), or float64 targets: single precision cannot tell
        Unix seconds of one minute apart.
        """
        if self.task == "regression":
            return self.manifest["label"].to_numpy(dtype=np.float64)
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(label, -1) for label in self.manifest["label"]], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the sorted (id, label, sha256) triples: independent of the order of the samples."""
        columns = zip(self.manifest["sample_id"], self.manifest["label"], self.manifest["sha256"], strict=True)
        triples = sorted(json.dumps([str(i), str(label), str(sha)]) for i, label, sha in columns)
        return hashlib.sha256("\n".join(triples).encode()).hexdigest()

    def select(self, ids: Sequence[str] | npt.NDArray[Any]) -> Dataset:
        """The samples with these ids, in manifest order, over the same store."""
        return self._where(self.manifest["sample_id"].isin(set(ids)).to_numpy())

    def of_class(self, c: int) -> Dataset:
        """The samples whose class index is c, in manifest order."""
        return self._where(self.y == c)

    def usable(self) -> Dataset:
        """The samples that were read and whose label is known: those a model can be given."""
        labelled = self.y >= 0 if self.task == "classification" else np.isfinite(self.y)
        return self._where((self.rows >= 0) & labelled)

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches in manifest order, the last one ragged. Every sample must be readable (see `usable`)."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))

    def batch(self, index: npt.NDArray[np.int64]) -> Batch:
        """The batch at these manifest positions, decoded samples as float32."""
        rows = self.rows[index]
        if (rows < 0).any():
            raise ValueError(f"unreadable sample in a batch: {self.ids[index][rows < 0][0]}; call usable() first")
        stored = self._open()[rows]
        x = stored.astype(np.float32)
        if stored.dtype != np.float32:
            x /= np.iinfo(stored.dtype).max
        return Batch(self.ids[index], x, self.y[index], self.store, rows)

    def save(self, folder: Path) -> Path:
        """Writes `manifest.parquet` and `dataset.json` under `folder`; the store stays where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        self.manifest.to_parquet(folder / "manifest.parquet", index=False)
        record = {
            "modality": self.modality, "task": self.task, "root": str(self.root), "store": str(self.store),
            "classes": list(self.classes), "features": list(self.features),
            "raw": None if self.raw is None else str(self.raw), "encoding": list(self.encoding),
        }  # fmt: skip
        (folder / "dataset.json").write_text(json.dumps(record, indent=1))
        return folder

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """The dataset that `save` wrote under `folder`, which may have been moved since with its store in it."""
        record = json.loads((folder / "dataset.json").read_text())
        record["store"] = _found(record["store"], folder)
        record["raw"] = None if record["raw"] is None else _found(record["raw"], folder)
        return cls(
            modality=record["modality"], task=record["task"],
            manifest=pd.read_parquet(folder / "manifest.parquet"),
            root=Path(record["root"]), store=record["store"], classes=tuple(record["classes"]),
            features=tuple(record["features"]), raw=record["raw"],
            encoding=tuple(record["encoding"]),
        )  # fmt: skip

    def _open(self) -> npt.NDArray[Any]:
        return np.load(self.store, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

    def _where(self, mask: npt.NDArray[np.bool_]) -> Dataset:
        if mask.all():
            return self
        return replace(self, manifest=self.manifest[mask].reset_index(drop=True))


def fold_of(ids: npt.NDArray[np.object_], folds: int, salt: str = "") -> npt.NDArray[np.int64]:
    """(B,) fold of each id, by a checksum: the same whatever the order or the batch.

    A cryptographic one, since names in a row differ in a few bits: of eleven the remainders of a CRC can all be equal,
    and salts only give its folds other numbers.

    Args:
        salt: detectors with different salts cut differently.
    """
    digests = (hashlib.blake2b(f"{salt}{i}".encode(), digest_size=8).digest() for i in ids)
    return np.array([int.from_bytes(digest) % folds for digest in digests], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows of several datasets of one kind, one after the other, for training.

    Attributes:
        parts: at least one; the first one's task, classes and shape are everybody's.
    """

    parts: tuple[Dataset, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def task(self) -> Task:
        return self.parts[0].task

    @property
    def classes(self) -> tuple[str, ...]:
        return self.parts[0].classes

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    @cached_property
    def y(self) -> npt.NDArray[Any]:
        """(N,) class indices or targets."""
        return np.concatenate([part.y for part in self.parts])

    def take(self, index: npt.NDArray[np.int64]) -> tuple[FloatArray, npt.NDArray[Any]]:
        """x (B, ...) and y (B,) at these positions, in that order."""
        x = np.empty((len(index), *self.shape), np.float32)
        start = 0
        for part in self.parts:
            mine = (index >= start) & (index < start + len(part))
            x[mine] = part.batch(index[mine] - start).x
            start += len(part)
        return x, self.y[index]


def _found(recorded: str, folder: Path) -> Path:
    beside = folder / Path(recorded).name
    return beside if beside.exists() and not Path(recorded).exists() else Path(recorded)
