"""Who votes, within which limits, and which samples their p-values set aside.

Evidence is of three kinds: of one sample, of a group of samples that share something (the voters in `groups`), and of a
class that holds too many suspects for its trusted rows (lotgate.surplus). The more it takes to explain it, the later it
is asked; what voters of groups agree on comes first of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Cost = Annotated[float, Field(ge=0.0, le=1000.0)]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SUSPECTED = 1 / 3
CERTAIN = 1e-3  # clean samples among those that a voter accuses, up to which there is nothing to wait for
JURY = 2  # voters of groups that accuse nearly the same samples of a class: half of them must name a sample
UNSAID = 0.4  # of those whom a voter accuses at the start, what others left: less, and it repeats what was said
ALIKE = 0.9  # of the samples of a class that either of two voters accuses, those that both do, at least


class Voice(NamedTuple):
    """A voter, and whether it speaks of a class as a whole."""

    voter: str
    of_class: bool = False


class Answer(NamedTuple):
    """Whom a voice would set aside, what that gains, and how many of them are clean if its p-values are right."""

    accused: Mask
    gain: float
    clean: float


class Policy(BaseModel):
    """Who votes, and the limits.

    Attributes:
        voters: detectors whose findings quarantine. Others report only. A voter that does not apply to the lot's
            modality or task (see `lotgate detectors`) is left out of that lot, and the decision says so.
        weights: how much of the permitted error each voter may use, whoever else votes; 1 for those not named.
            Detectors of groups speak with tiny p-values or not at all and can do with little of it; detectors of
            single samples cannot. weights_of_targets: the same where labels are targets, of which few judge.
        false_discovery_rate: a voter's first word: expected share of clean samples among those it would quarantine, at
            most this times its weight. Where no voter has such a group, the lot is left alone.
        follow_up: the same for further words on what is left of a lot that is surely poisoned, as a share of the first
            rate: there are more questions then, round after round and class by class. A voter of single samples keeps
            its first rate until it has spoken, as long as others have not set three fifths of those aside whom it
            accuses at the start: one attack must not hide another, not even one as large.
        false_alarm_cost: how many poisoned samples it is worth to spare a clean one; a voter's limit is set where
            suspects stop being worth it. false_alarm_costs: the same for what single voters say of classes: the
            p-values of some err towards caution there.
        groups: voters whose evidence is of groups. Where others have set half or more of a group's samples of a class
            aside, what they found explains these, and the rest of them is left alone. Where two or more accuse nearly
            the same samples of a class, those that half of them name are set aside before anybody else is asked, and
            the others are cleared of belonging to the group.
        reserve: voters that are asked once the others have nothing more to say. exact: those of them whose groups have
            no blurred edge, and which are not kept waiting where they are all but certain.
        false_quarantine_rate: largest expected share of clean samples that one voter may quarantine, whatever the rest
            says.
        max_quarantined_rate: above this share of the lot in quarantine the lot is rejected.
        max_quarantined_rate_per_class: the same within any one class.
        allow_untrusted: screen a lot without a trusted set; the decision then says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    voters: tuple[str, ...] = (
        "unexplained_clusters",
        "disagreement",
        "trusted_distance",
        "shared_pattern",
        "shared_texture",
        "shared_detail",
        "shared_tone",
        "shared_wave",
        "mixed_origins",
        "shared_value",
        "corroboration",
    )
    weights: dict[str, Annotated[float, Field(gt=0, le=1)]] = {
        "activation_clustering": 0.2,
        "spectral_signatures": 0.2,
        "unexplained_clusters": 0.6,
        "de_pois": 0.2,
        "trusted_distance": 0.24,
        "excess_confidence": 0.4,
        "shared_pattern": 0.25,
        "shared_texture": 0.25,
        "shared_detail": 0.25,
        "shared_tone": 0.25,
        "shared_wave": 0.25,
        "mixed_origins": 0.25,
        "shared_value": 0.25,
        "corroboration": 0.5,
    }
    weights_of_targets: dict[str, Annotated[float, Field(gt=0, le=1)]] = {"de_pois": 0.2, "trusted_distance": 0.34}
    false_discovery_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.35
    follow_up: Annotated[float, Field(gt=0.0, le=1.0)] = 0.45
    false_alarm_cost: Cost = 2.0
    false_alarm_costs: dict[str, Cost] = {"disagreement": 1.0, "corroboration": 1.0}
    groups: tuple[str, ...] = (
        "unexplained_clusters",
        "shared_pattern",
        "shared_texture",
        "shared_detail",
        "shared_tone",
        "shared_wave",
        "mixed_origins",
        "shared_value",
    )
    reserve: tuple[str, ...] = ("unexplained_clusters", "corroboration", "shared_value")
    exact: tuple[str, ...] = ("shared_value",)
    false_quarantine_rate: Annotated[float, Field(gt=0.0, le=0.5)] = 0.02
    max_quarantined_rate: Rate = 0.2
    max_quarantined_rate_per_class: Rate = 0.6
    allow_untrusted: bool = False

    def weight(self, voter: str, *, of_classes: bool = True) -> float:
        """Of the permitted error, where labels are classes or else targets."""
        return (self.weights if of_classes else self.weights_of_targets).get(voter, 1.0)

    def of_group(self, voice: Voice) -> bool:
        """Whether it accuses samples for what they share."""
        return voice.voter in self.groups and not voice.of_class

    def waits(self, voter: str, clean: float) -> bool:
        """Whether it is in reserve, expecting so many clean samples among those that it accuses."""
        return voter in self.reserve and not (voter in self.exact and clean <= CERTAIN)

    def cost(self, voter: str, *, of_classes: bool) -> float:
        """Of a false alarm by that voter, in poisoned samples, where labels are classes or else targets."""
        return self.false_alarm_costs.get(voter, self.false_alarm_cost) if of_classes else self.false_alarm_cost


