"""Columns that no model looks at, because trusted rows say nothing with them: one value, none, or a new one each time.

They are delivered with the lot all the same, so what the lot does there is for the contract to see: rows that hold
something where every trusted row holds one thing, or nothing; values that come again where no trusted one does.

Where most of the lot departs, that is how lots are now: a new batch number in all rows tells none of them from another.
Then only rows that depart from both, the trusted set and the lot's own habit, are held against it; where the lot has no
habit, none are, and the measure of the lot says so.

One value says little in a table that is full of rare ones (a column for each of many options): there, a lot always has
some that few trusted rows lack. How full it is, trusted rows tell of each other, each against all the rest; and in how
many such columns one row departs. Rows that depart in far more are strangers, and say nothing of the others.

One value of a few dozen trusted rows says little in any table: what one clean row in thirty holds, they often lack. But
what is planted there serves a label. So below SETTLED_ROWS departing rows must share their label, or be too many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom, hypergeom, poisson

from lotgate.contract.columns import INFORMATIVE_ROWS, NATURAL_RATE, Mask, feature_names, raw_columns, raw_names
from lotgate.data import Dataset
from lotgate.ingest.encoding import FEWEST_FOR_IDENTIFIER, NUMBERS, kind_of_column
from lotgate.ingest.intake import MISSING
from lotgate.ingest.labels import as_numbers, as_text

Counts = npt.NDArray[np.int64]
Targets = npt.NDArray[np.float64]
Habit = Literal["constant", "void", "distinct"]
#: Share of a lot's rows beyond which departing is what the lot does.
MOSTLY = 0.2
#: Probability, over all such columns, that more rows depart from a rule than a clean lot's do.
DEPARTURE_RISK = 1e-3
#: Trusted rows from which on what none of them does at most NATURAL_RATE of clean rows do (rule of three, 95%).
SETTLED_ROWS = 300
#: Share of departing rows that have one label, or targets within ALIKE_SPAN of the lot's, if these are why they depart.
ALIKE = 0.9
ALIKE_SPAN = 0.2
#: Probability, over all such columns and labels, that departing rows are so alike by chance.
ALIKE_RISK = 0.01
#: Times as many columns as any trusted row departs in, beyond which a row is a stranger.
STRANGE = 3
#: Probability, over all rows, that values which come again by chance are called repeated.
REPETITION_RISK = 1e-6


@dataclass(frozen=True, eq=False)
class IdleColumn:
    """What a lot does in one such column.

    Attributes:
        name: of the column. habit: what trusted rows do there.
        usual: the one value, as text; "" unless `habit` is "constant".
        suspect: (N,) the lot's values as text, "" where missing.
        departs: (N,) True where the lot's value is not as the habit has it.
        told: (N,) True where that is held against the row; nowhere if most of the lot departs.
    """

    name: str
    habit: Habit
    usual: str
    suspect: pd.Series
    departs: Mask
    told: Mask

    def reasons(self) -> Iterator[tuple[int, str]]:
        """Position and words of every row that its value is held against."""
        times = self.suspect.value_counts()
        for index in np.flatnonzero(self.told):
            value = self.suspect.iloc[index]
            rule = f"but {self._rule} in every trusted row"
            if self.habit == "distinct":
                rule = f"as in {times[value] - 1} other rows; no two trusted rows have the same"
            yield int(index), f"{self.name} is {repr(value) if value else 'missing'}, {rule}"

    @property
    def note(self) -> str:
        """The departures as a whole, in words."""
        share = f"{self.departs.mean():.1%}"
        if self.habit == "distinct":
            return f"{share} come again, where no two trusted rows have the same"
        return f"{share} are not {self._rule}, as in every trusted row"

    @property
    def _rule(self) -> str:
        return "missing" if self.habit == "void" else repr(self.usual)


def idle_columns(suspect: Dataset, trusted: Dataset) -> tuple[IdleColumn, ...]:
    """Every column that was dropped because of what trusted rows hold there; none for images."""
    shared = raw_names(suspect) & raw_names(trusted)
    dropped = [e for e in trusted.encoding if e.get("kind") == "dropped" and e.get("why") != "ignored"]
    names = [str(entry["column"]) for entry in dropped if entry["column"] in shared]
    if not names:
        return ()
    ours = raw_columns(suspect, names)
    theirs = raw_columns(trusted, [*names, *(name for name in feature_names(trusted) if name in shared)])
    columns = [c for c in (_compare(name, ours[name], theirs[name]) for name in names) if c is not None]
    ruled = [column for column in columns if column.habit != "distinct"]
    held = dict(zip((c.name for c in ruled), _held(ruled, suspect, len(trusted), _lone(theirs)), strict=True))
    return tuple(replace(column, told=held.get(column.name, column.told)) for column in columns)


def _held(ruled: list[IdleColumn], suspect: Dataset, vetted: int, lone: Counts) -> list[Mask]:
    """(N,) each, the rows that a rule is held against, as far as so many trusted rows make a rule of one value."""
    if vetted < INFORMATIVE_ROWS or _full_of_rare_values(int((lone > 0).sum()), vetted):
        often = STRANGE * lone.max(initial=0)
        strangers = np.sum([np.zeros(len(suspect)), *(column.departs for column in ruled)], axis=0) > often
        return [_told(column.departs, strangers, vetted, len(ruled)) for column in ruled]
    if vetted < SETTLED_ROWS:
        return [column.told & _meant(column.departs, suspect, vetted, len(ruled)) for column in ruled]
    return [column.told for column in ruled]


def _meant(departs: Mask, suspect: Dataset, vetted: int, rules: int) -> bool:
    """Whether so many rows depart, or with outcomes so alike, that the trusted rows' few are no excuse for them."""
    outcomes = suspect.y[departs]
    alike = _one_label(suspect.y, outcomes) if suspect.task == "classification" else _near_targets(suspect.y, outcomes)
    return alike * rules <= ALIKE_RISK or _beyond_chance(departs, vetted, rules)


