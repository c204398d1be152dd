"""Targeted clean-label poison: images of one class whose features lie around those of a victim (TCL-attack)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lotgate.attacks._surrogate import SurrogateSteps, features, train_surrogate
from lotgate.attacks.attack import (
    IMAGES,
    Attack,
    ClassIndex,
    Kind,
    Labels,
    Planted,
    Share,
    as_lot,
    choose,
    class_count,
    mask_of,
    planted_count,
    quantise,
)
from lotgate.data import FloatArray, Modality
from lotgate.errors import SettingsError
from lotgate.networks import Network
from lotgate.probe import seeded

ROW_STEPS = 40_000  # bounds the time: rows × steps of gradient descent


class TargetedCleanLabel(Attack):
    """What the three attacks share: rows of class `target` keep their label and move in the feature space.

    Attributes:
        victim: true class of the victims, which shall be taken for `target`.
        victims: how many victims are drawn from the lot where none are given.
        steps: of the descent; fewer where there are many rows (rows × steps ≤ 40,000, but at least 25).
        surrogate_steps: batches that the attacker's own model is trained for.
    """

    modalities: ClassVar[frozenset[Modality]] = IMAGES
    kind: ClassVar[Kind] = "targeted"

    victim: ClassIndex = 1
    victims: Annotated[int, Field(ge=1)] = 3
    steps: Annotated[int, Field(ge=1, le=10_000)] = 150
    surrogate_steps: SurrogateSteps = 400

    def plant(
        self,
        x: FloatArray,
        y: Labels,
        rng: np.random.Generator,
        n_classes: int | None = None,
        *,
        victim_x: FloatArray | None = None,
    ) -> Planted:
        """As `Attack.plant`.

        Args:
            victim_x: (V, C, H, W) test images that the attack is aimed at; without them rows of the lot's class
                `victim` take their place, which stay in the lot with their true label. `Planted.victims` has them.
        """
        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        if self.victim == self.target:
            raise SettingsError("victim and target are one class", where=self.name, action="choose another victim")
        rows = choose(y == self.target, planted_count(self, len(x)), rng, self)
        if victim_x is None:
            victim_x = x[choose(y == self.victim, min(self.victims, int((y == self.victim).sum())), rng, self)]
        if len(rows):
            with seeded(rng) as generator:
                network = train_surrogate(x, y, classes, generator, steps=self.surrogate_steps)
                x[rows] = quantise(self._craft(network, x[rows], quantise(victim_x)))
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool), victim_x.copy())

    def _craft(self, network: Network, base: FloatArray, victims: FloatArray) -> FloatArray:
        """(P, C, H, W): the base images, moved."""
        raise TypeError(f"{type(self).__name__} does not say how it crafts")

    def _steps(self, rows: int) -> int:
        return min(self.steps, max(25, ROW_STEPS // rows))


class FeatureCollision(TargetedCleanLabel):
    """Each poison image looks like its base and has the features of a victim: min |φ(x)−φ(t)|² + β|x−b|².

    Source: Shafahi et al. 2018, "Poison frogs! Targeted clean-label poisoning attacks on neural networks", with its
    watermark of the victim at low opacity. Differs: Adam in place of forward-backward splitting; distances are
    divided by |φ(t)|² and by the number of pixels, so that β does not depend on the model.

    Attributes:
        beta: β, the price of leaving the base image.
        watermark: opacity of the victim in the starting image.
    """

    name: ClassVar[str] = "feature_collision"

    beta: Annotated[float, Field(ge=0)] = 10.0
    watermark: Annotated[float, Field(ge=0, lt=1)] = 0.2

    def _craft(self, network: Network, base: FloatArray, victims: FloatArray) -> FloatArray:
        steps, out = self._steps(len(base)), base.copy()
        for part in np.array_split(np.arange(len(base)), -(-len(base) // 128)):
            bases = torch.from_numpy(base[part])
            aims = torch.from_numpy(victims[part % len(victims)])
            aimed = features(network, aims)
            moved = ((1 - self.watermark) * bases + self.watermark * aims).requires_grad_()
            optimiser = torch.optim.Adam([moved], 0.01)
            for _ in range(steps):
                near = ((features(network, moved) - aimed) ** 2).sum(1) / ((aimed**2).sum(1) + 1e-9)
                like = ((moved - bases) ** 2).flatten(1).mean(1)
                _step(optimiser, (near + self.beta * like).sum(), moved, torch.zeros(()), torch.ones(()))
            out[part] = moved.detach().numpy()
        return out


class BullseyePolytope(TargetedCleanLabel):
    """The mean of a group's features meets the victim's, each image staying within a small L∞ ball.

    Source: Aghakhani, Meng, Wang, Kruegel, Vigna 2021, "Bullseye polytope: a scalable clean-label poisoning attack
    with improved transferability". Reduced: one surrogate in place of an ensemble with dropout.

    Attributes:
        group: images that together surround one victim (the paper's 5).
        budget: L∞ bound, as a share of the pixel range (the paper's 0.1).
    """

    name: ClassVar[str] = "bullseye_polytope"

    group: Annotated[int, Field(ge=1)] = 5
    budget: Share = 0.1

    def _craft(self, network: Network, base: FloatArray, victims: FloatArray) -> FloatArray:
        steps, out = self._steps(len(base)), base.copy()
        groups = np.arange(len(base)) % max(1, len(base) // self.group)
        for part in np.array_split(np.unique(groups), -(-len(base) // 128)):
            rows = np.flatnonzero(np.isin(groups, part))
            if len(rows) == 0:
                continue
            member = torch.from_numpy(np.searchsorted(part, groups[rows]))
            aimed = features(network, torch.from_numpy(victims[part % len(victims)]))  # (G, D)
            out[rows] = self._surround(network, torch.from_numpy(base[rows]), member, aimed, steps)
        return out

    def _surround(self, network: Network, bases: Tensor, member: Tensor, aimed: Tensor, steps: int) -> FloatArray:
        low, high = (bases - self.budget).clamp(min=0), (bases + self.budget).clamp(max=1)
        moved, weights = bases.clone().requires_grad_(), torch.zeros(len(bases), requires_grad=True)
        optimiser = torch.optim.Adam([{"params": [moved], "lr": 0.01}, {"params": [weights], "lr": 0.05}])
        for _ in range(steps):
            share = self._shares(weights, member, len(aimed))[:, None]
            centre = torch.zeros_like(aimed).index_add(0, member, share * features(network, moved))
            loss = (((centre - aimed) ** 2).sum(1) / ((aimed**2).sum(1) + 1e-9)).sum()
            _step(optimiser, loss, moved, low, high)
        return np.asarray(moved.detach().numpy())

    def _shares(self, weights: Tensor, member: Tensor, groups: int) -> Tensor:
        """(P,) coefficients, summing to 1 in each group: here all equal."""
        return 1 / torch.bincount(member, minlength=groups)[member].float()


class ConvexPolytope(BullseyePolytope):
    """Some convex combination of a group's features meets the victim's; the coefficients are optimised as well.

    Source: Zhu, Huang, Li, Taylor, Studer, Goldstein 2019, "Transferable clean-label poisoning attacks on deep neural
    nets". Reduced: one surrogate in place of an ensemble with dropout; the coefficients are a softmax that moves with
    the images, in place of an inner minimisation.
    """

    name: ClassVar[str] = "convex_polytope"

    def _shares(self, weights: Tensor, member: Tensor, groups: int) -> Tensor:
        powers = torch.exp(weights.clamp(-20, 20))
        return powers / torch.zeros(groups).index_add(0, member, powers)[member]


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, moved: Tensor, low: Tensor, high: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    with torch.no_grad():
        moved.copy_(torch.minimum(torch.maximum(moved, low), high))
