"""The numbers of the contract that a user may turn."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from lotgate.policy import Rate


class ContractSettings(BaseModel):
    """What a lot must keep to before any model sees it.

    Every limit on a population measure (from `max_missing_excess` on) applies to what remains after sampling noise is
    taken off (`noise_deviations`), so that a random split of one clean population passes whatever its size.

    Attributes:
        min_rows_per_class: usable rows that each class of the trusted set must have in the lot.
        max_defect_rate: share of the lot that may be unreadable; those rows are quarantined.
        max_unknown_label_rate: share of the lot that may lack a label or carry one unknown to the trusted set.
        max_unknown_class_rate: above this share of the lot (and `min_rows_per_class` rows) one unknown label is not a
            few slips but a whole class that the trusted set does not know: the lot is rejected.
        max_format_rate: share of images whose size, channels or bit depth never occur in the trusted set.
        max_duplicate_rate: share of exact further copies above which a reader is warned.
        max_conflict_rate: share of rows whose content carries two labels, in the lot or against the trusted set.
        value_range_tolerance: a value is a fault of its row beyond the trusted range widened on both sides by this
            many times its width (a wrong unit, an overflow), not merely because it is the largest so far; beyond more
            where trusted rows are as far from one another (lotgate.contract.ranges).
        regression_conflict_tolerance: two targets of one content disagree when they differ by more than this share of
            the range of the trusted targets.
        max_missing_excess: rise or fall of a column's missing rate against the trusted set.
        max_range_excess: share of a column's values outside the trusted range, or of its categories unseen there, or of
            values where trusted rows have only one, or none, or never the same twice.
        max_label_drift: distance between the label distributions of lot and trusted set: total variation of class
            shares, or Kolmogorov-Smirnov of targets. Trusted sets are often balanced on purpose: only extremes reject.
        min_drift_p_value: below this p-value the same drift is reported as a warning.
        noise_deviations: standard deviations of sampling noise granted to each population measure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_rows_per_class: Annotated[int, Field(ge=1)] = 5
    max_defect_rate: Rate = 0.1
    max_unknown_label_rate: Rate = 0.05
    max_unknown_class_rate: Rate = 0.01
    max_format_rate: Rate = 0.1
    max_duplicate_rate: Rate = 0.05
    max_conflict_rate: Rate = 0.2
    value_range_tolerance: Annotated[float, Field(ge=0, le=1e6)] = 3.0
    regression_conflict_tolerance: Rate = 0.1
    max_missing_excess: Rate = 0.1
    max_range_excess: Rate = 0.2
    max_label_drift: Rate = 0.5
    min_drift_p_value: Rate = 0.001
    noise_deviations: Annotated[float, Field(ge=0, le=100)] = 4.0

    def unknown_class_limit(self, rows: int) -> int:
        """Most rows that one unknown label may have in a lot of this many rows."""
        return max(self.min_rows_per_class - 1, int(self.max_unknown_class_rate * rows))
