"""Cross-fitting: what the lot teaches about a label, and what trusted rows alone teach, asked of models that never saw
the row they judge.

Lot and trusted rows are cut into folds by a checksum of the sample id. Per fold, models are trained on rows outside it:
*learned* on all of them, *vouched* on the trusted ones, *sifted* on the trusted ones and those suspect ones whose label
a model of the trusted ones contradicts least. Rows of either kind are answered by the models of their own fold, which
depend on nothing inside it, so clean suspect rows and trusted rows are exchangeable under any score made of the
answers: what a model knows by heart cannot tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lotgate.data import Batch, Dataset, FloatArray, Pool, fold_of
from lotgate.probe import (
    PASS_BATCH,
    Probe,
    ProbeSettings,
    Say,
    forward,
    load_network,
    n_outputs,
    save_probe,
    train_probe,
)

SALT = "crossfit:"
FOLDS = 2  # half a lot teaches its triggers; more folds cost two trainings each
VOUCHED_FOLDS = 4  # trusted rows are few: each model should see most of them
FEW = 10  # trusted rows, below which a fold has no scale of its own
SIFTED = 0.7  # share of the suspect rows that the sifted model may learn from
PARTS = ("learned", "vouched", "sifted")
LEAST_SPREAD = 0.5  # nats: where models are sure of nearly all trusted rows, their small differences are no scale
Logits = Callable[[Batch], FloatArray]  # (B, K) of a model

F = TypeVar("F", np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """One probe per fold; a row is answered by the probe of its fold, which never saw it.

    Attributes:
        answers: (N, K) float32 memory maps of logits by store path, indexed by store row; NaN for rows not usable.
    """

    probes: tuple[Probe, ...]
    answers: Mapping[Path, FloatArray] = field(default_factory=dict)

    def logits(self, batch: Batch) -> FloatArray:
        """(B, K) class logits, read from the map where the batch comes from a mapped store."""
        mapped = None if batch.store is None else self.answers.get(batch.store)
        return np.asarray(mapped[batch.rows]) if mapped is not None else self._answer(batch)

    def log_p(self, batch: Batch) -> npt.NDArray[np.float64]:
        """(B, K) log-probabilities of the classes."""
        return log_softmax(self.logits(batch))

    def _answer(self, batch: Batch) -> FloatArray:
        if not len(batch):
            return np.zeros((0, self.probes[0].network.head.out_features), np.float32)
        return by_fold(batch, [partial(_logits, probe) for probe in self.probes])


@dataclass(frozen=True, eq=False)
class CrossFit:
    """The three ensembles of a lot.

    Attributes:
        learned: trained on lot and trusted rows outside the fold. vouched: on trusted rows outside the fold only.
        sifted: on these and on suspect rows outside the fold that they vouch for.
    """

    learned: Ensemble
    vouched: Ensemble
    sifted: Ensemble

    def excess(self, batch: Batch, taught: Sequence[Logits]) -> npt.NDArray[np.float64]:
        """(B,) mean log p_taught(y | x) − ½ log p_vouched(y | x) − ½ log p_sifted(y | x): how much surer of its label
        the lot makes models than its vouched part does.

        Args:
            taught: ≥ 1 models that lot and trusted rows taught alike: `learned`, or the probe, which saw the row too.
        """
        own = np.arange(len(batch)), batch.y
        learned = np.mean([log_softmax(logits(batch))[own] for logits in taught], axis=0)
        return np.asarray(learned - self.vouched_for(batch)[own])

    def vouched_for(self, batch: Batch) -> npt.NDArray[np.float64]:
        """(B, K) mean log-probabilities of the vouched and the sifted models, none of which saw the rows."""
        return np.asarray((self.vouched.log_p(batch) + self.sifted.log_p(batch)) / 2)

    def contradicts(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """(B,) whether the vouched and the sifted models together call another class likelier than the label."""
        return contradiction(self.vouched_for(batch), batch.y) > 0

    def contradicted(self, dataset: Dataset) -> npt.NDArray[np.bool_]:
        """(N,) the same of all rows of a dataset."""
        return np.concatenate([self.contradicts(b) for b in dataset.batches(PASS_BATCH)] or [np.zeros(0, bool)])


@dataclass(frozen=True, eq=False)
class Excess:
    """Excess confidence on the scale of trusted rows, fold by fold: the models of one fold may be surer than another's.

    Attributes:
        taught: see CrossFit.excess.
        centre, spread: (F,) median of the trusted rows' excess, and its distance to their 90% quantile.
        usual: (n_t,) of the trusted rows themselves.
    """

    crossfit: CrossFit
    taught: Sequence[Logits]
    centre: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    usual: npt.NDArray[np.float64]

    def of(self, batch: Batch) -> npt.NDArray[np.float64]:
        """(B,) excess in units of what sets the most exceeding tenth of the trusted rows apart from their median."""
        folds = fold_of(batch.ids, len(self.centre), SALT)
        return np.asarray((self.crossfit.excess(batch, self.taught) - self.centre[folds]) / self.spread[folds])

    def of_all(self, datasets: Sequence[Dataset]) -> npt.NDArray[np.float64]:
        """(N,) of all rows of the datasets, one after the other."""
        found = [self.of(batch) for d in datasets for batch in d.batches(PASS_BATCH)]
        return np.concatenate(found) if found else np.zeros(0)


def fit_excess(crossfit: CrossFit, taught: Sequence[Logits], vetted: Sequence[Dataset]) -> Excess:
    """The scale of excess confidence, from all trusted rows; a fold with few of them borrows that of all."""
    n_folds = len(crossfit.learned.probes)
    raw = Excess(crossfit, taught, np.zeros(n_folds), np.ones(n_folds), np.zeros(0))
    found, folds = raw.of_all(vetted), np.concatenate([fold_of(d.ids, n_folds, SALT) for d in vetted])
    parts = [found[folds == f] if (folds == f).sum() >= FEW else found for f in range(n_folds)]
    centre = np.array([np.median(part) for part in parts])
    spread = np.array([max(float(np.quantile(p, 0.9) - np.median(p)), LEAST_SPREAD) for p in parts])
    return Excess(crossfit, taught, centre, spread, (found - centre[folds]) / spread[folds])


def by_fold(batch: Batch, models: Sequence[Callable[[FloatArray], npt.NDArray[F]]]) -> npt.NDArray[F]:
    """(B, K) what the model of each row's own fold, which has not seen it, answers; B ≥ 1.

    Args:
        models: one per fold, from inputs (b, …) to answers (b, K).
    """
    folds = fold_of(batch.ids, len(models), SALT)
    mine = [np.flatnonzero(folds == f) for f in range(len(models))]
    answers = [answer(batch.x[rows]) for answer, rows in zip(models, mine, strict=True) if len(rows)]
    return np.concatenate(answers)[np.argsort(np.concatenate(mine))]


def _logits(probe: Probe, x: FloatArray) -> FloatArray:
    return forward(probe.network, x, probe.device)[1]


def log_softmax(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Log-probabilities of (B, K) logits, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def contradiction(log_p: npt.NDArray[np.float64], y: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(B,) max_{c ≠ y} log p(c | x) − log p(y | x) of (B, K) log-probabilities; −log p(y | x) where K = 1."""
    rows = np.arange(len(y))
    own = log_p[rows, y]
    if log_p.shape[1] == 1:
        return np.asarray(-own)
    others = log_p.copy()
    others[rows, y] = -np.inf
    return np.asarray(others.max(axis=1) - own)


