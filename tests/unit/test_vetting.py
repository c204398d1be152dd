"""The trusted set in two parts, and what becomes of those of its labels that models contradict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from lotgate import stages
from lotgate.checks import example
from lotgate.settings import Settings
from lotgate.vetting import (
    BEYOND_DOUBT,
    NO_DOUBT,
    Doubt,
    doubt_check,
    doubt_labels,
    doubt_words,
    explained,
    load_doubt,
    note_words,
    save_doubt,
    spared,
    split_trusted,
    told_apart,
    unjudged_check,
    unjudged_words,
    without_doubted,
    wrong_labels,
)
from tests.small_lots import digits, write_digits

RNG = np.random.default_rng
SOME = Doubt(share=0.05, gain=9.0, ids=tuple(f"3/{i}.png" for i in range(7)), n=120)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_trusted_rows_are_divided_within_each_class(rate: float, tmp_path: Path) -> None:
    trusted = example(tmp_path, "nothing", n=400).evidence.trusted
    assert trusted is not None
    reference, heldout = split_trusted(trusted, rate, np.random.default_rng(0))
    assert set(reference.ids).isdisjoint(heldout.ids)
    assert {*reference.ids, *heldout.ids} == set(trusted.ids)
    for c in range(3):
        total = int((trusted.y == c).sum())
        assert int((heldout.y == c).sum()) == round(total * rate)
    again = split_trusted(trusted, rate, np.random.default_rng(0))[1]
    other = split_trusted(trusted, rate, np.random.default_rng(1))[1]
    assert list(again.ids) == list(heldout.ids) != list(other.ids)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [2, 4])
def test_both_parts_know_every_class_however_few_rows_it_has(rate: float, n: int, tmp_path: Path) -> None:
    whole = example(tmp_path, "nothing").evidence.suspect
    few = whole.select(np.concatenate([whole.ids[whole.y == c][:n] for c in range(3)]))
    parts = split_trusted(few, rate, RNG(0))
    assert [sorted(set(part.y)) for part in parts] == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_only_row_of_a_class_is_learned_from(rate: float, tmp_path: Path) -> None:
    whole = example(tmp_path, "nothing").evidence.suspect
    few = whole.select(np.concatenate([whole.ids[whole.y == 0][:6], whole.ids[whole.y == 1][:1]]))
    reference, heldout = split_trusted(few, rate, RNG(0))
    assert set(reference.y) == {0, 1} and set(heldout.y) == {0}


def test_trusted_targets_are_divided_as_one_class(tmp_path: Path) -> None:
    trusted = example(tmp_path, "nothing", n=200, task="regression").evidence.trusted
    assert trusted is not None
    reference, heldout = split_trusted(trusted, 0.5, np.random.default_rng(0))
    assert (len(reference), len(heldout)) == (25, 25) and set(reference.ids).isdisjoint(heldout.ids)


def said(seed: int, n: int, classes: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (n, K) and the labels that come true with them."""
    rng = RNG(seed)
    log_p = log_softmax(sharpness * rng.normal(size=(n, classes)), axis=1)
    return log_p, np.array([rng.choice(classes, p=np.exp(row)) for row in log_p])


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5], ids=["not sure enough", "calibrated", "too sure"])
@pytest.mark.parametrize(("classes", "sharpness"), [(2, 2.0), (2, 8.0), (10, 6.0)])
def test_models_that_err_are_no_reason_for_doubt_however_sure_they_are(
    scale: float, classes: int, sharpness: float
) -> None:
    gains = [wrong_labels(scale * log_p, y)[1] for log_p, y in (said(s, 160, classes, sharpness) for s in range(12))]
    assert max(gains) < BEYOND_DOUBT and np.median(gains) < 1


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_wrong_labels_are_counted_and_named(rate: float) -> None:
    log_p, y = said(0, 240, 10, 9.0)
    flipped = RNG(1).random(240) < rate
    given = np.where(flipped, (y + RNG(2).integers(1, 10, 240)) % 10, y)
    share, gain, wrong = wrong_labels(2 * log_p, given)
    assert gain > BEYOND_DOUBT and share == pytest.approx(flipped.mean(), abs=0.04)
    assert (wrong[flipped] > 0.5).mean() > 0.6 and (wrong[~flipped] > 0.5).mean() < 0.02
    assert explained(wrong, gain)


