"""Cross-fitted models: blind to what they judge, the same from disk, and what they make of a trigger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lotgate import crossfit as crossfit_module
from lotgate.checks import example
from lotgate.crossfit import (
    FOLDS,
    SALT,
    SIFTED,
    CrossFit,
    Ensemble,
    by_fold,
    contradiction,
    fit_excess,
    load_crossfit,
    log_softmax,
    map_answers,
    train_crossfit,
)
from lotgate.data import Batch, Dataset, Pool, fold_of
from lotgate.detector import Evidence, scan
from lotgate.detectors.disagreement import Disagreement
from lotgate.detectors.excess_confidence import ExcessConfidence
from lotgate.errors import InputError
from lotgate.probe import ProbeSettings, train_probe

SETTINGS = ProbeSettings(width=16, epochs=8, min_steps=80)


def silent(words: str) -> None:
    """The trainings' progress is of no interest here."""


def parts(evidence: Evidence) -> tuple[Dataset, tuple[Dataset, Dataset]]:
    assert evidence.trusted is not None and evidence.heldout is not None
    return evidence.suspect, (evidence.trusted, evidence.heldout)


def train(suspect: Dataset, vetted: tuple[Dataset, ...], seed: int = 0) -> CrossFit:
    return train_crossfit(suspect, vetted, SETTINGS, np.random.default_rng(seed), silent)


def whole(dataset: Dataset) -> Batch:
    return dataset.batch(np.arange(len(dataset)))


def relabelled(dataset: Dataset, fold: int) -> Dataset:
    """The same samples; those inside the fold have another label."""
    inside = fold_of(dataset.ids, FOLDS, SALT) == fold
    other = {name: dataset.classes[(i + 1) % len(dataset.classes)] for i, name in enumerate(dataset.classes)}
    labels = dataset.manifest["label"].where(~inside, dataset.manifest["label"].map(other))
    return replace(dataset, manifest=dataset.manifest.assign(label=labels))


def test_progress_counts_the_models(tmp_path: Path) -> None:
    """A scan printed 350 lines of epochs of trainings that nobody can tell apart."""
    suspect, vetted = parts(example(tmp_path, "nothing", n=60).evidence)
    said: list[str] = []
    settings = SETTINGS.model_copy(update={"epochs": 2, "min_steps": 0})
    train_crossfit(suspect, vetted, settings, np.random.default_rng(0), said.append)
    assert [words.split(" trained")[0] for words in said] == [f"model {i} of 10" for i in range(1, 11)]


@pytest.mark.parametrize("fold", range(FOLDS))
def test_no_model_depends_on_labels_inside_its_fold(tmp_path: Path, fold: int) -> None:
    """What makes lot rows and trusted rows exchangeable; sifting with models of the other fold would break it."""
    suspect, vetted = parts(example(tmp_path, "flips", n=120).evidence)
    before = train(suspect, vetted)
    after = train(relabelled(suspect, fold), tuple(relabelled(d, fold) for d in vetted))
    inside = whole(suspect.select(suspect.ids[fold_of(suspect.ids, FOLDS, SALT) == fold]))
    for name in ("learned", "sifted"):
        models = getattr(before, name), getattr(after, name)
        weights = [m.probes[fold].network.head.weight.detach().numpy() for m in models]
        assert np.array_equal(*weights), f"{name} saw its own fold"
        assert np.array_equal(*(m.log_p(inside) for m in models))
        other = [m.probes[1 - fold].network.head.weight.detach().numpy() for m in models]
        assert not np.array_equal(*other), "the other fold's model must have learned from it"


def test_answers_from_disk_are_those_of_the_models(tmp_path: Path) -> None:
    suspect, vetted = parts(example(tmp_path / "data", "nothing", n=120).evidence)
    trained = train(suspect, vetted)
    mapped = map_answers(trained, {"lot": suspect, "trusted": vetted[0]}, tmp_path / "maps")
    stores = {"lot": suspect.store, "trusted": vetted[0].store}
    loaded = load_crossfit(tmp_path / "maps", SETTINGS, suspect, stores)
    batch = whole(suspect)
    unmapped = replace(batch, store=None, rows=None)
    naive = trained.excess(unmapped, [trained.learned.logits])
    for crossfit in (mapped, loaded):
        taught = [crossfit.learned.logits]
        assert np.allclose(crossfit.excess(batch, taught), naive, atol=1e-5)
        assert np.allclose(crossfit.excess(unmapped, taught), naive, atol=1e-5)


