"""Poisoned regression tables: rows and responses that pull a linear model away from the truth."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lotgate.attacks.attack import (
    NUMBERS,
    TABLES,
    Attack,
    Kind,
    Labels,
    Planted,
    Rows,
    Share,
    as_lot,
    choose,
    inside_columns,
    mask_of,
    planted_count,
)
from lotgate.data import FloatArray, Modality, Task


class RegressionAttack(Attack):
    """What poisoned regressions share: rows anywhere in the lot, values inside the range of their column.

    A column whose clean values are all whole numbers keeps whole numbers. `target` is not used.
    """

    modalities: ClassVar[frozenset[Modality]] = TABLES
    tasks: ClassVar[frozenset[Task]] = NUMBERS
    kind: ClassVar[Kind] = "regression"

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        rows = choose(np.ones(len(y), bool), planted_count(self, len(y)), rng, self)
        if len(rows):
            x[rows], y[rows] = self.poison(x, y, rows, rng)
        return Planted(x, y, mask_of(rows, len(y)), self, np.zeros(len(y), bool))

    def poison(self, x: FloatArray, y: Labels, rows: Rows, rng: np.random.Generator) -> tuple[FloatArray, Labels]:
        """(P, F) and (P,) that take the place of the rows."""
        raise TypeError(f"{type(self).__name__} does not say how it poisons")


class RegressionPulled(RegressionAttack):
    """Random rows keep their features; their response is pulled to an extreme of the lot's range.

    Source: the response part of Jagielski et al. 2018 (InvFlip / BFlip initialisation), by itself: what a supplier
    does who wants a tolerance to look met. Responses lie between the lot's `quantile` and its extreme, so that they
    are not all equal.

    Attributes:
        toward: "high", "low", or "far": the end that is farther from the row's own response.
        quantile: where the extreme begins.
    """

    name: ClassVar[str] = "regression_pulled"

    toward: Literal["high", "low", "far"] = "far"
    quantile: Annotated[float, Field(gt=0.5, lt=1)] = 0.98

    def poison(self, x: FloatArray, y: Labels, rows: Rows, rng: np.random.Generator) -> tuple[FloatArray, Labels]:
        low, high = np.quantile(y, [1 - self.quantile, self.quantile])
        up = {"high": True, "low": False, "far": y[rows] < np.median(y)}[self.toward]
        share = rng.random(len(rows))
        pulled = np.where(up, high + share * (y.max() - high), low - share * (low - y.min()))
        return x[rows], pulled.astype(np.float32)


class RegressionStatistical(RegressionAttack):
    """Rows drawn from a Gaussian fitted to the lot, rounded to corners of its box, with the opposite response.

    Source: Jagielski, Oprea, Biggio, Liu, Nita-Rotaru, Li 2018, "Manipulating machine learning: poisoning attacks and
    countermeasures for regression learning", StatP. The model that is queried is a ridge regression on the lot; the
    response goes to the end of the lot's range that is farther from the prediction.

    Attributes:
        ridge: L2 penalty per row, on standardised columns.
    """

    name: ClassVar[str] = "regression_statistical"

    ridge: Annotated[float, Field(gt=0)] = 1e-2

    def poison(self, x: FloatArray, y: Labels, rows: Rows, rng: np.random.Generator) -> tuple[FloatArray, Labels]:
        clean = x.astype(np.float64)
        covariance = np.cov(clean, rowvar=False).reshape(x.shape[1], x.shape[1])
        drawn = rng.multivariate_normal(clean.mean(axis=0), covariance, len(rows), check_valid="ignore", method="eigh")
        low, high = x.min(axis=0), x.max(axis=0)
        corners = np.where(drawn > (low + high) / 2, high, low).astype(np.float32)
        centre, scale = clean.mean(axis=0), clean.std(axis=0) + 1e-9
        weights = ridge_weights((clean - centre) / scale, y - y.mean(), self.ridge)
        predicted = (corners - centre) / scale @ weights + y.mean()
        far = np.where(predicted - y.min() > y.max() - predicted, y.min(), y.max())
        return corners, far.astype(np.float32)


class RegressionOptimised(RegressionAttack):
    """Rows and responses moved together by gradient ascent on a ridge model's validation error (R-attack).

    Source: Jagielski et al. 2018, OptP. Start: rows of the lot with the response at the opposite end of the range
    (BFlip). Outer objective: mean squared error of the trained ridge on clean rows that it was not trained on; the
    gradient goes through the closed form of the ridge. Differs: all poison rows move at once by Adam instead of one
    after the other by line search; the penalty is fixed.

    Attributes:
        ridge: L2 penalty per row, on standardised columns.
        steps: of the ascent.
        step_size: of Adam, in standard deviations of a column.
        heldback: share of clean rows that form the validation set.
    """

    name: ClassVar[str] = "regression_optimised"

    ridge: Annotated[float, Field(gt=0)] = 1e-2
    steps: Annotated[int, Field(ge=1, le=10_000)] = 60
    step_size: Annotated[float, Field(gt=0)] = 0.1
    heldback: Share = 0.33

    def poison(self, x: FloatArray, y: Labels, rows: Rows, rng: np.random.Generator) -> tuple[FloatArray, Labels]:
        centre, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
        y_centre, y_scale = float(y.mean()), float(y.std()) + 1e-9
        z, t = (torch.from_numpy(a) for a in ((x - centre) / scale, (y - y_centre) / y_scale))
        rest = rng.permutation(np.setdiff1d(np.arange(len(y)), rows))
        cut = max(1, round(self.heldback * len(rest)))
        validation, training = rest[:cut], rest[cut:]
        gram, moment = z[training].T @ z[training], z[training].T @ t[training]
        box = z.min(dim=0).values, z.max(dim=0).values
        middle = (t.min() + t.max()) / 2
        px = z[rows].clone().requires_grad_()
        py = torch.where(t[rows] > middle, t.min(), t.max()).requires_grad_()
        optimiser = torch.optim.Adam([px, py], self.step_size, maximize=True)
        penalty = self.ridge * (len(training) + len(rows)) * torch.eye(z.shape[1])
        best, kept = -1.0, (px.detach().clone(), py.detach().clone())
        for _ in range(self.steps):
            weights = torch.linalg.solve(gram + px.T @ px + penalty, moment + px.T @ py)
            error = ((z[validation] @ weights - t[validation]) ** 2).mean()
            if error.item() > best:
                best, kept = error.item(), (px.detach().clone(), py.detach().clone())
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            _project(px, *box)
            _project(py, t.min(), t.max())
        moved = inside_columns(kept[0].numpy() * scale + centre, x)
        return moved, np.clip(kept[1].numpy() * y_scale + y_centre, y.min(), y.max())


def ridge_weights(x: FloatArray, y: Labels, ridge: float) -> FloatArray:
    """(F,) minimiser of |xw − y|² + ridge·N·|w|²."""
    return np.asarray(np.linalg.solve(x.T @ x + ridge * len(x) * np.eye(x.shape[1]), x.T @ y))


def _project(values: Tensor, low: Tensor, high: Tensor) -> None:
    with torch.no_grad():
        values.copy_(torch.minimum(torch.maximum(values, low), high))
