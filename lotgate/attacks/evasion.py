"""A backdoor crafted against De-Pois: its pixels are moved until a critic like the gate's own believes in it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from lotgate.attacks._surrogate import WIDTH, SurrogateSteps, batches, surrogate_body
from lotgate.attacks.attack import Labels, Mask, Planted, Share, class_count, quantise
from lotgate.attacks.patch import Patch
from lotgate.data import FloatArray
from lotgate.detectors._de_pois.augment import Conditioner
from lotgate.detectors._de_pois.mimic import Mimicry
from lotgate.detectors._de_pois.networks import MimicCritic, mimic_generator
from lotgate.detectors._de_pois.scaling import Pool
from lotgate.detectors._de_pois.training import Rule, settle
from lotgate.detectors.de_pois import DePois
from lotgate.networks import Network
from lotgate.probe import seeded

TRAINED_LIKE = DePois()


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
    mimic_steps: Annotated[int, Field(ge=1, le=1_000_000)] = TRAINED_LIKE.mimic_steps
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
                base.x[rows] = quantise(self._moved(critic, base.x, rows, free, classes, generator))
        return base

    def _moved(
        self, critic: MimicCritic, x: FloatArray, rows: Mask, free: Mask, classes: int, generator: torch.Generator
    ) -> FloatArray:
        """The planted rows, each time moved by a student that was asked about where the last one moved them, too."""
        asked, moved = x, x[rows]
        for _ in range(self.rounds):
            student = self._student(critic, asked, classes, generator)
            parts = np.array_split(x[rows], -(-int(rows.sum()) // 128))
            moved = np.concatenate([self._believed(student, part, free) for part in parts])
            asked = np.concatenate([asked, moved])
        return moved

    def _critic(self, x: FloatArray, y: Labels, classes: int, generator: torch.Generator) -> MimicCritic:
        """The attacker's own mimic model, trained with De-Pois' parameters."""
        shown = _shown(torch.from_numpy(x))
        pool = Pool(shown.half(), one_hot(torch.from_numpy(y), classes).float())
        shape, like = tuple(shown.shape[1:]), TRAINED_LIKE
        stage = Mimicry(
            MimicCritic(shape, classes, like.conditioning),
            mimic_generator(shape, classes, torch.zeros(1), torch.ones(1)), pool, Conditioner(pool.condition, 0.0),
            like.batch_size, like.critic_steps, like.gradient_penalty, like.learning_rate, like.mismatched_rate,
            generator,
        )  # fmt: skip
        window = min(like.window, self.mimic_steps)
        settle(stage, Rule(window, like.mimic_tolerance, self.mimic_steps), keeper=None)
        return stage.critic.eval().requires_grad_(False)

    def _student(self, critic: MimicCritic, x: FloatArray, classes: int, generator: torch.Generator) -> Network:
        """Images → (B, K) what the critic says of them under each label, standardised; learned from queries."""
        labels = torch.eye(classes)
        with torch.inference_mode():
            shown = _shown(torch.from_numpy(x))
            said = torch.stack([_asked(critic, shown, label) for label in labels], dim=1)
        said = (said - said.mean(0)) / said.std(0).clamp(min=1e-6)
        student = Network(surrogate_body(x.shape[1:], WIDTH), WIDTH, classes).train()
        optimiser = torch.optim.AdamW(student.parameters(), 3e-3, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=self.student_steps)
        for index in batches(len(x), self.student_steps, generator):
            loss = nn.functional.mse_loss(student(torch.from_numpy(x[index]))[1], said[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        return student.eval().requires_grad_(False)

    def _believed(self, student: Network, x: FloatArray, free: Mask) -> FloatArray:
        """(B, C, H, W) within the budget of x where `free`, with a high output for the target label."""
        start, may_move = torch.from_numpy(x), torch.from_numpy(free)
        moved = start.clone()
        for _ in range(self.steps):
            moved.requires_grad_()
            (slope,) = torch.autograd.grad(student(moved)[1][:, self.target].sum(), moved)
            step = moved.detach() + may_move * 2.5 * self.budget / self.steps * slope.sign()
            moved = torch.clamp(start + (step - start).clamp(-self.budget, self.budget), 0, 1)
        return np.asarray(moved.detach().numpy())

    def _outside_the_patch(self, shape: tuple[int, ...]) -> Mask:
        """(C, H, W) pixels that the trigger does not set: black and white images differ there when stamped."""
        unused = np.random.default_rng(0)  # the patch has one place
        black, white = (self.stamp(np.full((1, *shape[1:]), v, np.float32), unused)[0] for v in (0.0, 1.0))
        return np.asarray(black != white)


def _shown(x: Tensor) -> Tensor:
    """(B, C, h, w) as De-Pois looks at images: sides above its `image_size` are averaged down."""
    height, width = (min(side, TRAINED_LIKE.image_size) for side in x.shape[2:])
    return x if x.shape[2:] == (height, width) else adaptive_avg_pool2d(x, (height, width))


def _asked(critic: MimicCritic, shown: Tensor, label: Tensor) -> Tensor:
    """(N,) the critic's output for every image under one label."""
    return torch.cat([critic(part, label.expand(len(part), -1)) for part in torch.split(shown, 256)])
