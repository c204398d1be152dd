"""What the report rows say of one detector, and whether it earns its place. Reads results only."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from benchmarks.detection.goals import TABLES
from lotgate.policy import Policy

KINDS = ("images", "tables", "regression")
CASE = ["dataset", "attack", "rate", "trusted", "poisoned_trusted"]
RATE, TRUSTED = 0.05, 0.2
HALF = 0.5
LEAD = 0.1
RULE = (
    f"A detector earns its place if, in at least one case (dataset × attack × rate × trusted share), it alone finds "
    f"half of the poison in most seeds, or its mean F1 is at least {HALF:g} and {LEAD:g} above that of every other "
    f"voter, or the gate's mean F1 falls by {LEAD:g} when its vote is left out; if over all cases the gate's F1 does "
    f"not rise when its vote is left out; and if it flags no more of clean lots than the policy ever lets a voter "
    f"quarantine ({Policy().false_quarantine_rate:g})."
)


@dataclass(frozen=True, eq=False)
class Standing:
    """A detector's part of the report rows.

    Attributes:
        rows: its rows, with the columns `lots` (one of KINDS) and `share` (of the scan's seconds).
        failed: lots on which it gave no answer.
        usual: of `rows`, poisoned lots at RATE and TRUSTED. clean: of `rows`, lots without poison.
        poisoned: how many poisoned lots it judged. alone: of these, where it flags HALF of the poison or more and no
            other voter does.
        cases: how many poisoned cases it judged; carried: those that it is alone in, in more than half of their seeds;
            led: those where its mean F1 is HALF or more, and LEAD above every other voter's.
        worth: by case, the gate's mean F1 less what it is without this vote; only where that was measured.
    """

    rows: pd.DataFrame
    failed: int
    usual: pd.DataFrame
    clean: pd.DataFrame
    poisoned: int
    alone: pd.DataFrame
    cases: int
    carried: int
    led: int
    worth: pd.Series[float]

    @property
    def earns(self) -> bool | None:
        """See RULE; None where it is not measured."""
        return not self.short_of() if len(self.clean) and self.poisoned else None

    def short_of(self) -> list[str]:
        """Why it does not earn its place, as clauses; none where it does. For a detector that is measured."""
        limit, share = Policy().false_quarantine_rate, self.clean["flagged_share"].mean()
        needed = self.carried or self.led or (self.worth >= LEAD).any()
        reasons = [] if needed else [f"the other voters do as well in each of {self.cases} cases"]
        if self.worth.mean() < 0:
            reasons.append(f"without its vote the gate's mean F1 is {-self.worth.mean():.4f} higher")
        return reasons + ([f"it flags {share:.4f} of clean lots, more than {limit:g}"] if share > limit else [])


def kinds_of_lots(rows: pd.DataFrame) -> pd.Series[str]:
    """One of KINDS for each row."""
    kinds = [
        "images" if dataset not in TABLES else "regression" if classes == 0 else "tables"
        for dataset, classes in zip(rows["dataset"], rows["classes"], strict=True)
    ]
    return pd.Series(kinds, index=rows.index, dtype="str")


def standing(rows: pd.DataFrame, name: str) -> Standing:
    """What the report rows know of one detector; voters are those that voted when they were measured."""
    rows = rows.assign(lots=kinds_of_lots(rows))
    of_detector = rows[(rows["method"] == name) & rows["family"].isin(["detector", "reporter"])]
    scans = rows[rows["method"] == "lotgate"].drop_duplicates("case").set_index("case")
    own = of_detector[of_detector["n"].notna()]
    own = own.assign(share=pd.to_numeric(own["seconds"]) / pd.to_numeric(own["case"].map(scans["seconds"])))
    others = rows[(rows["family"] == "detector") & (rows["method"] != name)]
    honest = own[own["poisoned_trusted"] == 0]
    poisoned = own[own["n_planted"] > 0]
    found_by_others = poisoned["case"].map(others.groupby("case")["tpr"].max()) >= HALF
    alone = poisoned[(poisoned["tpr"] >= HALF) & ~found_by_others]
    seeds = poisoned.groupby(CASE).size()
    f1, best = poisoned.groupby(CASE)["f1"].mean(), others.groupby([*CASE, "method"])["f1"].mean().groupby(CASE).max()
    ahead = f1 - best.reindex(f1.index).fillna(0.0)
    gate = pd.to_numeric(poisoned["case"].map(scans["f1"]))
    gate = gate.where(poisoned["case"].map(scans["code"]) == poisoned["code"])
    worth = poisoned.assign(worth=gate - pd.to_numeric(poisoned["f1_without"])).groupby(CASE)["worth"].mean()
    return Standing(
        rows=own,
        failed=len(of_detector) - len(own),
        usual=honest[(honest["attack"] != "none") & (honest["rate"] == RATE) & (honest["trusted"] == TRUSTED)],
        clean=honest[honest["attack"] == "none"],
        poisoned=len(poisoned),
        alone=alone,
        cases=len(seeds),
        carried=int((alone.groupby(CASE).size().reindex(seeds.index).fillna(0) > seeds / 2).sum()),
        led=int(((f1 >= HALF) & (ahead >= LEAD)).sum()),
        worth=worth.dropna(),
    )
