"""Detector, Evidence, Scorer, and scan(): measuring suspicion, which is not yet judging it.

A detector is a frozen set of parameters. `fit` looks at the evidence and returns a scorer; the scorer scores any
batch, now or later. There is no field for ground truth anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from lotgate.calibration import NO_SCORES, Calibration, calibrate, class_inflation, fit_null, in_each_class, uncovered
from lotgate.contradictions import PRIORS, contradictions
from lotgate.crossfit import CrossFit
from lotgate.data import Batch, Dataset, Modality, Task
from lotgate.errors import InputError
from lotgate.findings import P_OF_CLASS, findings_frame
from lotgate.firmness import any_alone, beyond_chance, firm, hard_to_tell, oftener_contradicted, stand_out
from lotgate.probe import Probe
from lotgate.shift import NO_SHIFT, Shift
from lotgate.statements import Statement, statement_of
from lotgate.surplus import Ranked, of_surplus
from lotgate.tails import LIGHTEST, Belief

Need = Literal["trusted", "probe", "twin", "crossfit"]
Scores = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SCAN_BATCH = 512


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything a detector may look at.

    Attributes:
        suspect: the samples on trial, readable and with known labels.
        trusted: vetted reference rows, which models may be trained on; None without a trusted set.
        heldout: vetted rows that the twin was not trained on: they calibrate. None without a trusted set.
        probe: the model trained on all three datasets alike, with its feature maps over them.
        twin: the same model trained on `trusted` only; None without a trusted set.
        crossfit: models of lot and trusted rows that answer for rows they never saw; classification with a trusted
            set only, else None.
        shift: whether the lot is drawn like the trusted rows; none is known where there is no crossfit.
        statements: what those that a detector `hears` scored lot and trusted rows, by name.
    """

    suspect: Dataset
    trusted: Dataset | None = None
    heldout: Dataset | None = None
    probe: Probe | None = None
    twin: Probe | None = None
    crossfit: CrossFit | None = None
    shift: Shift = NO_SHIFT
    statements: Mapping[str, Statement] = field(default_factory=dict)

    @property
    def vetted(self) -> tuple[Dataset, ...]:
        """The trusted rows, in as many parts as hold any."""
        return tuple(part for part in (self.trusted, self.heldout) if part is not None and len(part))


