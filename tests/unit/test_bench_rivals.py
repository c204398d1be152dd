"""ART's attacks and the peers as their libraries ship them: `make test-bench` installs these; skipped without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("art")
pytest.importorskip("cleanlab")
pytest.importorskip("pyod")

from benchmarks.detection import peers
from benchmarks.detection.art_attacks import ART_ATTACKS
from benchmarks.detection.data import load
from benchmarks.detection.measures import measure
from lotgate.attacks import write_image_folder
from lotgate.attacks.attack import Attack
from lotgate.data import Dataset, Pool
from lotgate.detector import Evidence
from lotgate.ingest import ingest
from lotgate.probe import ProbeSettings, map_features, train_probe


def _digits(n: int, start: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    return load("digits").take(np.arange(start, start + n))


@pytest.mark.parametrize("attack", ART_ATTACKS.values(), ids=lambda a: a.name)
def test_an_attack_of_art_changes_the_rows_it_names_and_no_others(attack: type[Attack]) -> None:
    x, y = _digits(200)
    few = {"steps": 5} if "steps" in attack.model_fields else {}
    made = attack(rate=0.05, **few).plant(x, y, np.random.default_rng(0), 10)
    bad = made.planted
    assert bad.sum() == 10
    np.testing.assert_array_equal(made.x[~bad], np.rint(x[~bad] * 255) / np.float32(255))
    np.testing.assert_array_equal(made.y[~bad], y[~bad])
    assert (made.x[bad] != x[bad]).any(axis=(1, 2, 3)).all()
    assert (made.y[bad] == 0).all()
    assert (y[bad] != 0).all() if attack.kind == "backdoor" else (y[bad] == 0).all()
    again = attack(rate=0.05, **few).plant(x, y, np.random.default_rng(0), 10)
    np.testing.assert_array_equal(again.x, made.x)


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, npt.NDArray[np.bool_]]:
    """300 digits, a tenth with another label, 200 trusted ones, and a probe of all with its features."""
    folder = tmp_path_factory.mktemp("flipped")
    names, bad = tuple(map(str, range(10))), np.zeros(300, bool)
    x, y = _digits(300)
    bad[np.random.default_rng(1).permutation(300)[:30]] = True
    truth = write_image_folder(x, np.where(bad, (y + 1) % 10, y), names, folder / "lot", bad)
    write_image_folder(*_digits(200, 300), names, folder / "trusted", np.zeros(200, bool))
    trusted = ingest(folder / "trusted", folder / "t")
    lot = ingest(folder / "lot", folder / "l", like=trusted)
    probe = train_probe(Pool((lot, trusted)), ProbeSettings(min_steps=100), np.random.default_rng(0), lambda _: None)
    probe = map_features(probe, {"lot": lot}, folder / "probe")
    planted = truth.set_index("sample_id")["planted"].reindex(lot.ids).to_numpy(bool)
    return Evidence(lot, _rows(trusted, 0), _rows(trusted, 1), probe=probe), planted


def _rows(dataset: Dataset, half: int) -> Dataset:
    return dataset.select(dataset.ids[half::2])


@pytest.mark.parametrize("name", peers.CLASSIFICATION)
def test_a_peer_says_something_of_every_row_and_the_same_again(
    name: str, flipped: tuple[Evidence, npt.NDArray[np.bool_]]
) -> None:
    evidence, planted = flipped
    heard, again = (peers.ask(peers.CLASSIFICATION[name], evidence, np.random.default_rng(7)) for _ in range(2))
    assert heard.absent == "" and heard.answer is not None and again.answer is not None
    assert heard.answer.flagged.shape == planted.shape and heard.answer.flagged.any()
    np.testing.assert_array_equal(heard.answer.flagged, again.answer.flagged)
    measured = measure(planted, np.zeros(300, bool), heard.answer.flagged, heard.answer.scores)
    if name in peers.FROM_TRUSTED or name == "cleanlab_out_of_fold":
        assert measured["auroc"] > 0.85, "those that contradict labels find flips"


def test_trusted_only_peers_learn_from_rows_that_lotgate_keeps_to_calibrate(
    flipped: tuple[Evidence, npt.NDArray[np.bool_]],
) -> None:
    evidence, planted = flipped
    both, half = (
        peers.trusted_only(given, np.random.default_rng(7)) for given in (evidence, replace(evidence, heldout=None))
    )
    found = [measure(planted, np.zeros(300, bool), answer.flagged, answer.scores)["f1"] for answer in (both, half)]
    assert found[0] > found[1]
