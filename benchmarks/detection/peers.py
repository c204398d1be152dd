"""What others do with the same lot, the same trusted rows and the same probe: each peer with its own defaults.

A peer sees what Lotgate's detectors see (`Evidence`), never the planted rows. What its own paper assumes to be known,
it is told and named so (`_told` in peers_regression.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lotgate.data import Dataset, FloatArray, Pool
from lotgate.detector import Evidence
from lotgate.probe import PASS_BATCH, ProbeSettings, forward, train_probe

Array = npt.NDArray[np.float64]
FOLDS = 3


@dataclass(frozen=True, eq=False)
class Answer:
    """What a peer says of the suspect rows.

    Attributes:
        flagged: (N,). scores: (N,) higher is more suspicious; None where the peer gives none.
    """

    flagged: npt.NDArray[np.bool_]
    scores: Array | None


Peer = Callable[[Evidence, np.random.Generator], Answer]


@dataclass(frozen=True, eq=False)
class Heard:
    """A peer's answer with its seconds, or why there is none."""

    answer: Answer | None
    seconds: float
    absent: str = ""


def ask(peer: Peer, evidence: Evidence, rng: np.random.Generator) -> Heard:
    """Runs a peer; one that is not installed, or refuses the lot, is absent and says why."""
    start = time.perf_counter()
    try:
        answer = peer(evidence, rng)
    except (ImportError, ValueError, IndexError, RuntimeError) as error:
        return Heard(None, time.perf_counter() - start, f"{type(error).__name__}: {str(error).splitlines()[0][:160]}")
    return Heard(answer, time.perf_counter() - start)