def are_classes(labels: Iterable[object]) -> bool:
    """Whether these labels name classes; targets are no strings."""
    return any(isinstance(label, str) for label in labels)


def set_aside(p_values: Mapping[Voice, Floats], labels: npt.NDArray[np.object_], policy: Policy) -> dict[str, Mask]:
    """Per voter, which samples it quarantines; see `lotgate.findings.quarantined`.

    Args:
        p_values: (N,) per voice. What a voter says of a class as a whole is asked for last.
        labels: (N,) class names; not strings (targets): no classes.
    """
    if not p_values:
        return {}
    nothing, everything = np.zeros(len(labels), bool), np.ones(len(labels), bool)
    left, scopes = everything, [everything]
    found = {voice.voter: nothing.copy() for voice in p_values}
    of_classes = are_classes(labels)
    classes = np.unique(labels.astype(str), return_inverse=True)[1] if of_classes else np.zeros(len(labels), np.int64)
    rates = {v: policy.false_discovery_rate * policy.weight(v.voter, of_classes=of_classes) for v in p_values}
    costs = {voice: policy.cost(voice.voter, of_classes=of_classes) for voice in p_values}
    together = {voice for voice in p_values if voice.of_class or policy.of_group(voice)}
    unheard = set(p_values)

    def answer(voice: Voice, scope: Mask, explained: Mask) -> Answer:
        p = np.where(explained, 1.0, p_values[voice])
        rate = rates[voice] * (1.0 if voice in unheard and scope is everything else policy.follow_up)
        gain, limit = best_limit(p[scope & left], rate, costs[voice], policy.false_quarantine_rate)
        accused = scope & ~explained & (p <= limit)
        if gain > 0 and voice in together:
            gone = _mostly_gone(classes, accused & ~found[voice.voter], left)
            if gone.any():  # by class: a decoy elsewhere explains nothing
                return answer(voice, scope, explained | gone)
        return Answer(accused & left, gain, limit * int((scope & left).sum()))

    def loudest() -> dict[str, Mask]:
        """What the voice that comes next sets aside; nothing where none gains."""
        asked = [
            (voice, answer(voice, scope, cleared if voice in together else nothing))
            for voice in p_values
            for scope in scopes
        ]
        speaker, heard = max(asked, key=lambda pair: _preferred(pair[0], pair[1], policy))
        return {speaker.voter: heard.accused} if heard.gain > 0 else {}

    first = {voice: answer(voice, everything, nothing) for voice in p_values}
    groups = {voice.voter: a.accused for voice, a in first.items() if policy.of_group(voice) and a.gain > 0}
    agreed, cleared = _by_agreement(classes, groups)
    named = agreed or loudest()
    while named:
        for voter, rows in named.items():
            found[voter] |= rows
            left = left & ~rows
        silent = {voice for voice in first if voice not in together and not found[voice.voter].any()}
        unheard = {voice for voice in silent if not _said(first[voice].accused, left)}
        scopes = [everything, *_suspected_classes(labels, ~left)]
        named = loudest()
    return found


