"""Poison drawn from a trained generator: pGAN-attack and GP-attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lotgate.attacks._surrogate import (
    WIDTH,
    SurrogateSteps,
    batches,
    surrogate_body,
    train_surrogate,
)
from lotgate.attacks.attack import (
    BOTH,
    Attack,
    Kind,
    Labels,
    Planted,
    Rows,
    Share,
    as_lot,
    choose,
    class_count,
    inside_columns,
    mask_of,
    planted_count,
    quantise,
)
from lotgate.data import FloatArray, Modality
from lotgate.errors import LotError
from lotgate.networks import Network
from lotgate.probe import seeded

NOISE = 32  # inputs of the generator
ROUND = 32  # rows in each batch of the game
MADE_SIDE = 48  # larger images are made at this size or less, and enlarged


@dataclass(frozen=True, eq=False)
class _Scale:
    """Pixels as they are; table columns standardised, and brought back inside their range."""

    lot: FloatArray
    centre: FloatArray
    spread: FloatArray

    def to_model(self) -> FloatArray:
        return np.asarray((self.lot - self.centre) / self.spread, np.float32)

    def to_lot(self, made: FloatArray) -> FloatArray:
        if self.lot.ndim == 4:
            return quantise(made)
        return inside_columns(made * self.spread + self.centre, self.lot)


def _scale(x: FloatArray) -> _Scale:
    if x.ndim == 4:
        return _Scale(x, np.zeros(1, np.float32), np.ones(1, np.float32))
    return _Scale(x, x.mean(axis=0), x.std(axis=0) + np.float32(1e-6))


class PGan(Attack):
    """Rows made by a generator that pleases a discriminator and hurts a classifier; all are labelled `target`.

    Three networks play: the discriminator tells made rows from true rows of the class, the classifier learns from true
    rows with made ones among them, and the generator minimises α·(loss against the discriminator) − (1 − α)·(loss of
    the classifier on made rows). A small α hurts more and is easier to see.

    Source: Muñoz-González, Pfitzner, Russo, Carnerero-Cano, Lupu 2019, "Poisoning attacks with generative adversarial
    nets" (pGAN). Reduced: small networks and a fixed number of steps; images with a side above 48 are made at 48 or
    less and enlarged. The rows that make room are drawn from the whole lot.

    Attributes:
        alpha: α, the weight of staying unseen (De-Pois uses 0.5).
        mixture: λ, share of the made rows in the classifier's loss.
        steps: of the game.
    """

    name: ClassVar[str] = "pgan"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    kind: ClassVar[Kind] = "availability"

    alpha: Share = 0.5
    mixture: Share = 0.3
    steps: Annotated[int, Field(ge=1, le=100_000)] = 300

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        if (y == self.target).sum() < 2:
            raise LotError("no rows to imitate", where=f"class {self.target}", action="choose another target")
        rows = choose(np.ones(len(x), bool), planted_count(self, len(x)), rng, self)
        if len(rows):
            scale = _scale(x.copy())
            with seeded(rng) as generator:
                made = self._play(scale.to_model(), y, classes, len(rows), generator)
            x[rows], y[rows] = scale.to_lot(made), self.target
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool))

    def _play(self, x: FloatArray, y: Labels, classes: int, count: int, generator: torch.Generator) -> FloatArray:
        own: Rows = np.flatnonzero(y == self.target)
        maker = _generator(x.shape[1:])
        critic, classifier = (Network(surrogate_body(x.shape[1:], WIDTH), WIDTH, outputs) for outputs in (1, classes))
        players = [torch.optim.Adam(m.parameters(), 2e-3, (0.5, 0.999)) for m in (maker, critic, classifier)]
        for index in batches(len(x), self.steps, generator, ROUND):
            true = torch.from_numpy(x[own[torch.randperm(len(own), generator=generator)[:ROUND].numpy()]])
            made = maker(torch.randn(ROUND, NOISE, generator=generator))
            label = torch.full((ROUND,), self.target)
            seen = _real(critic(true)[1], 1.0) + _real(critic(made.detach())[1], 0.0)
            _descend(players[1], seen)
            errs = nn.functional.cross_entropy(classifier(made.detach())[1], label)
            learns = nn.functional.cross_entropy(classifier(torch.from_numpy(x[index]))[1], torch.from_numpy(y[index]))
            _descend(players[2], self.mixture * errs + (1 - self.mixture) * learns)
            hidden = _real(critic(made)[1], 1.0)
            harm = nn.functional.cross_entropy(classifier(made)[1], label)
            _descend(players[0], self.alpha * hidden - (1 - self.alpha) * harm)
        return _made(maker.eval(), torch.randn(count, NOISE, generator=generator))


class GenerativePoisoning(Attack):
    """Rows rewritten by an autoencoder that maximises the error of a model after one step on them.

    Source: Yang, Wu, Li, Chen 2017, "Generative poisoning attack method against neural networks" (GP-attack): an
    autoencoder makes poison from true rows; its reward is the loss on clean rows of the target model after a step of
    training on the poison, which is differentiated through. Reduced: the step updates the model's last layer only,
    and the model is trained once, before. Added: a price for leaving the original row. A poison row has the label of
    the next class, y + 1 modulo K; `target` is not used.

    Attributes:
        price: of the mean squared distance to the original row.
        victim_step: learning rate of the model's step.
        steps: of the autoencoder's training.
        surrogate_steps: batches that the attacker's own model is trained for.
    """

    name: ClassVar[str] = "generative_poisoning"
    modalities: ClassVar[frozenset[Modality]] = BOTH
    kind: ClassVar[Kind] = "availability"

    price: Annotated[float, Field(ge=0)] = 20.0
    victim_step: Annotated[float, Field(gt=0)] = 1.0
    steps: Annotated[int, Field(ge=1, le=100_000)] = 200
    surrogate_steps: SurrogateSteps = 400

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        rows = choose(np.ones(len(x), bool), planted_count(self, len(x)), rng, self)
        if len(rows):
            scale = _scale(x.copy())
            with seeded(rng) as generator:
                made = self._rewrite(scale.to_model(), y, classes, rows, generator)
            x[rows], y[rows] = scale.to_lot(made), (y[rows] + 1) % classes
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool))

    def _rewrite(self, x: FloatArray, y: Labels, classes: int, rows: Rows, generator: torch.Generator) -> FloatArray:
        network = train_surrogate(x, y, classes, generator, steps=self.surrogate_steps)
        writer = _autoencoder(x.shape[1:])
        optimiser = torch.optim.Adam(writer.parameters(), 2e-3)
        halves = np.array_split(torch.randperm(len(x), generator=generator).numpy(), 2)  # seeds, validation
        pairs = zip(*(batches(len(half), self.steps, generator, ROUND) for half in halves), strict=True)
        for seed_index, clean_index in pairs:
            seeds, clean = halves[0][seed_index], halves[1][clean_index]
            original = torch.from_numpy(x[seeds])
            poison = writer(original)
            label = torch.from_numpy((y[seeds] + 1) % classes)
            weight, bias = self._head_after(network, poison, label)
            with torch.no_grad():
                sight = network.body(torch.from_numpy(x[clean]))
            harm = nn.functional.cross_entropy(sight @ weight.T + bias, torch.from_numpy(y[clean]))
            _descend(optimiser, self.price * ((poison - original) ** 2).mean() - harm)
        return _made(writer.eval(), torch.from_numpy(x[rows]))

    def _head_after(self, network: Network, poison: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (K, D) and bias (K,) of the last layer after one step of cross-entropy on the poison."""
        sight, logits = network(poison)
        slope = (logits.softmax(1) - nn.functional.one_hot(label, logits.shape[1])) / len(poison)  # (B, K)
        head = network.head
        return head.weight - self.victim_step * slope.T @ sight, head.bias - self.victim_step * slope.sum(0)


