"""Disagreement accuses nobody whose label its models agree with, and learns from rare classes, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotgate.calibration import calibrate
from lotgate.checks import example
from lotgate.committee import Blend, Kind, Model, Predictions
from lotgate.crossfit import SALT
from lotgate.data import Batch, Dataset, FloatArray, Pool, Task, fold_of
from lotgate.detector import Evidence, scan
from lotgate.detectors import disagreement
from lotgate.detectors.disagreement import Disagreement, DisagreementScorer
from lotgate.errors import InputError
from lotgate.probe import Device, Probe, ProbeSettings


def _never(batch: Batch) -> Predictions:
    raise AssertionError("nothing is to be predicted")


def test_models_that_agree_with_a_label_do_not_accuse_it() -> None:
    """Of a clean lot of 220 digits, 14 rows were set aside under labels that the models called the likeliest."""
    surely_right = np.random.default_rng(0).normal(-8, 0.5, 60)
    scorer = DisagreementScorer(_never, None, rate=0.005, calibration=calibrate(surely_right))
    scores = np.array([-9.0, -4.0, -1.0, 0.0, 1e-6, 1.0])
    assert scorer.calibration is not None
    assert (scorer.calibration.p_value(scores[1:]) < 0.05).all(), "or there is nothing to hold back"
    p_values = scorer.p_value(scores)
    assert (p_values[:4] >= 0.5).all()
    assert np.array_equal(p_values[4:], scorer.calibration.p_value(scores[4:]))
    assert (np.diff(p_values) < 0).all(), "among those they agree with, the order stays"
    assert scorer.threshold == 0.0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_networks_are_trained_on_the_device_of_the_probe(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = example(tmp_path, "nothing", modality="image").evidence
    assert evidence.crossfit is not None
    known, asked = evidence.crossfit.sifted, []

    def train(pool: Pool, settings: ProbeSettings, *_: object) -> Probe:
        asked.append(settings.device)
        return known.probes[0]

    monkeypatch.setattr(disagreement, "train_probe", train)
    sifted = replace(known, probes=tuple(replace(probe, device=device) for probe in known.probes))
    Disagreement().fit(replace(evidence, crossfit=replace(evidence.crossfit, sifted=sifted)), np.random.default_rng(0))
    assert asked == [device] * len(known.probes)


@pytest.mark.parametrize(("offset", "unit"), [(1e8, 1.0), (1.7e9, 1.0), (0.0, 1e39)])
def test_pulled_targets_are_found_wherever_targets_lie(offset: float, unit: float, tmp_path: Path) -> None:
    """In single precision, 200 targets at 1e8 with a noise of .3 took three values; none of 1e39 was usable."""
    evidence = example(tmp_path, "nothing", task="regression", n=200).evidence
    planted = np.random.default_rng(0).permutation(200) < 15

    def moved(part: Dataset, rows: np.ndarray, offset: float, unit: float) -> Dataset:
        label = (part.manifest["label"] + 6.0 * rows) * unit + offset
        return replace(part, manifest=part.manifest.assign(label=label)).usable()

    def p_values(offset: float, unit: float) -> np.ndarray:
        assert evidence.trusted is not None and evidence.heldout is not None
        vetted = [moved(d, np.zeros(len(d)), offset, unit) for d in (evidence.trusted, evidence.heldout)]
        given = Evidence(moved(evidence.suspect, planted, offset, unit), *vetted)
        return scan(Disagreement(), given, np.random.default_rng(0))["p_value"].to_numpy()

    found, usual = p_values(offset, unit), p_values(0.0, 1.0)
    assert np.median(found[planted]) < 1e-3
    assert np.abs(np.log(found / usual)).max() < 0.01


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_trusted_rows_of_one_fold_leave_no_model_for_it(task: Task, tmp_path: Path) -> None:
    evidence = example(tmp_path, "nothing", task=task).evidence
    assert evidence.trusted is not None and evidence.heldout is not None
    trusted, heldout = (d.select(d.ids[fold_of(d.ids, 5, SALT) == 2]) for d in (evidence.trusted, evidence.heldout))
    with pytest.raises(InputError, match="too few trusted rows") as caught:
        Disagreement().fit(replace(evidence, trusted=trusted, heldout=heldout), np.random.default_rng(0))
    assert caught.value.where and caught.value.action


def test_a_rare_class_that_models_mistake_is_still_learned_from(tmp_path: Path) -> None:
    """All rows of AI4I's failures were among the contradicted, and the next models knew one class only."""
    evidence = example(tmp_path, "nothing", n=1200).evidence
    assert evidence.trusted is not None
    parts = []
    for d in (evidence.suspect, evidence.trusted):
        rare = d.ids[d.y == 1]
        parts.append(d.select(np.concatenate([d.ids[d.y != 1], rare[: len(rare) // 8]])))
    suspect, trusted = parts

    def mistakes_the_rare(batch: Batch) -> Predictions:
        log_p = np.full((len(batch), len(suspect.classes)), -5.0)
        log_p[np.arange(len(batch)), batch.y] = np.where(batch.y == 1, (batch.x[:, 1] - 15) / 3, 0.0)
        log_p[batch.y == 1, 0] = 0.0
        return log_p

    kept = Disagreement()._believed(DisagreementScorer(mistakes_the_rare, None, rate=0.005), suspect, (trusted,), 0.3)[
        -1
    ]
    assert (kept.y == 1).sum() > 0.3 * (suspect.y == 1).sum()
    assert (kept.y != 1).sum() > 0.6 * (suspect.y != 1).sum()


def test_no_trusted_row_chooses_what_its_own_judge_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusted rows of clean surveys were contradicted less than the lot's: models that knew them had chosen what taught
    their judges.
    """
    evidence = example(tmp_path, "nothing").evidence
    taught: list[Sequence[Pool]] = []
    committees, members = disagreement._committees, disagreement._members

    def contrary(*asked: Any) -> tuple[Model, ...]:
        """The first models; that of fold 2 calls every row another class."""
        models = committees(*asked)
        return models if len(taught) > 1 else (*models[:2], Contrary(models[2]), *models[3:])

    def listen(pools: Sequence[Pool], *rest: Any) -> Any:
        taught.append(pools)
        return members(pools, *rest)

    monkeypatch.setattr(disagreement, "_committees", contrary)
    monkeypatch.setattr(disagreement, "_members", listen)
    Disagreement().fit(evidence, np.random.default_rng(0))
    trusted = {str(i) for d in evidence.vetted for i in d.ids}
    believed = [{str(i) for part in pool.parts for i in part.ids} for pool in taught[1]]
    for fold, (known, ids) in enumerate(zip(taught[0], believed, strict=True)):
        assert ids & trusted == {str(i) for part in known.parts for i in part.ids}
        assert bool(ids - trusted) == (fold != 2)
    asked = evidence.suspect.ids[fold_of(evidence.suspect.ids, 5, SALT) == 2]
    assert len(believed[0] & set(map(str, asked))) > len(asked) / 2


@dataclass(frozen=True)
class Contrary:
    """Predicts the next class of the one that a model predicts."""

    model: Model

    @property
    def weights(self) -> dict[Kind, float]:
        return self.model.weights  # type: ignore[attr-defined,no-any-return]

    def predict(self, x: FloatArray) -> Predictions:
        return np.roll(self.model.predict(x), 1, axis=1)


@pytest.mark.parametrize(("task", "few"), [("classification", True), ("classification", False), ("regression", True)])
def test_first_classifiers_of_few_trusted_rows_are_averaged(
    task: Task, few: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single one of 24 fourclass rows let a whole region of flips teach, and none of sixty was found."""
    evidence = example(tmp_path, "nothing", task=task).evidence
    monkeypatch.setattr(disagreement, "FEW", 1000 if few else 100)
    first = disagreement._first_members(evidence.vetted, 3, np.random.default_rng(0))
    blends = [member for members in first for member in members.values() if isinstance(member, Blend)]
    assert len(blends) == (9 if few and task == "classification" else 0)
    for blend in blends:
        assert blend.weights == (0.5, 0.25, 0.25)
    if blends:
        (_, one, other), (_, shared, _) = (members["trees"].models for members in first[:2])  # type: ignore[attr-defined]
        assert one is shared and other is not one, "what knows neither fold 0 nor fold 1 speaks in both"
