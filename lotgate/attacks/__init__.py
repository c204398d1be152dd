"""Every planted poison: for tests and benchmarks only, one entry here each."""

from typing import Any

import numpy as np

from lotgate.attacks.attack import Attack, Labels, Planted
from lotgate.attacks.collision import BullseyePolytope, ConvexPolytope, FeatureCollision
from lotgate.attacks.evasion import CriticEvasion
from lotgate.attacks.generative import GenerativePoisoning, PGan
from lotgate.attacks.junk import NoAttack, OutOfDistribution, TrustedCopy
from lotgate.attacks.label_consistent import LabelConsistent
from lotgate.attacks.labels import LabelFlipMargin, LabelFlipPairwise, LabelFlipRandom
from lotgate.attacks.lots import write_image_folder, write_table
from lotgate.attacks.mixed import Mixed
from lotgate.attacks.overlay import (
    AdaptiveBlend,
    Blended,
    ColourCast,
    FrequencyTrigger,
    LowFrequency,
    Reflection,
    Sinusoid,
    Warp,
)
from lotgate.attacks.patch import AdaptivePatch, AllToAll, MultiTrigger, Patch, PatchRandom, SourceSpecific
from lotgate.attacks.regression import RegressionOptimised, RegressionPulled, RegressionStatistical
from lotgate.attacks.tables import TableTrigger
from lotgate.data import FloatArray
from lotgate.errors import SettingsError

ATTACKS: tuple[type[Attack], ...] = (
    Patch,
    PatchRandom,
    Blended,
    Sinusoid,
    Warp,
    LowFrequency,
    ColourCast,
    FrequencyTrigger,
    Reflection,
    LabelConsistent,
    AllToAll,
    MultiTrigger,
    SourceSpecific,
    AdaptiveBlend,
    AdaptivePatch,
    CriticEvasion,
    LabelFlipRandom,
    LabelFlipPairwise,
    LabelFlipMargin,
    FeatureCollision,
    BullseyePolytope,
    ConvexPolytope,
    PGan,
    GenerativePoisoning,
    RegressionOptimised,
    RegressionStatistical,
    RegressionPulled,
    TableTrigger,
    Mixed,
    OutOfDistribution,
    TrustedCopy,
    NoAttack,
)

__all__ = ["ATTACKS", "Attack", "Planted", "planted", "write_image_folder", "write_table"]


def planted(
    name: str, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None, **parameters: Any
) -> Planted:
    """A poisoned copy of the lot, the attack given by name.

    Args:
        name: of one of ATTACKS.
        x, y, rng, n_classes: as for `Attack.plant`.
        parameters: fields of the attack, such as rate and target.

    Raises:
        SettingsError: no attack has this name.
    """
    by_name = {attack.name: attack for attack in ATTACKS}
    if name not in by_name:
        raise SettingsError(f"no attack is called {name!r}", where="attack", action=f"choose one of {sorted(by_name)}")
    return by_name[name](**parameters).plant(x, y, rng, n_classes)
