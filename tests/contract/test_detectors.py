"""Every detector keeps every promise of lotgate.checks, except for those in the ledger, with the reason."""

from pathlib import Path

import pytest

from lotgate.checks import CHECKS, Check, Claim, check_finds_planted
from lotgate.data import Modality, Task
from lotgate.detector import Detector
from lotgate.detectors import DETECTORS

#: Known failures: {detector: {check: reason}}. Strict: an entry that no longer fails must go.
LEDGER: dict[str, dict[str, str]] = {}

#: Small instances, so that the suite stays quick, and the kinds of poison each detector claims to find.
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "activation_clustering": ("backdoor",),
    "spectral_signatures": ("backdoor",),
    "disagreement": ("flips",),
    "de_pois": ("backdoor",),
    "unexplained_clusters": ("backdoor",),
    "trusted_distance": ("outliers",),
    "excess_confidence": ("backdoor",),
    "shared_pattern": ("backdoor",),
    "shared_texture": ("backdoor",),
    "shared_detail": ("backdoor",),
    "shared_tone": ("backdoor",),
    "shared_wave": ("wave",),
    "mixed_origins": ("origins",),
    "shared_value": ("value",),
    "corroboration": ("flips",),
}
#: Cases for which a detector claims nothing, with the reason.
NO_CLAIM = {
    ("de_pois", "table", "regression"): "a critic trained for seconds ranks pulled targets at AUROC .6 to .9, by luck",
}
SMALL: dict[str, dict[str, object]] = {
    "de_pois": {
        "augment_steps": 40,
        "mimic_steps": 90,
        "window": 30,
        "image_size": 8,
        "learning_rate": 2e-3,
        "batch_size": 24,
    },
    "disagreement": {"folds": 3, "drops": [0.2], "epochs": 10},
    **{name: {"sources": 12, "clusters": [2, 4]} for name in ("shared_texture", "shared_detail", "shared_tone")},
}
#: Longer training for what a detector claims to find: after 90 steps one critic in five ranks poison by luck.
THOROUGH: dict[str, dict[str, object]] = {"de_pois": {"mimic_steps": 300, "batch_size": 64}}

CASES = [
    (detector, modality, task)
    for detector in DETECTORS
    for modality in sorted(detector.modalities)
    for task in sorted(detector.tasks)
    if (modality, task) != ("image", "regression")
]


def small(detector: type[Detector]) -> Detector:
    return detector(**SMALL.get(detector.name, {}))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("detector", "modality", "task"), CASES, ids=lambda v: getattr(v, "name", v))
def test_promise(detector: type[Detector], modality: Modality, task: Task, check: Check, tmp_path: Path) -> None:
    reason = LEDGER.get(detector.name, {}).get(check.__name__)
    if reason is None:
        check(small(detector), tmp_path, modality, task)
    else:
        with pytest.raises(AssertionError):
            check(small(detector), tmp_path, modality, task)


@pytest.mark.parametrize(("detector", "modality", "task"), CASES, ids=lambda v: getattr(v, "name", v))
def test_finds_what_it_claims(detector: type[Detector], modality: Modality, task: Task, tmp_path: Path) -> None:
    silent = (detector.name, modality, task) in NO_CLAIM
    claims = () if silent else CLAIMS[detector.name]
    assert silent or claims, f"{detector.name} claims to find nothing"
    for claim in claims:
        thorough = detector(**SMALL.get(detector.name, {}) | THOROUGH.get(detector.name, {}))
        check_finds_planted(thorough, tmp_path / claim, claim, modality, task)
