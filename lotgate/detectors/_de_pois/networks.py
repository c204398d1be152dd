"""The four networks of De-Pois, sized for two CPU cores. None uses batch statistics: rows never interact."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

LATENT = 100
CONDITION_GAIN = 5.0  # beside 100 noise entries of size one, a one-hot label would be drowned
SLOPE = 0.2
DROPOUT = 0.4
SMALLEST_SIDE = 4

Conditioning = Literal["projection", "concat"]
Shape = tuple[int, ...]


class SeededDropout(nn.Module):
    """Dropout whose masks come from a generator that a checkpoint can save; active in training mode only."""

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        self.rate = rate
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand(x.shape, generator=self.generator).to(x.device) >= self.rate
        return x * kept / (1 - self.rate)


class SampleGenerator(nn.Module):
    """G_c: noise and condition → sample, three fully connected layers and a sigmoid over the trusted range.

    Args:
        shape: of one sample.
        condition: K, width of the condition.
        low, high: smallest and largest value of each entry of a sample, broadcastable to `shape`.
    """

    low: Tensor
    high: Tensor

    def __init__(self, shape: Shape, condition: int, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.shape = shape
        widths = (256, 512, 1024) if torch.tensor(shape).prod() > 1000 else (128, 256, 256)
        self.layers = _dense(LATENT + condition, widths)
        _keep_variance(self.layers)
        self.last = nn.Linear(widths[-1], int(torch.tensor(shape).prod()))
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        raw: Tensor = self.last(self.layers(torch.cat([noise, CONDITION_GAIN * condition], dim=1)))
        return self.low + (self.high - self.low) * torch.sigmoid(raw).reshape(-1, *self.shape)


class ConvGenerator(nn.Module):
    """G_w for images: a dense layer to a coarse map, then nearest upsampling and convolutions, then the sigmoid."""

    low: Tensor
    high: Tensor

    def __init__(self, shape: Shape, condition: int, low: Tensor, high: Tensor) -> None:
        super().__init__()
        sizes = _pyramid(shape)
        width = 64
        self.coarse = (width, *sizes[-1])
        self.dense = nn.Linear(LATENT + condition, width * sizes[-1][0] * sizes[-1][1])
        layers: list[nn.Module] = [nn.LeakyReLU(SLOPE)]
        for height, breadth in reversed(sizes[:-1]):
            narrower = max(16, width // 2)
            layers += [nn.Upsample((height, breadth)), nn.Conv2d(width, narrower, 3, 1, 1), nn.LeakyReLU(SLOPE)]
            width = narrower
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, shape[0], 3, 1, 1))
        _keep_variance(self.layers[:-1])
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        coarse: Tensor = self.dense(torch.cat([noise, CONDITION_GAIN * condition], dim=1)).reshape(-1, *self.coarse)
        return self.low + (self.high - self.low) * torch.sigmoid(self.layers(coarse))


class Discriminator(nn.Module):
    """D_c and the authenticator: two heads on one stem, so that the authenticator's loss reaches D_c.

    The stem is convolutional for images (the paper's CNN authenticator), dense for tables. The authenticator's head is
    linear; for regression it also sees the sample itself, which makes it a LASSO over features and stem outputs.
    """

    def __init__(self, shape: Shape, condition: int, regression: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.regression = regression
        self.stem, width = _stem(shape)
        widths = (256, 256, 128) if len(shape) == 3 else (128, 128, 64)
        self.verdict = _dense(width + condition, widths, generator)
        self.verdict.append(nn.Linear(widths[-1], 1))
        inputs = width + int(torch.tensor(shape).prod()) if regression else width
        self.authenticator = nn.Linear(inputs, condition)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) logits of being real, (B, K) the authenticator's class logits or (B, 1) predicted value."""
        features = self.stem(x)  # (B, D)
        verdict = self.verdict(torch.cat([features, condition], dim=1))[:, 0]
        seen = torch.cat([x.flatten(1), features], dim=1) if self.regression else features
        return verdict, self.authenticator(seen)


class MimicCritic(nn.Module):
    """D_w, the mimic model: (x, y) → one unbounded output.

    Args:
        conditioning: "projection" adds ⟨V y, φ(x)⟩ to a linear read-out of φ(x) (Miyato & Koyama 2018);
            "concat" gives y to the first layer, as constant channels for images.
    """

    def __init__(self, shape: Shape, condition: int, conditioning: Conditioning) -> None:
        super().__init__()
        self.concat = conditioning == "concat"
        self.image = len(shape) == 3
        inputs = (shape[0] + condition * self.concat, *shape[1:])
        self.stem, width = _stem(inputs)
        self.dense = _dense(width, (128,))
        self.read = nn.Linear(128, 1)
        self.embed = None if self.concat else nn.Linear(condition, 128)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        if self.concat:
            shown = condition[:, :, None, None].expand(-1, -1, *x.shape[2:]) if self.image else condition
            x = torch.cat([x, shown], dim=1)
        features = self.dense(self.stem(x))  # (B, 128)
        output: Tensor = self.read(features)[:, 0]
        return output if self.embed is None else output + (self.embed(condition) * features).sum(dim=1)


def mimic_generator(shape: Shape, condition: int, low: Tensor, high: Tensor) -> nn.Module:
    """G_w: convolutional for images, fully connected for tables."""
    kind = ConvGenerator if len(shape) == 3 else SampleGenerator
    return kind(shape, condition, low, high)


def _dense(inputs: int, widths: tuple[int, ...], dropout: torch.Generator | None = None) -> nn.Sequential:
    layers = nn.Sequential()
    for width in widths:
        layers.extend([nn.Linear(inputs, width), nn.LeakyReLU(SLOPE)])
        if dropout is not None:
            layers.append(SeededDropout(DROPOUT, dropout))
        inputs = width
    return layers


def _keep_variance(layers: nn.Module) -> None:
    """Initial weights under which noise and condition keep their size; torch's default shrinks them at every layer."""
    for layer in layers.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, SLOPE)


def _stem(shape: Shape) -> tuple[nn.Module, int]:
    """What turns a sample into a vector, and the vector's width: strided convolutions, or one dense layer."""
    if len(shape) == 1:
        return _dense(shape[0], (128,)), 128
    sizes = _pyramid(shape)
    channels, layers, width = shape[0], nn.Sequential(), 16 if len(sizes) > 3 else 32
    for _ in sizes[1:]:
        layers.extend([nn.Conv2d(channels, width, 3, 2, 1), nn.LeakyReLU(SLOPE)])
        channels, width = width, width * 2
    layers.append(nn.Flatten())
    return layers, channels * sizes[-1][0] * sizes[-1][1]


def _pyramid(shape: Shape) -> list[tuple[int, int]]:
    """Sizes of the map, halved (rounding up) until the shorter side is at most SMALLEST_SIDE."""
    sizes = [(shape[1], shape[2])]
    while min(sizes[-1]) > SMALLEST_SIDE:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes
