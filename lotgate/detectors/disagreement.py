"""Disagreement: what rows that were not looked at say about a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from lotgate.crossfit import FOLDS, SALT, contradiction, log_softmax, outside
from lotgate.data import Batch, Dataset, FloatArray, Pool, fold_of
from lotgate.detector import CalibratedScorer, Detector, Evidence, Scorer, Scores, calibrated, score_all
from lotgate.errors import InputError
from lotgate.probe import Probe, ProbeSettings, forward, train_probe

Rate = Annotated[float, Field(gt=0, lt=0.9)]


class Disagreement(Detector):
    """How firmly models that never saw a sample contradict its label or its target.

    Catches:
        Label flips (random, pairwise, near the margin), pulled regression targets, dirty-label poison whose
        trigger the models did not learn, out-of-distribution rows under a label that does not fit.
    Misses:
        Backdoors that the lot itself teaches (the models outside the fold learn the trigger too), clean-label poison.
    Assumes:
        Most of the lot is clean; trusted rows are drawn like the clean rows of the lot.
    Method:
        Lot and trusted rows are cut into folds by a checksum of the sample id. Model f is trained on both outside fold
        f, and scores the rows inside, so suspect and trusted rows are treated alike.
        Classes: s = max_{c ≠ y} log p_f(c | x) − log p_f(y | x). Targets: s = |y − ŷ_f(x)| / median |residual|.
        Trusted rows, each held out from the model that scores it, give p-values. The first models see trusted rows
        only; then suspect rows join them, but of either kind none with p ≤ drops[i], and the models are trained again:
        poison teaches little, good rows teach much, and suspect rows stay exchangeable with trusted ones, which are
        trimmed alike. Images start from the sifted models of lotgate.crossfit, in its two folds, which stand for the
        first two rounds.
    Cost:
        Tables: folds × (1 + |drops|) gradient-boosted ensembles on (folds − 1) / folds of the rows, the first on
        trusted rows only. Images: two trainings of the probe's network on half of the rows.
    Source:
        Out-of-fold confident learning: Northcutt, Jiang, Chuang, JAIR 2021, section 3; trimming rounds: Jagielski et
        al., IEEE S&P 2018 (TRIM).
    Differs:
        No joint noise matrix and no poison rate: scores are compared with those of trusted rows. Rows are
        trimmed by p-value, not to an assumed number of clean ones.
    """

    name: ClassVar = "disagreement"
    modalities: ClassVar = frozenset({"image", "table"})
    tasks: ClassVar = frozenset({"classification", "regression"})
    needs: ClassVar = frozenset({"trusted"})
    reason: ClassVar = "models trained without it contradict its label"

    folds: Annotated[int, Field(ge=2, le=20)] = 5
    drops: tuple[Rate, ...] = (0.3, 0.02)
    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        suspect, trusted, heldout, crossfit = evidence.suspect, evidence.trusted, evidence.heldout, evidence.crossfit
        assert trusted is not None  # require() has checked both
        assert heldout is not None
        if len(trusted) < 2 or not len(heldout):
            raise InputError(
                "disagreement has too few trusted rows",
                where="trusted set",
                action="vet some more samples of every class",
            )
        vetted = (trusted, heldout)
        if suspect.modality == "image" and crossfit is not None:
            n_folds, drops = FOLDS, self.drops[1:]
            models: tuple[Model, ...] = tuple(NetworkModel(probe) for probe in crossfit.sifted.probes)
        else:
            n_folds, drops = self.folds, self.drops
            models = self._train_folds(vetted, n_folds, rng)  # the first models see trusted rows only
        fitted = self._calibrated(models, vetted)
        for drop in drops:
            kept = [d.select(d.ids[fitted.p_value(score_all(fitted, (d,))) > drop]) for d in (*vetted, suspect)]
            fitted = self._calibrated(self._train_folds(kept, n_folds, rng), vetted)
        return fitted

    def _calibrated(self, models: tuple[Model, ...], vetted: Sequence[Dataset]) -> DisagreementScorer:
        return calibrated(DisagreementScorer(models, _residual_scale(models, vetted), rate=self.rate), vetted)

    def _train_folds(self, rows: Sequence[Dataset], n_folds: int, rng: np.random.Generator) -> tuple[Model, ...]:
        return tuple(self._train(Pool(tuple(outside(rows, f, n_folds))), rng) for f in range(n_folds))

    def _train(self, pool: Pool, rng: np.random.Generator) -> Model:
        if len(pool.shape) == 3:
            return NetworkModel(train_probe(pool, ProbeSettings(epochs=self.epochs, min_steps=200), rng, _silent))
        x, y = pool.take(np.arange(len(pool)))
        seed = int(rng.integers(2**31 - 1))
        if pool.task == "regression":
            trees = HistGradientBoostingRegressor(loss="absolute_error", max_iter=120, random_state=seed)
            return TreesModel(trees.fit(x, y), 1)
        if len(np.unique(y)) < 2:
            return ConstantModel(int(y[0]), len(pool.classes))
        trees = HistGradientBoostingClassifier(max_iter=80, learning_rate=0.1, random_state=seed, early_stopping=False)
        return TreesModel(trees.fit(x, y), len(pool.classes))


class Model(Protocol):
    """Anything that predicts: log-probabilities (B, K), or targets (B, 1)."""

    def predict(self, x: FloatArray) -> npt.NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class TreesModel:
    """Gradient-boosted trees; K columns whatever classes they saw."""

    trees: Any
    outputs: int

    def predict(self, x: FloatArray) -> npt.NDArray[np.float64]:
        if self.outputs == 1:
            return np.asarray(self.trees.predict(x), np.float64)[:, None]
        log_p = np.full((len(x), self.outputs), np.log(1e-9))
        log_p[:, self.trees.classes_] = np.log(np.maximum(self.trees.predict_proba(x), 1e-9))
        return log_p


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """The probe's network."""

    probe: Probe

    def predict(self, x: FloatArray) -> npt.NDArray[np.float64]:
        return log_softmax(forward(self.probe.network, x, self.probe.device)[1])


