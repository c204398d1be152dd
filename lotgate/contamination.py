"""How far clean rows go, told from a lot that may be contaminated: a mixture fitted to all its rows beyond a start.

Few held-out rows say little about the tail of clean ones, and may all be small by luck: p-values that are right on
average over such draws are then wrong for most of a lot together. The lot itself knows better, since most of it is
clean, if what is not clean is explained as well. Its exceedances x over the start of the tail follow

    (1 − ε) g(x; σ, ξ) + ε / B,  0 < x ≤ B,

g a generalised Pareto law, which held-out exceedances follow too, and contamination spread evenly up to B, the largest
of either. All that the rows leave open about σ, ξ and ε is averaged over. Neither law is quite right, and a wrong model
learns too fast: the likelihood of the lot is tempered (Grünwald & van Ommen, Bayesian Analysis 12(4), 2017). At least
as large a share of clean rows lies beyond the start as held-out rows promise, and as the lot has there without its
contamination. Where clean tails are heavier than g, as those of residuals may be, hundreds of rows are still too sure
of where they end: a belief limits how many of them count (lotgate.tails.Belief).
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from lotgate.tails import Belief, Tail, Vector, laws, log_density

SHAPES = 13
BELIEF = Belief(0.2, 0.2)  # of the shape: what few rows leave open of it errs towards heavy tails
SHARES = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])  # ε: of the lot's exceedances
CLEAN = 0.5  # probability of ε = 0; the other shares are as likely as each other
HEARD = 0.5  # how much of a witness a row of the lot is at most: neither law is quite right, so each tells less
MOST = 0.25  # of the lot may be contamination; what is more is taken for clean rows that held-out ones do not show


def decontaminated_tail(
    excess: Vector, suspect: Vector, rows: int, promised: float, witnesses: float = float("inf")
) -> tuple[float, Tail]:
    """The share of clean rows beyond the start, and the law of their exceedances.

    Args:
        excess: (k,) > 0, of held-out rows. suspect: (m,) > 0, of the lot; may be empty.
        rows: of the lot. promised: share of clean rows beyond the start by held-out ones, and the least answer.
        witnesses: > 0, what the lot's exceedances count for at most, however many there are.
    """
    scales, shapes = laws(float(excess.mean()), SHAPES)
    heard = min(HEARD, witnesses / max(len(suspect), 1))
    weights = _posterior(excess, suspect, rows, heard, scales, shapes)  # (shares, laws)
    beyond = np.maximum(promised, (1 - SHARES) * len(suspect) / max(rows, 1))
    joint = beyond @ weights
    return float(joint.sum()), Tail(joint / joint.sum(), scales, shapes)


def _posterior(excess: Vector, suspect: Vector, rows: int, heard: float, scales: Vector, shapes: Vector) -> Vector:
    """(shares, laws) probability of each pair, given both kinds of exceedances."""
    certain = log_density(excess, scales, shapes).sum(axis=1) + BELIEF.log_density(shapes)
    clean = log_density(suspect, scales, shapes)
    spread = -np.log(max(excess.max(), suspect.max(initial=0.0)))
    before = np.where(SHARES == 0, CLEAN, (1 - CLEAN) / (len(SHARES) - 1))
    lot = np.stack([_mixed(clean, spread, e) for e in SHARES])
    known = np.log(before)[:, None] + certain + heard * lot
    known[len(suspect) * SHARES > MOST * rows] = -np.inf
    return np.asarray(np.exp(known - logsumexp(known)))


def _mixed(clean: Vector, spread: float, share: float) -> Vector:
    """(laws,) log-likelihood of exceedances whose log-densities (laws, m) are `clean`, or else `spread`."""
    if share == 0:
        return np.asarray(clean.sum(axis=1))
    return np.asarray(np.logaddexp(np.log1p(-share) + clean, np.log(share) + spread).sum(axis=1))
