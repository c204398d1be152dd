"""Machines that know what a few hundred images can tell: logistic regression on words of small windows.

A network has to learn from labels what edges and textures are. Words of whitened windows are had without labels, from
every image alike; what is left to learn is linear. Of 1,200 photographs in ten classes such a machine calls 53% right,
a small network 44%, a Gaussian kernel of pixels 35%.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lotgate.committee import Constant, Fitted, Model, Predictions
from lotgate.crossfit import SALT, by_fold
from lotgate.data import Batch, Dataset, FloatArray, Pool, fold_of
from lotgate.pixels import View, images
from lotgate.vocabulary import usual_words

MOST_IMAGES = 10_000  # that machines learn from: more add little
SIDE = 64  # pixels, at most
WORDS = 256
WIDTH = 5  # pixels of a window's side
CELLS = 3  # per side of an image: where in it a word is found, roughly
FREEDOM = 0.01  # inverse of the penalty on the coefficients of standardised responses
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Machines:
    """One machine per fold; a row is answered by that of its own fold, which never saw its label.

    Attributes:
        view: (B, F) responses of images. models: of responses, one per fold.
        known: (N, K) log-probabilities by store path, indexed by store row; NaN where they were not worked out.
    """

    view: View
    models: tuple[Model, ...]
    known: Mapping[Path, Predictions]

    def log_p(self, batch: Batch) -> Predictions:
        """(B, K) log-probabilities of the classes."""
        answers = self.known.get(batch.store) if batch.store is not None else None
        if answers is not None and not np.isnan(found := answers[batch.rows]).any():
            return np.asarray(found)
        return by_fold(batch, [partial(_answer, self.view, model) for model in self.models])


def train_machines(
    datasets: Sequence[Dataset], believed: Sequence[Dataset], n_folds: int, rng: np.random.Generator
) -> Machines:
    """A machine per fold, of believed rows outside it, and what they say of every row of the datasets that was mapped.

    Args:
        datasets: all rows, whose windows tell what words there are. believed: those of them whose labels are learned.
    """
    pool, ids = Pool(tuple(datasets)), np.concatenate([d.ids for d in datasets])
    words = usual_words(pool, WORDS, WIDTH, SIDE, rng)
    view = partial(words.responses, cells=CELLS)
    chosen = np.sort(rng.choice(len(pool), min(MOST_IMAGES, len(pool)), replace=False))
    responses = np.concatenate([view(x) for x in images(pool, chosen)])  # (n, F)
    y, folds = pool.y[chosen], fold_of(ids[chosen], n_folds, SALT)
    good = np.isin(ids[chosen], np.concatenate([d.ids for d in believed]))
    models = tuple(_trained(responses, y, good & (folds != f), len(pool.classes)) for f in range(n_folds))
    answers = np.full((len(pool), len(pool.classes)), np.nan)
    for f, model in enumerate(models):
        if (mine := folds == f).any():
            answers[chosen[mine]] = model.predict(responses[mine])
    return Machines(view, models, _by_store(datasets, answers))


def _trained(responses: FloatArray, y: npt.NDArray[np.int64], rows: Mask, outputs: int) -> Model:
    if len(seen := np.unique(y[rows])) < 2:
        return Constant(int(seen[0]) if len(seen) else 0, outputs)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=FREEDOM, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a last step not taken is a little more penalty
        return Fitted(model.fit(responses[rows].astype(np.float64), y[rows]), outputs)


def _answer(view: View, model: Model, x: FloatArray) -> Predictions:
    return model.predict(view(x))


def _by_store(datasets: Sequence[Dataset], answers: Predictions) -> dict[Path, Predictions]:
    """Answers (N, K) of all rows, one dataset after the other, by store and store row."""
    found: dict[Path, Predictions] = {}
    start = 0
    for d in datasets:
        n = int(np.load(d.store, mmap_mode="r", allow_pickle=False).shape[0])
        found.setdefault(d.store, np.full((n, answers.shape[1]), np.nan))[d.rows] = answers[start : start + len(d)]
        start += len(d)
    return found
