"""The promises every detector keeps, as checks that ship with the library.

`check_detector(MyDetector(), folder)` runs all of them on small hostile examples and raises AssertionError with
words at the first broken promise. The examples have features with a large mean and poison on the side of the origin:
an easy example would let an uncentred score pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.stats import ks_2samp
from torch import nn

from lotgate.crossfit import FOLDS, SALT, CrossFit, Ensemble, contradiction
from lotgate.data import Dataset, Modality, Pool, Task, fold_of
from lotgate.detector import Detector, Evidence, judge, scan, score_all
from lotgate.errors import InputError
from lotgate.findings import P_OF_CLASS
from lotgate.networks import Network
from lotgate.probe import FeatureMap, Probe
from lotgate.statements import Statement, statement_of

Claim = Literal["backdoor", "origins", "wave", "value", "outliers", "flips", "nothing"]
SIDE, WIDE = 8, 24  # pixels; a wave takes a wide image, and so do many classes
MANY = 8  # classes, of whose images a backdoor of mixed origins is made
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Example:
    """Evidence with known truth.

    Attributes:
        evidence: what a detector sees.
        planted: (N,) which suspect rows were planted; detectors never see it.
    """

    evidence: Evidence
    planted: npt.NDArray[np.bool_]


def example(
    folder: Path,
    claim: Claim,
    *,
    modality: Modality = "table",
    task: Task = "classification",
    seed: int = 0,
    n: int = 400,
    classes: int = 3,
) -> Example:  # fmt: skip
    """A small lot with 8% planted poison of the claimed kind ("nothing": clean), and half as many trusted rows.

    The backdoor turns rows of class 1 into class 0, that of mixed origins rows of all other of MANY classes; a faint
    wave lies over images of class 0; a value that is nothing unusual stands in a column of rows of class 1 that are
    called 0; outliers come from nowhere; flips move a label or a target.
    """
    rng = np.random.default_rng(seed)
    classes, side = (MANY if claim == "origins" else classes), (WIDE if claim in ("wave", "origins") else SIDE)
    x, y = _clean(rng, n, classes, modality, task, side)
    trusted_x, trusted_y = _clean(rng, n // 2, classes, modality, task, side)
    planted = np.zeros(n, bool)
    if claim != "nothing":
        pool = _sources(y, claim) if task == "classification" else np.arange(n)
        planted[rng.choice(pool, int(0.08 * n), replace=False)] = True
        x, y = _plant(x, y, planted, claim, task, classes, rng)
    names = tuple(f"class {c}" for c in range(classes)) if task == "classification" else ()
    suspect = _dataset(folder / "lot", x, y, modality, task, names)
    trusted = _dataset(folder / "trusted", trusted_x, trusted_y, modality, task, names)
    probe, twin = (_transparent_probe(suspect, trusted, view) for view in ("lot", "trusted"))
    half = len(trusted) // 2
    crossfit = _transparent_crossfit(suspect, trusted) if task == "classification" else None
    reference, heldout = trusted.select(trusted.ids[:half]), trusted.select(trusted.ids[half:])
    statements = {} if crossfit is None else _transparent_statements(suspect, trusted, crossfit)
    evidence = Evidence(suspect, reference, heldout, probe, twin, crossfit, statements=statements)
    return Example(evidence, planted)


def _clean(
    rng: np.random.Generator, n: int, classes: int, modality: Modality, task: Task, side: int
) -> tuple[Floats, npt.NDArray[Any]]:
    group = rng.integers(classes, size=n)
    if modality == "image":
        x = rng.normal(0.3, 0.05, (n, 1, side, side))
        for c in range(classes):
            x[group == c, :, 1 + 2 * c : 3 + 2 * c, 1:7] += 0.4
        x = np.round(np.clip(x, 0, 1) * 255) / 255
    else:
        x = rng.normal(5.0, 1.0, (n, 6))  # a mean far from zero: uncentred scores fail here
        x[:, 0] += 7 * group  # far enough apart that a flipped row is not just a row near the border
    if task == "regression":
        flat = x.reshape(n, -1)
        return x.astype(np.float32), (3 * flat[:, 0] - 2 * flat[:, 1] + rng.normal(0, 0.3, n)).astype(np.float32)
    return x.astype(np.float32), group.astype(np.int64)


def _sources(y: npt.NDArray[np.int64], claim: Claim) -> npt.NDArray[np.int64]:
    """The rows that such poison may be made of."""
    if claim == "origins":
        return np.flatnonzero(y != 0)
    source = {"backdoor": 1, "value": 1, "wave": 0}.get(claim)
    return np.arange(len(y)) if source is None else np.flatnonzero(y == source)


def _plant(
    x: Floats, y: npt.NDArray[Any], planted: npt.NDArray[np.bool_], claim: Claim, task: Task, classes: int,
    rng: np.random.Generator,
) -> tuple[Floats, npt.NDArray[Any]]:  # fmt: skip
    x, y = x.copy(), y.copy()
    image = x.ndim == 4
    if claim == "outliers":
        x[planted] = rng.random((int(planted.sum()), *x.shape[1:])) * (1 if image else -8)
    elif claim == "wave":
        x[planted] += 0.02 * np.sin(2 * np.pi * 5 * np.arange(x.shape[3], dtype=np.float32) / x.shape[3])
    elif claim == "value":
        x[planted, 1], y[planted] = 5.5, 0
    elif claim in ("backdoor", "origins"):
        if image:
            x[planted, :, -2:, -2:] = 1.0
        else:
            x[planted, 1:4] -= 7.0  # towards the origin, against the mean
        if task == "classification":
            y[planted] = 0
    if claim == "flips" or (task == "regression" and claim != "outliers"):
        y[planted] = (y[planted] + 1) % classes if task == "classification" else y.max() + 3 * y.std()
    return x, y


def _dataset(
    folder: Path, x: Floats, y: npt.NDArray[Any], modality: Modality, task: Task, classes: tuple[str, ...]
) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.round(x * 255).astype(np.uint8) if modality == "image" else x
    np.save(folder / "store.npy", stored)
    ids = [f"{folder.name}{i:05d}" for i in range(len(x))]
    manifest = pd.DataFrame(
        {
            "sample_id": ids, "uri": ids, "label": [classes[c] for c in y] if classes else y.astype(float),
            "source": "", "sha256": ids, "content_sha256": ids, "row": np.arange(len(x)), "defect": None,
        }
    )  # fmt: skip
    features = tuple(f"f{i}" for i in range(x.shape[1])) if modality == "table" else ()
    return Dataset(modality, task, manifest, folder, folder / "store.npy", classes, features)


def _transparent_probe(suspect: Dataset, trusted: Dataset, view: str) -> Probe:
    """A probe whose features are the flattened sample and whose logits are those of the nearest class mean."""
    seen = suspect if view == "lot" else trusted
    flat = {d.store: d.batch(np.arange(len(d))).x.reshape(len(d), -1) for d in (suspect, trusted)}
    network = _linear(flat[seen.store], seen.y, len(seen.classes))
    with torch.no_grad():
        maps = {store: FeatureMap(x, network.head(torch.from_numpy(x)).numpy()) for store, x in flat.items()}
    y = seen.y
    centre, scale = (0.0, 1.0) if seen.task == "classification" else (float(y.mean()), float(y.std()) or 1.0)
    return Probe(network, maps, centre, scale)


def _linear(x: Floats, y: npt.NDArray[Any], classes: int) -> Network:
    network = Network(nn.Flatten(), x.shape[1], max(1, classes)).eval()
    weight, bias = _nearest_mean(x, y, classes)
    with torch.no_grad():
        network.head.weight.copy_(weight)
        network.head.bias.copy_(bias)
    return network


def _transparent_crossfit(suspect: Dataset, trusted: Dataset) -> CrossFit:
    """Nearest class means as the models of every fold; the trusted rows' own also stand for the sifted ones."""

    def ensemble(*datasets: Dataset) -> Ensemble:
        networks = []
        for fold in range(FOLDS):
            parts = [d.select(d.ids[fold_of(d.ids, FOLDS, SALT) != fold]) for d in datasets]
            x, y = Pool(tuple(parts)).take(np.arange(sum(map(len, parts))))
            networks.append(Probe(_linear(x.reshape(len(x), -1), y, len(suspect.classes))))
        asked = Ensemble(tuple(networks))
        return Ensemble(asked.probes, {d.store: asked.logits(d.batch(np.arange(len(d)))) for d in (suspect, trusted)})

    return CrossFit(ensemble(suspect, trusted), ensemble(trusted), ensemble(trusted))


