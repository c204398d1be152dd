"""DePois end to end on small hand-made evidence."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from lotgate.data import Batch, Dataset
from lotgate.detector import Evidence, scan
from lotgate.detectors._de_pois import checkpoint as checkpoint_module
from lotgate.detectors._de_pois.augment import Augmentation
from lotgate.detectors._de_pois.offsets import learn_offsets
from lotgate.detectors._de_pois.scaling import learn_scaling
from lotgate.detectors._de_pois.training import Progress, Rule
from lotgate.detectors.de_pois import DePois
from lotgate.errors import InputError, OutputError

Array = npt.NDArray[Any]
Build = Callable[..., Evidence]
QUICK: dict[str, Any] = {"augment_steps": 10, "mimic_steps": 10, "window": 5, "augment_batch": 16, "batch_size": 8}


def dataset(folder: Path, x: Array, y: Array, classes: int) -> Dataset:
    folder.mkdir(parents=True)
    np.save(folder / "store.npy", x)
    ids = [f"s{i:04d}" for i in range(len(x))]
    manifest = pd.DataFrame(
        {
            "sample_id": ids, "uri": ids, "label": [str(v) for v in y] if classes else y.astype(np.float64),
            "source": None, "sha256": [hashlib.sha256(row.tobytes()).hexdigest() for row in x],
            "row": np.arange(len(x)), "defect": None,
        }
    )  # fmt: skip
    return Dataset(
        "image" if x.ndim == 4 else "table", "classification" if classes else "regression", manifest, folder,
        folder / "store.npy", tuple(str(k) for k in range(classes)),
        () if x.ndim == 4 else tuple(f"f{j}" for j in range(x.shape[1])),
    )  # fmt: skip


def table(rng: np.random.Generator, n: int, classes: int) -> tuple[Array, Array]:
    if classes:
        y = rng.integers(classes, size=n)
        x = rng.normal(size=(n, 6)) + 3 * np.eye(6)[y] + 50
        return x.astype(np.float32), y
    x = rng.normal(size=(n, 6))
    return x.astype(np.float32), (1e4 + 900 * (x[:, 0] + x[:, 1]) + rng.normal(0, 90, n)).astype(np.float32)


def images(rng: np.random.Generator, n: int, classes: int) -> tuple[Array, Array]:
    y = rng.integers(classes, size=n)
    x = rng.integers(0, 60, (n, 3, 9, 7))
    for row, label in zip(x, y, strict=True):
        row[label % 3] += 120
    return x.astype(np.uint8), y


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def build(kind: str = "table", classes: int = 3, n: int = 60, trusted: int = 30, heldout: int = 20) -> Evidence:
        rng = np.random.default_rng(5)
        make = images if kind == "image" else table
        root = tmp_path / f"{kind}{classes}{n}{trusted}{heldout}{len(list(tmp_path.iterdir()))}"
        parts = [
            dataset(root / str(i), *make(rng, size, classes), classes) for i, size in enumerate((n, trusted, heldout))
        ]
        return Evidence(*parts)

    return build


def scores(detector: DePois, evidence: Evidence, seed: int = 0) -> npt.NDArray[np.float64]:
    scorer = detector.fit(evidence, np.random.default_rng(seed))
    return np.concatenate([scorer.score(batch) for batch in evidence.suspect.batches(512)])


@pytest.mark.parametrize(("kind", "classes"), [("table", 3), ("table", 0), ("image", 3), ("table", 1)])
def test_scores_are_finite_and_do_not_depend_on_order_or_batch_size(build: Build, kind: str, classes: int) -> None:
    evidence = build(kind, classes)
    state = torch.random.get_rng_state()
    scorer = DePois(**QUICK).fit(evidence, np.random.default_rng(0))
    assert torch.equal(state, torch.random.get_rng_state())
    whole = evidence.suspect.batch(np.arange(60))
    expected = scorer.score(whole)
    assert np.isfinite(expected).all() and expected.std() > 0
    shuffled = np.random.default_rng(1).permutation(60)
    np.testing.assert_allclose(scorer.score(whole.take(shuffled)), expected[shuffled], atol=1e-4)
    for size in (1, 7):
        split = np.concatenate([scorer.score(batch) for batch in evidence.suspect.batches(size)])
        np.testing.assert_allclose(split, expected, atol=1e-4)
    p = scorer.p_value(np.sort(expected))
    assert (p > 0).all() and (p <= 1).all() and (np.diff(p) <= 1e-12).all()


def test_same_seed_same_scores_other_seed_others_and_nothing_remembered(build: Build) -> None:
    evidence, other, detector = build(), build(n=40), DePois(**QUICK)
    first = scores(detector, evidence)
    scores(detector, other)
    np.testing.assert_array_equal(scores(detector, evidence), first)
    assert np.abs(scores(detector, evidence, seed=1) - first).max() > 1e-3


@pytest.mark.parametrize("kind", ["table", "image"])
def test_junk_and_far_rows_are_found_and_clean_rows_are_not_flagged(build: Build, kind: str) -> None:
    evidence = build(kind, 3, n=150, trusted=120, heldout=100)
    clean = evidence.suspect.batch(np.arange(150))
    rng = np.random.default_rng(3)
    x = clean.x[:40] + 9 * rng.normal(size=(40, 6)) if kind == "table" else rng.random((40, 3, 9, 7))
    junk = Batch(clean.ids[:40], x.astype(np.float32), clean.y[:40])
    scorer = DePois(augment_steps=50, mimic_steps=50, two_sided=True, mismatched_rate=0).fit(
        evidence, np.random.default_rng(0)
    )
    assert (scorer.score(junk)[:, None] > scorer.score(clean)).mean() > 0.97  # AUROC
    assert (scorer.score(clean) > scorer.threshold).mean() <= 0.05


def test_a_wrong_label_is_seen_with_mismatched_pairs(build: Build) -> None:
    evidence = build("table", 3, n=150, trusted=120, heldout=100)
    clean = evidence.suspect.batch(np.arange(150))
    flipped = Batch(clean.ids, clean.x, (clean.y + 1) % 3)
    scorer = DePois(augment_steps=50, mimic_steps=100, mismatched_rate=0.5).fit(evidence, np.random.default_rng(0))
    assert (scorer.score(flipped)[:, None] > scorer.score(clean)).mean() > 0.9


def test_the_authenticators_loss_reaches_generator_and_discriminator(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, classes in (("image", 3), ("table", 3), ("table", 0)):
        stage = _augmentation(build(kind, classes), monkeypatch)
        condition = stage.conditioner.draw(8, stage.generator)
        _, answer = stage.judge(stage.maker(torch.randn(8, 100), condition), condition)
        stage._authentic(answer, condition).backward()  # L_A alone, without the cGAN's own loss
        for part in (stage.maker.last, stage.maker.layers[0], stage.judge.stem[0], stage.judge.authenticator):
            assert part.weight.grad is not None and float(part.weight.grad.abs().sum()) > 0


def test_one_step_lowers_the_authenticators_loss_on_synthesised_rows(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = _augmentation(build("table", 3, n=150, trusted=100), monkeypatch)
    conditions = torch.eye(3).repeat(40, 1)

    def authentic() -> float:
        with torch.no_grad():
            _, answer = stage.judge(stage.maker(torch.randn(120, 100), conditions), conditions)
            return float(stage._authentic(answer, conditions))

    before = authentic()
    for _ in range(60):
        stage.step()
    assert authentic() < 0.5 * before


def _augmentation(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> Augmentation:
    seen: list[Augmentation] = []
    with monkeypatch.context() as patch:
        patch.setattr("lotgate.detectors.de_pois.settle", lambda stage, *_: seen.append(stage))
        DePois(**QUICK).fit(evidence, np.random.default_rng(0))
    return next(stage for stage in seen if isinstance(stage, Augmentation))


def test_interrupted_and_resumed_gives_the_scores_of_an_uninterrupted_run(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = build()
    whole = scores(DePois(**QUICK), evidence)
    kept = DePois(**QUICK, checkpoint=tmp_path / "kept")
    save = checkpoint_module.Checkpoint.save
    for stop_after in (1, 2, 1):  # in the first training, between the two, in the second
        saves = 0

        def interrupted(self: Any, stage: Any, progress: Progress, stop_after: int = stop_after) -> None:
            nonlocal saves
            save(self, stage, progress)
            saves += 1
            if saves == stop_after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(checkpoint_module.Checkpoint, "save", interrupted)
            scores(kept, evidence)
    np.testing.assert_array_equal(scores(kept, evidence), whole)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "augmentation.safetensors", "mimic.safetensors",
    ]  # fmt: skip


def test_state_of_another_job_or_a_damaged_file_is_not_resumed(build: Build, tmp_path: Path) -> None:
    evidence, folder = build(), tmp_path / "kept"
    expected = scores(DePois(**QUICK), evidence, seed=1)
    scores(DePois(**QUICK, checkpoint=folder), evidence, seed=0)
    np.testing.assert_array_equal(scores(DePois(**QUICK, checkpoint=folder), evidence, seed=1), expected)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(scores(DePois(**QUICK, checkpoint=folder), evidence, seed=1), expected)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be kept"):
        scores(DePois(**QUICK, checkpoint=tmp_path / "file"), evidence)


def test_too_little_evidence_is_named_and_few_rows_still_score(build: Build) -> None:
    evidence = build()
    with pytest.raises(InputError, match="trusted"):
        DePois().fit(Evidence(evidence.suspect), np.random.default_rng(0))
    with pytest.raises(InputError, match="at least 2 trusted"):
        DePois().fit(build(trusted=1), np.random.default_rng(0))
    for kind, classes in (("table", 3), ("table", 0), ("image", 3)):
        small = build(kind, classes, n=5, trusted=2, heldout=1)
        assert np.isfinite(scan(DePois(**QUICK), small, np.random.default_rng(0))["score"]).all()


def test_constant_features_and_constant_targets_keep_scores_finite(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 0):
        parts = []
        for i, n in enumerate((30, 20, 15)):
            x = np.full((n, 4), 0.1, np.float32)
            x[:, 0] = rng.normal(size=n)
            parts.append(
                dataset(tmp_path / f"{classes}{i}", x, np.zeros(n, np.int64 if classes else np.float32), classes)
            )
        assert np.isfinite(scores(DePois(**QUICK), Evidence(*parts))).all()


def test_large_images_are_averaged_down_and_targets_lose_their_units(tmp_path: Path, build: Build) -> None:
    pixels = np.zeros((3, 1, 64, 64), np.uint8)
    pixels[:, :, :32] = 255
    scaling = learn_scaling(dataset(tmp_path / "large", pixels, np.zeros(3, np.int64), 1), 32)
    shown = scaling.samples(Batch(np.empty(3, object), pixels.astype(np.float32) / 255, np.zeros(3)))
    assert scaling.shape == (1, 32, 32)
    assert float(shown[:, :, :16].min()) == 1 and float(shown[:, :, 16:].max()) == 0
    targets = build("table", 0).trusted
    assert targets is not None
    standardised = learn_scaling(targets, 32).condition(targets.y)
    assert abs(float(standardised.mean())) < 1e-4
    assert float(standardised.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_the_papers_boundary_flags_what_lies_below_it(build: Build) -> None:
    evidence = build("table", 3, n=100)
    scorer = DePois(**QUICK, boundary="paper").fit(evidence, np.random.default_rng(0))
    assert scorer.threshold == pytest.approx(1.96 * scorer.deviation - scorer.mean)
    assert scorer.p_value(np.array([scorer.threshold]))[0] == pytest.approx(0.025, abs=1e-3)


def test_offsets_put_classes_side_by_side() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0.0, 1.0], 500)
    outputs = rng.normal(size=1000) * (1 + 4 * y) + 100 * y
    standardised = learn_offsets(outputs, y, 2, True).standardise(outputs, y)
    for k in (0, 1):
        assert abs(standardised[y == k].mean()) < 1e-6 and standardised[y == k].std() == pytest.approx(
            1, abs=0.12
        )  # shrunk to the pooled
    ramp = np.linspace(-2, 2, 1000)
    levelled = learn_offsets(5 * ramp + rng.normal(size=1000), ramp, 0, True).standardise(5 * ramp, ramp)
    assert np.abs(levelled[50:-50]).max() < 0.6
    np.testing.assert_array_equal(learn_offsets(outputs, y, 2, False).standardise(outputs, y), outputs)


def test_training_stops_when_settled_and_says_when_it_did_not(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    rule = Rule(window=10, tolerance=0.1, most=100)
    progress, means = Progress(), [10.0, 5.0, 5.5, 5.4, 5.4]
    done = []
    for mean in means:
        progress = progress.advanced(rule, torch.tensor([mean]))
        done.append(progress.done(rule))
    assert done == [False, False, False, True, True]  # |5.5−5|/10 and |5.4−5.5|/10 are settled, twice running
    with caplog.at_level(logging.INFO, logger="lotgate"):
        scores(DePois(**QUICK), build())
    assert "stopped at its limit of 10 steps, not converged" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="lotgate"):
        scores(DePois(**(QUICK | {"mimic_steps": 1000, "mimic_tolerance": 0.9})), build())
    assert "mimic: step 15 of at most 1000" in caplog.text and "mimic: step 100 " not in caplog.text
