"""The formulas of our own detectors against their definitions, written out."""

from math import comb, exp, log

import numpy as np
import pytest
from scipy.special import beta
from sklearn.neighbors import NearestNeighbors

from lotgate.crossfit import contradiction
from lotgate.data import fold_of
from lotgate.detectors.trusted_distance import group_of, mean_distance
from lotgate.detectors.unexplained_clusters import (
    UnexplainedClusters,
    Usual,
    allowed_strange,
    clean_share,
    excess_p_value,
    expected_strange,
    usual_least,
)
from lotgate.mixtures import fisher, fitting, members, pooled_evidence, principal_axes, size_p_value
from lotgate.residuals import UsualResidual


@pytest.mark.parametrize(
    ("share", "inside", "n", "tolerance"), [(0.3, 0, 20, 1.7), (0.5, 6, 40, 2.0), (0.9, 3, 5, 1.0)]
)
def test_size_p_value_is_the_binomial_tail(share: float, inside: int, n: int, tolerance: float) -> None:
    q = share / tolerance
    naive = sum(comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(inside + 1))
    assert size_p_value(share, inside, n, tolerance) == pytest.approx(naive)


def test_fisher_of_two_is_its_closed_form() -> None:
    # For 4 degrees of freedom: P(χ² ≥ t) = exp(−t / 2) (1 + t / 2).
    t = -2 * (log(0.01) + log(0.2))
    assert fisher(0.01, 0.2) == pytest.approx(exp(-t / 2) * (1 + t / 2))


def test_a_group_seen_by_every_mixture_pays_once_and_by_one_for_all() -> None:
    seen_by_all, by_one, by_none = np.full(4, 1e-6), np.array([1e-6, 1, 1, 1]), np.ones(4)
    evidence = pooled_evidence(np.stack([seen_by_all, by_one, by_none], axis=1))
    assert 10**-evidence == pytest.approx([1e-6, 4e-6, 1.0], rel=1e-4)
    assert not np.signbit(evidence).any(), "no evidence is 0, not -0"
    assert np.isfinite(pooled_evidence(np.zeros((4, 1)))).all()


def test_the_least_of_a_group_is_two_robust_deviations_below_its_median() -> None:
    excess = np.random.default_rng(0).normal(10, 3, 20_001)
    assert usual_least(excess) == pytest.approx(4, abs=0.15)
    assert usual_least(np.concatenate([excess, np.zeros(1500)])) > 2  # a few strangers hardly move it


def test_principal_axes_span_what_an_svd_spans() -> None:
    x = np.random.default_rng(0).normal(5, 1, (60, 7)) * np.arange(1, 8)
    centre, axes = principal_axes(x, 3)
    _, _, right = np.linalg.svd(x - x.mean(0))
    unit = axes / np.linalg.norm(axes, axis=0)
    assert np.allclose(centre, x.mean(0))
    assert np.allclose(np.abs(np.sum(unit * right[:3].T, axis=0)), 1)


def test_members_are_sure_or_nobody() -> None:
    class Mixture:
        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.array([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25]])

    assert list(members(np.zeros((2, 1)), Mixture())) == [0, -1]  # type: ignore[arg-type]


def test_contradiction_of_classes_and_targets() -> None:
    log_p = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]))
    assert np.allclose(contradiction(log_p, np.array([0, 2])), [log(0.2 / 0.7), log(0.6 / 0.3)])
    usual = UsualResidual(np.array([0.0, 10.0]), np.array([1.0, 3.0]))
    predicted, y = np.array([0.0, 5.0, 20.0]), np.array([2.0, 1.0, 26.0], np.float32)
    assert np.allclose(usual.standardised(predicted, y), [2.0, 2.0, 2.0])


def test_folds_depend_on_the_id_alone() -> None:
    ids = np.array([f"a/{i}.png" for i in range(200)], dtype=object)
    folds = fold_of(ids, 5)
    assert np.array_equal(fold_of(ids[::-1], 5)[::-1], folds)
    assert np.bincount(folds, minlength=5).min() > 20


def test_mean_distance_is_the_mean_over_the_nearest() -> None:
    rng = np.random.default_rng(1)
    trusted, x = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(6, 4)).astype(np.float32)
    naive = [np.mean(sorted(np.linalg.norm(t - row) for t in trusted)[:5]) for row in x]
    assert np.allclose(mean_distance(NearestNeighbors(n_neighbors=5).fit(trusted), x), naive, rtol=1e-4)


def test_images_are_compared_with_their_own_class_and_rows_with_all() -> None:
    y = np.array([2, 0, 1])
    assert list(group_of(y, 3)) == [2, 0, 1]
    assert list(group_of(y, 1)) == [0, 0, 0]


