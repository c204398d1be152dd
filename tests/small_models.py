"""Models that a user might bring as `probe.model: tests.small_models:<name>`, good and bad."""

from __future__ import annotations

from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from lotgate.crossfit import FOLDS, VOUCHED_FOLDS


class Projection(nn.Module):
    """One linear layer on the flattened sample."""

    def __init__(self, shape: tuple[int, ...], width: int = 4) -> None:
        super().__init__()
        self.linear = nn.Linear(int(np.prod(shape)), width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


def projection(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Projection(shape, width=outputs + 3)


TIMES = count(1)


def breaks_once_gathered(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Good for the probe, its twin and the cross-fitted models, and gone when a detector loads them."""
    if next(TIMES) > 2 + 3 * FOLDS + VOUCHED_FOLDS:
        raise RuntimeError("the weights are gone")
    return Projection(shape, width=outputs)


def not_a_vector(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Identity() if len(shape) > 1 else nn.Flatten(0, outputs - 1)


def not_a_module(shape: tuple[int, ...], outputs: int) -> Tensor:
    return torch.zeros(outputs, *shape)


def wrong_input(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Projection((*shape, 2), outputs)


def divides_by_zero(shape: tuple[int, ...], outputs: int) -> nn.Module:
    raise ZeroDivisionError(f"{shape} / {outputs - outputs}")
