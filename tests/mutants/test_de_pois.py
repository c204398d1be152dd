"""Defects of De-Pois' released code, re-created: the checks that guard ours must notice each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lotgate.detectors._de_pois.augment import Augmentation, Conditioner
from lotgate.detectors._de_pois.networks import Discriminator, SampleGenerator
from lotgate.detectors._de_pois.scaling import Pool

CLASSES = 3


class AuthenticatorOnlyPrinted(Augmentation):
    """The released code: L_A is computed and shown, but no gradient of it flows (defect 10 of the field)."""

    def _authentic(self, answer: Tensor, condition: Tensor) -> Tensor:
        return super()._authentic(answer, condition).detach()


class GeneratorRewardedForWrongLabels(Augmentation):
    """L_cGAN − L_A for G_c, read literally."""

    def maker_loss(self, fake: Tensor, condition: Tensor) -> Tensor:
        _, answer = self.judge(fake, condition)
        return super().maker_loss(fake, condition) - 2 * self._authentic(answer, condition)


def trained(kind: type[Augmentation]) -> Augmentation:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    y = np.random.default_rng(0).integers(CLASSES, size=120)
    x = torch.from_numpy(4 * np.eye(CLASSES)[y] + np.random.default_rng(1).normal(size=(120, CLASSES))).float()
    pool = Pool(x, torch.eye(CLASSES)[torch.from_numpy(y)])
    stage = kind(
        SampleGenerator((CLASSES,), CLASSES, x.amin(0), x.amax(0)),
        Discriminator((CLASSES,), CLASSES, False, generator),
        pool,
        Conditioner(pool.condition, 0.0),
        32,
        generator,
    )
    for _ in range(60):
        stage.step()
    return stage


def carried(stage: Augmentation) -> float:
    """Share of synthesised rows whose largest feature is that of the label they were made for."""
    made = stage.sample(300)
    return float((made.x.argmax(dim=1) == made.condition.argmax(dim=1)).float().mean())


def authenticator_moves(stage: Augmentation) -> bool:
    """Whether the authenticator's head gets any gradient from the discriminator's loss."""
    x, y = stage.trusted.draw(16, stage.generator)
    with torch.no_grad():
        fake = stage.maker(torch.randn(16, 100, generator=stage.generator), y)
    stage.judge.zero_grad(set_to_none=True)
    stage.judge_loss(x, y, fake, y).backward()
    gradient = stage.judge.authenticator.weight.grad
    return gradient is not None and float(gradient.abs().sum()) > 0


def test_ours_carries_labels_and_trains_the_authenticator() -> None:
    ours = trained(Augmentation)
    assert carried(ours) > 0.8 and authenticator_moves(ours)


def test_an_authenticator_that_is_only_printed_is_noticed() -> None:
    assert not authenticator_moves(trained(AuthenticatorOnlyPrinted))


def test_the_literal_sign_is_noticed() -> None:
    assert carried(trained(GeneratorRewardedForWrongLabels)) < 0.8


def test_a_threshold_taken_from_the_lot_would_hide_a_poisoned_lot() -> None:
    """Defect 9: the released code thresholds on rows of the lot itself. Held-out rows keep the promise instead."""
    from lotgate.calibration import calibrate

    rng = np.random.default_rng(0)
    heldout, poisoned = rng.normal(size=400), rng.normal(4.0, 1.0, 300)
    lot = np.concatenate([rng.normal(size=700), poisoned])
    assert (poisoned > calibrate(lot).threshold(0.01)).mean() < 0.2
    assert (poisoned > calibrate(heldout).threshold(0.01)).mean() == pytest.approx(0.9, abs=0.1)
