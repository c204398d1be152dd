"""De-Pois as the paper has it, as Lotgate ships it, and with parts taken out; each with the seconds of its stages."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor

from lotgate.detector import Evidence
from lotgate.detectors._de_pois.augment import Augmentation, Conditioner
from lotgate.detectors._de_pois.losses import cgan_value, fooling_loss
from lotgate.detectors._de_pois.mimic import Mimicry
from lotgate.detectors._de_pois.networks import Discriminator, MimicCritic, SampleGenerator, mimic_generator
from lotgate.detectors._de_pois.scaling import Pool, Scaling, value_range
from lotgate.detectors._de_pois.scorer import MimicScorer
from lotgate.detectors._de_pois.training import Rule, settle
from lotgate.detectors.de_pois import DePois, Run

LONGER = 2000  # steps of the mimic, four times the limit of the others


class Unauthenticated(Augmentation):
    """The cGAN without L_A."""

    def _authentic(self, answer: Tensor, condition: Tensor) -> Tensor:
        return torch.zeros(())

    def _lasso(self) -> float:
        return 0.0


class PlainGan(Mimicry):
    """The mimic as a conditional GAN: log loss in place of the Wasserstein distance and its penalty.

    It is conditional, unlike the GAN of 2014, which would not see y: flipped labels would be chance by construction.
    """

    def critic_loss(self, real: Tensor, fake: Tensor, mixed: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        value = cgan_value(self.critic(real, condition), self.critic(fake, condition))
        return -value, value.detach()

    def step(self) -> list[Tensor]:
        values = torch.stack([self._critic_step() for _ in range(self.critic_steps)])
        condition = self.conditioner.draw(self.batch_size, self.generator).to(self.device)
        self._update("maker", fooling_loss(self.critic(self.maker(self._noise(), condition), condition)))
        return [values.mean()[None]]


class Parts(DePois):
    """De-Pois with the stages that are named in place of its own.

    Attributes:
        authenticator: False trains the cGAN without L_A. plain_gan: True trains the mimic as `PlainGan`.
    """

    authenticator: bool = True
    plain_gan: bool = False
    _seconds: dict[str, float] = PrivateAttr(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        """CPU seconds of the two trainings of the last fit, and the rows that were synthesised."""
        return dict(self._seconds)

    def _augment(self, scaling: Scaling, pool: Pool, wanted: int, run: Run) -> Pool:
        start = time.process_time()
        own = super()._augment if self.authenticator else self._without_authenticator
        made = own(scaling, pool, wanted, run)
        self._seconds |= {"synthesis": time.process_time() - start, "synthesised": float(len(made) - len(pool))}
        return made

    def mimic(self, scaling: Scaling, augmented: Pool, pool: Pool, run: Run) -> MimicCritic:
        start = time.process_time()
        own = self._as_plain_gan if self.plain_gan else super().mimic
        made = own(scaling, augmented, pool, run)
        self._seconds |= {"mimic": time.process_time() - start}
        return made

    def _without_authenticator(self, scaling: Scaling, pool: Pool, wanted: int, run: Run) -> Pool:
        missing, regression = min(wanted - len(pool), self.max_synthetic), not scaling.classes
        if missing <= 0:
            return pool
        stage = Unauthenticated(
            SampleGenerator(scaling.shape, scaling.width, *value_range(pool)),
            Discriminator(scaling.shape, scaling.width, regression, run.generator),
            pool, Conditioner(pool.condition, self.target_noise if regression else 0.0),
            self.augment_batch, run.generator, run.device,
        )  # fmt: skip
        settle(stage, Rule(self.window, self.augment_tolerance, self.augment_steps), None)
        return pool + stage.sample(missing)

    def _as_plain_gan(self, scaling: Scaling, augmented: Pool, pool: Pool, run: Run) -> MimicCritic:
        stage = PlainGan(
            MimicCritic(scaling.shape, scaling.width, self.conditioning),
            mimic_generator(scaling.shape, scaling.width, *value_range(pool)),
            augmented, Conditioner(augmented.condition, 0.0), self.batch_size, self.critic_steps,
            self.gradient_penalty, self.learning_rate, self.mismatched_rate, run.generator, run.device,
        )  # fmt: skip
        settle(stage, Rule(self.window, self.mimic_tolerance, self.mimic_steps), None)
        return stage.critic.eval().requires_grad_(False)


def _paper(**changes: object) -> Parts:
    """Equations (9) and (10) as they stand: no pairs with a wrong y, raw outputs, y at the first layer."""
    fields: dict[str, object] = {
        "mismatched_rate": 0.0, "standardise": False, "conditioning": "concat", "boundary": "paper", "device": "cpu",
    }  # fmt: skip
    return Parts.model_validate(fields | changes)


@dataclass(frozen=True)
class Variant:
    """A detector under a name. `held_out`: it calibrates, so that part of the trusted rows is kept back for that."""

    detector: Parts
    held_out: bool
    words: str


VARIANTS: dict[str, Variant] = {
    "paper": Variant(_paper(), False, "the paper's objective (9) and boundary (10)"),
    "default": Variant(Parts(device="cpu"), True, "Lotgate's default: wrong pairs shown, calibrated boundary"),
    "paper-no-authenticator": Variant(_paper(authenticator=False), False, "cGAN + cWGAN-GP"),
    "paper-gan": Variant(_paper(plain_gan=True), False, "cGAN_authenticator + GAN (ours is conditional)"),
    "paper-gan-no-authenticator": Variant(_paper(plain_gan=True, authenticator=False), False, "cGAN + GAN"),
    "paper-no-synthesis": Variant(_paper(max_synthetic=0), False, "no synthetic rows (ours, not in the paper)"),
    "paper-longer": Variant(
        _paper(mimic_steps=LONGER, mimic_tolerance=1e-6), False, f"the mimic trained for {LONGER} steps (ours)"
    ),
    "default-no-mismatches": Variant(
        Parts(device="cpu", mismatched_rate=0.0), True, "Lotgate's default without wrong pairs"
    ),
    "default-raw": Variant(Parts(device="cpu", standardise=False), True, "Lotgate's default without standardising"),
}


def fit(variant: Variant, evidence: Evidence, rng: np.random.Generator) -> tuple[MimicScorer, dict[str, float]]:
    """The fitted scorer, and what `Parts.seconds` says of its training."""
    detector = variant.detector.model_copy()
    detector._seconds = {}
    return detector.fit(evidence, rng), detector.seconds
