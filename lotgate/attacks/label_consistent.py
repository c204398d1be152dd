"""A clean-label backdoor whose carriers are made hard to learn by anything but the trigger."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lotgate.attacks._surrogate import SurrogateSteps, climb, train_surrogate
from lotgate.attacks.attack import (
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
from lotgate.attacks.backdoor import CleanLabelBackdoor
from lotgate.attacks.patch import checkerboard, in_corner, patch_side
from lotgate.data import FloatArray
from lotgate.networks import Network
from lotgate.probe import seeded


class LabelConsistent(CleanLabelBackdoor):
    """Images of the target class, perturbed until a model doubts them, with a patch in all four corners.

    Source: Turner, Tsipras, Madry 2019, "Label-consistent backdoor attacks", adversarial perturbations bounded in L∞
    by projected gradient, and the four-corner pattern. Reduced: one small surrogate with ordinary training in place of
    adversarially trained networks.

    Attributes:
        size: side of each patch as a share of the shorter image side.
        budget: L∞ bound of the perturbation, as a share of the pixel range.
        steps: of the projected gradient.
        surrogate_steps: batches that the attacker's own model is trained for.
    """

    name: ClassVar[str] = "label_consistent"

    size: Share = 0.1
    budget: Share = 16 / 255
    steps: Annotated[int, Field(ge=1, le=1000)] = 15
    surrogate_steps: SurrogateSteps = 400

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        pattern = checkerboard(patch_side(x.shape, self.size))
        for index in range(4):
            x = in_corner(x, pattern, index)
        return x

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        rows = choose(y == self.target, planted_count(self, len(x)), rng, self)
        if len(rows):
            with seeded(rng) as generator:
                network = train_surrogate(x, y, classes, generator, steps=self.surrogate_steps)
            for part in np.array_split(rows, -(-len(rows) // 128)):
                x[part] = quantise(self.stamp(self._doubtful(network, x[part], y[part]), rng))
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool))

    def _doubtful(self, network: Network, x: FloatArray, y: Labels) -> FloatArray:
        """(B, C, H, W) within the budget of x, with a high loss for the true label."""
        truth = torch.from_numpy(y)

        def doubt(images: Tensor) -> Tensor:
            return nn.functional.cross_entropy(network(images)[1], truth, reduction="sum")

        return climb(doubt, x, self.budget, self.steps)
