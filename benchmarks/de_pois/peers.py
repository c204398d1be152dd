"""The defences that the paper compares with, small and from their papers, each on the attacks the paper gives it.

All but Deep-kNN and CD are told the true number of planted rows, as their papers assume; De-Pois never is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from sklearn.kernel_approximation import Nystroem
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from benchmarks.detection.peers import Answer, Peer, store_matrix
from benchmarks.detection.peers_regression import duti, sever, trim
from lotgate.data import Dataset, Pool
from lotgate.detector import Evidence
from lotgate.probe import ProbeSettings, forward, train_probe

Array = npt.NDArray[np.float64]
SPHERE = 0.95  # share of trusted rows inside CD's spheres
CENTRES = 100  # of the kernel map on which Sever and DUTI judge classes


@dataclass(frozen=True, eq=False)
class Judged:
    """A peer's answer with the CPU seconds it took."""

    answer: Answer
    seconds: float


def peers_of(attack: str, share: float) -> dict[str, Peer]:
    """The defences beside De-Pois in Table III, told the share of planted rows where they need it."""
    told: dict[str, Peer] = {"DUTI": partial(duti, rate=share), "Sever": partial(sever, rate=share)}
    if attack.startswith("TCL"):
        return {"Deep-kNN": deep_knn}
    if attack == "pGAN":
        return {"CD": spheres}
    if attack == "LF":
        return {"CD": spheres} | {name: partial(_on_kernel, peer=peer) for name, peer in told.items()}
    return {"TRIM": partial(trim, rate=share), **told}


def ask(peer: Peer, evidence: Evidence, seed: int) -> Judged:
    """Runs a peer."""
    start = time.process_time()
    return Judged(peer(evidence, np.random.default_rng([seed, 3])), time.process_time() - start)


def deep_knn(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """Deep-kNN (Peri et al. 2019): a row whose label is not the most frequent among its k nearest in feature space.

    Features are those of Lotgate's probe trained on the lot, k the mean number of rows per class; scores are the
    share of neighbours with another label.
    """
    suspect = evidence.suspect
    probe = train_probe(Pool((suspect,)), ProbeSettings(device="cpu"), rng, lambda words: None)
    features = forward(probe.network, store_matrix(suspect), probe.device)[0]
    k, y = len(suspect) // len(suspect.classes), suspect.y
    near = NearestNeighbors(n_neighbors=k + 1).fit(features).kneighbors(features, return_distance=False)[:, 1:]
    votes = np.stack([np.bincount(y[row], minlength=len(suspect.classes)) for row in near])  # (N, K)
    own = votes[np.arange(len(y)), y]
    return Answer(own < votes.max(1), np.asarray(1 - own / k, np.float64))


def spheres(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """CD's sphere defence (Steinhardt et al. 2017): far from the lot's mean of the class it is labelled with.

    The data-dependent centres are the lot's own; the radius of each class leaves 5% of its trusted rows outside.
    """
    lot, trusted = _flat(evidence.suspect), [_flat(part) for part in _vetted(evidence)]
    spread = lot.std(0) + 1e-9
    y, trusted_y = evidence.suspect.y, np.concatenate([part.y for part in _vetted(evidence)])
    distance, usual = np.zeros(len(y)), np.concatenate(trusted)
    for c in np.unique(y):
        centre = lot[y == c].mean(0)
        known = usual[trusted_y == c] if (trusted_y == c).any() else usual
        radius = np.quantile(np.linalg.norm((known - centre) / spread, axis=1), SPHERE)
        distance[y == c] = np.linalg.norm((lot[y == c] - centre) / spread, axis=1) / max(float(radius), 1e-9)
    return Answer(distance > 1, distance)


def _on_kernel(evidence: Evidence, rng: np.random.Generator, *, peer: Peer) -> Answer:
    """A linear method on a map in which two classes that no line parts can be parted, y = 0 or 1 as the response."""
    scaler = StandardScaler().fit(_flat(evidence.suspect))
    made = Nystroem(gamma=1.0, n_components=CENTRES, random_state=int(rng.integers(2**31 - 1)))
    made.fit(scaler.transform(_flat(evidence.suspect)))

    def mapped(dataset: Dataset, part: str) -> Dataset:
        path = dataset.store.with_name(f"{dataset.store.stem}-{part}.npy")
        x = np.zeros((int(dataset.rows.max()) + 1, CENTRES), np.float32)
        x[dataset.rows] = made.transform(scaler.transform(_flat(dataset)))
        np.save(path, x)
        return replace(dataset, store=path, features=tuple(f"k{i}" for i in range(CENTRES)))

    trusted, heldout = _vetted(evidence)
    parts = mapped(evidence.suspect, "lot"), mapped(trusted, "trusted"), mapped(heldout, "heldout")
    return peer(Evidence(*parts), rng)


def _flat(dataset: Dataset) -> Array:
    """(N, F)"""
    x = store_matrix(dataset)
    return np.asarray(x.reshape(len(x), -1), np.float64)


def _vetted(evidence: Evidence) -> tuple[Dataset, Dataset]:
    assert evidence.trusted is not None
    assert evidence.heldout is not None
    return evidence.trusted, evidence.heldout
