"""Shared value: a value that comes too often is suspect where nothing else in its rows speaks for their label."""

from pathlib import Path

import numpy as np
import pytest

from lotgate.checks import example
from lotgate.detector import Evidence, judge
from lotgate.detectors.shared_value import SharedValue
from lotgate.repeats import column_of, columns_besides, repeats

RNG = np.random.default_rng
LATER, VALUE = 2, 5.5  # a column that says nothing of the class, and a value in its middle


def evidence_of(
    folder: Path, value_in: int, label: int, n: int, *, trusted_too: bool = False
) -> tuple[Evidence, np.ndarray]:
    """A clean table; then n rows of the class `value_in` get VALUE in a column, and the label given."""
    evidence = example(folder, "nothing", modality="table", seed=3).evidence
    assert evidence.trusted is not None
    marked = np.isin(evidence.suspect.ids, evidence.suspect.ids[evidence.suspect.y == value_in][:n])
    parts = [(evidence.suspect, marked)]
    if trusted_too:
        parts.append((evidence.trusted, evidence.trusted.y == label))
    for dataset, rows in parts:
        stored = np.load(dataset.store)
        stored[dataset.rows[rows], LATER] = VALUE
        np.save(dataset.store, stored)
        dataset.manifest.loc[rows, "label"] = dataset.classes[label]
        dataset.__dict__.pop("y", None)
    return evidence, marked


def p_values(evidence: Evidence) -> np.ndarray:
    return judge(detector := SharedValue(), detector.fit(evidence, RNG(0)), evidence).findings["p_value"].to_numpy()


def test_relabelled_rows_with_one_value_are_accused_and_nobody_else(tmp_path: Path) -> None:
    evidence, marked = evidence_of(tmp_path, value_in=1, label=0, n=8)
    p = p_values(evidence)
    assert (p[marked] < 1e-3).all()
    assert (p[~marked] == 1).all()


def test_the_value_is_named(tmp_path: Path) -> None:
    evidence, _ = evidence_of(tmp_path, value_in=1, label=0, n=8)
    scorer = SharedValue().fit(evidence, RNG(0))
    assert getattr(scorer, "notes", ()) == ("f2 is 5.5 in 8 samples of class 0",)


def test_a_value_that_the_other_columns_agree_with_is_a_habit(tmp_path: Path) -> None:
    """It comes as oddly often, and no trusted row has it: but it stands in rows that are what they are called."""
    evidence, marked = evidence_of(tmp_path, value_in=0, label=0, n=8)
    assert (p_values(evidence)[marked] == 1).all()


def test_so_many_that_trusted_rows_should_have_some_need_no_other_column(tmp_path: Path) -> None:
    evidence, marked = evidence_of(tmp_path, value_in=0, label=0, n=40)
    assert (p_values(evidence)[marked] < 1e-3).all()


def test_what_trusted_rows_have_too_is_natural(tmp_path: Path) -> None:
    evidence, marked = evidence_of(tmp_path, value_in=1, label=0, n=20, trusted_too=True)
    assert (p_values(evidence)[marked] == 1).all()


def test_clean_rows_with_the_same_value_are_spared(tmp_path: Path) -> None:
    evidence, marked = evidence_of(tmp_path, value_in=1, label=0, n=5)
    others = np.flatnonzero((evidence.suspect.y == 0) & ~marked)[:2]
    stored = np.load(evidence.suspect.store)
    stored[evidence.suspect.rows[others], LATER] = VALUE
    np.save(evidence.suspect.store, stored)
    p = p_values(evidence)
    assert (p[marked] < 1e-2).all()
    assert (p[others] == 1).all()


def test_a_column_of_codes_says_nothing(tmp_path: Path) -> None:
    x = np.round(RNG(0).normal(0, 3, (500, 1))).astype(np.float32)
    x[:30] = 20
    y, trusted = np.zeros(500, np.int64), np.arange(500) >= 400
    assert len(np.unique(x)) < 40
    assert repeats(x, y, trusted) == ([], 0)


