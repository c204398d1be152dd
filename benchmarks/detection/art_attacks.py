"""Attacks as IBM's Adversarial Robustness Toolbox implements them, so that we do not only grade our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field
from torch import nn

from lotgate.attacks.attack import (
    IMAGES,
    Attack,
    Kind,
    Labels,
    Planted,
    as_lot,
    choose,
    class_count,
    mask_of,
    planted_count,
    quantise,
)  # fmt: skip
from lotgate.data import FloatArray, Modality
from lotgate.networks import small_cnn
from lotgate.probe import seeded

Share = Annotated[float, Field(gt=0, le=1)]


class ArtBackdoor(Attack):
    """PoisoningAttackBackdoor: rows of other classes get ART's trigger and the label `target`."""

    modalities: ClassVar[frozenset[Modality]] = IMAGES
    kind: ClassVar[Kind] = "backdoor"
    has_trigger: ClassVar[bool] = True

    def perturb(self, x: FloatArray) -> FloatArray:
        """The trigger on images (B, C, H, W)."""
        raise TypeError(f"{type(self).__name__} has no perturbation")

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        from art.attacks.poisoning import PoisoningAttackBackdoor

        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        rows = choose(self.goal(y, classes) >= 0, planted_count(self, len(x)), rng, self)
        with _global_numpy(rng):
            poisoned, labels = PoisoningAttackBackdoor(self.perturb).poison(
                x[rows], np.eye(classes)[self.target], broadcast=True
            )
        x[rows], y[rows] = quantise(poisoned), labels.argmax(1)
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool))

    def trigger(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        with _global_numpy(rng):
            return quantise(self.perturb(x.copy()))


class ArtPattern(ArtBackdoor):
    """add_pattern_bd: four pixels of a checkerboard near the corner."""

    name: ClassVar[str] = "art_pattern"

    def perturb(self, x: FloatArray) -> FloatArray:
        from art.attacks.poisoning.perturbations import add_pattern_bd

        return np.asarray(add_pattern_bd(x, channels_first=True), np.float32)


class ArtPixel(ArtBackdoor):
    """add_single_bd: one white pixel near the corner."""

    name: ClassVar[str] = "art_pixel"

    def perturb(self, x: FloatArray) -> FloatArray:
        from art.attacks.poisoning.perturbations import add_single_bd

        return np.asarray(add_single_bd(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), np.float32)


class ArtImage(ArtBackdoor):
    """insert_image: a small picture blended in, at a random place in each image."""

    name: ClassVar[str] = "art_image"

    blend: Share = 0.8
    size: Share = 0.25
    picture_seed: int = 0

    def perturb(self, x: FloatArray) -> FloatArray:
        from art.attacks.poisoning.perturbations import insert_image

        side = max(3, round(self.size * min(x.shape[2:])))
        mode = "L" if x.shape[1] == 1 else "RGB"
        shape = (side, side) if mode == "L" else (side, side, 3)
        picture = np.random.default_rng(self.picture_seed).integers(0, 2, shape, np.uint8) * 255
        with TemporaryDirectory() as folder:
            path = Path(folder) / "picture.png"
            Image.fromarray(picture).save(path)
            return np.asarray(
                insert_image(x, str(path), channels_first=True, random=True, mode=mode, blend=self.blend), np.float32
            )


class ArtCleanLabel(ArtPattern):
    """PoisoningAttackCleanLabelBackdoor: rows of `target` are made hard to classify by PGD and get the pattern."""

    name: ClassVar[str] = "art_clean_label"
    kind: ClassVar[Kind] = "clean_label_backdoor"

    eps: Share = 16 / 255
    steps: int = 20

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        from art.attacks.poisoning import PoisoningAttackBackdoor, PoisoningAttackCleanLabelBackdoor

        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        proxy = _surrogate(x, y, classes, rng)
        rows = choose(y == self.target, planted_count(self, len(x)), rng, self)
        target = np.eye(classes)[self.target]
        with _global_numpy(rng):
            attack = PoisoningAttackCleanLabelBackdoor(
                PoisoningAttackBackdoor(self.perturb), proxy, target, pp_poison=0.999, eps=self.eps,
                eps_step=2.5 * self.eps / self.steps, max_iter=self.steps,
            )  # fmt: skip
            hard = attack.attack.generate(x[rows])  # ART draws its rows with replacement; ours are all different
            poisoned, _ = attack.backdoor.poison(hard, target, broadcast=True)
        x[rows] = quantise(poisoned)
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool))


class ArtFeatureCollision(Attack):
    """FeatureCollisionAttack: rows of `target` drawn towards the features of one image of the class `victim`."""

    name: ClassVar[str] = "art_feature_collision"
    modalities: ClassVar[frozenset[Modality]] = IMAGES
    kind: ClassVar[Kind] = "targeted"

    victim: int = 1
    steps: int = 60
    watermark: Share = 0.2

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        from art.attacks.poisoning import FeatureCollisionAttack

        x, y = as_lot(x, y, self)
        classes = class_count(y, n_classes, self)
        proxy = _surrogate(x, y, classes, rng)
        aim = x[rng.choice(np.flatnonzero(y == self.victim), 1)]
        rows = choose(y == self.target, planted_count(self, len(x)), rng, self)
        with _global_numpy(rng):
            attack = FeatureCollisionAttack(
                proxy, aim, feature_layer=0, learning_rate=0.01, max_iter=self.steps, similarity_coeff=256.0,
                watermark=self.watermark, verbose=False,
            )  # fmt: skip
            poisoned = np.concatenate([attack.poison(image[None].copy())[0] for image in x[rows]])
        x[rows] = quantise(poisoned)
        return Planted(x, y, mask_of(rows, len(x)), self, np.zeros(len(x), bool), aim)


ART_ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack for attack in (ArtPattern, ArtPixel, ArtImage, ArtCleanLabel, ArtFeatureCollision)
}


def plant_art(
    name: str, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None, **fields: Any
) -> Planted:
    """A poisoned copy of the lot by the ART attack of this name.

    Raises:
        ImportError: ART is not installed (`pip install lotgate[bench]`).
    """
    return ART_ATTACKS[name](**fields).plant(x, y, rng, n_classes)


def _surrogate(x: FloatArray, y: npt.NDArray[np.int64], classes: int, rng: np.random.Generator) -> Any:
    """The attacker's own network on the clean lot, as the classifier ART wants: body, then head."""
    from art.estimators.classification import PyTorchClassifier

    with seeded(rng):
        network = nn.Sequential(small_cnn(x.shape[1], 48, min(x.shape[2:])), nn.Linear(48, classes))
        optimiser = torch.optim.Adam(network.parameters(), 3e-3)
        classifier = PyTorchClassifier(
            network, nn.CrossEntropyLoss(), x.shape[1:], classes, optimiser, clip_values=(0.0, 1.0), device_type="cpu"
        )
        with _global_numpy(rng):
            classifier.fit(x, y, batch_size=64, nb_epochs=max(2, -(-400 * 64 // len(x))))
    return classifier


@contextmanager
def _global_numpy(rng: np.random.Generator) -> Iterator[None]:
    """ART draws from numpy's global generator: seeded inside, restored afterwards."""
    state = np.random.get_state()  # noqa: NPY002  (ART reads no other)
    np.random.seed(int(rng.integers(2**32 - 1)))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
