"""Shared value: rows of a class with the same value of a column, which no trusted row has and nothing else explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.ensemble import HistGradientBoostingClassifier

from lotgate.data import Batch, Dataset, FloatArray, Pool, fold_of
from lotgate.detector import Detector, Evidence, EvidenceScorer, Scorer, Scores
from lotgate.groups import APART, contradicted
from lotgate.ingest.encoding import as_it_came
from lotgate.mixtures import Mask, one_thread
from lotgate.repeats import Repeat, columns_besides, repeats

FOLDS = 2
SALT = "repeats:"
MOST = 20  # sets of rows that are looked into, what says most first
NEARLY = 0.95  # of the rows of a repeat that other columns contradict: clean rows share its value where it is less


class SharedValue(Detector):
    """Values that come again and again under one label: does any other column of those rows speak for it?

    Catches:
        Backdoors of tables: one or a few columns set to a fixed value inside their range, under one label, also in
        lots whose trusted rows are few; rows that were copied many times.
    Misses:
        Triggers that vary from row to row, that lie in columns of fewer than 40 different values (codes, categories),
        that are fewer than four rows, that come as often under every label, or that sit on rows which belong to the
        label anyway, unless there are so many that trusted rows should have some, or that other rows of the lot have
        about as often; label flips.
    Assumes:
        Columns of many different values are measured: a value comes about as often as those next to it. Trusted rows of
        each class are drawn like the clean rows of the lot; where they are not (lotgate.shift), what is new in it comes
        to all its classes alike, and no batch is of one class.
    Method:
        Each column of lot and trusted rows with 40 different values or more → its values, and how many times as often
        as the 20 around it each comes (loudness). A value that at least four rows of the lot and one class have, and
        trusted rows of that class at most three tenths as often as their number lets expect, is a repeat, unless its
        share in all other rows explains that they are so many (binomial, p > .01: a round number, a limit), or other
        classes of the lot have it about as often (hypergeometric, p > .01: a batch that trusted rows do not know):
        p_size = P(Bin(n_t, π) ≤ k), π its share of the lot's rows of the class and k of the n_t trusted ones;
        p_loud: of the loudness, calibrated (lotgate.calibration) on the column's values that are no repeats; those with
        p_loud ≤ .01 are looked into. A value that is as loud in all other rows, four of them or more, is usual (signals
        at their limit): p_loud = 1, and its size alone accuses nobody.
        p = P(χ²₄ ≥ −2 ln p_size − 2 ln p_loud) (Fisher), times the m values, of all columns and classes, that so many
        rows have, where p_size ≤ .01; times m / 100 where the other columns contradict the label; else 1. The other
        columns contradict if boosted trees, trained outside the row's fold on rows without the repeat and without its
        column and every other in which its rows nearly all share a value, prefer another label for most of the rows,
        oftener than for trusted rows of the class (p ≤ .01; so the hundred). Where they contradict fewer than 95%,
        clean rows have the value, too, and only contradicted ones are accused. Defaults and limits that mean
        something agree with the other columns.
        A row scores −log₁₀ of the least p of the repeats it is in.
    Cost:
        A sort a column, and two small ensembles of trees for each set of rows that is looked into, at most 20: half a
        second each for 5,000 rows.
    Source:
        Own. Groups over-represented in the untrusted rows: Tang et al., USENIX Security 2021 (SCAn), section 4.
    Differs:
        From SCAn: groups by an exact value instead of a network's features.
    """

    name: ClassVar = "shared_value"
    modalities: ClassVar = frozenset({"table"})
    tasks: ClassVar = frozenset({"classification"})
    needs: ClassVar = frozenset({"trusted", "crossfit"})
    reason: ClassVar = "it has exactly the same value of a column as other rows of its class, and no trusted row has it"

    trees: Annotated[int, Field(ge=1, le=1000)] = 60
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.005

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> Scorer:
        self.require(evidence)
        rows = _rows(evidence.suspect, evidence.vetted)
        found, asked = repeats(rows.x, rows.y, rows.trusted)
        with one_thread():
            accused = [self._accused(shared, asked, rows, rng) for shared in _by_rows(found)[:MOST]]
        groups = tuple(group for found in accused for group in found)
        notes = tuple(_note(group, rows, evidence.suspect) for group in groups if group.p <= self.rate)
        return SharedValueScorer(groups, notes, rate=self.rate)

    def _accused(self, shared: Sequence[Repeat], asked: int, rows: Rows, rng: np.random.Generator) -> list[Accused]:
        """Of repeats that have the same rows those that their size alone or the other columns make credible.

        Args:
            asked: values that were asked about.
        """
        if shared[0].p_size <= APART and not shared[0].usual:
            return [Accused(r.column, r.value, r.c, min(1.0, asked * r.p_value), None) for r in shared]
        others = self._others(shared[0], rows, rng)
        wrong = others.deny(rows)
        inside, known = wrong[shared[0].rows], wrong[rows.trusted & (rows.y == shared[0].c)]
        if not contradicted(inside, known):
            return []
        paid, clean_among_them = APART * asked, inside.mean() < NEARLY
        return [
            Accused(r.column, r.value, r.c, min(1.0, paid * r.p_value), others if clean_among_them else None)
            for r in shared
        ]

    def _others(self, repeat: Repeat, rows: Rows, rng: np.random.Generator) -> Others:
        """Models that know neither the rows of the repeat nor the columns that these share a value of."""
        rest, models = columns_besides(rows.x, repeat), []
        for f in range(FOLDS):
            seen = (rows.fold != f) & ~repeat.rows
            if not len(rest) or len(np.unique(rows.y[seen])) < 2:
                return Others(rest, ())
            seed = int(rng.integers(2**31 - 1))
            model = HistGradientBoostingClassifier(max_iter=self.trees, random_state=seed, early_stopping=False)
            models.append(model.fit(rows.x[np.ix_(seen, rest)], rows.y[seen]))
        return Others(rest, tuple(models))


class Rows(NamedTuple):
    """x (N, F) as encoded, y (N,) classes, fold (N,), trusted (N,)."""

    x: FloatArray
    y: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    trusted: Mask


@dataclass(frozen=True, eq=False)
class Others:
    """What the other columns say.

    Attributes:
        columns: their indices. models: one for each fold, which has not seen the rows in it; none where nothing is left
            to learn from.
    """

    columns: npt.NDArray[np.int64]
    models: tuple[HistGradientBoostingClassifier, ...]

    def deny(self, rows: Rows) -> Mask:
        """(N,) whether they prefer another label."""
        wrong = np.zeros(len(rows.y), bool)
        for f, model in enumerate(self.models):
            if (asked := rows.fold == f).any():
                wrong[asked] = model.predict(rows.x[np.ix_(asked, self.columns)]) != rows.y[asked]
        return wrong


class Accused(NamedTuple):
    """The rows of class c that have this value of a column, and their p-value.

    Attributes:
        others: where given, only rows that these deny are accused.
    """

    column: int
    value: float
    c: int
    p: float
    others: Others | None


@dataclass(frozen=True, eq=False)
class SharedValueScorer(EvidenceScorer):
    """A row is judged by the values that it has.

    Attributes:
        notes: which values these are, in words, the loudest first.
    """

    accused: tuple[Accused, ...]
    notes: tuple[str, ...] = ()

    def score(self, batch: Batch) -> Scores:
        p, rows = np.ones(len(batch)), Rows(batch.x, batch.y, _fold(batch.ids), np.zeros(len(batch), bool))
        for group in self.accused:
            inside = (batch.x[:, group.column] == np.float32(group.value)) & (batch.y == group.c)
            if group.others is not None:
                inside &= group.others.deny(rows)
            p[inside] = np.minimum(p[inside], group.p)
        return np.asarray(-np.log10(np.maximum(p, 1e-300))) + 0.0


def _note(group: Accused, rows: Rows, suspect: Dataset) -> str:
    """The column, its value as it came, and how many samples of which class have it."""
    name = suspect.features[group.column]
    value = as_it_came(suspect.encoding, name, group.value)
    alike = (rows.x[:, group.column] == np.float32(group.value)) & (rows.y == group.c) & ~rows.trusted
    return f"{name} is {value} in {alike.sum():,} samples of {suspect.classes[group.c]}"


def _by_rows(found: Sequence[Repeat]) -> list[list[Repeat]]:
    """Repeats, those of the same rows together, what says most first: what fills twenty columns is looked into once."""
    together: dict[bytes, list[Repeat]] = {}
    for repeat in sorted(found, key=lambda repeat: repeat.p_value):
        together.setdefault(repeat.rows.tobytes(), []).append(repeat)
    return list(together.values())


def _rows(suspect: Dataset, vetted: Sequence[Dataset]) -> Rows:
    parts = (suspect, *vetted)
    x, y = Pool(parts).take(np.arange(sum(map(len, parts))))
    return Rows(x, y, _fold(np.concatenate([part.ids for part in parts])), np.arange(len(y)) >= len(suspect))


def _fold(ids: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    return fold_of(ids, FOLDS, SALT)
