"""cases.yaml → cases: the crossing of each group's lists, and the rule that keeps tune and report apart."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

CASES = Path(__file__).with_name("cases.yaml")
Split = Literal["tune", "report"]
Share = Annotated[float, Field(ge=0, lt=1)]


class Data(BaseModel):
    """How many rows a lot takes of a dataset, and which classes.

    Attributes:
        size: rows of the lot; the trusted set comes on top, what is left is the test set (at most `test` rows).
        of: the dataset itself, where this entry is a part of it under another name.
        classes: keep only these class indices; empty for all.
        halves: tune draws from one half of the rows and report from the other, so that they share no sample.
        earlier: lots of the same size and attack that came before, unfiltered, and are given as context. clean_before:
            nothing is planted in them, whatever is planted in the lot.
        drawn_as: the dataset whose draws this one repeats, so that both have the very same lots.
        in_order: lot and trusted set are neighbouring stretches of the file, class by class, from a random start: other
            writers, another week. The clean rows of both are then not drawn alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=20)]
    of: str = ""
    classes: tuple[int, ...] = ()
    halves: bool = False
    earlier: Annotated[int, Field(ge=0, le=20)] = 0
    clean_before: bool = False
    drawn_as: str = ""
    in_order: bool = False
    test: int = 1000


class Group(BaseModel):
    """Lists to be crossed. `attacks` maps a name for the row to the attack's fields (`attack` where names differ)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: tuple[str, ...]
    attacks: dict[str, dict[str, Any]]
    rates: tuple[Share, ...]
    trusted: tuple[Share, ...] = (0.2,)
    seeds: tuple[int, ...]
    poisoned_trusted: tuple[Share, ...] = (0.0,)


class Case(BaseModel):
    """One lot to be poisoned, screened and measured.

    Attributes:
        label: name of the attack's row; attack: its name in lotgate.attacks or art_attacks; parameters: its fields.
        rate: share of the lot's rows that are planted. trusted: trusted rows as a share of the lot's rows.
        poisoned_trusted: share of the trusted set that carries the same attack.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Split
    group: str
    dataset: str
    data: Data
    label: str
    attack: str
    parameters: dict[str, Any]
    rate: Share
    trusted: Share
    poisoned_trusted: Share
    seed: int

    @property
    def name(self) -> str:
        """Unique, and fit for a file name."""
        spoiled = f"-spoiled{self.poisoned_trusted:g}" if self.poisoned_trusted else ""
        return f"{self.dataset}-{self.label}-r{self.rate:g}-t{self.trusted:g}{spoiled}-s{self.seed}"

    def draws(self, what: str) -> list[int]:
        """Seed words for one purpose: "rows" are shared by all attacks of a seed, so that their lots are paired."""
        words = [what, self.split, self.data.drawn_as or self.dataset] + (
            [self.label, f"{self.rate:g}"] if what != "rows" else []
        )
        return [self.seed, *(zlib.crc32(word.encode()) for word in words)]


class LookedAt(BaseModel):
    """Attacks and datasets that decisions were made by though no case of `tune` has them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attacks: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


class Cases(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: dict[str, Data]
    looked_at: LookedAt = LookedAt()
    tune: dict[str, Group]
    report: dict[str, Group]

    @model_validator(mode="after")
    def _splits_apart(self) -> Cases:
        tuned, reported = ({s for g in groups.values() for s in g.seeds} for groups in (self.tune, self.report))
        if tuned & reported:
            raise ValueError(f"tune and report share the seeds {sorted(tuned & reported)}")
        known = {a for groups in (self.tune, self.report) for g in groups.values() for a in g.attacks}
        if unknown := ({*self.looked_at.attacks} - known) | ({*self.looked_at.datasets} - set(self.datasets)):
            raise ValueError(f"looked at, but no case has them: {sorted(unknown)}")
        for group in (*self.tune.values(), *self.report.values()):
            if unknown := set(group.datasets) - set(self.datasets):
                raise ValueError(f"datasets without a size: {sorted(unknown)}")
        return self

    def held_out(self) -> tuple[set[str], set[str]]:
        """Datasets, none of whose rows `tune` draws from, and attack rows that only `report` has; none looked at."""
        seen = {self._source(d) for g in self.tune.values() for d in g.datasets} | {*self.looked_at.datasets}
        tuned = {a for g in self.tune.values() for a in g.attacks} | {*self.looked_at.attacks}
        data = {d for g in self.report.values() for d in g.datasets if self._source(d) not in seen}
        return data, {a for g in self.report.values() for a in g.attacks} - tuned - {"none"}

    def _source(self, dataset: str) -> str:
        return self.datasets[dataset].of or dataset


def load_cases(path: Path = CASES) -> Cases:
    """The file of cases, checked."""
    return Cases.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def expand(cases: Cases, split: Split) -> list[Case]:
    """Every case of a split, each name once (a case that two groups ask for belongs to the first)."""
    found: dict[str, Case] = {}
    for case in _crossed(cases, split):
        found.setdefault(case.name, case)
    return list(found.values())


def _crossed(cases: Cases, split: Split) -> Iterator[Case]:
    for name, group in getattr(cases, split).items():
        axes = (group.datasets, group.attacks, group.rates, group.trusted, group.poisoned_trusted, group.seeds)
        for dataset, label, rate, trusted, spoiled, seed in itertools.product(*axes):
            fields = dict(group.attacks[label])
            attack = fields.pop("attack", label)
            yield Case(
                split=split, group=name, dataset=dataset, data=cases.datasets[dataset], label=label, attack=attack,
                parameters=fields, rate=0.0 if attack == "none" else rate, trusted=trusted, poisoned_trusted=spoiled,
                seed=seed,
            )  # fmt: skip