def train_crossfit(
    suspect: Dataset, vetted: Sequence[Dataset], settings: ProbeSettings, rng: np.random.Generator, say: Say
) -> CrossFit:
    """Trains the models of every fold on classification rows; no answers are mapped yet.

    Args:
        suspect: usable rows of the lot. vetted: trusted rows, in as many parts as there are; ≥ 1 row in some part.
    """
    models = 3 * FOLDS + VOUCHED_FOLDS
    numbers = iter(range(1, models + 1))

    def train(*rows: Dataset) -> Probe:
        probe = train_probe(Pool(rows), settings, rng, lambda words: None)
        say(f"model {next(numbers)} of {models} trained on {sum(map(len, rows)):,} samples")
        return probe

    learned, sifted = [], []
    for fold in range(FOLDS):
        lot, known = outside([suspect], fold, FOLDS), _known(vetted, fold, FOLDS)
        sieve = train(*known)
        learned.append(train(*lot, *known))
        sifted.append(train(*(_least_contradicted(sieve, d) for d in lot), *known))
    vouched = [train(*_known(vetted, f, VOUCHED_FOLDS)) for f in range(VOUCHED_FOLDS)]
    return CrossFit(Ensemble(tuple(learned)), Ensemble(tuple(vouched)), Ensemble(tuple(sifted)))


