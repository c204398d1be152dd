"""Disagreement: what rows that were not looked at say about a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from lotgate.committee import KINDS, Committee, Kind, Model, Predictions, earned_weights, train_members
from lotgate.crossfit import SALT, contradiction, log_softmax, outside
from lotgate.data import Batch, Dataset, FloatArray, Pool, fold_of
from lotgate.detector import SCAN_BATCH, CalibratedScorer, Detector, Evidence, Scorer, Scores, calibrated, score_all
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
        trimmed alike. A table's models are committees of trees, a linear model and nearest neighbours, weighted by
        what they make of trusted rows they have not seen (lotgate.committee). Images start from the sifted models of
        lotgate.crossfit, in its two folds, which stand for the first two rounds; log p_f is the mean of theirs and the
        last models'.
    Cost:
        Tables: folds × (1 + |drops|) committees on (folds − 1) / folds of the rows, the first on trusted rows only;
        kinds that earned no say there are not trained again. Images: two trainings of the probe's network on half of
        the rows.
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
            sifted = tuple(NetworkModel(probe) for probe in crossfit.sifted.probes)
            last = self._retrained(sifted, self.drops[1:], suspect, vetted, rng)
            return self._calibrated([Together(pair) for pair in zip(sifted, last, strict=True)], vetted)
        first = self._train(vetted, vetted, self.folds, KINDS, rng)  # on trusted rows only
        return self._calibrated(self._retrained(first, self.drops, suspect, vetted, rng), vetted)

    def _retrained(
        self,
        models: tuple[Model, ...],
        drops: Sequence[float],
        suspect: Dataset,
        vetted: Sequence[Dataset],
        rng: np.random.Generator,
    ) -> tuple[Model, ...]:
        """Models of all rows but those that the models before contradict, once for each of `drops`."""
        for drop in drops:
            fitted = self._calibrated(models, vetted)
            kept = [d.select(d.ids[fitted.p_value(score_all(fitted, (d,))) > drop]) for d in (*vetted, suspect)]
            models = self._train(kept, vetted, len(models), _heard(models), rng)
        return models

    def _calibrated(self, models: Sequence[Model], vetted: Sequence[Dataset]) -> DisagreementScorer:
        return calibrated(DisagreementScorer(models, _residual_scale(models, vetted), rate=self.rate), vetted)

    def _train(
        self,
        rows: Sequence[Dataset],
        vetted: Sequence[Dataset],
        n_folds: int,
        kinds: Sequence[Kind],
        rng: np.random.Generator,
    ) -> tuple[Model, ...]:
        """A model per fold, of the rows outside it: a network for images, a committee of these kinds for tables."""
        pools = [Pool(tuple(outside(rows, f, n_folds))) for f in range(n_folds)]
        if len(pools[0].shape) == 3:
            settings = ProbeSettings(epochs=self.epochs, min_steps=200)
            return tuple(NetworkModel(train_probe(pool, settings, rng, _silent)) for pool in pools)
        members = [train_members(pool, kinds, rng) for pool in pools]
        predicted = {kind: _predict_all([fold[kind] for fold in members], vetted) for kind in kinds}
        weights = earned_weights(predicted, np.concatenate([d.y for d in vetted]))
        return tuple(Committee(fold, weights) for fold in members)


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """The probe's network; images are only ever classified."""

    probe: Probe

    def predict(self, x: FloatArray) -> Predictions:
        return log_softmax(forward(self.probe.network, x, self.probe.device)[1])


@dataclass(frozen=True, eq=False)
class Together:
    """Several models of the same fold: the mean of what they predict, so that no single one's slip convicts."""

    models: Sequence[Model]

    def predict(self, x: FloatArray) -> Predictions:
        return np.asarray(np.mean([model.predict(x) for model in self.models], axis=0))


@dataclass(frozen=True, eq=False)
class DisagreementScorer(CalibratedScorer):
    """One model per fold; a sample is scored by the model of its own fold, which has not seen it.

    Attributes:
        scale: median absolute residual of trusted rows, in units of the target; 1 for classes.
    """

    models: Sequence[Model]
    scale: float

    def score(self, batch: Batch) -> Scores:
        return disagreement(predict_unseen(self.models, batch), batch.y, self.scale) if len(batch) else np.zeros(0)


def predict_unseen(models: Sequence[Model], batch: Batch) -> Predictions:
    """(B, K) what the model of each sample's own fold, which has not seen it, predicts; B ≥ 1."""
    folds = fold_of(batch.ids, len(models), SALT)
    mine = [np.flatnonzero(folds == f) for f in range(len(models))]
    predicted = [model.predict(batch.x[rows]) for model, rows in zip(models, mine, strict=True) if len(rows)]
    return np.concatenate(predicted)[np.argsort(np.concatenate(mine))]


def _predict_all(models: Sequence[Model], datasets: Sequence[Dataset]) -> Predictions:
    return np.concatenate([predict_unseen(models, batch) for d in datasets for batch in d.batches(SCAN_BATCH)])


def _heard(models: Sequence[Model]) -> Sequence[Kind]:
    """The kinds that have a say in these committees; those of networks do not matter."""
    return tuple(models[0].weights) if isinstance(models[0], Committee) else KINDS


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