class Scorer(Protocol):
    """What a fitted detector knows. `p_value` never increases with the score; flagged means score > threshold.

    One that can name what its groups share has it in words as `notes`, which the decision quotes.
    """

    @property
    def threshold(self) -> float: ...

    def score(self, batch: Batch) -> Scores:
        """(B,) suspicion of each sample, higher is more suspicious; a sample's score depends on it alone."""

    def p_value(self, scores: Scores) -> Scores:
        """(B,) in (0, 1]: how often a clean sample would score at least this, from held-out trusted rows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibratedScorer(ABC):
    """What scorers share whose p-values come from the scores of clean rows; see `calibrated`.

    Attributes:
        rate: how often a clean row exceeds the threshold.
        calibration: of clean rows' scores; None until there are any.
    """

    rate: float
    calibration: Calibration | None = None

    @property
    def threshold(self) -> float:
        return self._known().threshold(self.rate)

    @abstractmethod
    def score(self, batch: Batch) -> Scores: ...

    def p_value(self, scores: Scores) -> Scores:
        return self._known().p_value(scores)

    def _known(self) -> Calibration:
        if self.calibration is None:
            raise ValueError(f"{type(self).__name__} was asked before it was calibrated")
        return self.calibration


@dataclass(frozen=True, eq=False, kw_only=True)
class EvidenceScorer(ABC):
    """What scorers share that score −log₁₀ of a p-value.

    Attributes:
        rate: the p-value up to which a row is flagged.
    """

    rate: float

    @property
    def threshold(self) -> float:
        return float(-np.log10(self.rate))

    @abstractmethod
    def score(self, batch: Batch) -> Scores: ...

    def p_value(self, scores: Scores) -> Scores:
        return np.asarray(np.power(10.0, -scores))


S = TypeVar("S", bound=CalibratedScorer)


def calibrated(
    scorer: S,
    clean: Sequence[Dataset],
    lot: Dataset | None = None,
    lightest: float = LIGHTEST,
    prior: Belief | None = None,
) -> S:
    """The scorer, calibrated on its own scores of clean rows, with those of the lot to tell the shape of their tail;
    see lotgate.calibration.calibrate.
    """
    inside = NO_SCORES if lot is None else score_all(scorer, (lot,))
    known = calibrate(score_all(scorer, clean), inside, lightest=lightest, prior=prior)
    return replace(scorer, calibration=known)


def score_all(scorer: Scorer, datasets: Sequence[Dataset]) -> Scores:
    """(N,) scores of all rows of the datasets, one after the other."""
    return np.concatenate([scorer.score(batch) for d in datasets for batch in d.batches(SCAN_BATCH)])


class Detector(BaseModel):
    """A named way to measure suspicion. Fields are parameters; the docstring has the fixed headings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    modalities: ClassVar[frozenset[Modality]]
    tasks: ClassVar[frozenset[Task]]
    needs: ClassVar[frozenset[Need]]
    reason: ClassVar[str]
    """Why a flagged sample is suspicious, as a clause a process engineer understands."""
    own_null: ClassVar[bool] = False
    """Whether, in a lot that is not drawn like the trusted rows, p-values are corrected by the lot's empirical null."""
    crossfitted: ClassVar[bool] = False
    """Whether models that have not seen them score all trusted rows, not only the held-out half: all of them then tell
    in which classes p-values are too small."""
    counts_surplus: ClassVar[bool] = False
    """Whether, in a lot that is drawn like the trusted rows, what it says of a class as a whole counts too; see
    lotgate.surplus. For cross-fitted ones."""
    log_odds: ClassVar[bool] = False
    """Whether scores are log-odds against a label. In a table it then says something of single rows only where those
    that it contradicts stand out (lotgate.firmness), or are more than trusted rows explain. For cross-fitted ones."""
    needs_contradiction: ClassVar[bool] = False
    """Whether, in such a lot, it says nothing against labels that models of trusted rows do not contradict."""
    uncovered: ClassVar[float] = 1.0
    """Of a class of images with few trusted ones: share of odd ones beyond which they are taken for a kind that these
    do not show, and nothing is said of the class (lotgate.calibration.uncovered). For cross-fitted ones."""
    hears: ClassVar[tuple[str, ...]] = ()
    """Detectors whose statements it weighs: they judge before it."""

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        """Learns from the evidence; keeps nothing on the detector itself.

        Raises:
            InputError: evidence that `needs` or `hears` names is missing, or there is too little of it.
        """
        raise TypeError(f"{type(self).__name__} does not say how it fits")

    def applies_to(self, dataset: Dataset) -> bool:
        """Whether this detector was made for such data."""
        return dataset.modality in self.modalities and dataset.task in self.tasks

    def require(self, evidence: Evidence) -> None:
        """Raises InputError naming what is missing from the evidence."""
        needs = self.needs | ({"heldout"} if "trusted" in self.needs else set())
        absent = sorted(need for need in needs if getattr(evidence, need) is None)
        unheard = [f"the statement of {name}" for name in self.hears if name not in evidence.statements]
        if missing := [*absent, *unheard]:
            remedy = "give a trusted set (--trusted)" if absent else "see why there is none"
            raise InputError(
                f"{self.name} needs {', '.join(missing)}",
                where="evidence",
                action=f"{remedy}, or take the detector out of `policy.voters`",
            )


def scan(detector: Detector, evidence: Evidence, rng: np.random.Generator) -> pd.DataFrame:
    """Fits the detector and scores every suspect sample: one finding per sample.

    Returns:
        Findings with columns sample_id, detector, score, p_value, flagged (see `findings_frame`).
    """
    detector.require(evidence)
    return judge(detector, detector.fit(evidence, rng), evidence).findings


