"""Disagreement: what rows that were not looked at say about a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from lotgate.calibration import calibrate, in_each_class
from lotgate.committee import KINDS, Blend, Committee, Kind, Model, Predictions, earned_weights, train_members
from lotgate.crossfit import Ensemble, by_fold, contradiction, outside
from lotgate.data import Batch, Dataset, Pool
from lotgate.detector import SCAN_BATCH, CalibratedScorer, Detector, Evidence, Scorer, Scores, calibrated, score_all
from lotgate.errors import InputError
from lotgate.machines import train_machines
from lotgate.probe import Probe, ProbeSettings, train_probe
from lotgate.residuals import UsualResidual, usual_residual
from lotgate.tails import EXPONENTIAL, RESIDUALS

MOVED = 0.125  # of an image's side, by which images are moved in training: what they show is what counts
FEW = 1000  # trusted rows, up to which a single model of them errs in whole regions of a table
Rate = Annotated[float, Field(gt=0, lt=0.9)]
Predict = Callable[[Batch], Predictions]
Members = Mapping[Kind, Model]


class Disagreement(Detector):
    """How firmly models that never saw a sample contradict its label or its target.

    Catches:
        Label flips (random, pairwise, near the margin), pulled regression targets, dirty-label poison whose
        trigger the models did not learn, out-of-distribution rows under a label that does not fit.
    Misses:
        Backdoors that the lot itself teaches (the models outside the fold learn the trigger too), clean-label poison.
        With fewer than 100 trusted rows of a table, 80 of images: changed labels beside as many that were wrong all
        along, and so many that models which learned from them as often expect to be contradicted. Changed labels in a
        class of images with fewer than ten trusted ones of which more than two in five look odd.
    Assumes:
        Most of the lot is clean; trusted rows are drawn like the clean rows of the lot.
    Method:
        Lot and trusted rows are cut into folds by a checksum of the sample id. Model f is trained on both outside fold
        f, and scores the rows inside, so suspect and trusted rows are treated alike.
        Classes: s = max_{c ≠ y} log p_f(c | x) − log p_f(y | x).
        Targets: s = |y − ŷ_f(x)| in units of the median residual of believed rows with predictions like it
        (lotgate.residuals). Trusted rows, each held out from the model that scores it, give p-values; a tail of
        log-odds may be as light as an exponential one, that of residuals is averaged over all that the rows leave open
        (lotgate.tails), with fewer than 200 trusted ones also over what the lot's rows do, which count as 20 at most
        and may be contaminated (lotgate.contamination). Where models agree with the label (s ≤ 0), p ≥ ½, however sure
        they are of trusted rows. The first models see trusted rows only; then suspect rows join them, but none with p ≤
        drops[i], and the models are trained again: poison teaches little, good rows teach much. Of a table, the first
        models of fold f say which suspect rows outside f join all trusted ones there, so no trusted row chooses what
        its own judge learns, as no suspect row can (of classes with up to 1,000 trusted rows, half their say has one of
        all these trusted rows, half those of the rows outside another fold, too); later, and of images, trusted rows
        are trimmed alike. A table's models are committees of trees, a linear model and nearest neighbours, weighted by
        what they make of trusted rows they have not seen (lotgate.committee). Images start from the sifted models of
        lotgate.crossfit, in its two folds, which stand for the first two rounds; in the last ones images are moved by
        up to an eighth of their side, at random. After them come machines in `folds` folds (lotgate.machines): logistic
        regressions on words of small windows, which know more of a few hundred images. log p_f is half the machines', a
        quarter the sifted and a quarter the last networks'. In a lot drawn like the trusted rows, the most contradicted
        rows of a class are accused together where they are too many beside its trusted ones (p ≤ .005 for all classes;
        lotgate.surplus); rows that are accused singly are not counted. Single rows of a table are accused only where
        those with s > 0 stand out: at most a quarter of the lot, and a quarter of them contradicted as firmly as half
        of the others are confirmed; or where they are more than trusted rows explain (p ≤ .005) and models of trusted
        rows alone contradict the lot oftener, too (p ≤ .05). Else it is the models that do not know (lotgate.firmness).
        Where nobody is accused so, of a table with 15 to 99 trusted rows, or of images with 10 to 79, that the lot is
        drawn like, p is how often models as sure as these contradict a clean label as firmly: the lot tells it,
        explained as clean or as partly changed (lotgate.contradictions). Of images in a lot that is not drawn like the
        trusted rows, on which models err oftener, only those count that are contradicted as firmly as nine of ten
        others are confirmed. Of a class with fewer than ten trusted images it says nothing where more than two in five
        of the lot's have p ≤ .05: models may not know all that the class is (lotgate.calibration.uncovered). Nor is
        a surplus counted in a class with fewer than ten trusted rows.
    Cost:
        Tables: folds × (1 + |drops|) committees on (folds − 1) / folds of the rows, the first on trusted rows only, and
        of few of these folds × (folds − 1) / 2 smaller ones; kinds that earned no say there are not trained again.
        Images: two trainings of a small network of its own, on the probe's device, on half of the rows, one product of
        all windows with 256 words, and `folds` logistic regressions of 2,304 features; 15 s for 2,000 photographs in
        ten classes on one core.
    Source:
        Out-of-fold confident learning: Northcutt, Jiang, Chuang, JAIR 2021, section 3; trimming rounds: Jagielski et
        al., IEEE S&P 2018 (TRIM); words of windows: Coates, Ng, Lee, AISTATS 2011, section 3; a surplus: Durbin,
        Distribution Theory for Tests Based on the Sample Distribution Function, 1973, section 2; contradictions beside
        noisy labels: Bootkrajang, Kabán, ECML PKDD 2012.
    Differs:
        No joint noise matrix and no poison rate: scores are compared with those of trusted rows. Rows are
        trimmed by p-value, not to an assumed number of clean ones.
    """

    name: ClassVar = "disagreement"
    modalities: ClassVar = frozenset({"image", "table"})
    tasks: ClassVar = frozenset({"classification", "regression"})
    needs: ClassVar = frozenset({"trusted"})
    crossfitted: ClassVar = True
    uncovered: ClassVar = 0.4  # a backdoor gathers in one class: a twentieth of ten classes is a third of its target
    counts_surplus: ClassVar = True
    log_odds: ClassVar = True
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
            raise _too_few()
        vetted = (trusted, heldout)
        if suspect.modality == "table":
            return self._of_tables(suspect, vetted, rng)
        if crossfit is None:
            raise InputError("disagreement needs crossfit", where="evidence", action="gather all of it anew")
        return self._of_images(suspect, vetted, crossfit.sifted, rng)

    def _of_images(
        self, suspect: Dataset, vetted: Sequence[Dataset], sifted: Ensemble, rng: np.random.Generator
    ) -> DisagreementScorer:
        networks: tuple[Predict, ...] = (sifted.log_p,)
        for drop in self.drops[1:]:
            rows = self._believed(self._scorer(networks[-1]), suspect, vetted, drop)
            networks = (sifted.log_p, self._networks(rows, sifted.probes, rng).log_p)
        seen, everything = partial(_mean, networks), [*vetted, suspect]
        rows = self._believed(self._scorer(seen), suspect, vetted, self.drops[-1]) if self.drops else everything
        machines = train_machines(everything, rows, self.folds, rng)
        return calibrated(self._scorer(partial(_mean, (seen, machines.log_p))), vetted, suspect, EXPONENTIAL)

    def _of_tables(self, suspect: Dataset, vetted: Sequence[Dataset], rng: np.random.Generator) -> DisagreementScorer:
        rows = list(vetted)  # the first models are of trusted rows only
        models = _committees(_first_members(rows, self.folds, rng), vetted)
        for number, drop in enumerate(self.drops):
            scorer = self._table_scorer(models, rows)
            if number or suspect.task == "regression":  # the first round's only tell how far targets usually lie
                rows = self._believed(scorer, suspect, vetted, drop)
            pools = _pools(rows, self.folds) if number else self._vouched_for(models, scorer, suspect, vetted, drop)
            models = _committees(_members(pools, tuple(models[0].weights), rng), vetted)
        scorer = self._table_scorer(models, rows)
        if suspect.task == "classification":
            return calibrated(scorer, vetted, suspect, EXPONENTIAL)
        return calibrated(scorer, vetted, suspect, prior=RESIDUALS)

    def _vouched_for(
        self,
        models: Sequence[Model],
        unseen: DisagreementScorer,
        suspect: Dataset,
        vetted: Sequence[Dataset],
        drop: float,
    ) -> list[Pool]:
        """Per fold, all trusted rows outside it, and of the lot's those that its own model of these does not contradict
        at p ≤ drop, as it would trusted rows.

        Were a suspect row believed by the model that has not seen *its* fold, the judged fold's own trusted rows would
        choose what their judge learns, and agree with themselves through it, as no suspect row can.
        """
        pools = []
        for fold, model in enumerate(models):
            known, lot = outside(vetted, fold, self.folds), outside((suspect,), fold, self.folds)
            own = self._scorer(partial(_answer, model), unseen.usual)
            believed = [self._believed(unseen, part, known, drop, own)[-1] for part in lot]
            pools.append(Pool((*known, *(part for part in believed if len(part)))))
        return pools

    def _scorer(self, predict: Predict, usual: UsualResidual | None = None) -> DisagreementScorer:
        return DisagreementScorer(predict, usual, rate=self.rate)

    def _table_scorer(self, models: Sequence[Model], believed: Sequence[Dataset]) -> DisagreementScorer:
        """Of a model per fold; believed rows tell how far targets usually lie from what these predict."""
        usual = None
        if believed[0].task == "regression":
            usual = usual_residual(_predict_all(models, believed)[:, 0], np.concatenate([d.y for d in believed]))
        return self._scorer(partial(_predict_unseen, models), usual)

    def _believed(
        self,
        scorer: DisagreementScorer,
        suspect: Dataset,
        vetted: Sequence[Dataset],
        drop: float,
        of_lot: DisagreementScorer | None = None,
    ) -> list[Dataset]:
        """All rows but those, of either kind, that are contradicted at p ≤ drop, as trusted rows of their class go; the
        lot's are scored by `of_lot`, where another has not seen them, either.
        """
        rows = (*vetted, suspect)
        scorers = [*(scorer for _ in vetted), of_lot or scorer]
        *known, unknown = scores = [score_all(s, (d,)) for s, d in zip(scorers, rows, strict=True)]
        calibration = calibrate(np.concatenate(known), unknown)
        p_values = [calibration.p_value(s) for s in scores]
        if suspect.task == "classification":
            heldout = np.concatenate(p_values[:-1]), np.concatenate([d.y for d in vetted]), len(suspect.classes)
            p_values = [in_each_class(p, d.y, *heldout) for p, d in zip(p_values, rows, strict=True)]
        return [d.select(d.ids[p > drop]) for d, p in zip(rows, p_values, strict=True)]

    def _networks(self, rows: Sequence[Dataset], like: Sequence[Probe], rng: np.random.Generator) -> Ensemble:
        """Small networks of believed rows, in as many folds as others, and on the device that these were trained on."""
        settings = ProbeSettings(epochs=self.epochs, min_steps=200, moved=MOVED, device=like[0].device)
        return Ensemble(tuple(train_probe(pool, settings, rng, _silent) for pool in _pools(rows, len(like))))


@dataclass(frozen=True, eq=False)
class DisagreementScorer(CalibratedScorer):
    """A sample is scored by models that have not seen it.

    Attributes:
        predict: (B, K) log-probabilities of the classes, or (B, 1) targets, of a batch of B ≥ 1.
        usual: how far targets usually lie from predictions; None for classes.
    """

    predict: Predict
    usual: UsualResidual | None

    @property
    def threshold(self) -> float:
        return max(0.0, super().threshold)

    def score(self, batch: Batch) -> Scores:
        if not len(batch):
            return np.zeros(0)
        predicted = self.predict(batch)
        if self.usual is None:
            return contradiction(predicted, batch.y)
        return self.usual.standardised(predicted[:, 0], batch.y)

    def p_value(self, scores: Scores) -> Scores:
        p_values = super().p_value(scores)
        return np.where(scores > 0, p_values, (1 + p_values) / 2)


def _committees(members: Sequence[Members], vetted: Sequence[Dataset]) -> tuple[Committee, ...]:
    """A committee per fold; `vetted` rows decide who has a say."""
    predicted = {kind: _predict_all([fold[kind] for fold in members], vetted) for kind in members[0]}
    weights = earned_weights(predicted, np.concatenate([d.y for d in vetted]))
    return tuple(Committee(fold, weights) for fold in members)


def _members(pools: Sequence[Pool], kinds: Sequence[Kind], rng: np.random.Generator) -> list[Members]:
    """Per fold, models of these kinds of the rows in its pool."""
    return [train_members(pool, kinds, rng) for pool in pools]


def _first_members(vetted: Sequence[Dataset], n_folds: int, rng: np.random.Generator) -> list[Members]:
    """Per fold, models of the trusted rows outside it. Single classifiers of few rows err in whole regions: half the
    say has one that knows them all, half those that know the rows outside another fold, too.
    """
    whole = _members(_pools(vetted, n_folds), KINDS, rng)
    if vetted[0].task == "regression" or sum(map(len, vetted)) > FEW:
        return whole
    parts: list[list[Members]] = [[] for _ in whole]
    for f, g in combinations(range(n_folds), 2):
        if rows := outside(outside(vetted, f, n_folds), g, n_folds):
            fewer = train_members(Pool(tuple(rows)), KINDS, rng)
            parts[f].append(fewer)
            parts[g].append(fewer)
    return [
        {kind: _blend(own[kind], [p[kind] for p in few]) for kind in KINDS}
        for own, few in zip(whole, parts, strict=True)
    ]


def _blend(whole: Model, parts: Sequence[Model]) -> Model:
    return Blend((whole, *parts), (0.5, *(0.5 / len(parts) for _ in parts))) if parts else whole


def _pools(rows: Sequence[Dataset], n_folds: int) -> list[Pool]:
    """Per fold, the rows outside it; of few rows, all may be inside one."""
    found = [tuple(outside(rows, f, n_folds)) for f in range(n_folds)]
    if not all(found):
        raise _too_few()
    return [Pool(parts) for parts in found]


def _too_few() -> InputError:
    return InputError(
        "disagreement has too few trusted rows", where="trusted set", action="vet some more samples of every class"
    )


def _predict_unseen(models: Sequence[Model], batch: Batch) -> Predictions:
    return by_fold(batch, [model.predict for model in models])


def _answer(model: Model, batch: Batch) -> Predictions:
    return model.predict(batch.x)


def _predict_all(models: Sequence[Model], datasets: Sequence[Dataset]) -> Predictions:
    return np.concatenate([_predict_unseen(models, batch) for d in datasets for batch in d.batches(SCAN_BATCH)])


def _mean(predictions: Sequence[Predict], batch: Batch) -> Predictions:
    """(B, K) mean log-probabilities of models that have not seen the rows: no single one's slip convicts."""
    return np.asarray(np.mean([predict(batch) for predict in predictions], axis=0))


def _silent(words: str) -> None:
    """The probe's progress is of no interest here: several short trainings."""
