"""Who is judged, by what: a lot sits alone, and where it has a context a second time, together with that.

    run/work/probe, twin, crossfit, findings, …                     the lot alone
    run/work/with_context/work/probe, twin, crossfit, findings, …   the union of the lot and earlier releases

Earlier releases thin out what a lot brings for the first time, as they add to what comes slowly: each sitting sees what
the other does not. Both have the same trusted rows.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lotgate.context import has_union, load_union
from lotgate.crossfit import CrossFit, load_crossfit
from lotgate.data import Dataset
from lotgate.detector import Evidence
from lotgate.probe import Probe, load_probe, n_outputs
from lotgate.run_folder import CHECKPOINTS
from lotgate.settings import Settings
from lotgate.shift import NO_SHIFT, load_shift
from lotgate.vetting import load_doubt, split_trusted, without_doubted

WITH_CONTEXT = Path("work/with_context")


class Sitting(NamedTuple):
    """One judgement of a lot.

    Attributes:
        run: its folder. at: the folder under whose `work` its models, findings and statements lie.
    """

    run: Path
    at: Path

    @property
    def with_context(self) -> bool:
        """Whether earlier releases are on trial, too."""
        return self.at != self.run

    @property
    def checkpoints(self) -> Path:
        """Where an interrupted training of this sitting goes on, also in another run of this folder."""
        return self.run / CHECKPOINTS / self.at.relative_to(self.run)


def alone(run: Path) -> Sitting:
    """The lot without its context."""
    return Sitting(run, run)


def sittings(run: Path) -> tuple[Sitting, ...]:
    """Of the lot alone, then, where there is a context, of the lot with that."""
    return (alone(run), Sitting(run, run / WITH_CONTEXT)) if has_union(run) else (alone(run),)


def load_datasets(run: Path) -> tuple[Dataset, Dataset | None]:
    """The lot and the trusted set as ingested, unreadable samples included."""
    trusted = load_trusted(run) if (run / "work/trusted/dataset.json").exists() else None
    return Dataset.load(run / "work/lot"), trusted


def load_trusted(run: Path) -> Dataset:
    """The trusted set as ingested."""
    return Dataset.load(run / "work/trusted")


def split(sitting: Sitting, settings: Settings) -> Evidence:
    """Evidence without probes: what the contract left of those on trial, and the trusted set in two parts."""
    lot, vetted = load_datasets(sitting.run)
    excluded = set(pd.read_parquet(sitting.run / "exclusions.parquet")["sample_id"])
    union = load_union(sitting.run, excluded) if sitting.with_context else None
    suspect = (union or lot).usable()
    suspect = suspect.select([i for i in suspect.ids if i not in excluded])
    if vetted is None:
        return Evidence(suspect)
    reference, heldout = split_trusted(vetted.usable(), settings.heldout_rate, generator(settings, "split"))
    return Evidence(suspect, reference, heldout)


def load_evidence(sitting: Sitting, settings: Settings) -> Evidence:
    """Everything detectors may look at, from the files of the steps before."""
    evidence, work = split(sitting, settings), sitting.at / "work"
    probe = _load_probe(work / "probe", settings, evidence)
    twin = None if evidence.trusted is None else _load_probe(work / "twin", settings, evidence)
    crossfit = _load_crossfit(work / "crossfit", settings, evidence)
    found = replace(evidence, probe=probe, twin=twin, crossfit=crossfit, shift=load_shift(sitting.at) or NO_SHIFT)
    return without_doubted(found, load_doubt(sitting.at))


def generator(settings: Settings, step: str) -> np.random.Generator:
    """The generator of one step: the same seed gives the same draws, whichever other steps ran."""
    return np.random.default_rng([settings.seed, zlib.crc32(step.encode())])


def stores(evidence: Evidence) -> dict[str, Path]:
    """Where the decoded samples lie, by the names that maps are saved under."""
    found = {"lot": evidence.suspect.store}
    return found if evidence.trusted is None else {**found, "trusted": evidence.trusted.store}


def _load_probe(folder: Path, settings: Settings, evidence: Evidence) -> Probe:
    like = evidence.suspect
    return load_probe(folder, settings.probe, like.shape, n_outputs(like), stores(evidence))


def _load_crossfit(folder: Path, settings: Settings, evidence: Evidence) -> CrossFit | None:
    if evidence.trusted is None or evidence.suspect.task != "classification":
        return None
    return load_crossfit(folder, settings.probe, evidence.suspect, stores(evidence))
