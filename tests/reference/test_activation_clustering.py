"""Activation clustering against section 4 and 5 of Chen et al. (2018), written down naively."""

from __future__ import annotations

from math import comb, prod

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from lotgate.checks import Example, example
from lotgate.data import Dataset
from lotgate.detectors import activation_clustering as ac
from lotgate.detectors.activation_clustering import ActivationClustering
from lotgate.probe import Probe

Vector = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return example(tmp_path_factory.mktemp("ac"), "backdoor", seed=2, n=400)


def of_class(made: Example, c: int) -> tuple[Probe, Dataset, Vector]:
    suspect, probe = made.evidence.suspect, made.evidence.probe
    assert probe is not None
    rows = suspect.select(suspect.ids[suspect.y == c])
    return probe, rows, probe.feature_matrix(rows).astype(np.float64)


def kurtosis(x: Vector) -> Vector:
    z = (x - x.mean(0)) / x.std(0)
    return np.asarray((z**4).mean(0) - 3)


@pytest.mark.parametrize("n", [1, 3, 10])
def test_reduction_is_that_of_whitened_principal_components(n: int, planted: Example) -> None:
    probe, rows, features = of_class(planted, 0)
    centre, basis = ac.principal_components(probe, rows, n)
    reduced = ac.reduce(probe, rows, centre, basis)
    k = min(n, features.shape[1])
    expected = PCA(k, whiten=True, svd_solver="full").fit_transform(features) * np.sqrt(len(rows) / (len(rows) - 1))
    assert reduced.shape == (len(rows), k)
    for j in range(k):
        assert abs(np.corrcoef(reduced[:, j], expected[:, j])[0, 1]) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(np.cov(reduced.T, bias=True).reshape(k, k), np.eye(k), atol=1e-8)


@pytest.mark.parametrize("size", [1, 13, 4096])
def test_reduction_does_not_depend_on_how_it_is_read(
    size: int, planted: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, rows, _ = of_class(planted, 0)
    whole = ac.reduce(probe, rows, *ac.principal_components(probe, rows, 4))
    monkeypatch.setattr(ac, "PASS_BATCH", size)
    streamed = ac.reduce(probe, rows, *ac.principal_components(probe, rows, 4))
    assert streamed.shape == whole.shape
    signs = np.sign((streamed * whole).sum(0))
    np.testing.assert_allclose(streamed * signs, whole, atol=1e-7)


def test_independent_components_are_a_rotation_that_is_less_gaussian() -> None:
    rng = np.random.default_rng(0)
    sources = np.c_[rng.laplace(size=4000), rng.uniform(-1, 1, 4000), rng.exponential(size=4000)]
    mixed = (sources - sources.mean(0)) @ rng.normal(size=(3, 3))
    values, vectors = np.linalg.eigh(np.cov(mixed.T, bias=True))
    whitened = mixed @ vectors / np.sqrt(values)
    rotation = ac.unmixing(whitened, 0)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    found = whitened @ rotation
    match = np.abs(np.corrcoef(found.T, sources.T)[:3, 3:])
    assert sorted(match.argmax(1)) == [0, 1, 2] and (match.max(1) > 0.98).all()
    assert np.abs(kurtosis(found)).sum() > np.abs(kurtosis(whitened)).sum()


def test_clusters_are_the_best_two_means_of_the_rows(planted: Example) -> None:
    """Inertia as good as many random starts give, and the members are the rows nearest to each mean."""
    probe, rows, _ = of_class(planted, 0)
    reduced = ac.reduce(probe, rows, *ac.principal_components(probe, rows, 3))
    means = ac.two_means(reduced, reduced, 0)
    members = ac.nearest(reduced, means)
    expected = np.array([np.argmin([np.linalg.norm(row - mean) for mean in means]) for row in reduced])
    np.testing.assert_array_equal(members, expected)
    for j in (0, 1):
        np.testing.assert_allclose(means[j], reduced[members == j].mean(0), atol=1e-6)
    inertia = sum(float(np.square(row - means[j]).sum()) for row, j in zip(reduced, members, strict=True))
    assert inertia <= KMeans(2, n_init=50, random_state=1).fit(reduced).inertia_ * (1 + 1e-6)
    inside = planted.planted[planted.evidence.suspect.y == 0]
    share = [inside[members == j].mean() for j in (0, 1)]
    assert max(share) > 0.9 and min(share) < 0.05


def binomial_tail(n: int, p: float, k: int) -> float:
    """P(Bin(n, p) ≤ k), summed term by term."""
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def test_relative_size_compares_with_trusted_rows() -> None:
    share, inside = np.array([0.3, 0.7]), np.array([1, 39])
    found = ac.size_p_value(share, inside, tolerance=2.0)
    np.testing.assert_allclose(found, [binomial_tail(40, 0.15, 1), binomial_tail(40, 0.35, 39)], rtol=1e-9)
    assert found[0] < 0.02 and found[1] > 0.99
    np.testing.assert_array_equal(ac.size_p_value(share, np.zeros(2), 2.0), [1, 1])  # nothing to compare with


def test_exclusionary_reclassification_asks_what_else_the_rows_look_like() -> None:
    given = np.array([0] * 3 + [1] * 15 + [2] * 2)
    assert ac.reclassification_p_value(given, 0, 0.45) == pytest.approx(binomial_tail(20, 0.45, 3))
    # ℓ / p ≥ 1: most of them look like their label, whatever the accuracy
    assert ac.reclassification_p_value(np.array([0] * 11 + [1] * 9), 0, 0.99) == 1.0
    # rows scattered over many classes: the most frequent other class counts, not all others together
    assert ac.reclassification_p_value(np.array([0] * 4 + [1] * 3 + [2] * 3 + [3] * 3), 0, 0.9) == 1.0
    assert ac.reclassification_p_value(np.array([2] * 5), 0, 0.9) == pytest.approx(prod([0.1] * 5))


def silhouette(reduced: Vector, members: npt.NDArray[np.int64]) -> float:
    """Mean of (b − a) / max(a, b), by the definition."""
    values = []
    for i, row in enumerate(reduced):
        distance = np.linalg.norm(reduced - row, axis=1)
        same = members == members[i]
        if same.sum() == 1:
            values.append(0.0)
            continue
        a, b = distance[same].sum() / (same.sum() - 1), distance[~same].mean()
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


def test_silhouette_is_judged_against_one_gaussian() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(150, 2))
    two = np.concatenate([rng.normal(size=(75, 2)), rng.normal([6, 0], 1, (75, 2))])
    members = np.repeat([0, 1], 75)
    # the z-score's numerator holds the silhouette by its definition
    null = []
    simulated = np.random.default_rng(0)
    for _ in range(ac.SIMULATIONS):
        drawn = simulated.standard_normal(two.shape) * two.std(0)
        null.append(silhouette(drawn, KMeans(2, n_init=1, random_state=0).fit_predict(drawn)))
    expected = (silhouette(two, members) - np.mean(null)) / np.std(null)
    assert ac.separation(two, members, 0) == pytest.approx(expected, rel=1e-3)
    assert expected > 5
    assert ac.separation(one, KMeans(2, n_init=5, random_state=0).fit_predict(one), 0) < 2.5
    assert ac.separation(one, np.zeros(150, np.int64), 0) == 0.0


