"""Trusted rows for whose labels nothing but their companions speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from lotgate import stages
from lotgate.carriers import carriers
from lotgate.companions import LEAST_CLASSES, PENALTIES, left_out, scatter
from lotgate.data import Dataset
from lotgate.settings import Settings
from lotgate.sittings import alone, load_evidence
from lotgate.vetting import load_doubt
from tests.small_lots import digits, image_dataset, write_digits

RNG = np.random.default_rng
N, TRUSTED, PLANTED, SPOILED = 600, 200, 40, 10
Images = tuple[np.ndarray, np.ndarray]


def with_patch(images: np.ndarray, labels: np.ndarray, n: int) -> Images:
    """The first n images that are no zeros carry a bright corner and are called zeros."""
    images, labels = images.copy(), labels.copy()
    rows = np.flatnonzero(labels != 0)[:n]
    images[rows, 5:, 5:], labels[rows] = 255, 0
    return images, labels


def lots(planted: int, spoiled: int) -> tuple[Images, Images, np.ndarray]:
    """Lot, trusted set, and which trusted rows carry the patch."""
    x, y = digits(10)
    lot = with_patch(x[:N], y[:N], planted)
    trusted = with_patch(x[N : N + TRUSTED], y[N : N + TRUSTED], spoiled)
    return lot, trusted, trusted[1] != y[N : N + TRUSTED]


def datasets(folder: Path, planted: int, spoiled: int) -> tuple[Dataset, Dataset, np.ndarray]:
    lot, trusted, carry = lots(planted, spoiled)
    return image_dataset(folder / "lot", *lot), image_dataset(folder / "trusted", *trusted), carry


@pytest.mark.parametrize("spoiled", [SPOILED, 4 * SPOILED])
def test_trusted_rows_with_the_trigger_of_the_lot_are_named(spoiled: int, tmp_path: Path) -> None:
    lot, trusted, carry = datasets(tmp_path, PLANTED, spoiled)
    assert set(carriers(lot, [trusted], RNG(0))) == set(map(str, trusted.ids[carry]))


@pytest.mark.parametrize("planted", [0, PLANTED])
def test_a_vetted_set_is_believed(planted: int, tmp_path: Path) -> None:
    lot, trusted, _ = datasets(tmp_path, planted, 0)
    assert carriers(lot, [trusted], RNG(0)) == ()


def test_a_trigger_that_this_lot_does_not_have_is_named_too(tmp_path: Path) -> None:
    lot, trusted, carry = datasets(tmp_path, 0, 4 * SPOILED)
    assert set(carriers(lot, [trusted], RNG(0))) == set(map(str, trusted.ids[carry]))


def test_images_that_show_nothing_name_nobody(tmp_path: Path) -> None:
    y = np.arange(200) % 8
    for name, blank in (("plain", np.full((200, 8, 8), 7, np.uint8)), ("dot", np.zeros((200, 1, 1), np.uint8))):
        lot, trusted = (image_dataset(tmp_path / name / part, blank, y) for part in ("lot", "trusted"))
        assert carriers(lot, [trusted], RNG(0)) == ()


def test_few_classes_say_nothing(tmp_path: Path) -> None:
    lot, trusted, _ = datasets(tmp_path, PLANTED, SPOILED)
    few = [d.select(d.ids[d.y < LEAST_CLASSES - 1]) for d in (lot, trusted)]
    few = [Dataset(d.modality, d.task, d.manifest, d.root, d.store, d.classes[: LEAST_CLASSES - 1]) for d in few]
    assert carriers(few[0], few[1:], RNG(0)) == ()


def test_a_class_keeps_its_trusted_rows_where_all_of_them_carry_it(tmp_path: Path) -> None:
    lot, trusted, carry = datasets(tmp_path, PLANTED, SPOILED)
    rest = trusted.select(trusted.ids[carry | (trusted.y != 0)])
    assert carriers(lot, [rest], RNG(0)) == ()


def test_rows_are_left_out_as_if_the_classifier_had_never_seen_them() -> None:
    rng = RNG(0)
    x, y = rng.normal(size=(90, 7)) + 3, rng.integers(3, size=90)
    model, some = left_out(x, y, 3), np.arange(12, 40)
    products = np.trace((x - x.mean(axis=0)).T @ (x - x.mean(axis=0))) / 7
    refits = []
    for penalty in PENALTIES:
        refit = Ridge(alpha=penalty * products).fit(np.delete(x, some, axis=0), np.eye(3)[np.delete(y, some)])
        refits.append(np.abs(refit.predict(x[some]) - model.answers(some)).max())
    assert min(refits) < 1e-6
    single = np.concatenate([model.answers(np.array([i])) for i in range(90)])
    assert np.allclose(single, model.alone, atol=1e-6)


def test_rows_of_all_other_classes_scatter_and_a_natural_group_does_not() -> None:
    y = np.repeat(np.arange(5), 20)
    assert scatter(np.array([1, 2, 3, 4] * 5), y, 0) == pytest.approx(1.0)
    assert scatter(np.array([1, 2, 3, 4] * 5 + [0] * 20), y, 0) == pytest.approx(0.5)
    assert scatter(np.array([3] * 20), y, 0) == pytest.approx(0.25)
    assert scatter(np.zeros(20, np.int64), y, 0) == 0.0


def test_who_carries_it_is_kept_from_every_model_and_named_in_the_decision(tmp_path: Path) -> None:
    lot, trusted, carry = lots(PLANTED, SPOILED)
    settings = Settings.model_validate(
        {
            "policy": {"voters": ["shared_pattern"]},
            "detectors": {"shared_pattern": {}},
            "probe": {"epochs": 3, "min_steps": 0, "width": 16},
        }
    )
    paths = write_digits(tmp_path / "lot", *lot), write_digits(tmp_path / "trusted", *trusted)
    decision = stages.screen(tmp_path / "run", *paths, settings)
    doubt = load_doubt(tmp_path / "run")
    assert len(doubt.carriers) == carry.sum() and not doubt.ids
    evidence = load_evidence(alone(tmp_path / "run"), settings)
    assert {i for d in evidence.vetted for i in d.ids}.isdisjoint(doubt.carriers)
    check = next(c for c in decision.checks if "models contradict" in c.name)
    assert not check.passed and not check.critical and check.observed == SPOILED
    assert any(f"{SPOILED} of {TRUSTED} trusted samples share something" in reason for reason in decision.reasons)
    assert decision.n_quarantined == PLANTED


def test_a_classifier_without_a_group_is_the_one_of_all_others() -> None:
    rng = RNG(0)
    x, y = rng.normal(size=(60, 7)) + 3, np.arange(60) % 3
    model, group = left_out(x, y, 3), np.array([0, 4, 9, 10, 33])
    others = model.without(group)
    np.testing.assert_allclose(x[group] @ others.coefficients + others.origin, model.answers(group), atol=1e-6)
    assert (others.says(x[group]) == model.answers(group).argmax(axis=1)).all()