def outside(datasets: Sequence[Dataset], fold: int, folds: int) -> list[Dataset]:
    """The rows outside the fold, of the datasets that have any."""
    parts = (d.select(d.ids[fold_of(d.ids, folds, SALT) != fold]) for d in datasets)
    return [part for part in parts if len(part)]


def _known(vetted: Sequence[Dataset], fold: int, folds: int) -> tuple[Dataset, ...]:
    """Trusted rows outside the fold; where there are none, all of them: one or two rows must judge themselves."""
    return tuple(outside(vetted, fold, folds) or (d for d in vetted if len(d)))


def _least_contradicted(vouched: Probe, lot: Dataset) -> Dataset:
    """The share SIFTED of the rows whose labels the model contradicts least."""
    answers = [forward(vouched.network, batch.x, vouched.device)[1] for batch in lot.batches(PASS_BATCH)]
    doubt = contradiction(log_softmax(np.concatenate(answers)), lot.y)
    return lot.select(lot.ids[np.argsort(doubt, kind="stable")[: max(1, round(SIFTED * len(lot)))]])


def map_answers(crossfit: CrossFit, datasets: Mapping[str, Dataset], folder: Path) -> CrossFit:
    """One pass over each dataset → the ensembles with their answers on disk, and their weights, under `folder`.

    Args:
        datasets: usable rows, by a name for the files.
    """
    return CrossFit(*(_map(getattr(crossfit, name), datasets, folder / name) for name in PARTS))


def _map(ensemble: Ensemble, datasets: Mapping[str, Dataset], folder: Path) -> Ensemble:
    for f, probe in enumerate(ensemble.probes):
        (folder / str(f)).mkdir(parents=True, exist_ok=True)
        save_probe(probe, folder / str(f))
    (folder / "ensemble.json").write_text(json.dumps({"folds": len(ensemble.probes)}))
    width = ensemble.probes[0].network.head.out_features
    for name, dataset in datasets.items():
        n = int(np.load(dataset.store, mmap_mode="r", allow_pickle=False).shape[0])
        answers = np.lib.format.open_memmap(folder / f"{name}.logits.npy", "w+", np.float32, (n, width))
        answers[:] = np.nan
        for batch in dataset.batches(PASS_BATCH):
            answers[batch.rows] = ensemble.logits(batch)
        answers.flush()
    return Ensemble(ensemble.probes, _answers(folder, {name: d.store for name, d in datasets.items()}))


def load_crossfit(folder: Path, settings: ProbeSettings, like: Dataset, stores: Mapping[str, Path]) -> CrossFit:
    """What `map_answers` wrote under `folder`.

    Args:
        like: a dataset of the shape and classes it was trained on. stores: by the names given to `map_answers`.
    """
    return CrossFit(*(_load(folder / name, settings, like, stores) for name in PARTS))


def _load(folder: Path, settings: ProbeSettings, like: Dataset, stores: Mapping[str, Path]) -> Ensemble:
    folds = json.loads((folder / "ensemble.json").read_text())["folds"]
    probes = (load_network(folder / str(f), settings, like.shape, n_outputs(like)) for f in range(folds))
    return Ensemble(tuple(probes), _answers(folder, stores))


def _answers(folder: Path, stores: Mapping[str, Path]) -> dict[Path, FloatArray]:
    return {
        store: np.load(folder / f"{name}.logits.npy", mmap_mode="r", allow_pickle=False)
        for name, store in stores.items()
    }
