"""De-Pois' equations against naive versions, written independently, one sample at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lotgate.detectors._de_pois.losses import (
    cgan_value,
    class_authenticator_loss,
    detection_boundary,
    gradient_penalty,
    interpolate,
    value_authenticator_loss,
)
from lotgate.detectors._de_pois.networks import MimicCritic


def test_equation_2_value_function() -> None:
    real, fake = torch.tensor([0.3, -2.0, 5.0]), torch.tensor([-1.0, 0.2, 3.0])
    sigmoid = [1 / (1 + math.exp(-v)) for v in real.tolist()], [1 / (1 + math.exp(-v)) for v in fake.tolist()]
    expected = sum(math.log(p) for p in sigmoid[0]) / 3 + sum(math.log(1 - p) for p in sigmoid[1]) / 3
    assert float(cgan_value(real, fake)) == pytest.approx(expected, abs=1e-5)


def test_equation_3_cross_entropy() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.5, 4.0]])
    labels = [2, 0]
    expected = 0.0
    for row, label in zip(logits.tolist(), labels, strict=True):
        predicted = math.exp(row[label]) / sum(math.exp(v) for v in row)
        expected -= math.log(predicted) / len(labels)
    condition = torch.nn.functional.one_hot(torch.tensor(labels), 3).float()
    assert float(class_authenticator_loss(logits, condition)) == pytest.approx(expected, abs=1e-5)


def test_equation_4_mean_squared_error() -> None:
    predicted, y = [0.5, -1.0, 2.0], [1.0, -1.5, 2.5]
    expected = sum((a - b) ** 2 for a, b in zip(predicted, y, strict=True)) / 3
    measured = value_authenticator_loss(torch.tensor(predicted)[:, None], torch.tensor(y)[:, None])
    assert float(measured) == pytest.approx(expected)


@pytest.mark.parametrize("conditioning", ["projection", "concat"])
@pytest.mark.parametrize("shape", [(5,), (2, 9, 7)])
def test_equation_9_gradient_penalty_is_the_per_sample_loop(shape: tuple[int, ...], conditioning: str) -> None:
    torch.manual_seed(0)
    critic = MimicCritic(shape, 3, conditioning).double()  # type: ignore[arg-type]
    mixed = torch.randn(6, *shape, dtype=torch.float64)
    condition = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1, 1]]
    penalties = []
    for row, given in zip(mixed, condition, strict=True):
        point = row[None].clone().requires_grad_(True)
        critic(point, given[None]).sum().backward()
        assert point.grad is not None
        penalties.append((math.sqrt(float((point.grad**2).sum())) - 1) ** 2)
    measured = gradient_penalty(critic, mixed, condition)
    assert float(measured) == pytest.approx(sum(penalties) / 6, rel=1e-9)


def test_equation_9_penalty_is_known_for_a_linear_critic_and_reaches_its_weights() -> None:
    weight = torch.tensor([3.0, 4.0], requires_grad=True)  # slope 5 everywhere
    penalty = gradient_penalty(lambda x, _: x @ weight, torch.randn(4, 2), torch.zeros(4, 1))
    assert float(penalty) == pytest.approx(16.0, rel=1e-5)
    penalty.backward()
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad, 2 * 4 * np.array([3, 4]) / 5, rtol=1e-5)  # 2(‖w‖ − 1) w / ‖w‖


def test_interpolates_lie_on_each_pairs_own_line() -> None:
    real, fake = torch.randn(50, 3, 4, 4), torch.randn(50, 3, 4, 4)
    mixed = interpolate(real, fake, torch.Generator().manual_seed(0))
    shares = ((mixed - fake) / (real - fake)).flatten(1)  # (50, 48): one share per row
    assert float((shares - shares.median(dim=1).values[:, None]).abs().max()) < 1e-2
    middle = shares.median(dim=1).values
    assert 0 <= float(middle.min()) < 0.2 and 0.8 < float(middle.max()) <= 1


def test_equation_10_boundary() -> None:
    outputs = np.random.default_rng(0).normal(-0.5726, 0.2109, 1000)
    mean = sum(outputs) / 1000
    deviation = math.sqrt(sum((v - mean) ** 2 for v in outputs) / 1000)
    assert detection_boundary(torch.from_numpy(outputs), -1.96) == pytest.approx(-1.96 * deviation + mean)
    below = (outputs < detection_boundary(torch.from_numpy(outputs), -1.96)).mean()
    assert below == pytest.approx(norm.cdf(-1.96), abs=0.015)  # what z_s promises of normal outputs


def test_the_papers_example_of_equation_10() -> None:
    pair = torch.tensor([-0.5726 - 0.2109, -0.5726 + 0.2109])  # μ and σ as the paper prints them
    assert detection_boundary(pair, -1.96) == pytest.approx(-0.9859, abs=2e-4)
