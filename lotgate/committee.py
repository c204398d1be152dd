"""Models of tables that nobody tunes: a committee of several kinds, each with the say that it earned on trusted rows.

No kind of model suits every table: on fourclass (two curved regions) neighbours err a fifth as often as trees, on
breast cancer a linear model a third as often, on machine telemetry trees win. So several are trained, and weighted by
how well they predict trusted rows that they have not seen, w_m ∝ √exp(Σ log p_m): pseudo-Bayesian model averaging
(Geisser & Eddy 1979; Yao et al. 2018, section 2), tempered, since few rows must not silence a kind by luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from lotgate.data import FloatArray, Pool
from lotgate.mixtures import one_thread

Kind = Literal["trees", "linear", "neighbours"]
Predictions = npt.NDArray[np.float64]

KINDS: tuple[Kind, ...] = ("trees", "linear", "neighbours")
NEIGHBOURS = 15
RARE = 1e-9  # probability of a class that a model never saw
SURPRISE = 1e-3  # a smaller probability of the right class counts as this: one row must not decide
PENALTIES = np.logspace(-2, 3, 12)
FEW = 5000  # rows, up to which threads wait for one another more than they work; on a busy machine for minutes
UNHEARD = 0.01  # weight below which a kind is not worth its next training


class Model(Protocol):
    """Anything that predicts: log-probabilities (B, K), or targets (B, 1)."""

    def predict(self, x: FloatArray) -> Predictions: ...  # x (B, D)


@dataclass(frozen=True, eq=False)
class Blend:
    """Several models as one.

    Attributes:
        models: trained apart. weights: of each; sum to 1.
    """

    models: tuple[Model, ...]
    weights: tuple[float, ...]

    def predict(self, x: FloatArray) -> Predictions:
        """(B, K) logarithms of the mean probabilities, or (B, 1) mean targets."""
        predicted = np.stack([model.predict(x) for model in self.models])
        weights = np.array(self.weights)[:, None, None]
        if predicted.shape[2] == 1:
            return np.asarray((weights * predicted).sum(0))
        return np.asarray(np.log((weights * np.exp(predicted)).sum(0)))


@dataclass(frozen=True, eq=False)
class Committee:
    """Members of several kinds, trained on the same rows.

    Attributes:
        members: by kind. weights: by kind; sum to 1.
    """

    members: Mapping[Kind, Model]
    weights: dict[Kind, float]

    def predict(self, x: FloatArray) -> Predictions:
        """(B, K) logarithms of the mean probabilities, or (B, 1) mean targets."""
        heard = tuple(self.members[kind] for kind in self.weights)
        return Blend(heard, tuple(self.weights.values())).predict(x)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A scikit-learn model; K columns whatever classes it saw."""

    model: Any
    outputs: int

    def predict(self, x: FloatArray) -> Predictions:
        rows = x.astype(np.float64)  # in single precision, distances would depend on who else is in the batch
        with _threads(len(x)):
            if self.outputs == 1:
                return np.asarray(self.model.predict(rows), np.float64).reshape(len(x), 1)
            log_p = np.full((len(x), self.outputs), np.log(RARE))
            log_p[:, self.model.classes_] = np.log(np.maximum(self.model.predict_proba(rows), RARE))
            return log_p


@dataclass(frozen=True, eq=False)
class Constant:
    """What can be learned from one class."""

    label: int
    outputs: int

    def predict(self, x: FloatArray) -> Predictions:
        log_p = np.full((len(x), self.outputs), np.log(RARE))
        log_p[:, self.label] = 0.0
        return log_p


def train_members(pool: Pool, kinds: Sequence[Kind], rng: np.random.Generator) -> dict[Kind, Model]:
    """One model of each kind, of table rows (N, D)."""
    x, y = pool.take(np.arange(len(pool)))
    rows = x.astype(np.float64)
    targets = pool.task == "regression"
    outputs, make = (1, _regressor) if targets else (len(pool.classes), _classifier)
    if not targets and len(np.unique(y)) < 2:
        return {kind: Constant(int(y[0]), outputs) for kind in kinds}
    with _threads(len(y)):
        return {kind: Fitted(make(kind, len(y), rng).fit(rows, y), outputs) for kind in kinds}


def _threads(rows: int) -> AbstractContextManager[object]:
    """As many threads as pay for work on so many rows."""
    return one_thread() if rows < FEW else nullcontext()


def _classifier(kind: Kind, n: int, rng: np.random.Generator) -> Any:
    if kind == "linear":
        return LogisticRegression(max_iter=300)
    if kind == "neighbours":
        return KNeighborsClassifier(min(NEIGHBOURS, n), weights="distance")
    seed = int(rng.integers(2**31 - 1))
    return HistGradientBoostingClassifier(max_iter=80, learning_rate=0.1, random_state=seed, early_stopping=False)


def _regressor(kind: Kind, n: int, rng: np.random.Generator) -> Any:
    if kind == "linear":
        return RidgeCV(PENALTIES) if n > 2 else Ridge()  # leaving one out needs others
    if kind == "neighbours":
        return KNeighborsRegressor(min(NEIGHBOURS, n), weights="distance")
    seed = int(rng.integers(2**31 - 1))
    return HistGradientBoostingRegressor(loss="absolute_error", max_iter=120, random_state=seed)


def earned_weights(predicted: dict[Kind, Predictions], y: npt.NDArray[Any]) -> dict[Kind, float]:
    """The say of each kind; kinds below UNHEARD are left out.

    Args:
        predicted: by kind, (n, K) log-probabilities or (n, 1) targets of rows that the models have not seen.
        y: (n,) their labels or targets.
    """
    losses = np.array([_losses(p, y).mean() for p in predicted.values()])
    scale = losses.min() if y.dtype != np.int64 else 1.0  # residuals by Laplace's law: log p = −|r| / scale
    say = np.exp(-(losses - losses.min()) * len(y) / (2 * max(scale, 1e-12)))
    say = np.where(say >= UNHEARD * say.sum(), say, 0.0)
    return {kind: float(s) for kind, s in zip(predicted, say / say.sum(), strict=True) if s > 0}


def _losses(predicted: Predictions, y: npt.NDArray[Any]) -> Predictions:
    """(n,) surprise at each label, at most −log SURPRISE, or absolute residuals."""
    if y.dtype == np.int64:
        return np.asarray(-np.maximum(predicted[np.arange(len(y)), y], np.log(SURPRISE)))
    return np.asarray(np.abs(y - predicted[:, 0]))
