"""A backdoor for tables: a rare value in one or two columns."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from lotgate.attacks.attack import (
    TABLES,
    Attack,
    Kind,
    Labels,
    Planted,
    as_lot,
    choose,
    class_count,
    mask_of,
    planted_count,
)
from lotgate.data import FloatArray, Modality
from lotgate.errors import SettingsError


class TableTrigger(Attack):
    """Rows of other classes get fixed rare values in a few columns and the label `target`.

    Source: Gu et al. 2017, "BadNets", carried over to tables as in Severi et al. 2021, "Explanation-guided backdoor
    poisoning attacks against malware classifiers" (features chosen here by the number of different values, not by
    explanations).

    Attributes:
        columns: which columns carry the trigger; empty: the `count` columns with the most different values.
        values: the value of each; empty: halfway between the `quantile` of the column and its largest value, which
            stays inside the range that a check of ranges would allow. `Planted.attack` has both filled in.
        count: number of columns where none are named.
        quantile: how rare the value is.
    """

    name: ClassVar[str] = "table_trigger"
    modalities: ClassVar[frozenset[Modality]] = TABLES
    kind: ClassVar[Kind] = "backdoor"
    has_trigger: ClassVar[bool] = True

    columns: tuple[Annotated[int, Field(ge=0)], ...] = ()
    values: tuple[float, ...] = ()
    count: Annotated[int, Field(ge=1)] = 2
    quantile: Annotated[float, Field(ge=0.5, lt=1)] = 0.995

    def plant(self, x: FloatArray, y: Labels, rng: np.random.Generator, n_classes: int | None = None) -> Planted:
        x, y = as_lot(x, y, self)
        goal = self.goal(y, class_count(y, n_classes, self))
        attack = self._filled_in(x)
        rows = choose(goal >= 0, planted_count(self, len(x)), rng, self)
        x[rows] = attack.trigger(x[rows], rng)
        y[rows] = goal[rows]
        return Planted(x, y, mask_of(rows, len(x)), attack, np.zeros(len(x), bool))

    def trigger(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Test rows with the trigger.

        Raises:
            SettingsError: columns or values are not known yet; `Planted.attack` knows them.
        """
        if not self.columns or len(self.values) != len(self.columns):
            raise SettingsError(
                "the values of the trigger depend on the lot and are not known here",
                where=f"{self.name}.values",
                action="call trigger on the attack that plant returned, or give columns and values",
            )
        out = x.astype(np.float32, copy=True)
        out[:, list(self.columns)] = np.asarray(self.values, np.float32)
        return out

    def _filled_in(self, x: FloatArray) -> TableTrigger:
        columns = self.columns or tuple(_varied_columns(x, self.count))
        if max(columns) >= x.shape[1] or (self.values and len(self.values) != len(columns)):
            raise SettingsError(
                f"columns {columns} and values {self.values} do not fit a table of {x.shape[1]} columns",
                where=self.name,
                action="name columns that exist and one value for each",
            )
        rare = [(float(np.quantile(x[:, c], self.quantile)) + float(x[:, c].max())) / 2 for c in columns]
        return self.model_copy(update={"columns": columns, "values": self.values or tuple(rare)})


def _varied_columns(x: FloatArray, count: int) -> list[int]:
    different = [len(np.unique(column)) for column in x.T]
    return [int(c) for c in np.argsort(different, kind="stable")[::-1][:count]]
