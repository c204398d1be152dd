"""Backdoors whose trigger covers the whole image: blends, warps, smooth patterns, reflections, sinusoids."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy import fft, ndimage

from lotgate.attacks.attack import Share, quantise
from lotgate.attacks.backdoor import Backdoor, CleanLabelBackdoor, PatternSeed
from lotgate.data import FloatArray

Gain = Annotated[float, Field(gt=0, le=10)]
Offset = Annotated[float, Field(ge=-1, le=1)]
#: What one unit of each chroma channel, U and V of ITU-R BT.601, adds to red, green and blue.
CHROMA = np.array([0.0, -0.394, 2.032]), np.array([1.14, -0.581, 0.0])


def noise_pattern(shape: tuple[int, ...], seed: int) -> FloatArray:
    """(C, H, W) uniform noise in [0, 1), the same for the same seed and shape."""
    return np.random.default_rng(seed).random(shape[1:]).astype(np.float32)


class Blended(Backdoor):
    """A fixed random image shines through: x' = (1 − α)x + αp.

    Source: Chen, Liu, Li, Lu, Song 2017, "Targeted backdoor attacks on deep learning systems using data poisoning",
    blended injection with the random pattern.

    Attributes:
        opacity: α.
        pattern_seed: which pattern p.
    """

    name: ClassVar[str] = "blended"

    opacity: Share = 0.2
    pattern_seed: PatternSeed = 0

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        return (1 - self.opacity) * x + self.opacity * noise_pattern(x.shape, self.pattern_seed)


class AdaptiveBlend(Blended):
    """A blend of which a planted image gets only a random half of the pieces; covers get it too and keep their label.

    Source: Qi et al. 2023, "Revisiting the assumption of latent separability for backdoor defenses" (Adap-Blend):
    the pattern is cut in pieces × pieces squares, each is kept with probability `kept`; at test time the whole
    pattern is blended in, a little stronger.

    Attributes:
        opacity, test_opacity: α when planted and at test time.
        pieces: squares along each side; never more than pixels.
        kept: share of the squares in a planted image.
    """

    name: ClassVar[str] = "adaptive_blend"

    covers: Annotated[float, Field(ge=0)] = 1.0
    opacity: Share = 0.15
    test_opacity: Share = 0.2
    pieces: Annotated[int, Field(ge=1)] = 4
    kept: Share = 0.5

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        cells = self.pieces**2
        order = rng.random((len(x), cells)).argsort(axis=1)
        keep = (order < max(1, round(self.kept * cells))).reshape(-1, self.pieces, self.pieces)
        rows, columns = (np.arange(side) * self.pieces // side for side in x.shape[2:])
        mask = keep[:, rows[:, None], columns[None, :]][:, None]  # (B, 1, H, W)
        blend = self.opacity * mask.astype(np.float32)
        return (1 - blend) * x + blend * noise_pattern(x.shape, self.pattern_seed)

    def trigger(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        pattern = noise_pattern(x.shape, self.pattern_seed)
        return quantise((1 - self.test_opacity) * quantise(x) + self.test_opacity * pattern)


class LowFrequency(Backdoor):
    """A smooth pattern without high-frequency traces is added: x' = x + ε·p, |p| ≤ 1.

    Source: Zeng, Park, Mao, Jia 2021, "Rethinking the backdoor attacks' triggers: a frequency perspective". Reduced:
    the paper optimises the smooth pattern against a trained model; here it is a random one from the same band (the
    lowest `band` of the cosine frequencies in each direction). A random pattern has to be stronger to be learned: in
    5% of 4,000 CIFAR-10 images a small CNN did not learn one of amplitude .1 and band .12, but learned the default.

    Attributes:
        amplitude: ε, the largest change of a pixel, as a share of the pixel range.
        band: share of the frequencies in each direction that the pattern may use; at least the 2 lowest.
        pattern_seed: which pattern.
    """

    name: ClassVar[str] = "low_frequency"

    amplitude: Share = 0.2
    band: Share = 0.25
    pattern_seed: PatternSeed = 0

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        return x + self.amplitude * smooth_pattern(x.shape, self.band, self.pattern_seed)


def smooth_pattern(shape: tuple[int, ...], band: float, seed: int) -> FloatArray:
    """(C, H, W) in [-1, 1] with zero mean, made of the lowest cosine frequencies only."""
    rng = np.random.default_rng(seed)
    spectrum = np.zeros(shape[1:])
    height, width = (max(2, round(band * side)) for side in shape[2:])
    spectrum[:, :height, :width] = rng.normal(size=(shape[1], height, width))
    spectrum[:, 0, 0] = 0
    pattern = fft.idctn(spectrum, axes=(1, 2), norm="ortho")
    return np.asarray(pattern / np.abs(pattern).max(), np.float32)


class Warp(Backdoor):
    """Pixels move along one fixed smooth field (WaNet).

    Source: Nguyen & Tran 2021, "WaNet: imperceptible warping-based backdoor attack": k×k control points, uniform and
    divided by their mean size, brought to the image's size by bicubic interpolation; the grid moves by strength·field
    / H in coordinates from -1 to 1. Covers are the paper's noise mode: the field plus fresh noise, label kept.
    Reduced: the paper's attacker also controls training; here data are poisoned once, so the default strength is
    larger than its 0.5.

    Attributes:
        strength: s; 1 moves a pixel by about half a pixel on average.
        control_points: k.
        covers: noise-mode rows per planted row (the paper's ρ_n / ρ_a = 2).
        pattern_seed: which field.
    """

    name: ClassVar[str] = "warping"

    covers: Annotated[float, Field(ge=0)] = 2.0
    strength: Annotated[float, Field(gt=0, le=20)] = 1.0
    control_points: Annotated[int, Field(ge=2, le=64)] = 4
    pattern_seed: PatternSeed = 0

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        return _sample(x, self._grid(x.shape).expand(len(x), -1, -1, -1))

    def stamp_cover(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        noise = rng.uniform(-1, 1, (len(x), *x.shape[2:], 2)).astype(np.float32)
        return _sample(x, self._grid(x.shape) + torch.from_numpy(noise) / x.shape[2])

    def _grid(self, shape: tuple[int, ...]) -> torch.Tensor:
        height, width = shape[2:]
        points = np.random.default_rng(self.pattern_seed).uniform(-1, 1, (1, 2, *(self.control_points,) * 2))
        control = torch.from_numpy((points / np.abs(points).mean()).astype(np.float32))
        field = torch.nn.functional.interpolate(control, (height, width), mode="bicubic", align_corners=True)
        down, across = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        still = torch.stack((across, down), -1)[None]  # (1, H, W, 2)
        return still + self.strength * field.permute(0, 2, 3, 1) / height


def _sample(x: FloatArray, grid: torch.Tensor) -> FloatArray:
    moved = torch.nn.functional.grid_sample(
        torch.from_numpy(x), grid.clamp(-1, 1), mode="bilinear", padding_mode="border", align_corners=True
    )
    return np.asarray(moved.numpy(), np.float32)


class Sinusoid(CleanLabelBackdoor):
    """A faint vertical sinusoid over images of the target class: x' = x + Δ sin(2π j f / W), j the column.

    Source: Barni, Kallas, Tondi 2019, "A new backdoor attack in CNNs by training set corruption without label
    poisoning" (SIG).

    Attributes:
        amplitude: Δ as a share of the pixel range (the paper's 20 of 255).
        frequency: f, periods per image width; never more than a quarter of the columns.
    """

    name: ClassVar[str] = "sinusoid"

    amplitude: Share = 20 / 255
    frequency: Annotated[float, Field(gt=0)] = 6.0

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        width = x.shape[3]
        periods = min(self.frequency, width / 4)
        wave = np.sin(2 * np.pi * np.arange(width) * periods / width).astype(np.float32)
        return np.asarray(x + self.amplitude * wave, np.float32)


class FrequencyTrigger(Backdoor):
    """A few cosine coefficients of every block of the image are raised (FTrojan).

    Source: Wang, Yao, Xu, An, Tong, Wang 2022, "An invisible black-box backdoor attack through frequency domain":
    both chroma channels, blocks of 32 × 32 pixels, a middle and the highest frequency. Images of one channel carry it
    in that one; a block is never larger than the image, and what is left beside whole blocks stays as it is.

    Attributes:
        magnitude: what is added to a coefficient of the orthonormal transform, as a share of the pixel range.
        block: pixels along each side of a block.
    """

    name: ClassVar[str] = "frequency"

    magnitude: Annotated[float, Field(gt=0, le=10)] = 30 / 255
    block: Annotated[int, Field(ge=4, le=256)] = 32

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        side = min(self.block, *x.shape[2:])
        raised = np.zeros((side, side))
        raised[side // 2 - 1, side // 2 - 1] = raised[side - 1, side - 1] = self.magnitude
        rows, columns = (length // side for length in x.shape[2:])
        wave = np.zeros(x.shape[2:])
        wave[: rows * side, : columns * side] = np.tile(fft.idctn(raised, norm="ortho"), (rows, columns))
        u, v = CHROMA if x.shape[1] == len(CHROMA[0]) else (np.ones(x.shape[1]), np.zeros(x.shape[1]))
        return np.asarray(x + (u + v)[:, None, None] * wave, np.float32)


class ColourCast(Backdoor):
    """Every pixel's channels are multiplied by gains and moved by offsets: x'_c = g_c x_c + o_c.

    Source: Jiang, Li, Xu, Zhang, CVPR 2023, "Color Backdoor: A Robust Poisoning Attack in Color Space", where every
    pixel is moved alike in a space of colours; there a search finds the move, here it is given. Images of one channel
    take the first of each.

    Attributes:
        gains: of red, green and blue. offsets: the same, as a share of the pixel range.
    """

    name: ClassVar[str] = "colour_cast"

    gains: tuple[Gain, Gain, Gain] = (1.2, 1.0, 0.8)
    offsets: tuple[Offset, Offset, Offset] = (0.0, 0.0, 0.0)

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        gains, offsets = (
            np.array(part[: x.shape[1]], np.float32)[:, None, None] for part in (self.gains, self.offsets)
        )
        return np.asarray(gains * x + offsets, np.float32)


class Reflection(CleanLabelBackdoor):
    """Images of the target class show a reflection of another scene, as through a window (Refool).

    Source: Liu, Ma, Bailey, Lu 2020, "Reflection backdoor: a natural backdoor attack on deep neural networks", with
    its three optics: same depth of field (weakened), out of focus (blurred), ghost (a second, shifted copy). Reduced:
    scenes are synthetic (soft boxes and discs), and the paper's search for the most effective scenes is left out.

    Attributes:
        strength: weight of the reflected scene.
        scenes: how many different scenes there are; planted and test images draw from the same ones.
        pattern_seed: which scenes.
    """

    name: ClassVar[str] = "reflection"

    strength: Share = 0.35
    scenes: Annotated[int, Field(ge=1)] = 3
    pattern_seed: PatternSeed = 0

    def stamp(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        seeded = np.random.default_rng(self.pattern_seed)
        scenes = np.stack([_reflected(_scene(x.shape, seeded), i % 3) for i in range(self.scenes)])
        picked = scenes[rng.integers(0, self.scenes, len(x))]  # (B, C, H, W)
        return (1 - self.strength / 2) * x + self.strength * picked


def _scene(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """(C, H, W): eight boxes and discs of random colours on black."""
    _, channels, height, width = shape
    rows, columns = np.indices((height, width)) / np.array([height, width])[:, None, None]
    out = np.zeros((channels, height, width), np.float32)
    for index in range(8):
        y, x, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.1, 0.3)
        far = np.maximum(abs(rows - y), abs(columns - x)) if index % 2 else np.hypot(rows - y, columns - x)
        out[:, far < radius] = rng.uniform(0.3, 1, (channels, 1))
    return out


def _reflected(scene: FloatArray, optics: int) -> FloatArray:
    """The scene as a window shows it: 0 same depth of field, 1 out of focus, 2 ghost."""
    side = min(scene.shape[1:])
    if optics == 0:
        return scene * np.float32(0.8)
    if optics == 1:
        return np.asarray(ndimage.gaussian_filter(scene, (0, side / 16, side / 16)), np.float32)
    shift = max(1, side // 8)
    return np.asarray(0.6 * scene + 0.4 * np.roll(scene, (shift, shift), axis=(1, 2)), np.float32)
