"""The attacker's own small model: what optimised attacks measure features, losses and gradients with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lotgate.attacks.attack import Labels, Rows
from lotgate.data import FloatArray
from lotgate.networks import Network, mlp, small_cnn

LARGEST_SIDE = 64  # larger images are averaged down before the surrogate sees them
BATCH = 64
WIDTH = 32  # features of the penultimate layer

SurrogateSteps = Annotated[int, Field(ge=1, le=100_000)]


def surrogate_body(shape: tuple[int, ...], width: int) -> nn.Module:
    """(B, *shape) → (B, width); image sides above LARGEST_SIDE are averaged down first."""
    if len(shape) == 1:
        return mlp(shape[0], width)
    pool = -(-min(shape[1:]) // LARGEST_SIDE)
    body = small_cnn(shape[0], width, min(shape[1:]) // pool)
    return nn.Sequential(nn.AvgPool2d(pool), body) if pool > 1 else body


def train_surrogate(x: FloatArray, y: Labels, classes: int, generator: torch.Generator, *, steps: int) -> Network:
    """A frozen network in eval mode, trained on the clean lot for `steps` batches. Call it inside `probe.seeded`.

    Args:
        x: (N, C, H, W) in [0, 1], or (N, F) standardised.
        y: (N,) int64.
        generator: order of the batches.
    """
    network = Network(surrogate_body(x.shape[1:], WIDTH), WIDTH, classes).train()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for index in batches(len(x), steps, generator):
        loss = nn.functional.cross_entropy(network(torch.from_numpy(x[index]))[1], torch.from_numpy(y[index]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def batches(n: int, steps: int, generator: torch.Generator, size: int = BATCH) -> Iterator[Rows]:
    """`steps` batches of up to `size` different rows each, drawn at random."""
    for _ in range(steps):
        yield torch.randperm(n, generator=generator)[:size].numpy()


def features(network: Network, x: Tensor) -> Tensor:
    """(B, D) penultimate features."""
    return network.body(x)  # type: ignore[no-any-return]
