"""From samples in the lot's units to what the networks see, and the pool of rows that training draws from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from lotgate.data import Batch, Dataset

READ_BATCH = 256


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows in the networks' units, in memory.

    Attributes:
        x: (N, ...) float16 for images, float32 for tables.
        condition: (N, K) float32, one-hot labels or the standardised value.
    """

    x: Tensor
    condition: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def draw(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`size` rows with replacement, float32."""
        index = torch.randint(len(self), (size,), generator=generator)
        return self.x[index].float(), self.condition[index]

    def __add__(self, other: Pool) -> Pool:
        return Pool(torch.cat([self.x, other.x]), torch.cat([self.condition, other.condition]))


@dataclass(frozen=True, eq=False)
class Scaling:
    """How samples are shown to the networks, learned from trusted rows only.

    Attributes:
        shape: of one sample as shown: (C, h, w) with h, w at most `image_size`, or (F,).
        classes: K; 0 for regression.
        centre, scale: (F,) of features, or (1,) for images, whose pixels stay in [0, 1].
        y_centre, y_scale: of the regression target.
    """

    shape: tuple[int, ...]
    classes: int
    centre: Tensor
    scale: Tensor
    y_centre: float = 0.0
    y_scale: float = 1.0

    @property
    def width(self) -> int:
        """K: width of the condition."""
        return self.classes or 1

    def samples(self, batch: Batch) -> Tensor:
        """(B, *shape) as the pool holds them."""
        x = torch.from_numpy(np.ascontiguousarray(batch.x))
        if x.ndim == 4:
            # Half precision here too: a scored sample is rounded exactly as a training sample was.
            return (x if x.shape[1:] == self.shape else adaptive_avg_pool2d(x, (self.shape[1], self.shape[2]))).half()
        return (x - self.centre) / self.scale

    def condition(self, y: npt.NDArray[np.generic]) -> Tensor:
        """(B, K) one-hot labels, or (B, 1) standardised values."""
        if self.classes:
            return one_hot(torch.from_numpy(np.asarray(y, np.int64)), self.classes).float()
        standardised = (np.asarray(y, np.float64) - self.y_centre) / self.y_scale
        return torch.from_numpy(standardised.astype(np.float32))[:, None]

    def values(self, pool: Pool) -> npt.NDArray[np.float64]:
        """(N,) class indices, or standardised values."""
        given = pool.condition.argmax(dim=1) if self.classes else pool.condition[:, 0]
        return np.asarray(given.double().numpy())

    def pool(self, dataset: Dataset) -> Pool:
        """Every row of a dataset."""
        batches = list(dataset.batches(READ_BATCH))
        return Pool(
            torch.cat([self.samples(batch) for batch in batches]),
            torch.cat([self.condition(batch.y) for batch in batches]),
        )


def learn_scaling(trusted: Dataset, image_size: int) -> Scaling:
    """Statistics of the trusted rows; features and targets that do not vary keep their unit."""
    classes = len(trusted.classes) if trusted.task == "classification" else 0
    y = trusted.y.astype(np.float64)
    y_centre, y_scale = (0.0, 1.0) if classes else (float(y.mean()), _spread(y.std()))
    if trusted.modality == "image":
        channels, height, width = trusted.shape
        shape: tuple[int, ...] = (channels, min(height, image_size), min(width, image_size))
        return Scaling(shape, classes, torch.zeros(1), torch.ones(1), y_centre, y_scale)
    x = np.concatenate([batch.x for batch in trusted.batches(READ_BATCH)]).astype(np.float64)  # (N, F)
    spread = x.std(axis=0)
    scale = np.where(spread > 1e-6 * np.maximum(1e-6, np.abs(x).max(axis=0)), spread, 1.0)
    return Scaling(
        trusted.shape, classes, torch.from_numpy(x.mean(axis=0)).float(), torch.from_numpy(scale).float(),
        y_centre, y_scale,
    )  # fmt: skip


def value_range(pool: Pool) -> tuple[Tensor, Tensor]:
    """What a generator may emit: [0, 1] for pixels, the trusted range of each feature for tables."""
    if pool.x.ndim == 4:
        return torch.zeros(1), torch.ones(1)
    return pool.x.amin(dim=0), pool.x.amax(dim=0)


def _spread(value: float) -> float:
    return float(value) if value > 0 else 1.0
