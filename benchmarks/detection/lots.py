"""A case becomes a lot, a trusted set and a test set on disk; what was planted stays in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.detection.art_attacks import ART_ATTACKS, plant_art
from benchmarks.detection.cases import Case
from benchmarks.detection.data import Samples
from lotgate.attacks import ATTACKS, Planted, planted, write_image_folder, write_table
from lotgate.attacks.junk import TrustedCopy
from lotgate.context import Context
from lotgate.data import FloatArray

BY_NAME = {attack.name: attack for attack in ATTACKS}
TARGET = "target"
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth by sample id: `planted`, and `cover` (changed by the attacker, harmless, not counted)."""

    planted: dict[str, bool]
    cover: dict[str, bool]

    def of(self, ids: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """planted and cover, in the order of the ids."""
        return np.array([self.planted[i] for i in ids], bool), np.array([self.cover[i] for i in ids], bool)


@dataclass(frozen=True, eq=False)
class Lot:
    """What is on disk, and what only the measurement may see.

    Attributes:
        lot, trusted: what the product is given. target: the label column of tables.
        truth, poisoned, samples, test: ground truth, the planted lot with its attack, and clean test rows.
        context: earlier lots as if they had been released; earlier: their ground truth, by the name of the release.
    """

    lot: Path
    trusted: Path
    target: str | None
    truth: Truth
    poisoned: Planted
    samples: Samples
    test: tuple[FloatArray, npt.NDArray[Any]]
    context: tuple[Context, ...] = ()
    earlier: dict[str, Truth] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.poisoned.attack.kind


def make_lot(case: Case, samples: Samples, folder: Path) -> Lot:
    """Draws the rows, plants the attack and writes lot and trusted set under `folder`."""
    samples, pool = _part(case, samples)
    lot_rows, trusted_rows, test_rows, earlier_rows = deal(case, pool)
    (x, y), (trusted_x, trusted_y) = samples.take(lot_rows), samples.take(trusted_rows)
    poisoned = _plant(case, x, y, trusted_x, trusted_y, samples)
    if case.poisoned_trusted:
        spoiled = _plant(
            case.model_copy(update={"rate": case.poisoned_trusted, "seed": case.seed + 1}), trusted_x, trusted_y,
            x, y, samples,
        )  # fmt: skip
        trusted_x, trusted_y = spoiled.x, spoiled.y
    truth = write_part(folder / "lot", poisoned.x, poisoned.y, poisoned.planted, samples)
    write_part(folder / "trusted", trusted_x, trusted_y, np.zeros(len(trusted_y), bool), samples)
    suffix = "" if samples.is_image else ".csv"
    before, known = _earlier(case, samples, earlier_rows, (trusted_x, trusted_y), folder)
    return Lot(
        folder / f"lot{suffix}", folder / f"trusted{suffix}", None if samples.is_image else TARGET,
        _truth(truth, poisoned), poisoned, samples, samples.take(test_rows), before, known,
    )  # fmt: skip


def _truth(written: pd.DataFrame, poisoned: Planted) -> Truth:
    cover = poisoned.cover if len(poisoned.cover) else np.zeros(len(poisoned.y), bool)
    ids = written["sample_id"].tolist()
    return Truth(
        dict(zip(ids, map(bool, poisoned.planted), strict=True)), dict(zip(ids, map(bool, cover), strict=True))
    )


def _earlier(
    case: Case, samples: Samples, rows: Rows, trusted: tuple[FloatArray, npt.NDArray[Any]], folder: Path
) -> tuple[tuple[Context, ...], dict[str, Truth]]:
    """Lots that came before and were not filtered, each planted by a draw of its own with its trigger, or clean."""
    context, known = [], {}
    before = (
        case.model_copy(update={"attack": "none", "rate": 0.0, "parameters": {}}) if case.data.clean_before else case
    )
    for k, mine in enumerate(np.split(rows, case.data.earlier) if case.data.earlier else ()):
        x, y = samples.take(mine)
        poisoned = _plant(before.model_copy(update={"seed": case.seed + 1000 * (k + 1)}), x, y, *trusted, samples)
        truth = write_part(folder / f"earlier{k + 1}", poisoned.x, poisoned.y, poisoned.planted, samples)
        suffix, target = ("", None) if samples.is_image else (".csv", TARGET)
        context.append(Context(case.dataset, k + 1, folder / f"earlier{k + 1}{suffix}", target))
        known[context[-1].name] = _truth(truth, poisoned)
    return tuple(context), known


def deal(case: Case, pool: Rows) -> tuple[Rows, Rows, Rows, Rows]:
    """Rows of the lot, the trusted set, the test set and all earlier lots together, disjoint; the same for every attack
    and rate of a seed."""
    rng = np.random.default_rng(case.draws("rows"))
    order = np.roll(pool, rng.integers(len(pool))) if case.data.in_order else rng.permutation(pool)
    size, trusted, before = case.data.size, round(case.trusted * case.data.size), case.data.earlier * case.data.size
    if size + trusted + before + 20 > len(order):
        raise ValueError(f"{case.name}: {len(order)} rows are too few for a lot of {size} and {trusted} trusted")
    # the test rows come last: they stay the same at every trusted share that leaves room for them
    spare = order[size + trusted :]
    return order[:size], order[size : size + trusted], spare[before:][-case.data.test :], spare[:before]


def write_part(
    path: Path, x: FloatArray, y: npt.NDArray[Any], mask: npt.NDArray[np.bool_], samples: Samples
) -> pd.DataFrame:
    """One part as the product reads it: an image folder, or a CSV beside it."""
    if samples.is_image:
        return write_image_folder(x, y, samples.names, path, mask)
    return write_table(
        x, y, path.with_suffix(".csv"), mask, columns=samples.columns, target=TARGET,
        class_names=samples.names or None,
    )  # fmt: skip


def _part(case: Case, samples: Samples) -> tuple[Samples, Rows]:
    """The dataset with only the case's classes, and the rows that its split may draw from."""
    rows = np.arange(len(samples.y))
    if case.data.classes:
        rows = np.flatnonzero(np.isin(samples.y, case.data.classes))
        y = np.full(len(samples.y), -1, np.int64)
        for new, old in enumerate(case.data.classes):
            y[samples.y == old] = new
        names = tuple(samples.names[c] for c in case.data.classes)
        samples = Samples(samples.x, y, names, samples.columns)
    if case.data.halves:
        first = first_half(len(samples.y))[rows]
        rows = rows[first if case.split == "tune" else ~first]
    return samples, in_step(rows, samples.y[rows]) if case.data.in_order and samples.names else rows


def first_half(size: int) -> npt.NDArray[np.bool_]:
    """(size,) the rows of a whole dataset that are tune's; all of its parts share this, whatever classes they keep."""
    return np.random.default_rng(size).permutation(size) < size // 2


def in_step(rows: Rows, y: npt.NDArray[Any]) -> Rows:
    """The rows with their classes (N,) side by side: each stretch has as good as all of them, each in its order."""
    place = np.zeros(len(rows))
    for c in np.unique(y):
        mine = np.flatnonzero(y == c)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return rows[np.argsort(place, kind="stable")]


def _plant(
    case: Case, x: FloatArray, y: npt.NDArray[Any], trusted_x: FloatArray, trusted_y: npt.NDArray[Any], samples: Samples
) -> Planted:
    rng = np.random.default_rng(case.draws("attack"))
    classes = len(samples.names) or None
    fields = {**case.parameters, "rate": case.rate}
    if case.attack in ART_ATTACKS:
        return plant_art(case.attack, x, y, rng, len(samples.names), **fields)
    if case.attack == TrustedCopy.name:
        return TrustedCopy(**fields).plant_copies(x, y, rng, classes, trusted_x=trusted_x, trusted_y=trusted_y)
    return planted(case.attack, x, y, rng, classes, **fields)
