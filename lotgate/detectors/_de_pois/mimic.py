"""Mimic model construction (section IV-B): a conditional WGAN-GP on S_aug whose critic is the mimic model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lotgate.detectors._de_pois.augment import Conditioner
from lotgate.detectors._de_pois.losses import gradient_penalty, interpolate
from lotgate.detectors._de_pois.networks import LATENT, MimicCritic
from lotgate.detectors._de_pois.scaling import Pool


@dataclass(eq=False)
class Mimicry:
    """The conditional WGAN-GP in training: `critic_steps` updates of D_w and one of G_w per step.

    Attributes:
        augmented: S_aug. conditioner: draws y for G_w's own update.
        penalty: λ of (9). mismatched: share of a batch's generated rows replaced by real rows under another row's y.
    """

    critic: MimicCritic
    maker: nn.Module
    augmented: Pool
    conditioner: Conditioner
    batch_size: int
    critic_steps: int
    penalty: float
    learning_rate: float
    mismatched: float
    generator: torch.Generator
    device: str = "cpu"
    title: str = "mimic"

    def __post_init__(self) -> None:
        self.modules: dict[str, nn.Module] = {
            "critic": self.critic.to(self.device),
            "maker": self.maker.to(self.device),
        }
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.RMSprop(module.parameters(), self.learning_rate) for name, module in self.modules.items()
        }
        self._distance = 0.0

    def step(self) -> list[Tensor]:
        distances = torch.stack([self._critic_step() for _ in range(self.critic_steps)])
        condition = self.conditioner.draw(self.batch_size, self.generator).to(self.device)
        loss = -self.critic(self.maker(self._noise(), condition), condition).mean()
        self._update("maker", loss)
        distance = distances.mean()
        self._distance = float(distance)
        return [distance[None]]

    def told(self) -> str:
        return f"Wasserstein estimate {self._distance:.3f}"

    def critic_loss(self, real: Tensor, fake: Tensor, mixed: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(9), and the Wasserstein estimate E D_w(x|y) − E D_w(x̃|y) within it."""
        outputs = self.critic(torch.cat([real, fake]), torch.cat([condition, condition]))
        on_real, on_fake = outputs.chunk(2)
        distance = on_real.mean() - on_fake.mean()
        return self.penalty * gradient_penalty(self.critic, mixed, condition) - distance, distance.detach()

    def _critic_step(self) -> Tensor:
        real, condition = (part.to(self.device) for part in self.augmented.draw(self.batch_size, self.generator))
        with torch.no_grad():
            fake = self.maker(self._noise(), condition)
        fake = self._with_mismatches(fake, condition)
        loss, distance = self.critic_loss(real, fake, interpolate(real, fake, self.generator), condition)
        self._update("critic", loss)
        return distance

    def _with_mismatches(self, fake: Tensor, condition: Tensor) -> Tensor:
        count = round(self.mismatched * len(fake))
        if not count:
            return fake
        other, its_condition = (part.to(self.device) for part in self.augmented.draw(count, self.generator))
        differs = ((its_condition - condition[:count]).abs().amax(dim=1) > 0).view(-1, *[1] * (fake.ndim - 1))
        return torch.cat([torch.where(differs, other, fake[:count]), fake[count:]])

    def _update(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=list(self.modules[name].parameters()))  # type: ignore[no-untyped-call]
        optimiser.step()

    def _noise(self) -> Tensor:
        return torch.randn(self.batch_size, LATENT, generator=self.generator).to(self.device)