@pytest.mark.parametrize("far", [1, 2, 5])
def test_a_cluster_that_a_sample_would_miss_is_in_it(far: int) -> None:
    """2,500 rows and one far off made two clusters, of which a random sample of 1,000 held one: nothing to compare."""
    rng = np.random.default_rng(0)
    reduced = np.r_[rng.normal(size=(2500, 3)), rng.normal(size=(far, 3)) + 40]
    members = np.repeat([0, 1], [2500, far])
    missed = next(s for s in range(99) if (np.random.RandomState(s).permutation(2500 + far)[:1000] < 2500).all())
    assert (ac.separation(reduced, members, missed) > 20) == (far > 1)


def test_a_sample_with_both_clusters_is_left_as_it_is() -> None:
    rng = np.random.default_rng(1)
    reduced = np.r_[rng.normal(size=(1500, 3)), rng.normal(size=(700, 3)) + np.array([6, 0, 0])]
    members = np.repeat([0, 1], [1500, 700])
    rows = ac.sampled(members, 7)
    drawn = silhouette_score(reduced, members, sample_size=1000, random_state=7)
    assert float(silhouette_score(reduced[rows], members[rows])) == drawn


def test_the_judges_together(planted: Example) -> None:
    """A sample scores −log₁₀ of its cluster's corrected p-value, rebuilt here from the parts."""
    evidence = planted.evidence
    assert evidence.trusted is not None and evidence.heldout is not None and evidence.twin is not None
    detector = ActivationClustering(reduction="pca", components=3)
    scorer = detector.fit(evidence, np.random.default_rng(0))
    assert isinstance(scorer, ac.ClusterScorer)
    found = scorer.score(evidence.suspect.batch(np.arange(len(evidence.suspect))))
    accused = 0
    for c in range(3):
        probe, rows, features = of_class(planted, c)
        split = scorer.splits[c]
        assert split is not None
        members = ac.nearest((features - split.centre) @ split.basis, split.means)
        np.testing.assert_allclose(found[evidence.suspect.y == c], -np.log10(split.p)[members], rtol=1e-6)
        if (split.p == 1).all():
            continue
        accused += 1
        inside = np.zeros(2)
        for vetted in (evidence.trusted, evidence.heldout):
            own = probe.feature_matrix(vetted)[vetted.y == c].astype(np.float64)
            inside += np.bincount(ac.nearest((own - split.centre) @ split.basis, split.means), minlength=2)
        answers = evidence.twin.logit_matrix(rows).argmax(1)
        vetted_answers = evidence.twin.logit_matrix(evidence.heldout).argmax(1)[evidence.heldout.y == c]
        accuracy = ((vetted_answers == c).sum() + 0.5) / (len(vetted_answers) + 1)
        for j in (0, 1):
            mine = answers[members == j]
            n, share = int(inside.sum()), (members == j).mean()
            p_size = binomial_tail(n, share / 2, int(inside[j]))
            own, other = (mine == c).sum(), max((mine == k).sum() for k in range(3) if k != c)
            p_again = binomial_tail(len(mine), accuracy / 2, int(own)) if own < other else 1.0
            assert split.p[j] == pytest.approx(min(1.0, 2 * 2 * 3 * min(p_size, p_again)), rel=1e-6)
    assert accused >= 1
    assert np.median(found[planted.planted]) > 1 > np.median(found[~planted.planted])