def _preferred(voice: Voice, heard: Answer, policy: Policy) -> tuple[bool, bool, bool, float]:
    """Who speaks first: the largest gain, but voters in reserve after the others, unless they are certain, and of
    classes last of all.
    """
    return heard.gain > 0, not voice.of_class, not policy.waits(voice.voter, heard.clean), heard.gain


def _said(accused: Mask, left: Mask) -> bool:
    """Whether all but UNSAID of them are set aside already, or there are none."""
    return bool((accused & left).sum() <= UNSAID * accused.sum())


def _mostly_gone(classes: npt.NDArray[np.int64], group: Mask, left: Mask) -> Mask:
    """(N,) the samples of classes of whose part of the group half or more is set aside already."""
    size = np.bincount(classes[group], minlength=classes.max() + 1)
    stays = np.bincount(classes[group & left], minlength=classes.max() + 1)
    return ((size > 0) & (2 * stays <= size))[classes]


def _by_agreement(classes: npt.NDArray[np.int64], accused: Mapping[str, Mask]) -> tuple[dict[str, Mask], Mask]:
    """What juries agree on, (N,) per member of one, and whom fewer than half of a jury name, (N,).

    Args:
        accused: (N,) per voter of groups. In a class, those who accuse nearly the same samples as one of them are a
            jury.
    """
    agreed = {voter: np.zeros(len(classes), bool) for voter in accused}
    cleared = np.zeros(len(classes), bool)
    for c in np.unique(classes[np.logical_or.reduce([cleared, *accused.values()])]):
        jury = _jury({voter: rows & (classes == c) for voter, rows in accused.items()})
        half = 2 * np.sum(list(jury.values()), axis=0) >= len(jury)
        for voter, rows in jury.items():
            agreed[voter] |= rows & half
            cleared |= rows & ~half
    return {voter: rows for voter, rows in agreed.items() if rows.any()}, cleared


def _jury(accused: Mapping[str, Mask]) -> dict[str, Mask]:
    """JURY or more voters who accuse nearly the same samples as one of them, the largest group first; or nobody."""
    for one in sorted(accused.values(), key=np.count_nonzero, reverse=True):
        jury = {voter: other for voter, other in accused.items() if one.any() and _alike(one, other)}
        if len(jury) >= JURY:
            return jury
    return {}


def _alike(one: Mask, other: Mask) -> bool:
    """Whether ALIKE or more of what either accuses both accuse."""
    return bool((one & other).sum() >= ALIKE * (one | other).sum())


def _suspected_classes(labels: npt.NDArray[np.object_], found: Mask) -> list[Mask]:
    """Where each class lies that holds at least SUSPECTED of what was found; none for targets."""
    names, counts = np.unique([label for label in labels[found] if isinstance(label, str)], return_counts=True)
    return [labels == name for name, n in zip(names, counts, strict=True) if n >= SUSPECTED * found.sum()]


def best_limit(p_values: Floats, rate: float, cost: float, largest: float) -> tuple[float, float]:
    """The largest gain and the limit that yields it, at most `largest`; no gain where the voter may not speak."""
    ordered = np.sort(p_values)
    ordered = ordered[ordered <= largest]
    count, clean = np.arange(1, len(ordered) + 1), ordered * len(p_values)  # up to here; clean ones among them
    if not (clean <= rate * count).any():
        return 0.0, 0.0
    gain = count - (1 + cost) * clean
    return float(gain.max()), float(ordered[gain.argmax()])
