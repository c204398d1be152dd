"""Synthetic data generation (section IV-A): a conditional GAN with the authenticator, trained on trusted rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lotgate.detectors._de_pois.losses import (
    cgan_value,
    class_authenticator_loss,
    fooling_loss,
    value_authenticator_loss,
)
from lotgate.detectors._de_pois.networks import LATENT, Discriminator, SampleGenerator
from lotgate.detectors._de_pois.scaling import Pool

LEARNING_RATE = 1e-3
RATE_HALVED = 100  # steps after which the rate is half of LEARNING_RATE; it falls as 1 / steps
BETAS = (0.5, 0.999)
LASSO_WEIGHT = 1e-3
SAMPLE_BATCH = 256


@dataclass(frozen=True, eq=False)
class Conditioner:
    """Draws conditions for synthesis: labels as often as trusted ones have them, values plus Gaussian noise z_r.

    Attributes:
        conditions: (N, K) of the trusted rows.
        noise: standard deviation of z_r in units of the target's own; 0 for classes.
    """

    conditions: Tensor
    noise: float

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """(size, K)"""
        drawn = self.conditions[torch.randint(len(self.conditions), (size,), generator=generator)]
        return drawn + self.noise * torch.randn(drawn.shape, generator=generator) if self.noise else drawn


@dataclass(eq=False)
class Augmentation:
    """The cGAN in training: one update of D_c and one of G_c per step.

    With L_A the authenticator's loss, D_c and the authenticator lower −V + L_A, G_c lowers −E log D_c(G_c) + L_A.
    """

    maker: SampleGenerator
    judge: Discriminator
    trusted: Pool
    conditioner: Conditioner
    batch_size: int
    generator: torch.Generator
    device: str = "cpu"
    title: str = "augmentation"

    def __post_init__(self) -> None:
        self.modules: dict[str, nn.Module] = {"maker": self.maker.to(self.device), "judge": self.judge.to(self.device)}
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(module.parameters(), LEARNING_RATE, BETAS) for name, module in self.modules.items()
        }
        self._latest = (0.0, 0.0)

    def step(self) -> list[Tensor]:
        x, y = (part.to(self.device) for part in self.trusted.draw(self.batch_size, self.generator))
        condition = self.conditioner.draw(self.batch_size, self.generator).to(self.device)
        fake = self.maker(self._noise(self.batch_size), condition)
        judge_loss = self.judge_loss(x, y, fake.detach(), condition)
        self._update("judge", judge_loss)
        maker_loss = self.maker_loss(fake, condition)
        self._update("maker", maker_loss)
        self._latest = (judge_loss.item(), maker_loss.item())
        return [parameter.detach() for parameter in self.maker.parameters()]

    def told(self) -> str:
        return f"loss of discriminator {self._latest[0]:.3f}, of generator {self._latest[1]:.3f}"

    def judge_loss(self, x: Tensor, y: Tensor, fake: Tensor, condition: Tensor) -> Tensor:
        """What D_c and the authenticator lower: −V(G_c, D_c) + L_A on trusted and on synthesised rows."""
        real_verdict, real_answer = self.judge(x, y)
        fake_verdict, fake_answer = self.judge(fake, condition)
        authentic = self._authentic(real_answer, y) + self._authentic(fake_answer, condition)
        return authentic - cgan_value(real_verdict, fake_verdict) + self._lasso()

    def maker_loss(self, fake: Tensor, condition: Tensor) -> Tensor:
        """What G_c lowers: its half of the cGAN's objective + L_A on synthesised rows."""
        verdict, answer = self.judge(fake, condition)
        return fooling_loss(verdict) + self._authentic(answer, condition)

    def sample(self, size: int) -> Pool:
        """S_s': `size` synthesised rows with the conditions they were made for."""
        x, conditions = [], []
        dtype = self.trusted.x.dtype
        with torch.inference_mode():
            for start in range(0, size, SAMPLE_BATCH):
                rows = min(SAMPLE_BATCH, size - start)
                condition = self.conditioner.draw(rows, self.generator)
                x.append(self.maker(self._noise(rows), condition.to(self.device)).cpu().to(dtype))
                conditions.append(condition)
        return Pool(torch.cat(x).clone(), torch.cat(conditions).clone())

    def _update(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        done = max((float(slots["step"]) for slots in optimiser.state.values()), default=0.0)
        optimiser.param_groups[0]["lr"] = LEARNING_RATE / (1 + done / RATE_HALVED)
        optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=list(self.modules[name].parameters()))  # type: ignore[no-untyped-call]
        optimiser.step()

    def _noise(self, size: int) -> Tensor:
        return torch.randn(size, LATENT, generator=self.generator).to(self.device)

    def _authentic(self, answer: Tensor, condition: Tensor) -> Tensor:
        loss = value_authenticator_loss if self.judge.regression else class_authenticator_loss
        return loss(answer, condition)

    def _lasso(self) -> Tensor | float:
        return LASSO_WEIGHT * self.judge.authenticator.weight.abs().sum() if self.judge.regression else 0.0
