"""A backdoor crafted against De-Pois: its pixels are moved until a critic like the gate's own believes in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from lotgate.attacks._surrogate import SurrogateSteps, climb, fit_surrogate
from lotgate.attacks.attack import Labels, Mask, Planted, Rows, Share, class_count, quantise
from lotgate.attacks.patch import Patch
from lotgate.data import Batch, FloatArray
from lotgate.detectors._de_pois.networks import MimicCritic
from lotgate.detectors._de_pois.scaling import Pool, Scaling
from lotgate.detectors._de_pois.scorer import mimic_outputs
from lotgate.detectors.de_pois import DePois, Run
from lotgate.networks import Network
from lotgate.probe import seeded


class CriticEvasion(Patch):
    """A patched image under the target's label, moved by gradient steps until a distilled critic takes it for real.

    The attacker trains De-Pois' mimic model on clean rows of his own, which here are the lot's other rows, distils it
    into a student that says for every label at once what the critic would say, and climbs the student's output for
    the target label. Where that led, the critic is asked again, and the next student knows. The patch stays as it is.

    Source: of the critic, Chen et al. 2021, "De-Pois", section IV-B; of the student and its rounds of queries, Papernot
    et al. 2017, "Practical black-box attacks against machine learning"; of the steps, projected gradient, Madry et al.
    2018. Together they are ours. Reduced: the attacker's critic learns from real rows only, none are synthesised.

    Attributes:
        budget: L∞ bound of the movement, as a share of the pixel range.
        steps: of the projected gradient.
        mimic_steps: limit of the critic's training, as De-Pois' own.
        student_steps: batches that each student is trained for. rounds: students.
    """

    name: ClassVar[str] = "critic_evasion"

    budget: Share = 16 / 255
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    mimic_steps: Annotated[int, Field(ge=1, le=1_000_000)] = DePois().mimic_steps
    student_steps: SurrogateSteps = 600
    rounds: Annotated[int, Field(ge=1, le=20)] = 3

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        base = super().plant(x, y, rng, n_classes)
        rows, clean = base.planted, ~base.planted
        if rows.any():
            classes = class_count(base.y, n_classes, self)
            free = self._outside_the_patch(base.x.shape)
            with seeded(rng) as generator:
                critic = self._critic(base.x[clean], base.y[clean], classes, generator)
                base.x[rows] = quantise(self._moved(critic, base.x, rows, free, generator))
        return base

    def _moved(self, critic: Critic, x: FloatArray, rows: Mask, free: Mask, generator: torch.Generator) -> FloatArray:
        """The planted rows, each time moved by a student that was asked about where the last one moved them, too."""
        asked, moved = x, x[rows]
        for _ in range(self.rounds):
            student = self._student(critic, asked, generator)
            moved = self._believed(student, x[rows], free)
            asked = np.concatenate([asked, moved])
        return moved

    def _critic(self, x: FloatArray, y: Labels, classes: int, generator: torch.Generator) -> Critic:
        """The attacker's own mimic model, trained as De-Pois trains its own."""
        like = DePois(mimic_steps=self.mimic_steps, window=min(DePois().window, self.mimic_steps))
        channels, *sides = x.shape[1:]
        shape = (channels, *(min(side, like.image_size) for side in sides))
        scaling = Scaling(shape, classes, torch.zeros(1), torch.ones(1))
        pool = _pool(scaling, x, y)
        return Critic(like.mimic(scaling, pool, pool, Run(generator, None, "cpu")), scaling)

    def _student(self, critic: Critic, x: FloatArray, generator: torch.Generator) -> Network:
        """Images → (B, K) what the critic says of them under each label, standardised; learned from queries."""
        said = np.stack([critic.believes(x, label) for label in range(critic.scaling.classes)], axis=1)
        wanted = torch.from_numpy(((said - said.mean(0)) / np.maximum(said.std(0), 1e-6)).astype(np.float32))

        def loss(outputs: Tensor, index: Rows) -> Tensor:
            return nn.functional.mse_loss(outputs, wanted[index])

        return fit_surrogate(x, critic.scaling.classes, loss, generator, steps=self.student_steps)

    def _believed(self, student: Network, x: FloatArray, free: Mask) -> FloatArray:
        """(B, C, H, W) within the budget of x where `free`, with a high output for the target label."""

        def belief(images: Tensor) -> Tensor:
            return student(images)[1][:, self.target].sum()  # type: ignore[no-any-return]

        return climb(belief, x, self.budget, self.steps, free)

    def _outside_the_patch(self, shape: tuple[int, ...]) -> Mask:
        """(C, H, W) pixels that the trigger does not set: black and white images differ there when stamped."""
        unused = np.random.default_rng(0)  # the patch has one place
        black, white = (self.stamp(np.full((1, *shape[1:]), v, np.float32), unused)[0] for v in (0.0, 1.0))
        return np.asarray(black != white)


@dataclass(frozen=True, eq=False)
class Critic:
    """A mimic model, and how images are shown to it."""

    network: MimicCritic
    scaling: Scaling

    def believes(self, x: FloatArray, label: int) -> npt.NDArray[np.float64]:
        """(N,) its outputs for images under one label."""
        return mimic_outputs(self.network, _pool(self.scaling, x, np.full(len(x), label)), "cpu")


def _pool(scaling: Scaling, x: FloatArray, y: Labels) -> Pool:
    batch = Batch(np.arange(len(x)).astype(str), x, y)
    return Pool(scaling.samples(batch), scaling.condition(y))
