"""What must be reached, against the rows of the report split. Reads results only; decides nothing about a lot."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

SEPARABLE = ("digits", "mnist_t10k", "fourclass")
PEERS_FOR_REGRESSION = ("trim", "sever", "duti")


@dataclass(frozen=True)
class Goal:
    """One line: what is wanted, what was measured, and where it is weakest."""

    goal: str
    wanted: str
    measured: str
    reached: bool
    weakest: str


def goal_table(rows: pd.DataFrame) -> list[Goal]:
    """Every goal that the rows say something about."""
    rows = rows[rows["poisoned_trusted"] == 0]
    own = rows[rows["method"] == "lotgate"]
    usual = own[(own["trusted"] == 0.2) & (own["rate"] >= 0.01)]
    plain = ["label_flip_random", "label_flip_pairwise"]
    planned = usual[~usual["attack"].isin([*plain, "none"])]
    little = own[(own["trusted"] == 0.05) & (own["rate"] >= 0.01) & (own["attack"] != "none")]
    dirty = usual[usual["kind"] == "backdoor"]
    clean_label = usual[(usual["kind"] == "clean_label_backdoor") & (usual["rate"] >= 0.03)]
    flips = rows[(rows["kind"] == "label_flip") & rows["rate"].between(0.05, 0.2)]
    separable = usual[(usual["kind"] == "label_flip") & usual["dataset"].isin(SEPARABLE) & (usual["rate"] >= 0.05)]
    regression = rows[rows["kind"] == "regression"]
    found = [
        _mean_f1("mean F1, all attacks but plain label flips, ≥ 1% poison, 20% trusted", planned, 0.95, 0.8),
        _mean_f1("the same, two-class lots", planned[planned["classes"] == 2], 0.95, 0.8),
        _mean_f1("mean F1, 5% trusted", little, 0.9, 0.0),
        _rates("dirty-label backdoors at ≥ 1%: TPR at FPR", dirty, 0.97, 0.005),
        _rates("clean-label backdoors at ≥ 3%: TPR at FPR", clean_label, 0.9, 0.01),
        _mean_f1("label flips ≥ 5%, separable sets: F1", separable, 0.95, 0.95),
        _above("label flips 5–20%: F1 above every peer on every set", flips, None),
        _above("regression: F1 above TRIM, Sever and DUTI on each case", regression, PEERS_FOR_REGRESSION),
        _clean(own[own["attack"] == "none"]),
        _after(own[own["attack_success_kept"].notna()]),
    ]
    return [goal for goal in found if goal is not None]


def _mean_f1(goal: str, rows: pd.DataFrame, mean: float, least: float) -> Goal | None:
    if rows.empty:
        return None
    by = rows.groupby(["dataset", "attack", "rate"])["f1"].mean()
    reached = by.mean() >= mean and by.min() >= least
    wanted = f"≥ {mean:g}" + (f", none below {least:g}" if least else "")
    return Goal(goal, wanted, f"{by.mean():.3f}, least {by.min():.3f}", bool(reached), _name(by.idxmin()))


def _rates(goal: str, rows: pd.DataFrame, tpr: float, fpr: float) -> Goal | None:
    if rows.empty:
        return None
    by = rows.groupby(["dataset", "attack", "rate"])[["tpr", "fpr"]].mean()
    reached = by["tpr"].mean() >= tpr and by["fpr"].max() <= fpr
    measured = f"{by['tpr'].mean():.3f} at {by['fpr'].mean():.4f} (worst {by['tpr'].min():.3f}, {by['fpr'].max():.4f})"
    return Goal(goal, f"≥ {tpr:g} at ≤ {fpr:g}", measured, bool(reached), _name(by["tpr"].idxmin()))


def _above(goal: str, rows: pd.DataFrame, peers: tuple[str, ...] | None) -> Goal | None:
    """Mean F1 over seeds against the best peer, on each dataset × attack × rate; peers that are told the rate aside."""
    told = rows["method"].str.endswith("_told")
    rivals = rows[(rows["family"] == "peer") & ~told & (rows["method"].isin(peers) if peers else True)]
    keys = ["dataset", "attack", "rate", "trusted"]
    if rivals.empty:
        return None
    best = rivals.groupby([*keys, "method"])["f1"].mean().groupby(keys).max()
    ahead = (rows[rows["method"] == "lotgate"].groupby(keys)["f1"].mean() - best).dropna()
    won = int((ahead > 0).sum())
    measured = f"{won} of {len(ahead)}, least lead {ahead.min():+.3f}"
    return Goal(goal, "all", measured, won == len(ahead), _name(ahead.idxmin()))


def _clean(rows: pd.DataFrame) -> Goal | None:
    if rows.empty:
        return None
    worst, rejected = rows.loc[rows["flagged_share"].idxmax()], int((rows["decision"] == "reject").sum())
    measured = f"{worst['flagged_share']:.4f} at worst, {rejected} of {len(rows)} rejected"
    reached = worst["flagged_share"] <= 0.01 and rejected == 0
    return Goal("clean lots: quarantined share", "≤ 0.01, none rejected", measured, bool(reached), str(worst["case"]))


def _after(rows: pd.DataFrame) -> Goal | None:
    if rows.empty:
        return None
    by = rows.groupby(["dataset", "attack", "rate"])[["attack_success_kept", "clean_kept", "clean_perfect"]].mean()
    loss = (by["clean_perfect"] - by["clean_kept"]).mean()
    success = by["attack_success_kept"]
    measured = f"{success.mean():.3f} (worst {success.max():.3f}); {loss:+.4f} on average"
    reached = success.max() <= 0.03 and loss <= 0.005
    return Goal("attack success after the gate; loss of clean accuracy against a perfect filter", "≤ 0.03; ≤ 0.005",
                measured, bool(reached), _name(success.idxmax()))  # fmt: skip


def _name(key: object) -> str:
    return " ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in key)  # type: ignore[attr-defined]