def test_a_round_number_is_of_no_class() -> None:
    """Of 500 houses 30 have a plot of exactly 6,000, with air conditioning or without."""
    x = RNG(0).normal(size=(600, 1)).astype(np.float32)
    y, trusted = np.arange(600) % 2, np.arange(600) >= 500
    x[:40] = 0.25
    assert repeats(x, y, trusted) == ([], 2)
    x[np.arange(600) % 2 == 1] += 1e-3  # now it is of one class
    assert [repeat.c for repeat in repeats(x, y, trusted)[0]] == [0, 1]
    x[(y == 1) & (np.arange(600) < 40)] = RNG(1).normal(size=(20, 1))
    assert [repeat.c for repeat in repeats(x, y, trusted)[0]] == [0]


def test_a_limit_that_other_classes_reach_too_is_not_loud_for_one() -> None:
    """Signals at their limit: a third of the bad ones and a tenth of the good; sixteen trusted bad ones are not."""
    x, y = RNG(0).normal(size=(432, 1)).astype(np.float32), np.repeat([0, 1, 0, 1], [200, 200, 16, 16])
    trusted = np.arange(432) >= 400
    x[:60] = x[200:220] = 4.0
    (limit,), _ = repeats(x, y, trusted)
    assert limit.usual
    assert limit.p_value > limit.p_size > limit.p_loud
    x[200:220] = RNG(1).normal(size=(20, 1))
    (only_theirs,), _ = repeats(x, y, trusted)
    assert not only_theirs.usual
    assert only_theirs.p_value < limit.p_size / 5


@pytest.mark.parametrize(("of_class", "of_others", "told"), [(90, 10, 0), (90, 0, 1), (99, 1, 1)])
def test_a_value_of_a_batch_that_trusted_rows_do_not_know_is_of_no_class(
    of_class: int, of_others: int, told: int
) -> None:
    """Nine of ten parts are of one class, in the new batch as in all; if all but one of it are, it is of that."""
    rng = RNG(0)
    y = np.r_[np.zeros(900, int), np.ones(100, int), np.zeros(180, int), np.ones(20, int)]
    x = rng.permutation(len(y)).astype(np.float32)[:, None]
    x[:of_class] = VALUE
    x[900 : 900 + of_others] = VALUE
    found, _ = repeats(x, y, np.arange(len(y)) >= 1000)
    assert [r.rows.sum() for r in found if r.c == 0] == [of_class] * told


def test_loudness_is_counted_beside_the_nearest_values() -> None:
    column = column_of(np.repeat(np.arange(50, dtype=np.float32), [2] * 49 + [20]))
    assert column.loudness[-1] == pytest.approx(10)
    assert column.loudness[0] == pytest.approx(1)
    assert column.loudness[45] == pytest.approx(2 / ((19 * 2 + 20) / 20))
    assert (column.values[column.place] == np.repeat(np.arange(50), [2] * 49 + [20])).all()


def test_columns_of_the_same_trigger_do_not_speak_for_each_other() -> None:
    x = RNG(0).normal(size=(300, 4)).astype(np.float32)
    x[:20, 1] = x[:20, 3] = 0.5
    y, trusted = np.zeros(300, np.int64), np.arange(300) >= 240
    found, asked = repeats(x, y, trusted)
    assert sorted(repeat.column for repeat in found) == [1, 3]
    assert asked == 2
    assert all(repeat.rows[:20].all() and repeat.rows.sum() == 20 for repeat in found)
    assert [columns_besides(x, repeat).tolist() for repeat in found] == [[0, 2], [0, 2]]


def test_decoys_in_many_columns_hide_nothing(tmp_path: Path) -> None:
    """Thirty columns in which the same rows, rightly labelled, have one value are one thing to look into."""
    evidence, marked = evidence_of(tmp_path, value_in=1, label=0, n=5)
    decoys = np.flatnonzero(evidence.suspect.y == 2)[:7]
    for dataset, rows in ((evidence.suspect, decoys), *((part, np.zeros(0, int)) for part in evidence.vetted[:1])):
        wide = np.load(dataset.store)
        wide = np.hstack([wide, RNG(5).normal(size=(len(wide), 30)).astype(np.float32)])
        wide[dataset.rows[rows], 6:] = 0.25
        np.save(dataset.store, wide)
    p = p_values(evidence)
    assert (p[marked] < 1e-2).all()
    assert (p[decoys] == 1).all()


def test_fitting_twice_gives_the_same(tmp_path: Path) -> None:
    evidence, _ = evidence_of(tmp_path, value_in=1, label=0, n=12)
    assert (p_values(evidence) == p_values(evidence)).all()
