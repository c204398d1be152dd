"""params.yaml → Settings: every number a user may turn, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lotgate.contract import ContractSettings
from lotgate.detector import Detector
from lotgate.detectors import DETECTORS
from lotgate.errors import SettingsError
from lotgate.ingest import IngestSettings
from lotgate.policy import Policy
from lotgate.probe import ProbeSettings
from lotgate.release import RegistrySettings, TrainSettings, release_name, split_release_name

BY_NAME: dict[str, type[Detector]] = {detector.name: detector for detector in DETECTORS}


class Settings(BaseModel):
    """All settings of a run; `params.yaml` has the same shape.

    Attributes:
        seed: of everything random: the split of the trusted set, weights, batch order.
        heldout_rate: share of the trusted set that no model of trusted rows alone learns from; it calibrates detectors.
        detectors: parameters by detector name; detectors left out run with their defaults.
        context: earlier releases, as DATASET@VERSION, that are fetched from the registry and judged with the lot.
        ingest, contract, probe, policy, registry, train: see the classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    heldout_rate: Annotated[float, Field(ge=0.1, le=0.9)] = 0.5
    ingest: IngestSettings = IngestSettings()
    contract: ContractSettings = ContractSettings()
    probe: ProbeSettings = ProbeSettings()
    detectors: dict[str, dict[str, Any]] = {}
    context: tuple[str, ...] = ()
    policy: Policy = Policy()
    registry: RegistrySettings = RegistrySettings()
    train: TrainSettings = TrainSettings()

    @field_validator("context")
    @classmethod
    def _releases(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Each named once, as `dataset@v3`."""
        try:
            return tuple(dict.fromkeys(release_name(*split_release_name(name)) for name in names))
        except SettingsError as error:
            raise ValueError(f"{error.what}; {error.action}") from error

    @model_validator(mode="after")
    def _detectors_exist(self) -> Settings:
        policy = self.policy
        named = (
            *policy.voters, *policy.weights, *policy.weights_of_targets, *policy.false_alarm_costs, *policy.groups,
            *policy.reserve,
        )  # fmt: skip
        for name in (*self.detectors, *named):
            if name not in BY_NAME:
                raise ValueError(f"there is no detector {name!r}; there are {', '.join(sorted(BY_NAME))}")
        if not policy.voters:
            raise ValueError("policy.voters is empty: nobody would judge the lot")
        for name in self.detectors:
            self.detector(name)
        return self

    def detector(self, name: str) -> Detector:
        """The detector of this name with its parameters."""
        return BY_NAME[name](**self.detectors.get(name, {}))


def load_settings(path: Path | None, **overrides: Any) -> Settings:
    """Settings from a YAML file, or the defaults without one.

    Args:
        path: a YAML mapping; None for the defaults.
        overrides: top-level values that win over the file; None values are ignored.

    Raises:
        SettingsError: the file cannot be read, or a setting is unknown or out of range; names each one.
    """
    try:
        given = {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(
            f"the settings cannot be read: {error}", where=path, action="give a readable YAML file"
        ) from error
    if not isinstance(given, dict):
        raise SettingsError(
            "the settings are not a mapping", where=path, action="start from the params.yaml of Lotgate"
        )
    given.pop("demo", None)  # the demonstration's own numbers live in the same file, for dvc.yaml
    given.update({key: value for key, value in overrides.items() if value is not None})
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors()
        )
        raise SettingsError(
            f"settings are wrong: {problems}",
            where=path or "command line",
            action="correct the settings named; `lotgate detectors` and params.yaml list what there is",
        ) from error