def test_excess_p_value_is_the_binomial_tail() -> None:
    strange = np.array([True] * 7 + [False] * 5)
    naive = sum(comb(12, k) * 0.3**k * 0.7 ** (12 - k) for k in range(7, 13))
    assert excess_p_value(strange, 0.3) == pytest.approx(naive)
    assert excess_p_value(np.zeros(0, bool), 0.3) == 1.0


def test_excess_p_value_where_groups_differ_is_the_beta_binomial_tail() -> None:
    strange = np.array([True] * 7 + [False] * 5)
    a, b = 20 * 0.3, 20 * 0.7
    naive = sum(comb(12, k) * beta(a + k, b + 12 - k) / beta(a, b) for k in range(7, 13))
    assert excess_p_value(strange, 0.3, 20) == pytest.approx(naive)
    assert excess_p_value(strange, 0.3, 1e6) == pytest.approx(excess_p_value(strange, 0.3), rel=1e-3)
    assert excess_p_value(strange, 0.3, 20) > 2 * excess_p_value(strange, 0.3)
    assert excess_p_value(strange, 1.0, 20) == 1.0


def test_clean_share_compares_a_group_with_its_trusted_rows() -> None:
    assert clean_share(0.5, 11, 22) == pytest.approx(1.0)
    assert clean_share(0.5, 2, 22) == pytest.approx(0.25)
    assert clean_share(0.01, 5, 8) == 1.0


def test_a_class_is_allowed_to_be_as_strange_as_its_trusted_rows() -> None:
    usual, strange = np.zeros(98, bool), np.ones(98, bool)
    assert allowed_strange(usual, 0.4) == pytest.approx(0.4)
    assert allowed_strange(strange, 0.4) == 1.0
    half = np.arange(98) < 49
    assert allowed_strange(half, 0.4) == pytest.approx(0.498 + 1.5 * (0.498 * 0.502 / 100) ** 0.5)
    assert allowed_strange(np.zeros(0, bool), 0.4) > 0.4  # nothing is known of it


def test_a_group_whose_trusted_rows_are_strange_too_is_allowed_to_be() -> None:
    assert expected_strange(np.zeros(0, bool), 0.3) == pytest.approx(0.3)
    assert expected_strange(np.zeros(8, bool), 0.3) == pytest.approx(0.3)
    assert expected_strange(np.ones(8, bool), 0.3) == pytest.approx(8.6 / 10)


@pytest.mark.parametrize(
    ("trusted_inside", "trusted", "accused"),
    [(0, 20, True), (3, 20, True), (10, 20, False), (0, 8, True), (2, 8, False)],
    ids=["nobody there", "too few", "as many as there should be", "nobody of few", "some of few"],
)
def test_a_group_that_trusted_rows_explain_is_not_accused_for_its_excess(
    trusted_inside: int, trusted: int, accused: bool
) -> None:
    """Half of the class is strange and lies together: a hard kind of product, unless trusted rows keep away from it."""
    own, mine = np.r_[np.full(50, 5.0), np.zeros(50)], np.arange(100) < 50
    p, _ = UnexplainedClusters()._judge(
        own, mine, np.zeros(trusted), np.arange(trusted) < trusted_inside, Usual(median=0.0, large=1.0, allowed=0.35)
    )
    assert (p < 1e-6) == accused
    assert accused or p == 1.0


def test_the_size_of_a_group_pays_little_for_being_asked_beside_its_excess() -> None:
    mine, nobody = np.arange(100) < 20, np.zeros(70, bool)
    p, least = UnexplainedClusters(tolerance=1.0)._judge(
        np.zeros(100), mine, np.zeros(70), nobody, Usual(median=0.0, large=1.0, allowed=0.35)
    )
    assert p == pytest.approx(1.25 * 0.8**70)
    assert least == -np.inf  # nothing to go by within the group


@pytest.mark.parametrize(("inside", "accused"), [(0, True), (8, True), (9, False), (30, False)])
def test_size_alone_accuses_only_where_trusted_rows_are_next_to_absent(inside: int, accused: bool) -> None:
    """40% of the class in a group, 200 trusted rows: 80 are expected there. Another batch has many such groups."""
    mine, trusted = np.arange(100) < 40, np.arange(200) < inside
    p, _ = UnexplainedClusters()._judge(
        np.zeros(100), mine, np.zeros(200), trusted, Usual(median=0.0, large=1.0, allowed=0.35)
    )
    assert p == (pytest.approx(1.25 * size_p_value(0.4, inside, 200, 1.3)) if accused else 1.0)
    assert size_p_value(0.4, inside, 200, 1.3) < 1e-5


def test_mixtures_have_two_rows_per_dimension_and_component() -> None:
    assert fitting((2, 3, 4, 6), 500, 8) == (2, 3, 4, 6)
    assert fitting((2, 3, 4, 6), 64, 8) == (2, 3, 4)
    assert fitting((3, 6), 20, 8) == (3,)
