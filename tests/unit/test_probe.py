"""The probe: models a user brings, training that repeats, and feature maps that say what the network says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lotgate.checks import Example, example
from lotgate.data import Dataset, Modality, Pool, Task
from lotgate.errors import InputError, ModelError
from lotgate.networks import build_network
from lotgate.probe import (
    Probe,
    ProbeSettings,
    forward,
    load_probe,
    map_features,
    n_outputs,
    train_probe,
)
from lotgate.training import measure
from tests.small_lots import image_dataset
from tests.small_models import Projection

SETTINGS = ProbeSettings(epochs=2, min_steps=0, batch_size=16, width=8)


def silent(words: str) -> None:
    assert words.startswith("epoch ")


def trained(dataset: Dataset, settings: ProbeSettings = SETTINGS, seed: int = 0) -> Probe:
    return train_probe(dataset, settings, np.random.default_rng(seed), silent)


def a_lot(folder: Path, modality: Modality = "image", task: Task = "classification", n: int = 80) -> Dataset:
    made: Example = example(folder, "nothing", modality=modality, task=task, n=n)
    return made.evidence.suspect


def weights(probe: Probe) -> list[np.ndarray]:
    return [value.numpy() for value in probe.network.state_dict().values()]


@pytest.mark.parametrize(
    ("modality", "task"), [("image", "classification"), ("table", "classification"), ("table", "regression")]
)
def test_training_repeats_and_leaves_the_global_random_state(modality: Modality, task: Task, tmp_path: Path) -> None:
    lot = a_lot(tmp_path, modality, task)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained(lot)
    torch.manual_seed(2)  # whatever the caller's state is
    second, other = trained(lot), trained(lot, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(weights(first), weights(other), strict=True))
    torch.manual_seed(1)
    trained(lot)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.network.head.out_features == n_outputs(lot) == (3 if task == "classification" else 1)
    assert not first.network.training


def test_a_probe_learns_what_there_is_to_learn(tmp_path: Path) -> None:
    for modality in ("image", "table"):
        lot = a_lot(tmp_path / modality, modality, n=240)
        probe = trained(lot, SETTINGS.model_copy(update={"epochs": 12, "learning_rate": 1e-2}))
        logits = probe.logits(replace(lot.batch(np.arange(len(lot))), store=None))
        assert (logits.argmax(1) == lot.y).mean() > 0.9, modality
    lot = a_lot(tmp_path / "r", "table", "regression", n=240)
    probe = trained(lot, SETTINGS.model_copy(update={"epochs": 20, "learning_rate": 1e-2}))
    batch = replace(lot.batch(np.arange(len(lot))), store=None)
    predicted = probe.logits(batch)[:, 0] * probe.scale + probe.centre
    assert np.square(predicted - lot.y).mean() < 0.3 * lot.y.var()


@pytest.mark.parametrize("offset", [1e8, 1.7e9])
def test_an_offset_of_the_targets_takes_nothing_from_them(offset: float, tmp_path: Path) -> None:
    lot = a_lot(tmp_path, "table", "regression", n=240)
    far = replace(lot, manifest=lot.manifest.assign(label=lot.manifest["label"] + offset))
    settings = SETTINGS.model_copy(update={"epochs": 20, "learning_rate": 1e-2})
    here, there = (measure(trained(d, settings), d) for d in (lot, far))
    assert here["r2"] > 0.7
    assert there == pytest.approx(here, rel=0.01)


def test_too_little_to_train_on_is_an_error_in_words(tmp_path: Path) -> None:
    lot = a_lot(tmp_path / "none")
    with pytest.raises(InputError, match="no sample to train") as none:
        trained(lot.select([]))
    pixels = image_dataset(tmp_path / "one", np.full((3, 2, 2), 80, np.uint8), np.array([0, 1, 0]))
    with pytest.raises(InputError, match="single sample") as one:
        trained(pixels.select(pixels.ids[:1]))
    assert all(e.value.where and e.value.action for e in (none, one))
    assert trained(pixels).network.head.out_features == 2
    assert trained(lot.select(lot.ids[:1])).network.head.out_features == 3  # its pixels are enough to normalise by


def test_maps_hold_what_a_direct_pass_gives(tmp_path: Path) -> None:
    made = example(tmp_path, "nothing", modality="image", n=80)
    lot, trusted = made.evidence.suspect, made.evidence.trusted
    assert trusted is not None
    part = lot.select(lot.ids[3:70:2])
    probe = map_features(trained(lot), {"lot": part, "trusted": trusted}, tmp_path / "probe")
    for dataset in (part, trusted):
        for start in (0, 5):
            batch = dataset.batch(np.arange(start, len(dataset)))
            features, logits = forward(probe.network, batch.x, probe.device)
            for found in (probe.features(batch), probe.feature_matrix(dataset)[start:]):
                np.testing.assert_allclose(found, features, rtol=1e-5, atol=1e-6)
            for found in (probe.logits(batch), probe.logit_matrix(dataset)[start:]):
                np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-6)
    shuffled = np.random.default_rng(0).permutation(len(part))
    np.testing.assert_array_equal(probe.features(part.batch(shuffled)), probe.feature_matrix(part)[shuffled])
    assert np.isnan(probe.maps[lot.store].features[0]).all()  # a row that was not usable

    stores = {"lot": part.store, "trusted": trusted.store}
    again = load_probe(tmp_path / "probe", SETTINGS, lot.shape, 3, stores)
    np.testing.assert_array_equal(again.feature_matrix(part), probe.feature_matrix(part))
    live = replace(trusted.batch(np.arange(4)), store=None)
    np.testing.assert_allclose(again.features(live), probe.feature_matrix(trusted)[:4], rtol=1e-5, atol=1e-6)


def test_a_pool_is_its_parts_one_after_the_other(tmp_path: Path) -> None:
    made = example(tmp_path, "nothing", n=60)
    lot, trusted = made.evidence.suspect, made.evidence.trusted
    assert trusted is not None
    pool = Pool((trusted, lot))
    index = np.array([len(trusted), 0, len(pool) - 1, 1])
    x, y = pool.take(index)
    whole = np.concatenate([d.batch(np.arange(len(d))).x for d in (trusted, lot)])
    np.testing.assert_array_equal(x, whole[index])
    np.testing.assert_array_equal(y, np.concatenate([trusted.y, lot.y])[index])


def torchscript(path: Path, shape: tuple[int, ...]) -> Path:
    torch.jit.trace(Projection(shape), torch.zeros(2, *shape)).save(str(path))
    return path


def exported(path: Path, shape: tuple[int, ...]) -> Path:
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(Projection(shape), (torch.zeros(3, *shape),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(program, path)
    return path


@pytest.mark.parametrize("kind", ["TorchScript", "torch.export", "module:factory"])
def test_a_model_of_the_user(kind: str, tmp_path: Path) -> None:
    lot = a_lot(tmp_path / "lot")
    files = {"TorchScript": (torchscript, "model.ts"), "torch.export": (exported, "model.pt2")}
    model = "tests.small_models:projection"
    if kind in files:
        write, name = files[kind]
        model = str(write(tmp_path / name, lot.shape))
    settings = SETTINGS.model_copy(update={"model": model, "epochs": 3})
    probe = map_features(trained(lot, settings), {"lot": lot}, tmp_path / "probe")
    assert probe.feature_matrix(lot).shape == (len(lot), 4 if kind in files else 6)
    again = load_probe(tmp_path / "probe", settings, lot.shape, 3, {"lot": lot.store})
    batch = replace(lot.batch(np.arange(7)), store=None)
    np.testing.assert_allclose(again.features(batch), probe.feature_matrix(lot)[:7], rtol=1e-4, atol=1e-5)
    if kind in files:  # came trained, and stays as it was
        body = torch.jit.load(model) if kind == "TorchScript" else torch.export.load(model).module()
        with torch.no_grad():
            expected = body(torch.from_numpy(batch.x)).numpy()
        np.testing.assert_allclose(probe.feature_matrix(lot)[:7], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("gone.pt", "cannot be loaded"),
        ("gone.pt2", "cannot be loaded"),
        ("text.ts", "cannot be loaded"),
        ("text.pt2", "cannot be loaded"),
        ("pickled.pt", "cannot be loaded"),
        ("weights.pkl", "neither a .pt, .ts or .pt2 file nor module:factory"),
        ("no.such.module:f", "No module named"),
        ("tests.small_models:absent", "absent"),
        ("tests.small_models:", "neither"),
        ("tests.small_models:not_a_module", "returned Tensor, not a torch.nn.Module"),
        ("tests.small_models:not_a_vector", "one vector per sample"),
        ("tests.small_models:wrong_input", "does not take samples of shape"),
        ("other_shape.ts", "does not take samples of shape"),
        ("other_shape.pt2", "does not take samples of shape"),
    ],
)
def test_a_model_that_cannot_be_used_is_an_error_in_words(model: str, words: str, tmp_path: Path) -> None:
    shape = (1, 8, 8)
    (tmp_path / "text.ts").write_text("hello")
    (tmp_path / "text.pt2").write_text("hello")
    torch.save(Projection(shape), tmp_path / "pickled.pt")
    if model.startswith("other_shape"):
        (torchscript if model.endswith("ts") else exported)(tmp_path / model, (1, 9, 9))
    name = str(tmp_path / model) if (tmp_path / model).suffix in {".pt", ".pt2", ".ts", ".pkl"} else model
    with pytest.raises(ModelError) as caught:
        build_network(name, 64, shape, 3)
    assert words in caught.value.what and name in caught.value.where and caught.value.action
    assert caught.value.exit_code == 2


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    for name in ("trap.pt", "trap.pt2", "trap.ts", "trap.torchscript"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ModelError):
            build_network(str(tmp_path / name), 64, (1, 8, 8), 3)
    assert not (tmp_path / "ran").exists()
