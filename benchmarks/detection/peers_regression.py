"""TRIM, Sever and DUTI for regression, written from their papers, on the encoded features of the lot.

All three remove a given number of rows. `_told` rows are told the true number of planted rows, which their papers
assume and Lotgate never is; the others assume 10% of the lot.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.detection.peers import Answer, Peer, store_matrix
from lotgate.detector import Evidence

Array = npt.NDArray[np.float64]
ASSUMED = 0.1
MOST_ROWS = 5_000


def trim(evidence: Evidence, rng: np.random.Generator, *, rate: float, restarts: int = 5, steps: int = 40) -> Answer:
    """TRIM (Jagielski et al. 2018, algorithm 2): fit on the n rows with the smallest residuals, until they stay.

    Scores are the residuals of the last fit; of several random starts the one with the smallest loss counts.
    """
    x, y = _standardised(evidence)
    kept_rows = len(y) - round(rate * len(y))
    best, best_loss = np.zeros(len(y)), np.inf
    for _ in range(restarts):
        kept = rng.permutation(len(y))[:kept_rows]
        residual, loss = np.zeros(len(y)), np.inf
        for _ in range(steps):
            residual = (y - x @ _ridge(x[kept], y[kept])) ** 2
            kept = np.argsort(residual, kind="stable")[:kept_rows]
            if loss - residual[kept].mean() < 1e-9:
                break
            loss = float(residual[kept].mean())
        if loss < best_loss:
            best, best_loss = residual, loss
    return _largest(best, len(y) - kept_rows)


def sever(evidence: Evidence, rng: np.random.Generator, *, rate: float, rounds: int = 4) -> Answer:
    """Sever (Diakonikolas et al. 2019, algorithm 1): drop rows whose gradients lie far along the top direction.

    Each round fits on what is left, centres the rows' gradients of the squared loss, and scores the squared
    projection on their top singular vector; rate / rounds of the lot is dropped per round.
    """
    x, y = _standardised(evidence)
    total = round(rate * len(y))
    scores, kept = np.zeros(len(y)), np.arange(len(y))
    for turn in range(rounds):
        gradients = x * (x @ _ridge(x[kept], y[kept]) - y)[:, None]
        centred = gradients - gradients[kept].mean(0)
        direction = np.linalg.svd(centred[kept], full_matrices=False)[2][0]
        outlying = (centred @ direction) ** 2
        drop = total * (turn + 1) // rounds - total * turn // rounds
        order = kept[np.argsort(-outlying[kept], kind="stable")]
        scores[kept] = outlying[kept] / max(float(outlying[kept].max()), 1e-12)  # in (0, 1]: below every earlier drop
        scores[order[:drop]] += rounds - turn
        kept = np.sort(order[drop:])
    return _largest(scores, total)


def duti(evidence: Evidence, rng: np.random.Generator, *, rate: float, steps: int = 200, step: float = 0.05) -> Answer:
    """DUTI (Zhang, Zhu, Wright 2018) for ridge regression: the smallest change of responses that suits trusted rows.

    minimise over δ: mean (trusted residual of ridge(y + δ))² + mean (lot residual of ridge(y + δ) at y + δ)²
    + γ |δ|₁ / N. Both terms are quadratic in δ (the fit is linear in the responses), solved by proximal gradient;
    γ is halved until at least the wanted number of responses is changed. Scores are |δ|.

    Raises:
        ValueError: more than MOST_ROWS rows, whose N × N matrix would not fit into memory.
    """
    if len(evidence.suspect) > MOST_ROWS:
        raise ValueError(f"an N × N matrix of {len(evidence.suspect):,} rows; asked up to {MOST_ROWS:,}")
    x, y = _standardised(evidence)
    assert evidence.trusted is not None
    assert evidence.heldout is not None
    trusted_x, trusted_y = _standardised_trusted(evidence)
    gram = np.linalg.inv(x.T @ x + 1e-2 * len(y) * np.eye(x.shape[1]))
    solve = gram @ x.T  # (F, N): responses → weights
    seen, own = trusted_x @ solve, x @ solve - np.eye(len(y))
    quadratic = seen.T @ seen / len(trusted_y) + own.T @ own / len(y)
    linear = seen.T @ (seen @ y - trusted_y) / len(trusted_y) + own.T @ (own @ y) / len(y)
    pace = 1 / max(float(np.linalg.eigvalsh(quadratic)[-1]), 1e-12)
    wanted = max(1, round(rate * len(y)))
    delta, gamma = np.zeros(len(y)), float(np.abs(linear).max())
    for _ in range(30):
        for _ in range(steps):
            moved = delta - pace * (quadratic @ delta + linear)
            delta = np.sign(moved) * np.maximum(np.abs(moved) - pace * gamma, 0)
        if np.count_nonzero(delta) >= wanted:
            break
        gamma /= 2
    return _largest(np.abs(delta), round(rate * len(y)))


def regression_peers(true_rate: float) -> dict[str, Peer]:
    """Each method with the assumed share of poison, and told the true one."""
    methods = {"trim": trim, "sever": sever, "duti": duti}
    assumed: dict[str, Peer] = {name: partial(method, rate=ASSUMED) for name, method in methods.items()}
    told: dict[str, Peer] = {f"{name}_told": partial(method, rate=true_rate) for name, method in methods.items()}
    return assumed | told


def _standardised(evidence: Evidence) -> tuple[Array, Array]:
    """(N, F + 1) columns of the lot with an intercept, and responses, both in standard deviations of the lot."""
    x, y = store_matrix(evidence.suspect).astype(np.float64), evidence.suspect.y.astype(np.float64)
    return _with_intercept((x - x.mean(0)) / (x.std(0) + 1e-9)), (y - y.mean()) / (y.std() + 1e-12)


def _standardised_trusted(evidence: Evidence) -> tuple[Array, Array]:
    """All trusted rows in the units of `_standardised`."""
    x, y = store_matrix(evidence.suspect).astype(np.float64), evidence.suspect.y.astype(np.float64)
    assert evidence.trusted is not None
    assert evidence.heldout is not None
    parts = (evidence.trusted, evidence.heldout)
    t_x = np.concatenate([store_matrix(part) for part in parts]).astype(np.float64)
    t_y = np.concatenate([part.y for part in parts]).astype(np.float64)
    return _with_intercept((t_x - x.mean(0)) / (x.std(0) + 1e-9)), (t_y - y.mean()) / (y.std() + 1e-12)


def _with_intercept(x: Array) -> Array:
    return np.c_[x, np.ones(len(x))]


def _ridge(x: Array, y: Array, penalty: float = 1e-2) -> Array:
    return np.asarray(np.linalg.solve(x.T @ x + penalty * len(y) * np.eye(x.shape[1]), x.T @ y))


def _largest(scores: Array, count: int) -> Answer:
    flagged = np.zeros(len(scores), bool)
    flagged[np.argsort(-scores, kind="stable")[:count]] = True
    return Answer(flagged, scores)
