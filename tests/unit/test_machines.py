"""Machines of images: they learn from few, answer for rows whose labels they never saw, and remember their answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotgate import machines
from lotgate.crossfit import SALT
from lotgate.data import Dataset, fold_of
from lotgate.machines import train_machines
from tests.small_lots import digits, image_dataset


def parts(folder: Path) -> tuple[Dataset, Dataset]:
    x, y = digits(10)
    return image_dataset(folder / "lot", x[:400], y[:400]), image_dataset(folder / "trusted", x[400:600], y[400:600])


@pytest.mark.parametrize("most", [10_000, 250])
def test_machines_learn_digits_from_a_few_hundred(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "MOST_IMAGES", most)
    datasets = parts(tmp_path)
    made = train_machines(datasets, datasets, 5, np.random.default_rng(0))
    for d in datasets:
        batch = d.batch(np.arange(len(d)))
        log_p = made.log_p(batch)
        assert np.allclose(np.exp(log_p).sum(1), 1, atol=1e-6)
        assert (log_p.argmax(1) == batch.y).mean() > 0.85


def test_what_was_worked_out_is_remembered_and_is_what_a_machine_says(tmp_path: Path) -> None:
    datasets = parts(tmp_path)
    made = train_machines(datasets, datasets, 3, np.random.default_rng(0))
    batch = datasets[0].batch(np.arange(40))
    afresh = machines.Machines(made.view, made.models, {}).log_p(batch)
    assert np.allclose(made.log_p(batch), afresh, atol=1e-5)
    calls = machines.Machines(None, (), made.known)  # type: ignore[arg-type]
    assert np.array_equal(calls.log_p(batch), made.log_p(batch))


def test_no_label_of_its_own_fold_teaches_a_machine(tmp_path: Path) -> None:
    lot, trusted = parts(tmp_path)
    mine = fold_of(lot.ids, 2, SALT) == 0
    wrong = lot.manifest.assign(
        label=[str((int(v) + 1) % 10) if m else v for v, m in zip(lot.manifest["label"], mine, strict=True)]
    )
    turned = Dataset(lot.modality, lot.task, wrong, lot.root, lot.store, lot.classes, lot.features)
    batch = lot.batch(np.flatnonzero(mine))
    said = [train_machines((d, trusted), (d, trusted), 2, np.random.default_rng(0)).log_p(batch) for d in (lot, turned)]
    assert np.array_equal(*said)


def test_only_believed_labels_are_learned(tmp_path: Path) -> None:
    lot, trusted = parts(tmp_path)
    believed = [lot.select(lot.ids[lot.y != 3]), trusted.select(trusted.ids[trusted.y != 3])]
    made = train_machines((lot, trusted), believed, 2, np.random.default_rng(0))
    assert (made.log_p(lot.batch(np.arange(len(lot)))).argmax(1) != 3).all()


def test_one_class_teaches_its_name(tmp_path: Path) -> None:
    lot, trusted = parts(tmp_path)
    only = [d.select(d.ids[d.y == 4]) for d in (lot, trusted)]
    made = train_machines((lot, trusted), only, 2, np.random.default_rng(0))
    assert (made.log_p(lot.batch(np.arange(20))).argmax(1) == 4).all()
