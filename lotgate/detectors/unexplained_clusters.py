"""Unexplained clusters: groups inside a class that trusted rows do not explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.stats import betabinom, binom
from sklearn.mixture import GaussianMixture

from lotgate.crossfit import Excess, fit_excess
from lotgate.data import Batch
from lotgate.detector import Detector, Evidence, EvidenceScorer, Scorer, Scores
from lotgate.firmness import hard_to_tell
from lotgate.mixtures import (
    EXPLAINED,
    THIN,
    Mask,
    Vector,
    fisher,
    fit_mixtures,
    members,
    one_thread,
    pooled_evidence,
    principal_axes,
    size_p_value,
    trusted_part,
)
from lotgate.probe import Probe

UNSURE = 1.5  # standard errors; n trusted rows place a quantile to within about this over √n
EXCESS = 0.1  # share of trusted rows whose excess confidence counts as large
WORTH = 20.0  # rows that the strange share of a class is worth in each group of a table: groups differ by nature
STRANGE = 0.01  # p-value of the excess from which on members without any are spared
MIXED = 0.2  # clean share of a group from which on only its strange members are accused
FEW = 15  # trusted rows of a class, below which they may lie anywhere but where a group is
EXPLAINED_FEW = 0.1  # the p-value of its size that explains a group in such a class
SIZE_PAYS, BOTH_PAY = 1.25, 5.0  # for being asked twice: the parts of the error are 4 / 5 and 1 / 5
CREDIBLE = 0.75  # contradicted share from which on a group of images, or of a shifted lot, is poison and no style
SURE = 0.002  # p-value up to which a group of a table counts whose labels models do not know
LEAST = 2.0  # robust standard deviations below the median of a group, where those begin that do not belong


class UnexplainedClusters(Detector):
    """Gaussian mixtures per class, over lot and trusted rows: which components hold too few trusted rows?

    Catches:
        Backdoors whose rows form one or several groups of their own inside a class, also where the group is a small
        part of the class; groups of junk under one label. Of images only those whose labels are wrong.
    Misses:
        Poison without company: label flips and all-to-all poison spread over the clean rows; a handful of poisons.
    Assumes:
        The probe learned the trigger; trusted rows of each class are drawn like the clean rows of the lot. It learned
        from trusted rows too, so that clean rows of both kinds lie alike. Where the lot is not drawn like them
        (lotgate.shift), only groups whose labels models of trusted rows contradict are accused.
    Method:
        Per class, features (N, D) of lot and trusted rows → principal components (N, n) → Gaussian mixtures of
        k components, for each k in `clusters` that leaves 2n rows to a component. For component j with share π_j of
        the lot's rows and n_j of them:
        p_size = P(Bin(n_t, π_j / tolerance) ≤ k_j), k_j of the class's n_t trusted rows;
        p_excess = P(Bin(n_j, r_j) ≥ e_j), of tables P(BetaBin(n_j, m r_j, m (1 − r_j)) ≥ e_j) with m twenty and the
        trusted rows of the component (where labels are noisy, groups differ in excess by nature, and of tables nothing
        else speaks for it); e_j rows whose excess confidence, over learned models and probe, is above that of nine in
        ten trusted rows (lotgate.crossfit; half a lot may teach its trigger badly, the probe has all of it: it saw the
        row, but trusted rows as well); r_j = max(.1 · allowance + 1.5 / √(all trusted rows), the share of such rows
        among the trusted rows of the class and 1.5 standard errors more, the share among those of the component).
        A group that trusted rows explain (p_size > .5; .1 where the class has under 15 of them, which rarely lie where
        its hard rows are) has p_excess = 1: a class may be strange as such.
        Fisher: p_both = P(χ²₄ ≥ −2 ln p_size − 2 ln p_excess); p_j = min(1.25 p_size, 5 p_both), a Bonferroni bound
        whose small part goes to the one that is tiny where it says anything. A row is in one component of each mixture
        and scores −log₁₀ of the harmonic mean of their p_j: a group that is there however the class is cut pays once,
        one that a single mixture sees |clusters| times. Where the excess accuses, members with less than trusted rows
        mostly have, or far less than their group, are spared; where trusted rows say that a quarter or more of the
        group is clean, all but the strange ones. Where only the size accuses and the group has more than a tenth of the
        trusted rows that it should have, p_j = 1: clean rows are in it, and nothing tells which. Of images p_j = 1
        unless models of trusted rows contradict the labels of three quarters of the members: the probe gives a rare
        style a place of its own too. In a shifted lot this holds of tables as well, and only the contradicted members
        are accused. Where models of trusted rows contradict more than a quarter of a table's labels, rows that they
        get wrong lie together by nature, and a row scores only where the mean of its p_j is at most .002; in a shifted
        lot none does. The decision rule (lotgate.findings) pays for the many groups: one that holds a share π of the
        lot needs p_j ≤ π · rate; and it asks this detector last, about groups of which the others left most.
    Cost:
        |clusters| mixtures per class on (N_c, n).
    Source:
        Own. The idea that a poisoned group is over-represented in the untrusted rows: Tang et al., USENIX Security 2021
        (SCAn), section 4. Harmonic mean of dependent p-values: Wilson, PNAS 116, 2019.
    Differs:
        From SCAn: no index over classes, which cannot fire where there are two; no shared covariance; several groups.
    """

    name: ClassVar = "unexplained_clusters"
    modalities: ClassVar = frozenset({"image", "table"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"trusted", "probe", "crossfit"})
    needs_contradiction: ClassVar = True
    reason: ClassVar = "it belongs to a group inside its class that hardly any trusted sample resembles"

    components: Annotated[int, Field(ge=1, le=256)] = 8
    clusters: tuple[Annotated[int, Field(ge=2, le=20)], ...] = (2, 3, 4, 6)
    tolerance: Annotated[float, Field(ge=1)] = 1.3
    allowance: Annotated[float, Field(ge=1, le=9)] = 3.0
    min_rows: Annotated[int, Field(ge=4)] = 20
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        assert evidence.probe is not None  # require() has checked both
        assert evidence.crossfit is not None
        seeds = rng.integers(2**31 - 1, size=len(evidence.suspect.classes))
        vetted = evidence.vetted
        taught = (evidence.crossfit.learned.logits, evidence.probe.logits)
        excess = fit_excess(evidence.crossfit, taught, vetted)
        with one_thread():
            groups = tuple(self._groups(evidence, c, int(seed), excess) for c, seed in enumerate(seeds))
        suspect = evidence.suspect
        hard = suspect.modality == "table" and hard_to_tell(evidence.crossfit.contradicted(suspect))
        return GroupScorer(evidence.probe, excess, groups, _least(hard, evidence.shift.certain), rate=self.rate)

    def _groups(self, evidence: Evidence, c: int, seed: int, excess: Excess) -> ClassGroups | None:
        """The mixtures of one class with a p-value per component; None where there is too little to say."""
        probe, heldout, trusted = evidence.probe, evidence.heldout, evidence.trusted
        assert probe is not None
        assert heldout is not None
        assert trusted is not None
        rows = evidence.suspect.of_class(c)
        vetted = [d.of_class(c) for d in (trusted, heldout)]
        if len(rows) < self.min_rows or not sum(map(len, vetted)):
            return None
        lot = probe.feature_matrix(rows).astype(np.float64)
        known = np.concatenate([probe.feature_matrix(d) for d in vetted if len(d)]).astype(np.float64)
        centre, basis = principal_axes(np.concatenate([lot, known]), self.components)
        if basis.shape[1] == 0:
            return None
        own, known_own = excess.of_all((rows,)), excess.of_all(vetted)  # (N_c,), (n_t,)
        usual = self._usual(known_own, excess, WORTH if evidence.suspect.modality == "table" else np.inf)
        shifted = evidence.shift.certain
        doubted = shifted or evidence.suspect.modality == "image"
        credible = excess.crossfit.contradicted(rows) if doubted else np.ones(len(rows), bool)  # (N_c,)
        found = []
        reduced = np.concatenate([(lot - centre) @ basis, (known - centre) @ basis])
        for mixture, places in fit_mixtures(reduced, self.clusters, seed):
            inside, reference = np.split(places, [len(lot)])
            components = range(mixture.n_components)
            judged = [self._judge(own, inside == j, known_own, reference == j, usual) for j in components]
            p, floors = np.array(judged).T
            believed = np.array([credible[inside == j].sum() > CREDIBLE * (inside == j).sum() for j in components])
            found.append((mixture, np.where(believed, p, 1.0), floors))
        return ClassGroups(centre, basis, tuple(found))

    def _usual(self, known_own: Vector, excess: Excess, worth: float) -> Usual:
        median, large = np.quantile(excess.usual, (0.5, 1 - EXCESS))
        least = EXCESS * self.allowance + UNSURE / np.sqrt(len(excess.usual))
        return Usual(float(median), float(large), allowed_strange(known_own >= large, least), worth)

    def _judge(self, own: Vector, mine: Mask, known_own: Vector, trusted: Mask, usual: Usual) -> tuple[float, float]:
        """The p-value of a component, and the least excess of the members that it accuses.

        Args:
            own, known_own: excess of the class's rows (N_c,) and of its trusted rows (n_t,).
            mine, trusted: which of them are members.
        """
        share, inside, n_trusted = float(mine.mean()), int(trusted.sum()), len(trusted)
        p_size = size_p_value(share, inside, n_trusted, self.tolerance)
        expected = expected_strange(known_own[trusted] >= usual.large, usual.allowed)
        strange = own[mine] >= usual.large
        worth = usual.worth + inside
        p_excess = excess_p_value(strange, expected, worth) if p_size <= explained_from(n_trusted) else 1.0
        p = min(1.0, SIZE_PAYS * p_size, BOTH_PAY * fisher(p_size, p_excess))
        if p_excess >= max(p_size, STRANGE):
            return (p if trusted_part(share, inside, n_trusted) <= THIN else 1.0), -np.inf
        clean = max(clean_share(share, inside, n_trusted), 2 * float((own[mine] < usual.median).mean()))
        return p, usual.large if clean > MIXED else max(usual.median, usual_least(own[mine]))


class Usual(NamedTuple):
    """Excess of trusted rows: their median, what is large, the share of large ones that a class may have, and how many
    rows that is worth in one of its groups.
    """

    median: float
    large: float
    allowed: float
    worth: float = np.inf


@dataclass(frozen=True, eq=False)
class ClassGroups:
    """Mixtures of one class over x ↦ (x − centre) basis, each with p-values and floors of excess per component."""

    centre: Vector
    basis: Vector
    mixtures: tuple[tuple[GaussianMixture, Vector, Vector], ...]


@dataclass(frozen=True, eq=False)
class GroupScorer(EvidenceScorer):
    """A sample scores −log₁₀ of the harmonic mean of the p-values of the components that accuse it; 1 for the rest.

    Attributes:
        least: evidence below which a group says nothing.
    """

    probe: Probe
    excess: Excess
    groups: tuple[ClassGroups | None, ...]
    least: float

    def score(self, batch: Batch) -> Scores:
        scores = np.zeros(len(batch))
        features, excess = self.probe.features(batch).astype(np.float64), self.excess.of(batch)
        for c, groups in enumerate(self.groups):
            mine = np.flatnonzero(batch.y == c)
            if groups is None or not len(mine):
                continue
            reduced = (features[mine] - groups.centre) @ groups.basis
            p_values = np.ones((len(groups.mixtures), len(mine)))
            for own, (mixture, p, floors) in zip(p_values, groups.mixtures, strict=True):
                inside = members(reduced, mixture)
                accused = (inside >= 0) & (excess[mine] >= floors[inside])
                own[accused] = p[inside[accused]]
            scores[mine] = pooled_evidence(p_values)
        return np.where(scores >= self.least, scores, 0.0)


def _least(hard: bool, shifted: bool) -> float:
    """Evidence that a group needs. In a shifted lot all hangs on contradictions, which where models do not know a table
    come to what is new as well.
    """
    if not hard:
        return 0.0
    return float("inf") if shifted else float(-np.log10(SURE))


def allowed_strange(trusted: npt.NDArray[np.bool_], least: float) -> float:
    """Share of strange rows to allow in a class whose trusted rows are these: a rare class may be strange as such."""
    least, n = min(1.0, least), len(trusted) + 2
    share = (int(trusted.sum()) + 2 * least) / n
    return min(1.0, max(least, share + UNSURE * float(np.sqrt(share * (1 - share) / n))))


def expected_strange(trusted: npt.NDArray[np.bool_], least: float) -> float:
    """Share of strange rows to allow in a group whose trusted rows are these, at least `least`: where trusted rows
    are thin on the ground, the lot rightly teaches more.
    """
    return max(least, (int(trusted.sum()) + 2 * least) / (len(trusted) + 2))


def excess_p_value(strange: npt.NDArray[np.bool_], expected: float, worth: float = np.inf) -> float:
    """How well chance explains e strange rows among the n of a group: P(X ≥ e), X ~ Bin(n, expected).

    Args:
        worth: rows that the expectation is worth, for groups differ: X ~ BetaBin(n, worth · expected, worth · (1 −
            expected)).
    """
    n, least = len(strange), int(strange.sum()) - 1
    if not n or expected >= 1:
        return 1.0
    law = binom(n, expected) if np.isinf(worth) else betabinom(n, worth * expected, worth * (1 - expected))
    return float(law.sf(least))


def explained_from(n_trusted: int) -> float:
    """The p-value of its size from which on a group counts as explained, in a class of so many trusted rows."""
    return EXPLAINED if n_trusted >= FEW else EXPLAINED_FEW


def clean_share(share: float, inside: int, n_trusted: int) -> float:
    """About how much of a group with that share of the class is clean: trusted rows have (k + 1) / (n_t + 2) there."""
    return min(1.0, (inside + 1) / (n_trusted + 2) / share)


def usual_least(excess: Vector) -> float:
    """What members of one kind would mostly exceed: their median less LEAST robust standard deviations."""
    median = float(np.median(excess))
    return median - LEAST * 1.4826 * float(np.median(np.abs(excess - median)))
