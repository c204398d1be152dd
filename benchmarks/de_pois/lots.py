"""Rows of a dataset → a lot with poison in it, the trusted rows, and what a detector may see of both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.de_pois.conventions import planted_share
from benchmarks.detection.cases import Case, Data
from benchmarks.detection.data import Samples, load
from benchmarks.detection.lots import deal, first_half
from lotgate.attacks import planted
from lotgate.data import MANIFEST_COLUMNS, Dataset, FloatArray
from lotgate.detector import Evidence
from lotgate.settings import Settings
from lotgate.vetting import split_trusted

#: Clean rows of a lot. Images are subsets of the paper's sets, for CPUs.
SIZES = {"fourclass": 600, "house_prices": 1000, "mnist_t10k": 1000, "cifar10": 1000}
TARGET, VICTIM = 8, 6  # the paper's ship and frog on CIFAR-10; the digits 8 and 6 on MNIST
ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "TCL": ("feature_collision", {"target": TARGET, "victim": VICTIM}),
    "TCL-polytope": ("convex_polytope", {"target": TARGET, "victim": VICTIM}),
    "pGAN": ("pgan", {"target": TARGET, "alpha": 0.5}),
    "LF": ("label_flip_margin", {}),
    "R": ("regression_optimised", {}),
    "R-statistical": ("regression_statistical", {}),
}
SPOILED_SEED = 1000  # added to the seed of poison that is planted in the trusted set
Labels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in memory: x (N, C, H, W) or (N, F) float32, y (N,)."""

    x: FloatArray
    y: Labels


@dataclass(frozen=True, eq=False)
class Dealt:
    """One draw of a dataset.

    Attributes:
        clean: the lot before the attack. trusted: vetted rows. spare: rows of neither, base images of TCL.
        names: classes; empty for regression.
    """

    clean: Rows
    trusted: Rows
    spare: Rows
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Lot:
    """A poisoned lot; `planted` (N,) is for the measurement alone."""

    suspect: Dataset
    planted: Mask


def draw(dataset: str, trusted: float, seed: int) -> Dealt:
    """Rows of the lot and the trusted set, `trusted` as a share of the clean lot; the lot is the same at every share.

    Raises:
        Absent: the dataset is not on this machine.
    """
    samples = load(dataset)
    case = _case(dataset, trusted, seed)
    lot, vetted, spare, _ = deal(case, _pool(samples, case))
    return Dealt(*(Rows(*samples.take(rows)) for rows in (lot, vetted, spare)), samples.names)


def poison(dealt: Dealt, attack: str, r_p: float, seed: int) -> tuple[Rows, Mask]:
    """The lot with a share of R_p / (1 + R_p) planted rows.

    TCL moves images of one class, of which a lot holds too few: R_p·N spare images of that class are added first. The
    other attacks replace rows of the lot.
    """
    name, fields = ATTACKS[attack]
    rows = dealt.clean
    if attack.startswith("TCL"):
        bases = np.flatnonzero(dealt.spare.y == TARGET)[-round(r_p * len(rows.y)) :]  # the same at every trusted share
        rows = Rows(np.concatenate([rows.x, dealt.spare.x[bases]]), np.concatenate([rows.y, dealt.spare.y[bases]]))
    rng = np.random.default_rng([seed, round(1000 * r_p), *attack.encode()])
    made = planted(name, rows.x, rows.y, rng, len(dealt.names) or None, rate=planted_share(r_p), **fields)
    return Rows(made.x, made.y), made.planted


def spoiled(dealt: Dealt, attack: str, share: float, seed: int) -> Rows:
    """The trusted rows with this share of them poisoned."""
    if not share:
        return dealt.trusted
    inside = Dealt(dealt.trusted, dealt.trusted, dealt.spare, dealt.names)
    return poison(inside, attack, share / (1 - share), seed + SPOILED_SEED)[0]


def as_dataset(rows: Rows, names: tuple[str, ...], path: Path, prefix: str) -> Dataset:
    """The rows as Lotgate reads them from a store at `path`; images as 8-bit pixels."""
    images = rows.x.ndim == 4
    stored = np.rint(rows.x * 255).astype(np.uint8) if images else rows.x.astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, stored)
    labels = [names[int(c)] for c in rows.y] if names else rows.y.astype(np.float64)
    hashes = [hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest() for row in stored]
    manifest = pd.DataFrame({
        "sample_id": [f"{prefix}{i:06d}" for i in range(len(rows.y))], "uri": "", "label": labels, "source": prefix,
        "sha256": hashes, "content_sha256": hashes,
        "row": np.arange(len(rows.y)), "defect": None,
    })[list(MANIFEST_COLUMNS)]  # fmt: skip
    return Dataset(
        modality="image" if images else "table", task="classification" if names else "regression",
        manifest=manifest, root=path.parent, store=path, classes=names,
        features=() if images else tuple(f"x{i}" for i in range(rows.x.shape[1])),
    )  # fmt: skip


def as_evidence(suspect: Dataset, trusted: Dataset, held_out: bool, seed: int) -> Evidence:
    """What a detector may see.

    Args:
        held_out: part the trusted rows as Lotgate does, most to learn from and the rest to calibrate on. Else every
            row is learned from and the held-out rows are the same ones, for methods that do not calibrate.
    """
    if not held_out:
        return Evidence(suspect, trusted, trusted)
    return Evidence(suspect, *split_trusted(trusted, Settings().heldout_rate, np.random.default_rng([seed, 1])))


def _case(dataset: str, trusted: float, seed: int) -> Case:
    """The detection benchmark's own way to deal rows: its seeds, and its half of each image set."""
    data = Data(size=SIZES[dataset], halves=dataset in {"mnist_t10k", "cifar10"}, test=1_000_000)
    return Case(
        split="report", group="de_pois", dataset=dataset, data=data, label="none", attack="none", parameters={},
        rate=0.0, trusted=trusted, poisoned_trusted=0.0, seed=seed,
    )  # fmt: skip


def _pool(samples: Samples, case: Case) -> npt.NDArray[np.int64]:
    rows = np.arange(len(samples.y))
    if case.data.halves:
        half = rows[~first_half(len(rows))]
        # Enough to deal from: the whole half of CIFAR-10 would be decoded as float for nothing.
        rows = np.random.default_rng(len(half)).permutation(half)[: 5 * case.data.size]
    return rows