def test_each_row_is_answered_by_its_own_fold(tmp_path: Path) -> None:
    batch = whole(example(tmp_path, "nothing", n=60).evidence.suspect)
    answers = by_fold(batch, [lambda x, f=f: np.full((len(x), 1), float(f)) for f in range(3)])
    assert list(answers[:, 0]) == list(fold_of(batch.ids, 3, SALT))


def test_images_without_cross_fitted_models_are_refused_in_words(tmp_path: Path) -> None:
    evidence = replace(example(tmp_path, "nothing", modality="image", n=60).evidence, crossfit=None)
    with pytest.raises(InputError, match="disagreement needs crossfit"):
        scan(Disagreement(), evidence, np.random.default_rng(0))


def test_a_planted_trigger_exceeds_what_vouched_rows_teach(tmp_path: Path) -> None:
    case = example(tmp_path, "backdoor", n=600)
    suspect, vetted = parts(case.evidence)
    evidence = replace(case.evidence, crossfit=train(suspect, vetted))
    findings = scan(ExcessConfidence(), evidence, np.random.default_rng(0))
    assert roc_auc_score(case.planted, findings["score"]) > 0.9
    assert findings["p_value"][~case.planted].le(0.01).mean() < 0.04


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_the_scale_is_that_of_trusted_rows_fold_by_fold(
    least: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotgate.crossfit.LEAST_SPREAD", least)
    suspect, vetted = parts(example(tmp_path, "nothing", n=300).evidence)
    crossfit = train(suspect, vetted)
    taught = [crossfit.learned.logits]
    excess = fit_excess(crossfit, taught, vetted)
    folds = np.concatenate([fold_of(d.ids, FOLDS, SALT) for d in vetted])
    raw = np.concatenate([crossfit.excess(whole(d), taught) for d in vetted])
    spreads = []
    for fold in range(FOLDS):
        mine = raw[folds == fold]
        spreads.append(np.quantile(mine, 0.9) - np.median(mine))
        naive = (mine - np.median(mine)) / max(spreads[-1], least)
        assert np.allclose(excess.usual[folds == fold], naive)
    assert 0 < min(spreads) < 0.5, "or the least spread was not needed"
    assert np.array_equal(excess.of_all(vetted), excess.usual)


def test_what_was_taught_is_the_mean_of_those_who_learned(tmp_path: Path) -> None:
    suspect, vetted = parts(example(tmp_path, "nothing", n=120).evidence)
    crossfit, batch = train(suspect, vetted), whole(suspect)
    one, other = crossfit.learned.logits, crossfit.sifted.logits
    both = crossfit.excess(batch, [one, other])
    assert np.allclose(both, (crossfit.excess(batch, [one]) + crossfit.excess(batch, [other])) / 2)
    assert not np.allclose(both, crossfit.excess(batch, [one]))


def test_sifting_leaves_out_flipped_labels(tmp_path: Path) -> None:
    """Four in five flips must not teach the sifted models, though nearly three in four clean rows may."""
    case = example(tmp_path, "flips", n=600)
    suspect, vetted = parts(case.evidence)
    sieve = train_probe(Pool(vetted), SETTINGS, np.random.default_rng(0), silent)
    kept = set(crossfit_module._least_contradicted(sieve, suspect).ids)
    inside = np.array([i in kept for i in suspect.ids])
    assert inside.mean() == pytest.approx(SIFTED, abs=0.01)
    assert inside[case.planted].mean() < 0.2


def test_log_softmax_and_contradiction_by_hand() -> None:
    logits = np.array([[1000.0, 1001.0], [3.0, 0.0]], np.float32)
    expected = [[-np.log(1 + np.e), -np.log(1 + 1 / np.e)], [-np.log(1 + np.exp(-3)), -3 - np.log(1 + np.exp(-3))]]
    assert np.allclose(log_softmax(logits), expected)
    assert np.allclose(contradiction(log_softmax(logits), np.array([0, 0])), [1.0, -3.0])
    assert np.allclose(contradiction(np.array([[-0.5]]), np.array([0])), [0.5])


def test_one_trusted_row_is_enough_to_run(tmp_path: Path) -> None:
    suspect, (trusted, heldout) = parts(example(tmp_path, "nothing", n=60).evidence)
    crossfit = train(suspect, (trusted.select(trusted.ids[:1]), heldout.select([])))
    assert isinstance(crossfit.vouched, Ensemble)
    assert np.isfinite(crossfit.excess(whole(suspect), [crossfit.learned.logits])).all()