def art_activation_clustering(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """ART's ActivationDefence on the probe's penultimate features: 2 clusters, PCA 10, the smaller one is poison."""
    from art.defences.detector.poison import ActivationDefence

    features, y = _features(evidence), evidence.suspect.y
    state = np.random.get_state()  # noqa: NPY002  (ART's k-means reads the global generator)
    np.random.seed(int(rng.integers(2**32 - 1)))  # noqa: NPY002
    try:
        defence = ActivationDefence(_as_layer(features, evidence), features, np.eye(len(evidence.suspect.classes))[y])
        _, clean = defence.detect_poison(nb_clusters=2, nb_dims=min(10, features.shape[1]), reduce="PCA")
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return Answer(np.asarray(clean) == 0, None)


def art_spectral_signatures(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """ART's SpectralSignatureDefense on the same features: 33% expected poison, ×1.5."""
    from art.defences.detector.poison import SpectralSignatureDefense

    features, y = _features(evidence), evidence.suspect.y
    defence = SpectralSignatureDefense(
        _as_layer(features, evidence), features, np.eye(len(evidence.suspect.classes))[y]
    )
    _, clean = defence.detect_poison()
    scores = np.zeros(len(y))
    for c in np.unique(y):
        scores[y == c] = SpectralSignatureDefense.spectral_signature_scores(features[y == c])[:, 0]
    return Answer(np.asarray(clean) == 0, scores)


def cleanlab_trusted(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """cleanlab's find_label_issues on the probabilities of the model of trusted rows only."""
    assert evidence.twin is not None
    return _cleanlab(evidence.suspect.y, _softmax(evidence.twin.logit_matrix(evidence.suspect)))


def cleanlab_out_of_fold(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """cleanlab's find_label_issues on out-of-fold probabilities over the lot: gradient-boosted trees, or the probe."""
    suspect = evidence.suspect
    folds = rng.permutation(len(suspect)) % FOLDS
    probabilities = np.zeros((len(suspect), len(suspect.classes)))
    for f in range(FOLDS):
        inside, outside = suspect.select(suspect.ids[folds == f]), suspect.select(suspect.ids[folds != f])
        probabilities[folds == f] = _fitted_probabilities(outside, inside, rng)
    return _cleanlab(suspect.y, probabilities)


def pyod_isolation_forest(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """PyOD's IForest on the probe's features, contamination .1 (its default)."""
    from pyod.models.iforest import IForest

    return _outliers(IForest(random_state=int(rng.integers(2**31 - 1))).fit(_features(evidence)))


def pyod_lof(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """PyOD's LOF on the probe's features, contamination .1 (its default)."""
    from pyod.models.lof import LOF

    return _outliers(LOF().fit(_features(evidence)))


def trusted_only(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """A model of trusted rows only gives another label than the lot does."""
    assert evidence.twin is not None
    p = _softmax(evidence.twin.logit_matrix(evidence.suspect))
    y = evidence.suspect.y
    return Answer(p.argmax(1) != y, 1 - p[np.arange(len(y)), y])


def trusted_only_residual(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """Regression: the residual of a model of trusted rows is above the 99th percentile of held-out trusted rows."""
    assert evidence.twin is not None
    assert evidence.heldout is not None
    twin = evidence.twin

    def residual(dataset: Dataset) -> Array:
        return np.abs(dataset.y - (twin.logit_matrix(dataset)[:, 0] * twin.scale + twin.centre)).astype(np.float64)

    scores = residual(evidence.suspect)
    return Answer(scores > np.quantile(residual(evidence.heldout), 0.99), scores)


CLASSIFICATION: dict[str, Peer] = {
    "art_activation_clustering": art_activation_clustering, "art_spectral_signatures": art_spectral_signatures,
    "cleanlab_trusted": cleanlab_trusted, "cleanlab_out_of_fold": cleanlab_out_of_fold,
    "pyod_isolation_forest": pyod_isolation_forest, "pyod_lof": pyod_lof, "trusted_only": trusted_only,
}  # fmt: skip
ANY_TASK: dict[str, Peer] = {
    "pyod_isolation_forest": pyod_isolation_forest, "pyod_lof": pyod_lof, "trusted_only_residual": trusted_only_residual
}  # fmt: skip


def store_matrix(dataset: Dataset) -> FloatArray:
    """(N, ...) every decoded sample of a dataset, in manifest order."""
    return np.concatenate([batch.x for batch in dataset.batches(PASS_BATCH)])


def _features(evidence: Evidence) -> FloatArray:
    assert evidence.probe is not None
    return np.array(evidence.probe.feature_matrix(evidence.suspect))


def _as_layer(features: FloatArray, evidence: Evidence) -> object:
    """ART reads the last layer of a classifier: one whose only layer gives the features back."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        nn.Sequential(nn.Identity()), nn.CrossEntropyLoss(), (features.shape[1],), len(evidence.suspect.classes),
        device_type="cpu",
    )  # fmt: skip


def _cleanlab(y: npt.NDArray[np.int64], probabilities: Array) -> Answer:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    flagged = find_label_issues(y, probabilities, n_jobs=1)
    return Answer(np.asarray(flagged, bool), 1 - np.asarray(get_label_quality_scores(y, probabilities)))


def _fitted_probabilities(outside: Dataset, inside: Dataset, rng: np.random.Generator) -> Array:
    x, y = store_matrix(inside), outside.y
    if outside.modality == "image":
        probe = train_probe(Pool((outside,)), ProbeSettings(), rng, lambda words: None)
        return _softmax(
            np.concatenate([forward(probe.network, x[i : i + 512], probe.device)[1] for i in range(0, len(x), 512)])
        )
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(random_state=int(rng.integers(2**31 - 1))).fit(store_matrix(outside), y)
    p = np.full((len(x), len(outside.classes)), 1e-9)
    p[:, trees.classes_] = trees.predict_proba(x)
    return np.asarray(p / p.sum(1, keepdims=True))


def _outliers(fitted: object) -> Answer:
    return Answer(np.asarray(fitted.labels_) == 1, np.asarray(fitted.decision_scores_, np.float64))  # type: ignore[attr-defined]


def _softmax(logits: FloatArray) -> Array:
    return torch.softmax(torch.from_numpy(np.array(logits, np.float64)), 1).numpy()
