"""Statements: what detectors scored lot and trusted rows alike, kept for one that weighs several of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lotgate.data import Batch, Dataset
from lotgate.errors import InputError
from lotgate.files import write_arrays

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Statement:
    """Scores laid out as the samples lie in their stores, since ids of a lot and of a trusted set may be the same.

    Attributes:
        scores: by store, (rows of the store,), NaN where a row was not scored.
    """

    scores: Mapping[Path, Floats]

    def of(self, batch: Batch) -> Floats:
        """(B,) scores of samples that lie in a store.

        Raises:
            InputError: one of them was not scored.
        """
        return self._at(batch.store, batch.rows)

    def of_all(self, datasets: Sequence[Dataset]) -> Floats:
        """(N,) scores of all rows of the datasets, one after the other; see `of`."""
        return np.concatenate([self._at(dataset.store, dataset.rows) for dataset in datasets])

    def _at(self, store: Path | None, rows: npt.NDArray[np.int64]) -> Floats:
        known = None if store is None else self.scores.get(store)
        if known is None or np.isnan(known[rows]).any():
            raise InputError("a sample was not scored", where=store or "no store", action="scan the lot anew")
        return known[rows]


def statement_of(scored: Sequence[tuple[Dataset, Floats]]) -> Statement:
    """From datasets and the scores of their rows (N,); several may lie in one store."""
    laid: dict[Path, Floats] = {}
    for dataset, scores in scored:
        n = int(np.load(dataset.store, mmap_mode="r", allow_pickle=False).shape[0])
        laid.setdefault(dataset.store, np.full(n, np.nan))[dataset.rows] = scores
    return Statement(laid)


def save_statement(statement: Statement, path: Path, stores: Mapping[str, Path]) -> Path:
    """Writes one `.npz` with the scores of every store, by the names given."""
    return write_arrays(path, {name: statement.scores[store] for name, store in stores.items()})


def load_statements(folder: Path, names: Sequence[str], stores: Mapping[str, Path]) -> dict[str, Statement]:
    """What `save_statement` wrote to `<name>.npz`, of those names that have one; the stores may have moved since."""
    found = {}
    for name in names:
        if (path := folder / f"{name}.npz").exists():
            with np.load(path, allow_pickle=False) as stored:
                found[name] = Statement({store: stored[part] for part, store in stores.items()})
    return found