@dataclass(frozen=True, eq=False)
class ConstantModel:
    """What can be learned from one class."""

    label: int
    outputs: int

    def predict(self, x: FloatArray) -> npt.NDArray[np.float64]:
        log_p = np.full((len(x), self.outputs), np.log(1e-9))
        log_p[:, self.label] = 0.0
        return log_p


@dataclass(frozen=True, eq=False)
class DisagreementScorer(CalibratedScorer):
    """One model per fold; a sample is scored by the model of its own fold, which has not seen it.

    Attributes:
        scale: median absolute residual of trusted rows, in units of the target; 1 for classes.
    """

    models: Sequence[Model]
    scale: float

    def score(self, batch: Batch) -> Scores:
        folds = fold_of(batch.ids, len(self.models), SALT)
        scores = np.zeros(len(batch))
        for f, model in enumerate(self.models):
            mine = np.flatnonzero(folds == f)
            if len(mine):
                scores[mine] = disagreement(model.predict(batch.x[mine]), batch.y[mine], self.scale)
        return scores


def disagreement(predicted: npt.NDArray[np.float64], y: npt.NDArray[Any], scale: float) -> Scores:
    """(B,) log-odds of the best other class against the label, or the absolute residual in units of `scale`.

    Args:
        predicted: (B, K) log-probabilities, or (B, 1) targets.
    """
    return contradiction(predicted, y) if y.dtype == np.int64 else np.asarray(np.abs(y - predicted[:, 0]) / scale)


def _residual_scale(models: Sequence[Model], vetted: Sequence[Dataset]) -> float:
    if vetted[0].task == "classification":
        return 1.0
    return float(np.median(score_all(DisagreementScorer(models, 1.0, rate=0.5), vetted))) or 1.0


def _silent(words: str) -> None:
    """The probe's progress is of no interest here: several short trainings."""