def _one_label(everyone: Counts, departing: Counts) -> float:
    """Probability that rows drawn from the lot all but have one label, as (k,) departing class indices do; else 1."""
    labels, counts = np.unique(departing[departing >= 0], return_counts=True)
    if counts.max(initial=0) < max(ALIKE * len(departing), 1):
        return 1.0
    due = int((everyone == labels[counts.argmax()]).sum())
    chance = hypergeom.sf(counts.max() - 1, len(everyone), due, len(departing))
    return float(chance * len(np.unique(everyone[everyone >= 0])))


def _near_targets(everyone: Targets, departing: Targets) -> float:
    """Probability that so many of (k,) targets lie within ALIKE_SPAN of the lot's, by rank, as these do; else 1."""
    near = math.ceil(ALIKE * len(departing))
    if near < 2 or np.isnan(departing).any():
        return 1.0
    ranks = np.sort(np.searchsorted(np.sort(everyone), departing, side="left") / len(everyone))
    if (ranks[near - 1 :] - ranks[: len(ranks) - near + 1]).min() > ALIKE_SPAN:
        return 1.0
    return float(len(departing) * binom.sf(near - 2, len(departing) - 1, ALIKE_SPAN))


def _told(departs: Mask, strangers: Mask, vetted: int, rules: int) -> Mask:
    """(N,) of the rows that depart from a rule in a table full of rare values, those that it is held against: all of
    them where too many do, strangers left aside; those alone where they are too many; else none.
    """
    for rows, told in ((departs & ~strangers, departs), (departs, departs & strangers)):
        if _beyond_chance(rows, vetted, rules):
            return told
    return np.zeros(len(departs), bool)


def _compare(name: str, ours: pd.Series, theirs: pd.Series) -> IdleColumn | None:
    """The column, all departures told; None for an index column that says something after all."""
    texts, vetted = (as_text(values).replace(dict.fromkeys(MISSING, "")).fillna("") for values in (ours, theirs))
    present = vetted[vetted != ""]
    whole = len(present) == len(vetted)
    habit: Habit
    if present.empty:
        habit, departs = "void", _besides_own_habit(texts, (texts != "").to_numpy(dtype=bool))
    elif whole and present.nunique() == 1:
        habit, departs = "constant", _besides_own_habit(texts, _differs(ours, theirs))
    elif FEWEST_FOR_IDENTIFIER <= len(present) == present.nunique():
        habit, departs = "distinct", _repeated(texts, len(present)) & (whole | (texts != "").to_numpy(dtype=bool))
    else:
        return None
    usual = present.iloc[0] if habit == "constant" else ""
    return IdleColumn(name, habit, usual, texts, departs, departs & (departs.mean() <= MOSTLY))


def _besides_own_habit(texts: pd.Series, departs: Mask) -> Mask:
    """(N,) of the departing rows, those that do not hold what nearly all of the lot holds."""
    times = texts[departs].value_counts()
    if times.empty or times.iloc[0] < (1 - MOSTLY) * len(texts):
        return departs
    return np.asarray(departs & (texts != times.index[0]).to_numpy(dtype=bool))


def _differs(ours: pd.Series, theirs: pd.Series) -> Mask:
    """(N,) which values are not the one of all trusted rows; a missing one is none of them."""
    if kind_of_column(theirs) in NUMBERS:
        numbers, bad = as_numbers(ours)
        differ = bad | (numbers != as_numbers(theirs)[0].iloc[0])
    else:
        differ = as_text(ours) != as_text(theirs).iloc[0]
    return np.asarray(differ, dtype=bool)


def _repeated(texts: pd.Series, vetted: int) -> Mask:
    """(N,) which values come more often than even values that do repeat would, if trusted rows just showed none twice.

    Of the m (m − 1) / 2 pairs of trusted values none is equal, so equal pairs are at most 3 in that number (rule of
    three, 95%); a value then has about as many others like it as a Poisson variable with n − 1 times that rate.
    """
    n, counts = len(texts), texts.map(texts.value_counts()).to_numpy(dtype=np.int64)
    others = poisson.sf(counts - 2, 3 / (vetted * (vetted - 1) / 2) * (n - 1))
    repeated: Mask = (counts > 1) & (others * n < REPETITION_RISK)
    return repeated


def _full_of_rare_values(alone: int, vetted: int) -> bool:
    """Whether more than NATURAL_RATE of such rows hold one; of few trusted rows, a single one says so already."""
    return alone > 0 and (alone + 0.5) / (vetted + 1) > NATURAL_RATE


def _lone(trusted: pd.DataFrame) -> Counts:
    """(n,) in how many columns each row holds the only other value, and would depart from what all the rest have."""
    lone = np.zeros(len(trusted), np.int64)
    for name in trusted.columns:
        codes, values = pd.factorize(trusted[name], use_na_sentinel=False)
        counts = np.bincount(codes, minlength=len(values))
        if len(counts) == 2 and counts.min() == 1:
            lone += codes == counts.argmin()
    return lone


def _beyond_chance(departs: Mask, vetted: int, rules: int) -> bool:
    """Whether some of so many departing rows would be trusted ones, had chance dealt them to lot and trusted set.

    A Bonferroni bound over all columns with a rule.
    """
    none = hypergeom.pmf(0, len(departs) + vetted, int(departs.sum()), vetted)
    return bool(none * rules <= DEPARTURE_RISK)
