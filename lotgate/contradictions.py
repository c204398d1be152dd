"""How often models contradict clean labels, told from a lot that may hold changed ones: by how sure they are.

A score is the log-odds of another class against the label; its size is how sure the models are of the row, whatever its
label says. Of rows of size a, clean labels are contradicted with probability

    w(a) = δ + (1 − 2δ) / (1 + exp(a / T)):

calibrated models err with T = 1, overconfident ones with more (Guo, Pleiss, Sun, Weinberger, ICML 2017, section 4.2),
means of several networks with less, and a share δ of clean labels is contradicted however sure they are. In the lot a
share ε was changed besides, as in logistic regression with noisy labels (Bootkrajang & Kabán, ECML PKDD 2012). A few
held-out rows say little about any of it, hundreds of rows on trial, most of them clean, say much: contradictions that
get rarer where models are surer are their errors, those that do not are changed labels, or clean ones by as much as
held-out rows leave open about δ. All that both leave open about T, δ and ε is averaged over; of trusted rows alone,
which are asked for their own wrong labels, lotgate.vetting takes the likeliest T and share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logsumexp

Floats = npt.NDArray[np.float64]

FLOORS = np.array([0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08])  # δ
STEPS = np.exp(np.linspace(-np.log(4), np.log(4), 13))  # T, over its median
SHARES = np.array([0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])  # ε
CLEAN = 0.5  # probability of ε = 0; the other shares are as likely as each other


class Prior(NamedTuple):
    """What is believed of models and clean labels before a lot is seen, and when it is heard.

    Attributes:
        fewest, enough: held-out rows between which a lot is heard: fewer are no witness, more need none.
        temperature, spread: median of T, and standard deviation of log T.
        floors: probability of each of FLOORS.
    """

    fewest: int
    enough: int
    temperature: float
    spread: float
    floors: tuple[float, ...]

    @property
    def temperatures(self) -> Floats:
        return np.asarray(self.temperature * STEPS)

    def hears_lot(self, heldout: int) -> bool:
        """Whether a lot has something to say beside so many held-out rows."""
        return self.fewest <= heldout < self.enough


PRIORS = {  # by modality; why: decisions 47 and 48
    "table": Prior(15, 100, temperature=1.0, spread=0.5, floors=(0.25, 0.15, 0.15, 0.15, 0.15, 0.1, 0.05)),
    "image": Prior(10, 80, temperature=0.6, spread=0.6, floors=(0.55, 0.15, 0.12, 0.1, 0.05, 0.02, 0.01)),
}


@dataclass(frozen=True, eq=False)
class Contradictions:
    """How sure models are of the rows of a lot, and what is believed of w.

    Attributes:
        sizes: (N,) ascending |s| of the lot's rows, N ≥ 1.
        floor: mean δ.
        temperatures, slopes: (t,) T, and mean 1 − 2δ at each, times its probability.
    """

    sizes: Floats
    floor: float
    temperatures: Floats
    slopes: Floats

    def p_value(self, scores: Floats) -> Floats:
        """(B,) in (0, 1]: how often a clean row of this lot would score at least this, and ½ or more where models agree
        with the label; never increases with the score.

        One more row is counted that is as sure as the one that is asked about.
        """
        sizes, rows = np.abs(scores), len(self.sizes)
        against = self._from[np.searchsorted(self.sizes, sizes, side="left")] + self.contradicted(sizes)
        surer = rows - np.searchsorted(self.sizes, sizes, side="right")
        return np.asarray(np.where(scores > 0, against / (rows + 1), 1 - surer / (2 * (rows + 1))))

    def threshold(self, rate: float) -> float:
        """The score, 0 or one of the lot's, above which the lot's rows have p-values up to `rate`."""
        often = self.sizes[self.p_value(self.sizes) > rate]
        return float(often[-1]) if len(often) else 0.0

    def contradicted(self, sizes: Floats) -> Floats:
        """(B,) mean w of sizes (B,)."""
        return np.asarray(self.floor + expit(-sizes[:, None] / self.temperatures) @ self.slopes)

    @cached_property
    def _from(self) -> Floats:
        """(N + 1,) clean labels of the lot's rows from each size on that are contradicted."""
        return np.concatenate([np.cumsum(self.contradicted(self.sizes)[::-1])[::-1], [0.0]])


def contradictions(heldout: Floats, lot: Floats, prior: Prior) -> Contradictions:
    """From the scores of held-out clean rows (n,) and of the rows on trial (N,), N ≥ 1, by the same models."""
    weights = _posterior(heldout, lot, prior)
    floor, slopes = float(weights.sum(axis=0) @ FLOORS), weights @ (1 - 2 * FLOORS)
    return Contradictions(np.sort(np.abs(lot)), floor, prior.temperatures, slopes)


def _posterior(heldout: Floats, lot: Floats, prior: Prior) -> Floats:
    """(temperatures, floors) probability of each pair, whatever the share of changed labels."""
    before = np.log(np.where(SHARES == 0, CLEAN, (1 - CLEAN) / (len(SHARES) - 1)))
    known = np.log(prior.floors)[None, :, None] + before - (np.log(STEPS)[:, None, None] / prior.spread) ** 2 / 2
    either = FLOORS[:, None] + SHARES - 2 * FLOORS[:, None] * SHARES  # a changed label that is also wrong is right
    for i, temperature in enumerate(prior.temperatures):
        held = _log_likelihood(heldout, temperature, FLOORS)
        known[i] += held[:, None] + _log_likelihood(lot, temperature, either.ravel()).reshape(either.shape)
    return np.asarray(np.exp(known - logsumexp(known)).sum(axis=2))


def _log_likelihood(scores: Floats, temperature: float, floors: Floats) -> Floats:
    """(m,) Σ log P(contradicted or not | |s|) by each of the floors (m,)."""
    error, against = expit(-np.abs(scores) / temperature), scores > 0
    wrong = (floor + (1 - 2 * floor) * error for floor in floors)  # one by one: a lot may have a million rows
    return np.array([np.log(np.where(against, w, 1 - w)).sum() for w in wrong])
