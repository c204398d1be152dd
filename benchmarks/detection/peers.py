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
from lotgate.probe import PASS_BATCH, Probe, ProbeSettings, train_probe

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
    """cleanlab's find_label_issues on the probabilities of a model of all trusted rows."""
    return _cleanlab(evidence.suspect.y, _softmax(_outputs(_model_of(trusted_rows(evidence), rng), evidence.suspect)))


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
    """A model of all trusted rows gives another label than the lot does."""
    p = _softmax(_outputs(_model_of(trusted_rows(evidence), rng), evidence.suspect))
    y = evidence.suspect.y
    return Answer(p.argmax(1) != y, 1 - p[np.arange(len(y)), y])


def trusted_only_residual(evidence: Evidence, rng: np.random.Generator) -> Answer:
    """Regression: a residual above the 99th percentile of those of trusted rows, of models of trusted rows only.

    The lot is judged by a model of all of them, they by models that did not see them.
    """
    known = trusted_rows(evidence)
    folds = [rng.permutation(len(part)) % FOLDS for part in known.parts]
    own = []
    for f in range(FOLDS):
        inside, outside = (
            tuple(part.select(part.ids[(fold == f) == mine]) for part, fold in zip(known.parts, folds, strict=True))
            for mine in (True, False)
        )
        model = _model_of(Pool(outside), rng)
        own += [_residuals(model, part) for part in inside if len(part)]
    scores = _residuals(_model_of(known, rng), evidence.suspect)
    return Answer(scores > np.quantile(np.concatenate(own), 0.99), scores)


CLASSIFICATION: dict[str, Peer] = {
    "art_activation_clustering": art_activation_clustering, "art_spectral_signatures": art_spectral_signatures,
    "cleanlab_trusted": cleanlab_trusted, "cleanlab_out_of_fold": cleanlab_out_of_fold,
    "pyod_isolation_forest": pyod_isolation_forest, "pyod_lof": pyod_lof, "trusted_only": trusted_only,
}  # fmt: skip
ANY_TASK: dict[str, Peer] = {
    "pyod_isolation_forest": pyod_isolation_forest, "pyod_lof": pyod_lof, "trusted_only_residual": trusted_only_residual
}  # fmt: skip


FROM_TRUSTED = ("cleanlab_trusted", "trusted_only", "trusted_only_residual")  # read no probe of the lot


def trusted_rows(evidence: Evidence) -> Pool:
    """Every trusted row: a peer that calibrates on none keeps none back."""
    return Pool(evidence.vetted)


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


def _model_of(rows: Pool, rng: np.random.Generator) -> Probe:
    """The probe's own network and schedule."""
    return train_probe(rows, ProbeSettings(), rng, lambda words: None)


def _outputs(model: Probe, dataset: Dataset) -> FloatArray:
    """(N, K) logits, or (N, 1) standardised predictions."""
    return np.concatenate([model.logits(batch) for batch in dataset.batches(PASS_BATCH)])


def _residuals(model: Probe, dataset: Dataset) -> Array:
    predicted = _outputs(model, dataset)[:, 0].astype(np.float64) * model.scale + model.centre
    return np.abs(dataset.y.astype(np.float64) - predicted)


def _fitted_probabilities(outside: Dataset, inside: Dataset, rng: np.random.Generator) -> Array:
    if outside.modality == "image":
        return _softmax(_outputs(_model_of(Pool((outside,)), rng), inside))
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(random_state=int(rng.integers(2**31 - 1))).fit(
        store_matrix(outside), outside.y
    )
    x = store_matrix(inside)
    p = np.full((len(x), len(outside.classes)), 1e-9)
    p[:, trees.classes_] = trees.predict_proba(x)
    return np.asarray(p / p.sum(1, keepdims=True))


def _outliers(fitted: object) -> Answer:
    return Answer(np.asarray(fitted.labels_) == 1, np.asarray(fitted.decision_scores_, np.float64))  # type: ignore[attr-defined]


def _softmax(logits: FloatArray) -> Array:
    return torch.softmax(torch.from_numpy(np.array(logits, np.float64)), 1).numpy()
