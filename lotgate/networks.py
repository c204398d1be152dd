"""Networks: our own small ones, torchvision's ResNet-18, and what a user brings; none is trained here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from lotgate.errors import ModelError

UNLOADABLE = (
    OSError, RuntimeError, ValueError, ImportError, AttributeError, TypeError, KeyError, AssertionError, BadZipFile,
)  # fmt: skip  # what torch raises on files that are not what their suffix says


class Network(nn.Module):
    """A body that yields penultimate features (B, D) and a linear head that yields outputs (B, K)."""

    def __init__(self, body: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)  # (B, D)
        return features, self.head(features)


def small_cnn(channels: int, width: int, side: int) -> nn.Module:
    """Three 3×3 stages, the first strided where images are large, then global average pooling → (B, width)."""
    first, second = max(8, width // 4), max(16, width // 2)
    stages: list[nn.Module] = []
    plan = [
        (channels, first, 2 if side > 40 else 1),
        (first, second, 2 if side > 12 else 1),
        (second, width, 2),
    ]
    for inputs, outputs, stride in plan:
        stages += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    last = [nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*stages, *last, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def mlp(features: int, width: int) -> nn.Module:
    """Two hidden layers on standardised features → (B, width)."""
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


def resnet18(channels: int, side: int) -> nn.Module:
    """torchvision's ResNet-18 without its last layer, stem fitted to small images → (B, 512)."""
    from torchvision.models import resnet18 as build  # noqa: PLC0415  (half a second nobody else pays)

    network = build(weights=None)
    small = side <= 64
    network.conv1 = nn.Conv2d(channels, 64, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
    if small:
        network.maxpool = nn.Identity()
    network.fc = nn.Identity()
    return network  # type: ignore[no-any-return]


def build_network(model: str, width: int, shape: tuple[int, ...], outputs: int) -> Network:
    """The untrained network that `model` names, for samples of this shape; `width`: features of our own ones.

    Raises:
        ModelError: the model cannot be loaded, or its output is not one vector per sample.
    """
    if model == "auto":
        body = small_cnn(shape[0], width, min(shape[1:])) if len(shape) == 3 else mlp(shape[0], width)
        body = body.to(memory_format=torch.channels_last)  # a sixth faster on CPUs
        return Network(body, width, outputs)
    if model == "resnet18" and len(shape) == 3:
        return Network(resnet18(shape[0], min(shape[1:])), 512, outputs)
    body = load_body(model, shape, outputs)
    return Network(body, _body_width(body, model, shape), outputs)


def load_body(model: str, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A user's model as a body: TorchScript, `torch.export`, or `module:factory`. Never a pickle."""
    path = Path(model)
    try:
        if path.suffix == ".pt2":
            return _Frozen(torch.export.load(path).module())
        if path.suffix in {".pt", ".ts", ".torchscript"}:
            return _Frozen(torch.jit.load(str(path), map_location="cpu"))  # type: ignore[no-untyped-call]
        module, _, factory = model.partition(":")
        if not factory:
            raise ValueError("neither a .pt, .ts or .pt2 file nor module:factory")
        built = getattr(importlib.import_module(module), factory)(shape, outputs)
    except UNLOADABLE as error:
        raise ModelError(
            f"the probe model cannot be loaded: {error}",
            where=f"probe.model = {model}",
            action="give auto, resnet18, a TorchScript or torch.export file, or module:factory(shape, outputs)",
        ) from error
    if not isinstance(built, nn.Module):
        raise ModelError(
            f"{model} returned {type(built).__name__}, not a torch.nn.Module",
            where=f"probe.model = {model}",
            action="return a module that maps (B, *shape) to (B, D)",
        )
    return built


class _Frozen(nn.Module):
    """A model that came trained: used as it is, never updated."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        if isinstance(inner, torch.jit.ScriptModule):
            inner.eval()  # exported programs have no modes
        for parameter in inner.parameters():
            parameter.requires_grad_(False)
        self._inner = [inner]  # in a list: not a sub-module, so no train() and no state

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._inner[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]  # but it follows to the device
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        return self._inner[0](x)  # type: ignore[no-any-return]


def _body_width(body: nn.Module, model: str, shape: tuple[int, ...]) -> int:
    training = body.training
    try:
        with torch.no_grad():
            out = body.eval()(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ModelError(
            f"the probe model does not take samples of shape {shape}: {str(error).splitlines()[0]}",
            where=f"probe.model = {model}",
            action=f"give a model whose input is (B, {', '.join(map(str, shape))})",
        ) from error
    body.train(training)
    if not isinstance(out, Tensor) or out.ndim != 2:
        raise ModelError(
            "the probe model must return one vector per sample",
            where=f"probe.model = {model}",
            action="return a tensor (B, D): penultimate features or logits",
        )
    return int(out.shape[1])
