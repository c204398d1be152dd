"""State of a training on disk: one safetensors file per stage, replaced atomically, used only for the same job."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lotgate.detectors._de_pois.training import Progress, Stage
from lotgate.errors import OutputError

FORMAT = "de_pois 1"


@dataclass(frozen=True)
class Checkpoint:
    """Keeps stages under a folder.

    Attributes:
        folder: made when first written to.
        digest: SHA-256 of the parameters, the evidence and the seed; state of another digest is not read.
    """

    folder: Path
    digest: str

    def resume(self, stage: Stage) -> Progress | None:
        """Puts the kept state into the stage; None where there is none, or it is of another job or damaged."""
        try:
            with safe_open(self._path(stage), framework="pt") as kept:
                facts = kept.metadata() or {}
                if facts.get("format") != FORMAT or facts.get("digest") != self.digest:
                    return None
                state = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118  (not a dict)
        except (FileNotFoundError, SafetensorError):
            return None
        _restore(stage, state)
        progress = json.loads(facts["progress"])
        return Progress(mean=state["progress.mean"], **progress)

    def save(self, stage: Stage, progress: Progress) -> None:
        """Replaces the kept state, so that a crash leaves the old one or the new one.

        Raises:
            OutputError: the folder cannot be written.
        """
        numbers = {
            "steps": progress.steps, "largest": progress.largest, "change": progress.change, "calm": progress.calm,
        }  # fmt: skip
        facts = {"format": FORMAT, "digest": self.digest, "progress": json.dumps(numbers)}
        path = self._path(stage)
        half = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({**_state(stage), "progress.mean": progress.mean}, half, facts)
            half.replace(path)
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"the state of the training cannot be kept: {error}",
                where=self.folder,
                action="free some space or give a writable folder in de_pois.checkpoint, or leave it empty",
            ) from error

    def _path(self, stage: Stage) -> Path:
        return self.folder / f"{stage.title}.safetensors"


def _state(stage: Stage) -> dict[str, Tensor]:
    state = {"random": stage.generator.get_state()}
    for name, module in stage.modules.items():
        state |= {f"module.{name}.{key}": value.contiguous() for key, value in module.state_dict().items()}
    for name, optimiser in stage.optimisers.items():
        for index, slots in optimiser.state_dict()["state"].items():
            state |= {f"optimiser.{name}.{index}.{slot}": torch.as_tensor(v) for slot, v in slots.items()}
    return state


def _restore(stage: Stage, state: dict[str, Tensor]) -> None:
    stage.generator.set_state(state["random"])
    for name, module in stage.modules.items():
        prefix = f"module.{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    for name, optimiser in stage.optimisers.items():
        prefix, slots = f"optimiser.{name}.", dict[int, dict[str, Tensor]]()
        for key, value in state.items():
            if key.startswith(prefix):
                index, slot = key.removeprefix(prefix).split(".", 1)
                slots.setdefault(int(index), {})[slot] = value
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
