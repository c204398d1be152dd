"""One loop for both trainings: steps until what is watched has settled, progress told, state kept.

What is watched is averaged over a window of steps. Training has converged when this mean moves, from one window to the
next, by less than `tolerance` of the largest mean seen, `patience` windows running. For the cGAN the generator's
weights are watched (‖θ_{i+1} − θ_i‖ of section IV-A), for the mimic its estimate of the Wasserstein distance.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

log = logging.getLogger("lotgate")


class Stage(Protocol):
    """A training that `settle` can run and a checkpoint can hold: all its state is in these three."""

    @property
    def title(self) -> str: ...

    @property
    def modules(self) -> Mapping[str, nn.Module]: ...

    @property
    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]: ...

    @property
    def generator(self) -> torch.Generator: ...

    def step(self) -> list[Tensor]:
        """One round of updates → what is watched."""

    def told(self) -> str:
        """The state of the training in a few words."""


class Keeper(Protocol):
    """Where the state of a stage is kept; see `checkpoint.py`."""

    def resume(self, stage: Stage) -> Progress | None: ...

    def save(self, stage: Stage, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Rule:
    """When to stop.

    Attributes:
        window: steps per mean. tolerance: relative change that counts as settled.
        most: steps at most, rounded up to whole windows. patience: settled windows running.
    """

    window: int
    tolerance: float
    most: int
    patience: int = 2


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a training is: steps done, the last window's mean, the largest norm of a mean, settled windows."""

    steps: int = 0
    mean: Tensor = field(default_factory=lambda: torch.empty(0))
    largest: float = 0.0
    change: float = float("inf")
    calm: int = 0

    def advanced(self, rule: Rule, mean: Tensor) -> Progress:
        """After one more window with this mean."""
        largest = max(self.largest, float(mean.norm()))
        moved = float((mean - self.mean).norm()) if len(self.mean) else float("inf")
        change = moved / largest if largest > 0 else 0.0
        calm = self.calm + 1 if change < rule.tolerance else 0
        return replace(self, steps=self.steps + rule.window, mean=mean, largest=largest, change=change, calm=calm)

    def done(self, rule: Rule) -> bool:
        """Converged, or at the limit."""
        return self.steps >= rule.most or self.calm >= rule.patience


def settle(stage: Stage, rule: Rule, keeper: Keeper | None) -> Progress:
    """Runs the stage until it has converged, from its checkpoint where there is one."""
    progress = (keeper.resume(stage) if keeper else None) or Progress()
    while not progress.done(rule):
        progress = progress.advanced(rule, _window_mean(stage, rule.window))
        log.info(
            "de_pois %s: step %d of at most %d, change %.4f (converged below %.4f), %s",
            stage.title, progress.steps, rule.most, progress.change, rule.tolerance, stage.told(),
        )  # fmt: skip
        if keeper:
            keeper.save(stage, progress)
    if progress.calm < rule.patience:
        log.info("de_pois %s: stopped at its limit of %d steps, not converged", stage.title, rule.most)
    return progress


def _window_mean(stage: Stage, window: int) -> Tensor:
    total = [value.clone() for value in stage.step()]
    for _ in range(window - 1):
        torch._foreach_add_(total, stage.step())
    return torch.cat([value.flatten() for value in total]).cpu() / window
