"""How far beyond what was seen the scores of clean rows go: generalised Pareto laws of exceedances.

The exceedances of most distributions over a high start approach such a law (Pickands 1975; Balkema & de Haan 1974).
Rows on trial that lie between the start and the largest held-out exceedance help to fit it, as rows that were seen only
because they lie there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp

Vector = npt.NDArray[np.float64]

LIGHTEST, HEAVIEST = 0.05, 0.9  # shapes: never lighter than nearly exponential
EXPONENTIAL = 1e-6  # the lightest shape of log-odds: a calibrated model errs by t nats at most e⁻ᵗ of the time
HEAVIER = 1.5  # over the number of rows that a likeliest law was fitted to
PRIOR_SHAPE = 0.15
PRIOR_ROWS = 10  # what the prior shape counts for: few exceedances say little about a shape
GRID = 25  # laws per parameter that an average is taken over
THINNEST = 0.01  # shape that an average begins with
WIDEST = 2.0  # logarithm of how far from the mean exceedance a scale may lie
NEGLIGIBLE = 1e-4  # weight of a law, beside the likeliest one's


class Belief(NamedTuple):
    """What is believed of a tail before rows are seen: its shape is N(mean, deviation²); and, where held-out rows are
    few, how many of the lot's rows beyond the start tell of it at most (lotgate.contamination): with none, only those
    up to the largest held-out score do.
    """

    mean: float
    deviation: float
    witnesses: float = 0.0

    def log_density(self, shapes: Vector) -> Vector:
        """(m,) of shapes (m,), up to a constant."""
        return np.asarray(-(((shapes - self.mean) / self.deviation) ** 2) / 2)


RESIDUALS = Belief(0.2, 0.2, witnesses=20)  # with more, hundreds of rows were too sure where heavy tails end
DISTANCES = Belief(0.1, 0.1)
TABLE_DISTANCES = DISTANCES._replace(witnesses=float("inf"))


@dataclass(frozen=True, eq=False)
class Tail:
    """A weighted mean of generalised Pareto laws of exceedances x ≥ 0: P(X ≥ x) = Σ w (1 + ξ x / σ)^(−1 / ξ).

    Attributes:
        weights: (m,), they sum to 1. scales, shapes: (m,) σ > 0 and ξ > 0.
    """

    weights: Vector
    scales: Vector
    shapes: Vector

    def beyond(self, excess: Vector) -> Vector:
        """(B,) P(X ≥ x) of exceedances (B,)."""
        laws = np.power(1 + self.shapes * excess[:, None] / self.scales, -1 / self.shapes)  # (B, m)
        return np.asarray(laws @ self.weights)

    def exceeded(self, rate: float) -> float:
        """The exceedance x with P(X ≥ x) = rate."""
        each = self.scales / self.shapes * (rate**-self.shapes - 1)  # that of each law; theirs is among them
        if len(each) == 1:
            return float(each[0])
        return float(brentq(lambda x: float(self.beyond(np.array([x]))[0]) - rate, each.min(), each.max()))


def likeliest_tail(excess: Vector, inside: Vector, lightest: float) -> Tail:
    """The law of `fit_tail`, its shape made heavier by HEAVIER / (number of rows), at most HEAVIEST."""
    scale, shape = fit_tail(excess, inside, lightest)
    shape = min(shape + HEAVIER / (len(excess) + len(inside)), HEAVIEST)
    return Tail(np.ones(1), np.array([scale]), np.array([shape]))


def fit_tail(excess: Vector, inside: Vector, lightest: float = LIGHTEST) -> tuple[float, float]:
    """Scale σ > 0 and shape ξ of the generalised Pareto law.

    Maximises Σ log g(excess) + Σ log [g(inside) / G(max excess)] − PRIOR_ROWS z² / 2, z = (ξ − PRIOR_SHAPE) / (1 +
    PRIOR_SHAPE); the last term weighs as much as PRIOR_ROWS rows do, since the variance of ξ is (1 + ξ)² / n.

    Args:
        excess: (k,) positive exceedances. inside: (m,) in (0, max excess], seen only because they lie there.
        lightest: the least ξ, > 0.
    """
    unit = float(excess.mean())

    def loss(parameters: Vector) -> float:
        sigma, xi = unit * np.exp(parameters[0]), parameters[1]
        prior = PRIOR_ROWS * ((xi - PRIOR_SHAPE) / (1 + PRIOR_SHAPE)) ** 2 / 2
        return float(prior - _log_likelihood(excess, inside, np.array([sigma]), np.array([xi]))[0])

    best = minimize(loss, np.array([0.0, PRIOR_SHAPE]), method="L-BFGS-B", bounds=[(-4.0, 4.0), (lightest, HEAVIEST)]).x
    return float(unit * np.exp(best[0])), float(best[1])


def averaged_tail(excess: Vector, inside: Vector, prior: Belief) -> Tail:
    """The mean of all laws, each weighted by its posterior probability given the same rows and a uniform log σ: what so
    few of them leave open about scale and shape makes the far tail heavier.
    """
    scales, shapes = laws(float(excess.mean()), GRID)
    known = _log_likelihood(excess, inside, scales, shapes) + prior.log_density(shapes)
    kept = known > known.max() + np.log(NEGLIGIBLE)
    weights = np.exp(known[kept] - logsumexp(known[kept]))
    return Tail(weights, scales[kept], shapes[kept])


def laws(unit: float, shapes: int) -> tuple[Vector, Vector]:
    """(m,) scales and shapes that an average is taken over: GRID scales around `unit`, each with so many shapes."""
    scales = unit * np.exp(np.linspace(-WIDEST, WIDEST, GRID))
    return np.repeat(scales, shapes), np.tile(np.linspace(THINNEST, HEAVIEST, shapes), GRID)


def log_density(excess: Vector, scales: Vector, shapes: Vector) -> Vector:
    """(m, B) log g(x; σ, ξ) of exceedances (B,) by laws (m,)."""
    growth = np.log1p((shapes / scales)[:, None] * excess)
    return np.asarray(-(1 / shapes + 1)[:, None] * growth - np.log(scales)[:, None])


def _log_likelihood(excess: Vector, inside: Vector, scales: Vector, shapes: Vector) -> Vector:
    """(m,) Σ log g(excess) + Σ log [g(inside) / G(max excess)] by laws (m,)."""
    seen = np.log(-np.expm1(-np.log1p(shapes * float(excess.max()) / scales) / shapes))  # log G(max excess)
    each = log_density(np.concatenate([excess, inside]), scales, shapes)
    return np.asarray(each.sum(axis=1) - len(inside) * seen)
