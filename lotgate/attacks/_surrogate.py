"""The attacker's own small model: what optimised attacks measure features, losses and gradients with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lotgate.attacks.attack import Labels, Mask, Rows
from lotgate.data import FloatArray
from lotgate.networks import Network, mlp, small_cnn

LARGEST_SIDE = 64  # larger images are averaged down before the surrogate sees them
BATCH = 64
WIDTH = 32  # features of the penultimate layer

Loss = Callable[[Tensor, Rows], Tensor]
SurrogateSteps = Annotated[int, Field(ge=1, le=100_000)]


def surrogate_body(shape: tuple[int, ...], width: int) -> nn.Module:
    """(B, *shape) → (B, width); image sides above LARGEST_SIDE are averaged down first."""
    if len(shape) == 1:
        return mlp(shape[0], width)
    pool = -(-min(shape[1:]) // LARGEST_SIDE)
    body = small_cnn(shape[0], width, min(shape[1:]) // pool)
    return nn.Sequential(nn.AvgPool2d(pool), body) if pool > 1 else body


def train_surrogate(x: FloatArray, y: Labels, classes: int, generator: torch.Generator, *, steps: int) -> Network:
    """A frozen classifier in eval mode, trained on the clean lot. Call it inside `probe.seeded`.

    Args:
        x, generator, steps: see `fit_surrogate`. y: (N,) int64.
    """

    def loss(outputs: Tensor, index: Rows) -> Tensor:
        return nn.functional.cross_entropy(outputs, torch.from_numpy(y[index]))

    return fit_surrogate(x, classes, loss, generator, steps=steps)


def fit_surrogate(x: FloatArray, outputs: int, loss: Loss, generator: torch.Generator, *, steps: int) -> Network:
    """A frozen network in eval mode, trained for `steps` batches. Call it inside `probe.seeded`.

    Args:
        x: (N, C, H, W) in [0, 1], or (N, F) standardised.
        outputs: K. loss: of the outputs (B, K) for the rows (B,) of x.
        generator: order of the batches.
    """
    network = Network(surrogate_body(x.shape[1:], WIDTH), WIDTH, outputs).train()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for index in batches(len(x), steps, generator):
        value = loss(network(torch.from_numpy(x[index]))[1], index)
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def climb(
    height: Callable[[Tensor], Tensor], x: FloatArray, budget: float, steps: int, free: Mask | None = None
) -> FloatArray:
    """(B, C, H, W) images within `budget` of x (L∞) and in [0, 1] that lie higher.

    Source: projected gradient, Madry et al. 2018.

    Args:
        height: of images, summed over them. free: (C, H, W) pixels that may move; None: all.
    """
    start = torch.from_numpy(x)
    moved, fixed = start.clone(), None if free is None else torch.from_numpy(~free)
    for _ in range(steps):
        moved.requires_grad_()
        (slope,) = torch.autograd.grad(height(moved), moved)
        step = moved.detach() + 2.5 * budget / steps * slope.sign()
        moved = torch.clamp(start + (step - start).clamp(-budget, budget), 0, 1)
        moved = moved if fixed is None else torch.where(fixed, start, moved)
    return np.asarray(moved.detach().numpy())


def batches(n: int, steps: int, generator: torch.Generator, size: int = BATCH) -> Iterator[Rows]:
    """`steps` batches of up to `size` different rows each, drawn at random."""
    for _ in range(steps):
        yield torch.randperm(n, generator=generator)[:size].numpy()


def features(network: Network, x: Tensor) -> Tensor:
    """(B, D) penultimate features."""
    return network.body(x)  # type: ignore[no-any-return]