def test_labels_that_are_partly_chance_are_nobodys_mistakes() -> None:
    """What customers buy: a few choices look wrong, and most of the unusual ones are as much right as wrong."""
    wrong = np.concatenate([np.full(300, 0.01), np.linspace(0.1, 0.92, 60)])
    assert (wrong > 0.5).sum() > 20 and not told_apart(wrong)
    mistakes = np.concatenate([np.full(300, 0.01), np.full(12, 0.99), np.linspace(0.2, 0.8, 8)])
    assert told_apart(mistakes)
    assert told_apart(np.zeros(10))


@pytest.mark.parametrize("seed", range(8))
def test_models_that_err_often_however_sure_they_are_convict_nobody(seed: int) -> None:
    """A table whose labels no model knows: wrong in three of ten rows, as sure of these as of the others."""
    rng = RNG(seed)
    y, right = rng.integers(0, 2, 223), rng.random(223) < 0.7
    odds = np.where(right, 1, -1) * np.abs(rng.normal(1.3, 1, 223))
    log_p = log_softmax(np.where(np.arange(2) == y[:, None], odds[:, None], 0), axis=1)
    _, gain, wrong = wrong_labels(log_p, y)
    assert not explained(wrong, gain)


def test_a_rare_class_that_models_do_not_know_is_spared_and_wrong_labels_everywhere_are_not() -> None:
    y = np.repeat([0, 1], [95, 5])
    rare = (y == 1) & (np.arange(100) < 98)  # three of five
    assert not spared(rare, y).any()
    y, many = np.repeat([0, 1, 2], 40), np.arange(120) % 3 == 0  # a third of each class
    assert (spared(many, y) == many).all()
    assert not spared(np.arange(120) % 3 > 0, y).any()  # two thirds: models that know nothing
    few = np.arange(120) < 4  # a tenth of one class
    assert (spared(few, y) == few).all()


def test_what_is_doubted_leaves_the_evidence_and_nothing_else_does(tmp_path: Path) -> None:
    evidence = example(tmp_path, "nothing").evidence
    assert evidence.trusted is not None and evidence.heldout is not None
    named = (str(evidence.trusted.ids[3]), str(evidence.heldout.ids[0]))
    left = without_doubted(evidence, replace(SOME, ids=named))
    assert left.trusted is not None and left.heldout is not None
    assert set(evidence.trusted.ids) - set(left.trusted.ids) == {named[0]}
    assert set(evidence.heldout.ids) - set(left.heldout.ids) == {named[1]}
    assert left.suspect is evidence.suspect
    assert without_doubted(evidence, NO_DOUBT).trusted is evidence.trusted


def test_right_labels_are_believed(tmp_path: Path) -> None:
    evidence = example(tmp_path, "flips").evidence
    assert evidence.crossfit is not None and evidence.trusted is not None and evidence.heldout is not None
    found = doubt_labels(evidence.crossfit, (evidence.trusted, evidence.heldout))
    assert not found.ids and found.n == len(evidence.trusted) + len(evidence.heldout)


def test_it_is_kept_and_said(tmp_path: Path) -> None:
    assert load_doubt(tmp_path) == NO_DOUBT
    save_doubt(SOME, tmp_path)
    assert load_doubt(tmp_path) == SOME
    check = doubt_check(SOME)
    assert not check.passed and not check.critical and (check.observed, check.limit) == (7, 0)
    assert "3/0.png" in check.detail and "3/6.png" not in check.detail and check.detail.endswith("…")
    assert "7 of 120 trusted samples are probably mislabelled" in doubt_words(SOME)[0]
    assert doubt_check(NO_DOUBT).passed and not doubt_words(NO_DOUBT)


def test_carriers_of_a_trigger_are_kept_and_said_beside_wrong_labels(tmp_path: Path) -> None:
    both = replace(SOME, carriers=("0/1.png", "0/2.png"))
    save_doubt(both, tmp_path)
    assert load_doubt(tmp_path) == both
    check = doubt_check(both)
    assert check.observed == 9 and check.detail.endswith("probably carry a trigger: 0/1.png, 0/2.png")
    wrong, carry = doubt_words(both)
    assert "7 of 122 trusted samples are probably mislabelled" in wrong and "2 of 122 trusted samples share" in carry
    assert not doubt_check(replace(NO_DOUBT, carriers=("0/1.png",))).passed