class _Resample(nn.Module):
    """The end of a convolutional generator: values in [0, 1], resampled to (H, W)."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(torch.sigmoid(x), self.size, mode="bilinear", align_corners=False)


def _upward(channels: int, height: int, width: int) -> list[nn.Module]:
    """(B, 32, h/4, w/4) → (B, channels, height, width)."""
    stages: list[nn.Module] = []
    for inputs, outputs in ((32, 32), (32, 16)):
        stages += [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return [*stages, nn.Conv2d(16, channels, 3, 1, 1), _Resample(height, width)]


def _generator(shape: tuple[int, ...]) -> nn.Module:
    """(B, NOISE) → (B, *shape)."""
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(NOISE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, shape[0]))
    small = [-(-min(side, MADE_SIDE) // 4) for side in shape[1:]]
    first = [nn.Linear(NOISE, 32 * small[0] * small[1]), nn.Unflatten(1, (32, *small)), nn.ReLU()]
    return nn.Sequential(*first, *_upward(*shape))


def _autoencoder(shape: tuple[int, ...]) -> nn.Module:
    """(B, *shape) → (B, *shape) through a narrower code."""
    if len(shape) == 1:
        code = max(2, shape[0] // 2)
        return nn.Sequential(nn.Linear(shape[0], 64), nn.ReLU(), nn.Linear(64, code), nn.Linear(code, shape[0]))
    small = [-(-min(side, MADE_SIDE) // 4) for side in shape[1:]]
    down = [nn.Conv2d(shape[0], 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*down, nn.AdaptiveAvgPool2d((small[0], small[1])), *_upward(*shape))


def _real(outputs: Tensor, truth: float) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], torch.full((len(outputs),), truth))


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _made(model: nn.Module, given: Tensor) -> FloatArray:
    with torch.no_grad():
        return np.concatenate([model(part).numpy() for part in torch.split(given, 256)])
