"""The equations of De-Pois as pure functions of tensors; equation numbers are the paper's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, mse_loss

Critic = Callable[[Tensor, Tensor], Tensor]


def cgan_value(real: Tensor, fake: Tensor) -> Tensor:
    """V(G_c, D_c) of (2), which D_c raises.

    Args:
        real, fake: (B,) logits of D_c on trusted and on synthesised samples; D_c = sigmoid(logit).
    """
    return logsigmoid(real).mean() + logsigmoid(-fake).mean()


def fooling_loss(fake: Tensor) -> Tensor:
    """−E log D_c(G_c(z|y)): G_c's half of (2) with the gradient that does not vanish (Goodfellow et al. 2014)."""
    return -logsigmoid(fake).mean()


def class_authenticator_loss(logits: Tensor, condition: Tensor) -> Tensor:
    """L_A of (3): cross-entropy of the authenticator's (M, K) logits against one-hot labels (M, K)."""
    return cross_entropy(logits, condition)


def value_authenticator_loss(prediction: Tensor, condition: Tensor) -> Tensor:
    """L_A of (4): mean squared error of the authenticator's (M, 1) predictions against the values (M, 1)."""
    return mse_loss(prediction, condition)


def interpolate(real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
    """x̂: one uniform point on the line between each pair of rows."""
    share = torch.rand(len(real), *[1] * (real.ndim - 1), generator=generator).to(real.device)
    return fake + share * (real - fake)


def gradient_penalty(critic: Critic, mixed: Tensor, condition: Tensor) -> Tensor:
    """E[(‖∇_x̂ D_w(x̂|y)‖₂ − 1)²] of (9), differentiable in the critic's weights.

    Args:
        mixed: (B, ...) the points x̂.
        condition: (B, K) their y, not penalised.
    """
    mixed = mixed.detach().requires_grad_(True)
    outputs = critic(mixed, condition)
    (slope,) = torch.autograd.grad(outputs.sum(), mixed, create_graph=True)  # (B, ...): rows do not interact
    excess: Tensor = torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1  # (B,)
    return (excess**2).mean()


def detection_boundary(outputs: Tensor, z_s: float) -> float:
    """y_thr = z_s·σ + μ over the mimic's outputs (N,) on S_aug; (10) calls what lies below it poisoned."""
    return float(z_s * outputs.std(correction=0) + outputs.mean())