def test_carriers_leave_the_evidence_too(tmp_path: Path) -> None:
    evidence = example(tmp_path, "nothing").evidence
    assert evidence.trusted is not None
    named = str(evidence.trusted.ids[3])
    left = without_doubted(evidence, replace(NO_DOUBT, carriers=(named,)))
    assert left.trusted is not None and set(evidence.trusted.ids) - set(left.trusted.ids) == {named}


def test_classes_that_could_not_be_judged_are_said() -> None:
    some = {"disagreement": ("bent", "cracked"), "trusted_distance": ("bent",), "shared_detail": ()}
    check = unjudged_check(some)
    assert not check.passed and not check.critical and (check.observed, check.limit) == (2, 0)
    assert check.detail == "disagreement: 'bent', 'cracked'; trusted_distance: 'bent'"
    assert check.detail in unjudged_words(some)[0] and "vet more samples" in unjudged_words(some)[0]
    many = unjudged_check({"disagreement": tuple(f"c{i}" for i in range(9))})
    assert many.observed == 9 and many.detail == "disagreement: 'c0', 'c1', 'c2', 'c3', 'c4', …"
    for nothing in ({}, {"disagreement": ()}):
        assert unjudged_check(nothing).passed and not unjudged_check(nothing).detail and not unjudged_words(nothing)


@pytest.mark.parametrize("known", [False, True])
def test_a_rare_class_that_models_cannot_tell_is_named_in_the_decision(known: bool, tmp_path: Path) -> None:
    rare = np.arange(400) % 20 == 7
    table = pd.DataFrame(RNG(0).normal(size=(400, 3)) + 9 * known * rare[:, None], columns=["a", "b", "c"])
    table = table.assign(label=np.where(rare, "bent", "straight"))
    for name, rows in (("lot", slice(0, 200)), ("trusted", slice(200, 400))):
        table.iloc[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    settings = Settings.model_validate(
        {
            "policy": {"voters": ["disagreement"]},
            "detectors": {"disagreement": {"drops": []}},
            "probe": {"epochs": 2, "min_steps": 0},
        }
    )
    decision = stages.screen(tmp_path / "run", tmp_path / "lot.csv", tmp_path / "trusted.csv", settings)
    check = next(check for check in decision.checks if "could not be judged" in check.name)
    assert check.passed == known and (check.detail == "disagreement: 'bent'") == (not known)
    assert any("disagreement: 'bent'" in reason for reason in decision.reasons) == (not known)
    assert decision.decision == "accept"


def test_flips_are_found_although_the_trusted_set_has_as_many(tmp_path: Path) -> None:
    x, y = digits(6)
    given, flipped = y.copy(), RNG(3).permutation(820) < 49  # 6% of the lot and of the trusted set
    given[:820][flipped] = (y[:820][flipped] + RNG(4).integers(1, 6, 49)) % 6
    lot, trusted = (
        write_digits(tmp_path / name, x[rows], given[rows])
        for name, rows in (("lot", slice(0, 600)), ("trusted", slice(600, 820)))
    )
    settings = Settings.model_validate(
        {
            "policy": {"voters": ["disagreement"]},
            "detectors": {"disagreement": {"drops": [0.2]}},
            "probe": {"epochs": 2},
        }
    )
    decision = stages.screen(tmp_path / "run", lot, trusted, settings)
    named = set(load_doubt(tmp_path / "run").ids)
    truly = {f"{given[i]}/{i - 600:04d}.png" for i in range(600, 820) if flipped[i]}
    assert len(named & truly) > 0.6 * len(truly) and len(named - truly) <= 2
    assert any("probably mislabelled" in reason for reason in decision.reasons)
    verdicts = pd.read_parquet(tmp_path / "run/verdicts.parquet").set_index("sample_id")["action"]
    set_aside = np.array([verdicts[f"{given[i]}/{i:04d}.png"] == "quarantine" for i in range(600)])
    assert set_aside[flipped[:600]].mean() > 0.7 and set_aside[~flipped[:600]].mean() < 0.02


def test_what_groups_share_is_named_by_voter() -> None:
    assert note_words({"a": (), "b": ()}) == ()
    notes = {"a": ("f2 is 5.5 in 8 samples of ok",), "b": ()}
    assert note_words(notes) == ("What samples share, and trusted ones do not (a: f2 is 5.5 in 8 samples of ok).",)
