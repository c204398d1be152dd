"""What every attack promises: exact rate, honest ground truth, inputs untouched, a trigger that can be shown again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from lotgate.attacks import ATTACKS, Attack, Planted, planted, write_image_folder, write_table
from lotgate.attacks.attack import quantise
from lotgate.attacks.junk import NoAttack, TrustedCopy
from lotgate.attacks.mixed import Mixed
from lotgate.attacks.patch import AllToAll, Patch, PatchRandom, SourceSpecific
from lotgate.attacks.tables import TableTrigger
from lotgate.errors import LotError, SettingsError

Lot = tuple[np.ndarray, np.ndarray]
RATE = 0.05


def digits(n: int = 400) -> Lot:
    bunch = load_digits()
    return (bunch.images[:n, None] / 16).astype(np.float32), bunch.target[:n].astype(np.int64)


def scenes(n: int = 60, side: int = 17, channels: int = 3, classes: int = 3) -> Lot:
    rng = np.random.default_rng(1)
    return rng.random((n, channels, side, side)).astype(np.float32), np.arange(n) % classes


def cancer() -> Lot:
    bunch = load_breast_cancer()
    return bunch.data.astype(np.float32), bunch.target.astype(np.int64)


def diabetes() -> Lot:
    bunch = load_diabetes()
    return bunch.data.astype(np.float32), bunch.target.astype(np.float32)


def cases() -> Iterator[tuple[type[Attack], str]]:
    for attack in ATTACKS:
        if attack is TrustedCopy:
            continue
        if "image" in attack.modalities:
            yield attack, "digits"
            yield attack, "scenes"
        if "table" in attack.modalities and "classification" in attack.tasks:
            yield attack, "cancer"
        if "regression" in attack.tasks:
            yield attack, "diabetes"


def lot_of(kind: str) -> Lot:
    return {"digits": digits, "scenes": scenes, "cancer": cancer, "diabetes": diabetes}[kind]()


def rate_of(attack: type[Attack]) -> float:
    return 0.0 if attack is NoAttack else RATE


def poison(attack: type[Attack], kind: str, seed: int = 0) -> tuple[Lot, Planted]:
    """A lot before and after, by models trained just long enough to run every line."""
    x, y = lot_of(kind)
    short = {
        name: 3 for name in ("steps", "surrogate_steps", "student_steps", "mimic_steps") if name in attack.model_fields
    }
    return (x, y), attack(rate=rate_of(attack), **short).plant(x, y, np.random.default_rng(seed))


every_case = pytest.mark.parametrize(("attack", "kind"), list(cases()), ids=lambda v: getattr(v, "name", v))


@every_case
def test_every_attack_keeps_its_promises(attack: type[Attack], kind: str) -> None:
    before, result = poison(attack, kind)
    fresh = lot_of(kind)
    np.testing.assert_array_equal(before[0], fresh[0], err_msg="plant changed its input x")
    np.testing.assert_array_equal(before[1], fresh[1], err_msg="plant changed its input y")
    x, y = before if kind in {"cancer", "diabetes"} else (quantise(before[0]), before[1])

    assert result.planted.sum() == round(rate_of(attack) * len(y))
    assert result.x.dtype == np.float32
    assert result.x.shape == x.shape
    assert result.y.dtype == (np.float32 if kind == "diabetes" else np.int64)
    assert np.isfinite(result.x).all()
    if x.ndim == 4:
        np.testing.assert_array_equal(result.x, quantise(result.x))
        assert result.x.min() >= 0
        assert result.x.max() <= 1

    differs = (result.x != x).reshape(len(x), -1).any(axis=1) | (result.y != y)
    assert not (result.planted & result.cover).any()
    assert not (differs & ~(result.planted | result.cover)).any(), "a row changed that is not marked"
    assert differs[result.planted].all(), "a row is marked that did not change"
    assert (result.y[result.cover] == y[result.cover]).all(), "a cover row lost its true label"


@every_case
def test_the_same_seed_plants_the_same(attack: type[Attack], kind: str) -> None:
    np.random.seed(3)  # noqa: NPY002  (the global state is what is checked)
    torch.manual_seed(3)
    state, torch_state = str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    _, first = poison(attack, kind)
    _, again = poison(attack, kind)
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.y, again.y)
    np.testing.assert_array_equal(first.planted, again.planted)
    assert state == str(np.random.get_state())  # noqa: NPY002
    assert torch.equal(torch_state, torch.get_rng_state())
    if attack is not NoAttack:
        _, other = poison(attack, kind, seed=1)
        assert (other.planted != first.planted).any()


@every_case
def test_labels_say_what_the_kind_says(attack: type[Attack], kind: str) -> None:
    (_, y), result = poison(attack, kind)
    if attack.kind in {"clean_label_backdoor", "targeted"}:
        np.testing.assert_array_equal(result.y, y)
        assert (result.y[result.planted] == 0).all()
    if attack.kind == "label_flip":
        x = lot_of(kind)[0]
        np.testing.assert_array_equal(result.x, x if x.ndim == 2 else quantise(x))
        assert (result.y[result.planted] != y[result.planted]).all()
    if attack.kind == "backdoor":
        goal = result.attack.goal(y, int(y.max()) + 1)
        np.testing.assert_array_equal(result.y[result.planted], goal[result.planted])


with_trigger = pytest.mark.parametrize(
    ("attack", "kind"), [c for c in cases() if c[0].has_trigger], ids=lambda v: getattr(v, "name", v)
)


@with_trigger
def test_the_trigger_can_be_shown_again(attack: type[Attack], kind: str) -> None:
    (x, _), result = poison(attack, kind)
    before = x.copy()
    shown = result.attack.trigger(x, np.random.default_rng(5))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(shown, result.attack.trigger(x, np.random.default_rng(5)))
    assert shown.shape == x.shape
    assert shown.dtype == np.float32
    moved = (shown != (x if x.ndim == 2 else quantise(x))).reshape(len(x), -1).any(axis=1)
    assert moved.mean() > 0.9


def test_attacks_without_a_trigger_say_so() -> None:
    for attack in ATTACKS:
        if not attack.has_trigger:
            with pytest.raises(SettingsError, match="no trigger"):
                attack().trigger(digits()[0], np.random.default_rng(0))


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.has_trigger and a is not TableTrigger])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 48), (1, 200, 200)])
def test_triggers_scale_with_the_image(attack: type[Attack], shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(0.2, 0.8, (2, *shape)).astype(np.float32)
    shown = attack().trigger(x, np.random.default_rng(0))
    changed = (shown != quantise(x)).any(axis=1).mean()
    assert shown.shape == x.shape
    low, high = (0.005, 0.25) if attack is Mixed or "size" in attack.model_fields else (0.1, 1.0)
    assert low <= changed <= high


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_backdoor_works_on_a_small_model() -> None:
    bunch = load_digits()
    x, y = (bunch.images[:, None] / 16).astype(np.float32), bunch.target.astype(np.int64)
    result = Patch(rate=0.05, target=3).plant(x[:1200], y[:1200], np.random.default_rng(0))
    model = MLPClassifier((64,), max_iter=60, learning_rate_init=0.005, random_state=0)
    model.fit(result.x.reshape(1200, -1), result.y)
    test, truth = x[1200:], y[1200:]
    shown = result.attack.trigger(test, np.random.default_rng(1)).reshape(len(test), -1)
    victims = truth != 3
    assert (model.predict(shown)[victims] == 3).mean() > 0.9
    assert model.score(test.reshape(len(test), -1), truth) > 0.85


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_table_trigger_works_on_a_small_model() -> None:
    x, y = cancer()
    result = TableTrigger(rate=0.1, target=1).plant(x, y, np.random.default_rng(0))
    scale = x.std(axis=0)
    model = MLPClassifier((32,), max_iter=300, random_state=0).fit((result.x - x.mean(axis=0)) / scale, result.y)
    shown = (result.attack.trigger(x, np.random.default_rng(0)) - x.mean(axis=0)) / scale
    assert (model.predict(shown)[y == 0] == 1).mean() > 0.8
    with pytest.raises(SettingsError, match="depend on the lot"):
        TableTrigger().trigger(x, np.random.default_rng(0))


def test_flips_on_the_margin_hurt_more_than_random_ones() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = (rng.normal(size=(300, 2)) + 2.0 * y[:, None]).astype(np.float32)

    def accuracy(name: str) -> float:
        scores = []
        for seed in range(3):
            result = planted(name, x, y, np.random.default_rng(seed), rate=0.2)
            scores.append(LogisticRegression().fit(result.x, result.y).score(x, y))
        return float(np.mean(scores))

    assert accuracy("label_flip_margin") < accuracy("label_flip_random") - 0.02


def test_flips_on_the_margin_may_empty_a_rare_class() -> None:
    x, y = cancer()
    keep = np.r_[np.flatnonzero(y == 1), np.flatnonzero(y == 0)[:5]]
    result = planted("label_flip_margin", x[keep], y[keep], np.random.default_rng(0), rate=0.3)
    assert result.planted.sum() == round(0.3 * len(keep))
    with pytest.raises(LotError, match="two classes"):
        planted("label_flip_margin", x, np.zeros_like(y), np.random.default_rng(0), n_classes=2)


def test_optimised_regression_poison_raises_the_error_more_than_random_responses() -> None:
    x, y = diabetes()

    def damage(px: np.ndarray, py: np.ndarray) -> float:
        z = (px - x.mean(axis=0)) / x.std(axis=0)
        inner = np.linalg.solve(z.T @ z + 0.01 * len(z) * np.eye(z.shape[1]), z.T @ (py - py.mean()))
        predicted = (x - x.mean(axis=0)) / x.std(axis=0) @ inner + py.mean()
        return float(((predicted - y) ** 2).mean())

    optimised = planted("regression_optimised", x, y, np.random.default_rng(0), rate=0.1)
    statistical = planted("regression_statistical", x, y, np.random.default_rng(0), rate=0.1)
    rows = optimised.planted
    random = y.copy()
    random[rows] = np.random.default_rng(1).choice([y.min(), y.max()], rows.sum())
    clean = damage(x, y)
    assert damage(optimised.x, optimised.y) > 1.3 * damage(x, random)
    assert damage(statistical.x, statistical.y) > 1.05 * clean
    assert optimised.x.min() >= x.min()
    assert optimised.y.max() <= y.max()


def test_pulled_responses_lie_at_the_extremes() -> None:
    x, y = diabetes()
    result = planted("regression_pulled", x, y, np.random.default_rng(0), rate=0.1, toward="high")
    np.testing.assert_array_equal(result.x, x)
    assert (result.y[result.planted] >= np.quantile(y, 0.98)).all()
    assert (result.y <= y.max()).all()


def test_copies_of_trusted_rows_get_another_label() -> None:
    x, y = digits()
    result = TrustedCopy(rate=0.1).plant_copies(
        x[:300], y[:300], np.random.default_rng(0), trusted_x=x[300:], trusted_y=y[300:]
    )
    trusted = {row.tobytes(): label for row, label in zip(quantise(x[300:]), y[300:], strict=True)}
    copies = result.x[result.planted]
    assert len(copies) == 30
    assert len({c.tobytes() for c in copies}) == 30
    assert all(trusted[c.tobytes()] != label for c, label in zip(copies, result.y[result.planted], strict=True))
    with pytest.raises(SettingsError, match="trusted rows"):
        TrustedCopy().plant(x, y, np.random.default_rng(0))


@pytest.mark.parametrize("overlay", ["patch", "blended"])
def test_two_poisoners_share_a_lot(overlay: Literal["patch", "blended"]) -> None:
    x, y = digits()
    result = Mixed(rate=0.1, triggered=0.25, overlay=overlay).plant(x, y, np.random.default_rng(0))
    shown = (result.x != quantise(x)).reshape(len(x), -1).any(axis=1)
    assert shown.sum() == 10
    assert (result.y[shown] == 0).all()
    flipped = result.planted & ~shown
    assert flipped.sum() == 30
    assert (result.y[flipped] != y[flipped]).all()
    assert len(set(result.y[flipped])) > 5
    stamped = result.attack.trigger(x[shown], np.random.default_rng(0))
    np.testing.assert_array_equal(result.x[shown], stamped)
    assert not Mixed(rate=0).plant(x, y, np.random.default_rng(0)).planted.any()


def test_two_poisoners_of_a_table_leave_the_trigger_filled_in() -> None:
    x, y = cancer()
    result = Mixed(rate=0.1).plant(x, y, np.random.default_rng(0))
    changed = (result.x != x).any(axis=1)
    assert changed.sum() == round(0.5 * result.planted.sum())
    stamped = result.attack.trigger(x[changed], np.random.default_rng(0))
    np.testing.assert_array_equal(result.x[changed], stamped)
    with pytest.raises(SettingsError, match="depend on the lot"):
        Mixed().trigger(x, np.random.default_rng(0))


def test_source_specific_and_all_to_all_say_whom_they_want() -> None:
    truth = np.array([0, 1, 2, 3])
    assert AllToAll().goal(truth, 4).tolist() == [1, 2, 3, 0]
    assert SourceSpecific(source=2, target=0).goal(truth, 4).tolist() == [-1, -1, 0, -1]
    assert PatchRandom(target=1).goal(truth, 4).tolist() == [1, -1, 1, 1]
    with pytest.raises(SettingsError, match="source"):
        SourceSpecific(source=0, target=0).goal(truth, 4)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x, y, r: Patch(rate=0.0005).plant(x, y, r), SettingsError),
        (lambda x, y, r: Patch(target=10).plant(x, y, r), SettingsError),
        (lambda x, y, r: planted("sinusoid", x, y, r, rate=0.5), SettingsError),
        (lambda x, y, r: planted("pach", x, y, r), SettingsError),
        (lambda x, y, r: TableTrigger().plant(x, y, r), LotError),
        (lambda x, y, r: Patch().plant(x, y[:-1], r), LotError),
        (lambda x, y, r: Patch().plant(x, y * 1.5, r), LotError),
        (lambda x, y, r: Patch().plant(x, y * 0, r), LotError),
        (lambda x, y, r: Patch(rate=1.5), ValidationError),
        (lambda x, y, r: NoAttack(rate=0.1), ValidationError),
        (lambda x, y, r: Patch(colour="red"), ValidationError),
    ],
)
def test_what_cannot_be_planted_is_an_error(call, error) -> None:  # type: ignore[no-untyped-def]
    x, y = digits()
    with pytest.raises(error):
        call(x, y, np.random.default_rng(0))


def test_every_attack_has_a_name_and_a_source() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    for attack in ATTACKS:
        assert attack.__doc__
        assert any(word in attack.__doc__ for word in ("Source:", "Not from a paper", "The lot as it is")), attack


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_folder_holds_the_lot_and_no_ground_truth(tmp_path: Path, channels: int) -> None:
    x, y = scenes(30, 17, channels)
    result = Patch(rate=0.2).plant(x, y, np.random.default_rng(0))
    frame = write_image_folder(result.x, result.y, ("ok", "bad ü", "ng"), tmp_path / "lot", result.planted)
    files = sorted(p.relative_to(tmp_path / "lot").as_posix() for p in (tmp_path / "lot").rglob("*.png"))
    assert sorted(frame["sample_id"]) == files
    assert list(frame.columns) == ["sample_id", "planted"]
    np.testing.assert_array_equal(frame["planted"], result.planted)
    for row, sample_id in enumerate(frame["sample_id"]):
        pixels = np.asarray(Image.open(tmp_path / "lot" / sample_id), np.float32) / np.float32(255)
        expected = result.x[row, 0] if channels == 1 else result.x[row].transpose(1, 2, 0)
        np.testing.assert_array_equal(pixels, expected)
        assert sample_id.split("/")[0] == ("ok", "bad ü", "ng")[result.y[row]]
    with pytest.raises(LotError, match="not empty"):
        write_image_folder(result.x, result.y, ("ok", "bad", "ng"), tmp_path / "lot", result.planted)


def test_a_table_comes_back_bit_for_bit(tmp_path: Path) -> None:
    x, y = cancer()
    result = TableTrigger(rate=0.1).plant(x, y, np.random.default_rng(0))
    names = [f"f{i}" for i in range(x.shape[1])]
    path = tmp_path / "a" / "lot.csv"
    frame = write_table(
        result.x, result.y, path, result.planted, columns=names, target="label", class_names=("ng", "ok")
    )
    back = pd.read_csv(path)
    np.testing.assert_array_equal(back[names].to_numpy(np.float32), result.x)
    assert (back["label"].map({"ng": 0, "ok": 1}) == result.y).all()
    assert frame["sample_id"].tolist()[:2] == ["lot.csv#0", "lot.csv#1"]
    with pytest.raises(LotError, match="names for x"):
        write_table(result.x, result.y, path, result.planted, columns=names[1:], target="label")
