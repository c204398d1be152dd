"""Committees of tables: who earns a say, what their mean is, and what they make of one class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotgate.checks import example
from lotgate.committee import KINDS, SURPRISE, Committee, Constant, Kind, earned_weights, train_members
from lotgate.data import Pool


def test_say_is_the_root_of_the_likelihood_ratio() -> None:
    y = np.array([0, 1, 1, 0])
    sure, unsure = np.log([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]]), np.log(np.full((4, 2), 0.5))
    weights = earned_weights({"trees": sure, "linear": unsure}, y)
    assert weights["linear"] / weights["trees"] == pytest.approx((0.5 / 0.9) ** (4 / 2))
    assert sum(weights.values()) == pytest.approx(1)


def test_a_kind_that_explains_nothing_is_not_heard_and_one_row_silences_nobody() -> None:
    y = np.zeros(200, np.int64)
    good, bad = np.log(np.tile([0.9, 0.1], (200, 1))), np.log(np.tile([0.5, 0.5], (200, 1)))
    assert set(earned_weights({"trees": good, "neighbours": bad}, y)) == {"trees"}
    slip = good.copy()
    slip[0] = np.log([1e-300, 1.0])
    lost = (np.log(0.9) - np.log(SURPRISE)) / 2
    weights = earned_weights({"trees": good, "linear": slip}, y)
    assert weights["linear"] / weights["trees"] == pytest.approx(np.exp(-lost))


def test_targets_are_weighed_by_their_residuals() -> None:
    y = np.array([0.0, 0.0], np.float32)
    weights = earned_weights({"trees": np.array([[1.0], [1.0]]), "linear": np.array([[2.0], [2.0]])}, y)
    assert weights["linear"] / weights["trees"] == pytest.approx(np.exp(-1))
    perfect = earned_weights({"trees": np.zeros((2, 1)), "linear": np.zeros((2, 1))}, y)
    assert perfect == pytest.approx({"trees": 0.5, "linear": 0.5})


def test_a_committee_answers_with_the_mean_of_probabilities_or_targets() -> None:
    class Says:
        def __init__(self, *answer: float) -> None:
            self.answer = answer

        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.tile(self.answer, (len(x), 1))

    weights: dict[Kind, float] = {"trees": 0.75, "linear": 0.25}
    x = np.zeros((3, 2), np.float32)
    classes = Committee({"trees": Says(np.log(0.8), np.log(0.2)), "linear": Says(np.log(0.4), np.log(0.6))}, weights)
    assert np.allclose(np.exp(classes.predict(x)), [0.7, 0.3])
    targets = Committee({"trees": Says(4.0), "linear": Says(8.0), "neighbours": Says(99.0)}, weights)
    assert np.allclose(targets.predict(x), 5.0)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_kind_learns_what_there_is_to_learn(task: str, tmp_path: Path) -> None:
    lot = example(tmp_path, "nothing", n=400, task=task).evidence.suspect  # type: ignore[arg-type]
    first, rest = lot.select(lot.ids[:300]), lot.select(lot.ids[300:])
    members = train_members(Pool((first,)), KINDS, np.random.default_rng(0))
    assert tuple(members) == KINDS
    batch = rest.batch(np.arange(len(rest)))
    for kind, member in members.items():
        predicted = member.predict(batch.x)
        if task == "regression":
            naive = np.abs(batch.y - np.median(first.y)).mean()
            assert predicted.shape == (len(rest), 1) and np.abs(batch.y - predicted[:, 0]).mean() < 0.8 * naive, kind
        else:
            assert np.allclose(np.exp(predicted).sum(1), 1, atol=1e-6)
            assert (predicted.argmax(1) == batch.y).mean() > 0.8, kind


def test_one_class_teaches_its_name_and_few_rows_are_enough(tmp_path: Path) -> None:
    lot = example(tmp_path, "nothing", n=400).evidence.suspect
    only = lot.of_class(1)
    members = train_members(Pool((only,)), KINDS, np.random.default_rng(0))
    assert all(isinstance(member, Constant) for member in members.values())
    assert (members["trees"].predict(np.zeros((2, 3), np.float32)).argmax(1) == 1).all()
    targets = example(tmp_path / "few", "nothing", n=200, task="regression").evidence.suspect
    few = train_members(Pool((targets.select(targets.ids[:1]),)), KINDS, np.random.default_rng(0))
    x = targets.batch(np.arange(5)).x
    assert all(np.isfinite(member.predict(x)).all() for member in few.values())
