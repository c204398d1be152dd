"""Models that a user might bring as `probe.model: tests.small_models:<name>`, good and bad."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Projection(nn.Module):
    """One linear layer on the flattened sample."""

    def __init__(self, shape: tuple[int, ...], width: int = 4, shift: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(int(np.prod(shape)), width)
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)) + self.shift


def projection(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Projection(shape, width=outputs + 3)


def no_numbers(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Features that are NaN: a detector crashes on them."""
    return Projection(shape, width=outputs, shift=float("nan"))


def not_a_vector(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Identity() if len(shape) > 1 else nn.Flatten(0, outputs - 1)


def not_a_module(shape: tuple[int, ...], outputs: int) -> Tensor:
    return torch.zeros(outputs, *shape)


def wrong_input(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return Projection((*shape, 2), outputs)


def divides_by_zero(shape: tuple[int, ...], outputs: int) -> nn.Module:
    raise ZeroDivisionError(f"{shape} / {outputs - outputs}")
