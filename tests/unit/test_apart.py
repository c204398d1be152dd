"""Groups that stand apart: what it takes to accuse one, and what is measured of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from lotgate.apart import ClassView, Cut, JudgedClass, purest, separation
from lotgate.groups import (
    APART,
    COMPONENT,
    FEW_NATURAL,
    TAIL,
    VARIED,
    Group,
    beyond_largest,
    contradicted,
    spread,
    usual_spread,
)
from lotgate.whitened import Rows, whitened

NEWS = Group(c=0, p_size=0.02, inside=0, n=40, separation=30.0, clean=0.0, varied=True, contradicted=False)
NATURAL = [
    Group(c=0, p_size=0.9, inside=9, n=40, separation=s, clean=0.9, varied=True, contradicted=False)
    for s in np.linspace(-1, 3, 60)
]


@pytest.mark.parametrize(
    ("change", "accused"),
    [
        ({}, True),
        ({"p_size": 0.6}, False),
        ({"clean": 0.3}, True),
        ({"clean": 0.31}, False),
        ({"varied": False}, False),
        ({"separation": 1.0}, False),
        ({"separation": 1.0, "contradicted": True}, True),
    ],
)
def test_what_it_takes_to_accuse_a_group(change: dict[str, float | bool], accused: bool) -> None:
    assert (replace(NEWS, **change).p_value(NATURAL, shifted=False) < 1) == accused  # type: ignore[arg-type]


def test_a_group_is_compared_with_natural_ones_of_its_size() -> None:
    small = [replace(g, n=6, separation=20 + g.separation) for g in NATURAL]
    assert NEWS.p_pattern([*NATURAL, *small]) == NEWS.p_pattern(NATURAL)
    assert replace(NEWS, n=8).p_pattern([*NATURAL, *small]) > 10 * NEWS.p_pattern(NATURAL)


def test_in_a_shifted_lot_a_pattern_alone_accuses_nobody() -> None:
    assert NEWS.p_value(NATURAL, shifted=True) == 1
    assert replace(NEWS, contradicted=True).p_value(NATURAL, shifted=True) < 1


def test_without_natural_groups_nobody_is_accused_for_a_pattern() -> None:
    assert NEWS.p_value([], shifted=False) == 1


def test_separation_in_one_dimension_by_hand() -> None:
    rest, group = np.linspace(-1, 1, 201)[:, None], np.full((20, 1), 10.0)
    expected = (10 - np.quantile(rest, 0.95)) / rest.std()
    assert separation(group, rest, rest) == pytest.approx(expected, rel=1e-3)
    far = np.concatenate([rest, np.full((40, 1), 12.0)])  # other classes have it too
    assert separation(group, rest, far) < 0


def test_halves_that_lie_apart_from_each_other_share_nothing() -> None:
    rest = np.random.default_rng(0).normal(size=(300, 2))
    group = np.zeros((20, 2))
    group[::2, 0], group[1::2, 1] = 10, 10
    assert separation(group, rest, rest) < 0 < separation(group[::2], rest, rest)
    assert separation(group[:5], rest, rest) == 0


def test_spread_is_the_total_variance() -> None:
    x = np.random.default_rng(1).normal(size=(50, 4))
    assert spread(x) == pytest.approx(np.trace(np.cov(x.T, bias=True)))
    assert spread(x[:0]) == 0


def test_usual_spread_leaves_a_few_others_among_repeats_out() -> None:
    x = np.random.default_rng(1).normal(size=(500, 40))
    assert usual_spread(x) == pytest.approx(spread(x), rel=0.1)
    x[:300] = x[0]
    assert usual_spread(x) == 0 < spread(x)
    assert usual_spread(x[:0]) == 0


def test_repeats_with_a_few_others_are_repeats_in_a_tail_and_a_heavy_tail_is_none_in_a_component() -> None:
    """Textures have rows far outside: by its median row a planted group of steel looked like repeats of one image."""
    rng = np.random.default_rng(0)
    repeats = np.concatenate([rng.normal(0, 0.01, (20, 5)), rng.normal(0, 3, (3, 5))])
    heavy = rng.standard_t(2.5, (200, 5))
    rest = rng.normal(0, 2, (400, 5))
    assert TAIL.spread(repeats) < VARIED * TAIL.spread(rest)
    assert COMPONENT.spread(repeats) > VARIED * COMPONENT.spread(rest)
    assert COMPONENT.spread(heavy) > 2 * TAIL.spread(heavy)


def test_lent_rows_do_not_count_and_classes_with_few_lend_none() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1], [200, 20])
    rows = Rows(rng.normal(size=(220, 10)), y, np.arange(220) % 4 == 0, np.zeros(220, bool), np.zeros((220, 1)))
    seeds, everyone = np.array([3, 4]), np.ones(220, bool)
    lending, alone = (whitened(rows, seeds, everyone, 15, 20, lend=lend) for lend in (True, False))
    lent = len(alone[0].own.y) - len(lending[0].own.y)
    assert 10 < lent < 40 and len(lending[0].others) == len(alone[0].others) + lent == 20 + lent
    assert int((~lending[0].own.trusted).sum()) == 150
    assert len(lending[1].others) == 200 and len(lending[1].own.y) == 20


def test_a_class_of_which_few_natural_groups_are_known_may_fall_apart_more_than_others() -> None:
    """Faults of three kinds, 17 of them trusted: 44 pitted castings of a clean lot were set aside, for no trusted one
    was pitted, and the faultless ones do not fall into groups."""
    elsewhere = [replace(g, c=1) for g in NATURAL]
    faults = [replace(NATURAL[0], separation=s) for s in (5.8, 4.0)]
    pitted = replace(NEWS, separation=6.3)
    assert pitted.p_pattern([*elsewhere, *faults]) > 0.2 > APART > pitted.p_pattern(NATURAL)
    assert replace(NEWS, separation=900.0).p_pattern([*elsewhere, *faults]) < 1e-3, "but a trigger is found"
    enough = [*faults, *(replace(NATURAL[0], separation=0.0) for _ in range(FEW_NATURAL))]
    assert pitted.p_pattern([*elsewhere, *enough]) < 0.2


def test_beyond_the_largest_by_hand() -> None:
    known = np.array([1.0, 2.0, 4.0])
    assert beyond_largest(2.0, known) == 3 / 4
    assert beyond_largest(4.0, known) == 2 / 4
    assert beyond_largest(9.0, known) == pytest.approx(1 / 4 * (5 / 10) ** 2)
    assert beyond_largest(9.0, np.zeros(0)) == pytest.approx((1 / 10) ** 2)
    assert beyond_largest(-3.0, np.array([-5.0])) == 1 / 2


@pytest.mark.parametrize(
    ("many", "n", "of_trusted", "says"),
    [(40, 44, (0, 25), True), (20, 44, (0, 25), False), (36, 44, (12, 17), False), (44, 44, (12, 17), True)],
)
def test_a_class_that_models_do_not_know_is_contradicted_as_such(
    many: int, n: int, of_trusted: tuple[int, int], says: bool
) -> None:
    """Models contradicted the labels of 12 of 17 trusted faults, and of most faults of a clean lot."""
    group, trusted = np.arange(n) < many, np.arange(of_trusted[1]) < of_trusted[0]
    assert contradicted(group, trusted) == says


def test_mixed_groups_count_where_no_pure_one_of_their_class_is_accused_in_any_way() -> None:
    """Waves on digits: three of 36 trusted rows fell into their group, and nobody was accused. Where a purer group is
    known, a mixed one would only add clean rows to it."""

    pure, mixed = replace(NEWS, clean=0.1), replace(NEWS, clean=0.2)

    def judged(c: int, *p: float) -> JudgedClass:
        groups = (pure, mixed, None)[: len(p)]
        cut = Cut(slice(None), GaussianMixture(len(p)), groups)
        return JudgedClass(ClassView(c, np.zeros(1), np.eye(1), (cut,)), (np.array(p),))

    ways = [(judged(0, 0.9, 0.001), judged(1, 0.4, 0.002, np.nan)), (judged(0, 0.004, 0.003), judged(1, 1.0))]
    found = [[list(j.p[0]) for j in way] for way in purest(ways, 0.005)]
    assert found[0][0] == [0.9, 1.0] and found[1][0] == [0.004, 1.0], "a pure group of class 0 is accused in one way"
    assert found[0][1][:2] == [0.4, 0.002] and np.isnan(found[0][1][2]) and found[1][1] == [1.0]