class Judgement(NamedTuple):
    """What a fitted detector says of a lot.

    Attributes:
        findings: one per sample (see `findings_frame`).
        threshold: the score above which samples are flagged: the scorer's, unless the lot tells its p-values.
        unjudged: names of the lot's classes whose single samples it says nothing of (p = 1): most of their trusted rows
            look odd to it, too, or they are too few to show all kinds (lotgate.calibration.class_inflation, uncovered),
            or its models contradict too many labels.
        statement: what it scored the lot's and all trusted rows; None where its models have seen these.
    """

    findings: pd.DataFrame
    threshold: float
    unjudged: tuple[str, ...] = ()
    statement: Statement | None = None


def judge(detector: Detector, scorer: Scorer, evidence: Evidence) -> Judgement:
    """Findings of the detector's fitted scorer over the suspect samples, with p-values that are right in each class and
    in a shifted lot; with P_OF_CLASS, where the detector counts a surplus and the lot is drawn like the trusted rows.
    """
    findings, shifted = score_dataset(detector.name, scorer, evidence.suspect), evidence.shift.certain
    unseen = _unseen(detector, evidence)
    scores = score_all(scorer, unseen) if unseen else NO_SCORES
    lot, known = _beside_trusted(findings["p_value"].to_numpy(np.float64), scorer, scores, unseen, evidence)
    scored = findings["score"].to_numpy(np.float64)
    p_values = in_shifted_lot(lot.p_values, scored, detector, evidence) if shifted else lot.p_values
    findings = findings.assign(p_value=p_values)
    if known is None:
        return Judgement(findings, scorer.threshold)
    unknown = _unknown(known, evidence.suspect)
    if detector.log_odds and _knows_nothing(scored, lot, known, evidence):
        findings = findings.assign(p_value=1.0)
        unknown = unknown | hard_to_tell(scored > 0)
    threshold = scorer.threshold
    if detector.log_odds and _asks_the_lot(scored, findings["p_value"].to_numpy(), known, evidence):
        assert isinstance(scorer, CalibratedScorer)  # those of log-odds are, and know how often to flag
        told, threshold = _as_the_lot_tells(scored, scores, lot.y, known.y, scorer.rate, evidence)
        findings = findings.assign(p_value=told, flagged=scored > threshold)
    silent = _uncovered(detector, findings["p_value"].to_numpy(), lot.y, known.y, evidence.suspect)
    findings = findings.assign(p_value=np.where(silent[lot.y], 1.0, findings["p_value"]))
    unjudged = _names(unknown | silent, evidence.suspect)
    if detector.counts_surplus and not shifted:
        findings = findings.assign(**{P_OF_CLASS: of_surplus(lot, known)})
    statement = None
    if detector.crossfitted:
        parts = np.split(scores, np.cumsum([len(d) for d in unseen])[:-1])
        statement = statement_of([(evidence.suspect, findings["score"].to_numpy()), *zip(unseen, parts, strict=True)])
    return Judgement(findings, threshold, unjudged, statement)


def _knows_nothing(scores: Scores, lot: Ranked, known: Ranked, evidence: Evidence) -> bool:
    """Whether rows of a table are contradicted because models do not know their labels."""
    if evidence.suspect.modality != "table" or evidence.suspect.task != "classification" or stand_out(scores):
        return False
    return evidence.shift.certain or not (beyond_chance(lot, known) and _oftener_contradicted(evidence))


def _asks_the_lot(scores: Scores, p_values: Scores, known: Ranked, evidence: Evidence) -> bool:
    """Whether there are few trusted rows, by which nobody is accused singly, and models that know most labels."""
    if evidence.suspect.task != "classification" or evidence.shift.certain:
        return False
    few = PRIORS[evidence.suspect.modality].hears_lot(len(known.y))
    return few and not hard_to_tell(scores > 0) and not any_alone(p_values)


def _as_the_lot_tells(
    scores: Scores,
    known: Scores,
    y: npt.NDArray[np.int64],
    known_y: npt.NDArray[np.int64],
    rate: float,
    evidence: Evidence,
) -> tuple[Scores, float]:
    """(N,) p-values of the suspect samples by lotgate.contradictions, right in each class, and its threshold."""
    law = contradictions(known, scores, PRIORS[evidence.suspect.modality])
    p_values = in_each_class(law.p_value(scores), y, law.p_value(known), known_y, len(evidence.suspect.classes))
    return p_values, law.threshold(rate)