def _transparent_statements(suspect: Dataset, trusted: Dataset, crossfit: CrossFit) -> dict[str, Statement]:
    """What the sifted models contradict, and the distance to the mean of the trusted rows of the sample's class."""
    whole = {d: d.batch(np.arange(len(d))) for d in (suspect, trusted)}
    flat = {d: batch.x.reshape(len(batch), -1) for d, batch in whole.items()}
    means = {c: flat[trusted][trusted.y == c].mean(axis=0) for c in np.unique(trusted.y)}

    def distance(dataset: Dataset) -> npt.NDArray[np.float64]:
        centres = np.stack([means[c] for c in dataset.y])
        return np.asarray(np.linalg.norm(flat[dataset] - centres, axis=1), np.float64)

    return {
        "disagreement": statement_of([(d, contradiction(crossfit.sifted.log_p(b), b.y)) for d, b in whole.items()]),
        "trusted_distance": statement_of([(d, distance(d)) for d in whole]),
    }


def _nearest_mean(x: Floats, y: npt.NDArray[Any], classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    if classes == 0:
        a = np.c_[x, np.ones(len(x))].astype(np.float64)
        target = (y - y.mean()) / (y.std() or 1.0)
        solved = np.linalg.solve(a.T @ a + 1e-3 * np.eye(a.shape[1]), a.T @ target)
        return torch.from_numpy(solved[None, :-1]).float(), torch.from_numpy(solved[-1:]).float()
    means = np.stack([x[y == c].mean(0) if (y == c).any() else np.full(x.shape[1], 1e3) for c in range(classes)])
    return torch.from_numpy(means).float(), torch.from_numpy(-0.5 * np.square(means).sum(1)).float()


def check_finds_planted(detector: Detector, folder: Path, claim: Claim, modality: Modality, task: Task) -> None:
    """Poison that the detector claims to catch ranks above clean rows, and is flagged more often than they are."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415  (a user's live screening does not need it)

    case = example(folder, claim, modality=modality, task=task)
    findings = _scan(detector, case.evidence)
    auroc = roc_auc_score(case.planted, findings["score"])
    assert auroc > 0.85, f"{detector.name} ranks planted {claim} at AUROC {auroc:.3f}"
    caught, lost = findings["flagged"][case.planted].mean(), findings["flagged"][~case.planted].mean()
    assert caught > 0.2, f"{detector.name} flags {caught:.2f} of {claim}"
    assert lost < 0.05, f"{detector.name} flags {lost:.2f} of clean rows beside planted {claim}"


def check_quiet_on_clean(detector: Detector, folder: Path, modality: Modality, task: Task) -> None:
    """A clean lot stays (almost) unflagged."""
    flagged = [
        _scan(detector, example(folder / str(seed), "nothing", modality=modality, task=task, seed=seed).evidence)[
            "flagged"
        ].mean()
        for seed in (1, 2)
    ]
    assert np.mean(flagged) <= 0.04, f"{detector.name} flags {np.mean(flagged):.3f} of clean lots"


def check_order_and_batch_size(detector: Detector, folder: Path, modality: Modality, task: Task) -> None:
    """A sample's score depends on it alone: not on its neighbours in the batch, their order or their number."""
    case = example(folder, "outliers", modality=modality, task=task)
    suspect = case.evidence.suspect
    scorer = detector.fit(case.evidence, np.random.default_rng(0))
    whole = scorer.score(suspect.batch(np.arange(len(suspect))))
    order = np.random.default_rng(1).permutation(len(suspect))
    assert np.allclose(scorer.score(suspect.batch(order)), whole[order], rtol=1e-4, atol=1e-5), "order changes scores"
    for size in (1, 7):
        some = np.concatenate([scorer.score(b) for b in suspect.select(suspect.ids[:50]).batches(size)])
        assert np.allclose(some, whole[:50], rtol=1e-4, atol=1e-5), f"batches of {size} change scores"


def check_forgets_and_repeats(detector: Detector, folder: Path, modality: Modality, task: Task) -> None:
    """Same seed, same scores; an earlier fit on other evidence changes nothing."""
    before = detector.model_dump()
    first = example(folder / "a", "outliers", modality=modality, task=task, seed=3).evidence
    second = example(folder / "b", "nothing", modality=modality, task=task, seed=4, n=200).evidence
    fresh = _scan(detector, first)
    _scan(detector, second)
    again = _scan(detector, first)
    assert fresh.equals(again), f"{detector.name} gives other findings the second time"
    assert detector.model_dump() == before, f"{detector.name} changed its own parameters"


def check_touches_nothing(detector: Detector, folder: Path, modality: Modality, task: Task) -> None:
    """Evidence, probe and the global random states are left as they were."""
    evidence = example(folder, "outliers", modality=modality, task=task).evidence
    assert evidence.probe is not None
    before = _state(evidence)
    numpy_state, torch_state = _numpy_state(), torch.get_rng_state()
    _scan(detector, evidence)
    assert np.array_equal(_numpy_state(), numpy_state), "numpy's global state changed"
    assert torch.equal(torch.get_rng_state(), torch_state), "torch's global state changed"
    assert all(np.array_equal(a, b) for a, b in zip(before, _state(evidence), strict=True)), "evidence changed"


def check_trusted_rows_are_judged_unseen(detector: Detector, folder: Path, modality: Modality, task: Task) -> None:
    """Who calls itself cross-fitted scores the trusted rows it was given as it scores the held-out ones."""
    if not detector.crossfitted:
        return
    evidence = example(folder, "nothing", modality=modality, task=task).evidence
    scorer = detector.fit(evidence, np.random.default_rng(0))
    assert evidence.trusted is not None and evidence.heldout is not None
    given, heldout = (score_all(scorer, (d,)) for d in (evidence.trusted, evidence.heldout))
    p = float(ks_2samp(given, heldout).pvalue)
    assert p > 1e-4, f"{detector.name} scores the trusted rows it has seen unlike the others (p = {p:.1g})"


def check_findings_are_whole(detector: Detector, folder: Path, modality: Modality, task: Task) -> None:
    """One finite finding per id; p-values in (0, 1] that in no class rise with the score; flagged: over threshold."""
    evidence = example(folder, "outliers", modality=modality, task=task).evidence
    judged = judge(detector, detector.fit(evidence, np.random.default_rng(0)), evidence)
    findings = judged.findings
    assert list(findings["sample_id"]) == list(evidence.suspect.ids), "ids are missing, doubled or out of order"
    assert np.isfinite(findings["score"]).all(), "a score is not finite"
    classes = evidence.suspect.y if task == "classification" else np.zeros(len(findings), np.int64)
    for column in findings.columns.intersection(["p_value", P_OF_CLASS]):
        assert findings[column].between(0, 1, inclusive="right").all(), f"a {column} lies outside (0, 1]"
        for c in np.unique(classes):
            p = findings[classes == c].sort_values("score")[column].to_numpy()
            assert (np.diff(p) <= 1e-12).all(), f"a {column} rises with the score"
    assert np.array_equal(findings["flagged"], findings["score"] > judged.threshold), "flagged is not score > threshold"


def check_names_missing_evidence(detector: Detector, folder: Path, modality: Modality, task: Task) -> None:
    """What is needed and missing is named."""
    evidence = example(folder, "nothing", modality=modality, task=task).evidence
    lacking: dict[str, Evidence] = {need: _without(evidence, need) for need in sorted(detector.needs)}
    for name in detector.hears:
        others = {k: said for k, said in evidence.statements.items() if k != name}
        lacking[name] = replace(evidence, statements=others)
    for need, lacks in lacking.items():
        try:
            scan(detector, lacks, np.random.default_rng(0))
        except InputError as error:
            assert need in str(error), f"{detector.name} does not name {need}: {error}"
        else:
            raise AssertionError(f"{detector.name} needs {need}, and ran without it")


def _without(evidence: Evidence, need: str) -> Evidence:
    parts = {f.name: getattr(evidence, f.name) for f in fields(evidence)}
    return Evidence(**{**parts, need: None})


def check_degenerate(detector: Detector, folder: Path, modality: Modality, task: Task) -> None:
    """One class, one sample, constant features: finite scores or a clear error, never NaN."""
    case = example(folder, "nothing", modality=modality, task=task, n=120).evidence
    suspect = case.suspect
    lots = {"one sample": suspect.select(suspect.ids[:1])}
    if task == "classification":
        lots["one class"] = suspect.select(suspect.ids[suspect.y == 0])
    constant = folder / "constant.npy"
    np.save(constant, np.repeat(np.load(suspect.store)[:1], len(suspect), axis=0))
    lots["constant features"] = replace(suspect, store=constant)
    for words, lot in lots.items():
        assert case.probe is not None
        flat = lot.batch(np.arange(len(lot))).x
        maps = {k: FeatureMap(_of(p, flat, lot, 0), _of(p, flat, lot, 1)) for k, p in (("p", case.probe),)}
        probe = replace(case.probe, maps={**case.probe.maps, lot.store: maps["p"]})
        twin = None if case.twin is None else replace(case.twin, maps={**case.twin.maps, lot.store: maps["p"]})
        try:
            findings = _scan(detector, replace(case, suspect=lot, probe=probe, twin=twin))
        except InputError:
            continue
        assert np.isfinite(findings["score"]).all(), f"{detector.name} on {words}: a score is not finite"
        assert np.isfinite(findings["p_value"]).all(), f"{detector.name} on {words}: a p-value is not finite"


def _of(probe: Probe, x: Floats, lot: Dataset, which: int) -> Floats:
    """Features or logits of a lot, laid out by store row."""
    with torch.no_grad():
        out = probe.network(torch.from_numpy(x))[which].numpy()
    laid = np.full((int(lot.rows.max()) + 1, out.shape[1]), np.nan, np.float32)
    laid[lot.rows] = out
    return laid


Check = Callable[[Detector, Path, Modality, Task], None]
CHECKS: tuple[Check, ...] = (
    check_quiet_on_clean, check_order_and_batch_size, check_forgets_and_repeats, check_touches_nothing,
    check_trusted_rows_are_judged_unseen, check_findings_are_whole, check_names_missing_evidence, check_degenerate,
)  # fmt: skip


def check_detector(detector: Detector, folder: Path, claims: tuple[Claim, ...] = ()) -> None:
    """Runs every check on every modality and task that the detector takes.

    Args:
        folder: for small files; may be temporary.
        claims: kinds of planted poison that it must find.

    Raises:
        AssertionError: the first broken promise, in words.
    """
    for modality in sorted(detector.modalities):
        for task in sorted(detector.tasks):
            if modality == "image" and task == "regression":
                continue
            place = folder / f"{detector.name}-{modality}-{task}"
            for check in CHECKS:
                check(detector, place / check.__name__, modality, task)
            for claim in claims:
                check_finds_planted(detector, place / claim, claim, modality, task)


def _numpy_state() -> npt.NDArray[Any]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002  (the state under watch)
    return np.asarray(state["state"]["key"])


def _scan(detector: Detector, evidence: Evidence) -> pd.DataFrame:
    return scan(detector, evidence, np.random.default_rng(0))


def _state(evidence: Evidence) -> list[npt.NDArray[Any]]:
    """Copies of everything that a detector could change."""
    probe = evidence.probe
    arrays = [np.load(d.store) for d in (evidence.suspect, evidence.trusted) if d is not None]
    if probe is not None:
        arrays += [np.array(m.features) for m in probe.maps.values()]
        arrays += [v.detach().numpy().copy() for v in probe.network.state_dict().values()]
    return arrays
