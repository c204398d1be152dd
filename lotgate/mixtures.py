"""Gaussian mixtures of the rows of one class, lot and trusted ones together, and what trusted rows say of a component.

Clean rows of the lot and trusted rows are drawn alike, so a component that clean rows form has its share of both.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, chi2
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SURE = 0.5  # posterior from which a row counts as a member
ROWS = 2  # per dimension and component: the covariances of fewer describe single rows
THIN = 0.1  # trusted rows of a group, as a share of those expected, up to which it counts as one without any
EXPLAINED = 0.5  # p-value of its size from which on trusted rows explain a group


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread: thousands of products of a few hundred rows take ten times as long on two."""
    with threadpool_limits(limits=1):
        yield


def fitting(clusters: tuple[int, ...], n: int, dimensions: int) -> tuple[int, ...]:
    """The numbers of components that n rows can tell apart: ROWS per dimension and component; at least the smallest."""
    return tuple(k for k in clusters if ROWS * dimensions * k <= n) or (min(clusters),)


def size_p_value(share: float, inside: int, n_trusted: int, tolerance: float) -> float:
    """P(Bin(n_t, share / tolerance) ≤ k): how well trusted rows explain a group of that share of the class."""
    return float(binom.cdf(inside, n_trusted, share / tolerance)) if share > 0 else 1.0


def trusted_part(share: float, inside: int, n_trusted: int) -> float:
    """Trusted rows of a group with that share of the class, as a part of those expected; 1 of no group. Clean rows are
    drawn like trusted ones: about this part of the group is clean.
    """
    return inside / (share * n_trusted) if share > 0 else 1.0


def fisher(*p_values: float) -> float:
    """Fisher's combination of independent p-values."""
    total = -2 * sum(np.log(max(p, 1e-300)) for p in p_values)
    return float(chi2.sf(total, 2 * len(p_values)))


def pooled_evidence(p_values: Vector) -> Vector:
    """(B,) −log₁₀ of the harmonic mean of (m, B) p-values, which is the logarithm of the mean of 1 / p; 0 for ones.

    NaN where a row was not tested; 0 where never.
    """
    tested = np.maximum((~np.isnan(p_values)).sum(axis=0), 1)
    return np.asarray(np.log10(np.maximum(np.nansum(1 / np.maximum(p_values, 1e-300), axis=0) / tested, 1)))


def principal_axes(features: Vector, n: int) -> tuple[Vector, Vector]:
    """Mean (D,) and the top n principal axes (D, ≤ n), scaled by the largest deviation."""
    centre = features.mean(0)
    values, vectors = np.linalg.eigh(np.cov(features.T, bias=True).reshape(features.shape[1], -1))
    keep = np.flatnonzero(values > max(float(values[-1]), 0.0) * 1e-6)[::-1][:n]
    keep = keep[values[keep] > 1e-12]
    return centre, vectors[:, keep] / np.sqrt(values[-1]) if len(keep) else vectors[:, keep]


def independent_axes(reduced: Vector, seed: int) -> Vector:
    """(n, n) directions, one a row, along which centred rows (N, n) are independent and of variance 1 (FastICA)."""
    ica = FastICA(whiten="unit-variance", fun="logcosh", max_iter=200, tol=1e-3, random_state=seed)
    with _nearly_will_do():
        return np.asarray(ica.fit(reduced).components_)


@contextmanager
def _nearly_will_do() -> Iterator[None]:
    """Says nothing where a fit has not quite converged: what is nearly independent, or likeliest, will do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def fit_mixture(reduced: Vector, k: int, seed: int, *, starts: int = 2) -> GaussianMixture:
    """A mixture of k Gaussians with full covariances on (N, n): the likeliest that so many starts lead to."""
    mixture = GaussianMixture(
        k, covariance_type="full", reg_covar=1e-4, n_init=starts, max_iter=60, random_state=seed
    )  # fmt: skip
    with _nearly_will_do():
        return mixture.fit(reduced)


def members(reduced: Vector, mixture: GaussianMixture) -> npt.NDArray[np.int64]:
    """(N,) component each row belongs to, -1 where it is not sure of any."""
    posterior = mixture.predict_proba(reduced)
    return np.where(posterior.max(1) >= SURE, posterior.argmax(1), -1)


def fit_mixtures(
    reduced: Vector, clusters: tuple[int, ...], seed: int, *, starts: int = 2
) -> Iterator[tuple[GaussianMixture, npt.NDArray[np.int64]]]:
    """Per number of components that the rows (N, n) can tell apart: the mixture, and the component of each row."""
    for k in fitting(clusters, *reduced.shape):
        mixture = fit_mixture(reduced, k, seed, starts=starts)
        yield mixture, members(reduced, mixture)