def _oftener_contradicted(evidence: Evidence) -> bool:
    """The same as lotgate.firmness.oftener_contradicted has it; nobody denies it where there are no such models."""
    if evidence.crossfit is None:
        return True
    vetted = np.concatenate([evidence.crossfit.contradicted(d) for d in evidence.vetted])
    return oftener_contradicted(evidence.crossfit.contradicted(evidence.suspect), vetted)


def _unknown(known: Ranked, suspect: Dataset) -> Mask:
    """(K,) classes that these trusted rows do not tell the usual of; of targets (1,), and never."""
    if suspect.task != "classification":
        return np.zeros(1, bool)
    return np.asarray(np.isinf(class_inflation(known.scored, known.y, len(suspect.classes))))


def _uncovered(
    detector: Detector, p_values: Scores, y: npt.NDArray[np.int64], known_y: npt.NDArray[np.int64], suspect: Dataset
) -> Mask:
    """(K,) classes of images whose trusted ones do not show the detector all kinds that the lot has of them."""
    if (suspect.modality, suspect.task) != ("image", "classification"):
        return np.zeros(max(1, len(suspect.classes)), bool)
    return uncovered(p_values, y, known_y, len(suspect.classes), detector.uncovered)


def _names(classes: Mask, suspect: Dataset) -> tuple[str, ...]:
    """Of those of these classes (K,) that the lot has; none of targets."""
    if suspect.task != "classification":
        return ()
    return tuple(suspect.classes[c] for c in np.unique(suspect.y) if classes[c])


def _unseen(detector: Detector, evidence: Evidence) -> list[Dataset]:
    """The trusted rows that the detector's models have not seen; none where nothing is asked of them: of targets
    without a surplus to count.
    """
    if evidence.suspect.task != "classification" and not detector.counts_surplus:
        return []
    parts = (evidence.heldout, evidence.trusted if detector.crossfitted else None)
    return [part for part in parts if part is not None and len(part)]


def _beside_trusted(
    scored: Scores, scorer: Scorer, scores: Scores, unseen: Sequence[Dataset], evidence: Evidence
) -> tuple[Ranked, Ranked | None]:
    """The suspect samples, whose scores have these p-values, and the unseen trusted rows, which have these scores, both
    with p-values that are right in each class; None where there are no such rows.
    """
    suspect, y = evidence.suspect, _classes((evidence.suspect,))
    if not unseen:
        return Ranked(scored, scored, y), None
    known, known_y = scorer.p_value(scores), _classes(unseen)
    if suspect.task != "classification":
        return Ranked(scored, scored, y), Ranked(known, known, known_y)
    lot, trusted = (
        Ranked(p, in_each_class(p, of, known, known_y, len(suspect.classes)), of)
        for p, of in ((scored, y), (known, known_y))
    )
    return lot, trusted


def _classes(datasets: Sequence[Dataset]) -> npt.NDArray[np.int64]:
    """(N,) class of each row, 0 for all where labels are targets."""
    y = np.concatenate([d.y for d in datasets])
    return np.asarray(y, np.int64) if datasets[0].task == "classification" else np.zeros(len(y), np.int64)


def in_shifted_lot(p_values: Scores, scores: Scores, detector: Detector, evidence: Evidence) -> Scores:
    """(N,) p-values of the suspect samples, which have these scores, as they count in a lot that is not drawn like the
    trusted rows.
    """
    counts = np.ones(len(p_values), bool)
    if detector.log_odds and evidence.suspect.modality == "image":
        counts &= firm(scores)
    if detector.needs_contradiction:
        assert evidence.crossfit is not None  # without it no shift is measured
        counts &= evidence.crossfit.contradicted(evidence.suspect)
    return np.where(counts, fit_null(p_values).p_value(p_values) if detector.own_null else p_values, 1.0)


def score_dataset(name: str, scorer: Scorer, dataset: Dataset) -> pd.DataFrame:
    """Findings of a fitted scorer over a dataset."""
    scores = score_all(scorer, (dataset,))  # (N,)
    return findings_frame(dataset.ids, name, scores, scorer.p_value(scores), scores > scorer.threshold)
