"""What must be reached, against the rows of the report split. Reads results only; decides nothing about a lot.

A case is a dataset × attack × rate × trusted share, and its figures are means over its seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

TABLES = {"fourclass", "breast_cancer", "ai4i2020", "diabetes", "house_prices", "wide_classes", "wide_targets"}
SEPARABLE = ("digits", "digits_two", "mnist_t10k", "mnist_two", "fourclass")
PLAIN_FLIPS = ("label_flip_random", "label_flip_pairwise")
FOUND_BY_CONTRACT = ("trusted_copy",)  # a flip by kind; no detector or peer gets to see it
PEERS_FOR_REGRESSION = ("trim", "sever", "duti")
WORKS = 0.5  # attack success on the raw lot from which on an attack counts as one that works
KEYS = ["dataset", "attack", "rate", "trusted"]
TWO_CLASSES = "two-class lots: "
TABLE_ROWS, TABLE_SECONDS = 20_000, 120


@dataclass(frozen=True)
class Goal:
    """One line: what is wanted, the best that was measured, and where it is weakest.

    Attributes:
        reached: None where the rows do not say.
        cases: how many cases, lots or datasets it rests on; short: how many of them fall short by themselves.
    """

    goal: str
    wanted: str
    measured: str
    reached: bool | None
    weakest: str
    cases: int = 0
    short: int = 0


def goal_table(rows: pd.DataFrame) -> list[Goal]:
    """Every goal that the rows say something about; see `every_goal`."""
    return [goal for goal in every_goal(rows) if goal.cases]


def every_goal(rows: pd.DataFrame) -> list[Goal]:
    """All goals, in the order in which they were set; those without rows rest on 0 cases.

    Args:
        rows: of the report split, with the columns of results.COLUMNS; lots that Lotgate refused among them.
    """
    rows = rows[rows["poisoned_trusted"] == 0]
    own = rows[rows["method"] == "lotgate"]
    poisoned = own[(own["attack"] != "none") & (own["rate"] >= 0.01)]
    targets = rows[(rows["classes"] == 0) & (rows["attack"] != "none")]
    return [
        *_detection(rows, ""),
        *_detection(rows[rows["classes"] == 2], TWO_CLASSES),
        _mean_f1("mean F1 over all attacks, ≥ 1% poison, 5% trusted", poisoned[poisoned["trusted"] == 0.05], 0.9, 0.0),
        _above("regression: F1 above TRIM, Sever and DUTI, on each case", targets, PEERS_FOR_REGRESSION),
        _above("regression: the same where these are told the share of poison", targets,
               tuple(f"{name}_told" for name in PEERS_FOR_REGRESSION)),
        *_cost_of_images(rows[~rows["dataset"].isin(TABLES)]),
        _cost_of_tables(own[own["dataset"].isin(TABLES)]),
    ]  # fmt: skip


def _detection(rows: pd.DataFrame, who: str) -> list[Goal]:
    own = rows[rows["method"] == "lotgate"]
    usual = own[(own["trusted"] == 0.2) & (own["rate"] >= 0.01) & (own["attack"] != "none")]
    dirty = usual[usual["kind"] == "backdoor"]
    clean_label = usual[(usual["kind"] == "clean_label_backdoor") & (usual["rate"] >= 0.03)]
    flips = rows[
        (rows["kind"] == "label_flip") & ~rows["attack"].isin(FOUND_BY_CONTRACT) & rows["rate"].between(0.05, 0.2)
    ]
    ours = flips[(flips["method"] == "lotgate") & (flips["trusted"] == 0.2)]
    planned = usual[~usual["attack"].isin(PLAIN_FLIPS)]
    return [
        _mean_f1(f"{who}mean F1, all attacks but plain label flips, ≥ 1% poison, 20% trusted", planned, 0.95, 0.8),
        _rates(f"{who}dirty-label backdoors at ≥ 1%: TPR at FPR", dirty, 0.97, 0.005),
        _rates(f"{who}clean-label backdoors at ≥ 3%: TPR at FPR", clean_label, 0.9, 0.01),
        _above(f"{who}label flips 5–20%: F1 above every peer on every set", flips, None),
        _mean_f1(f"{who}label flips 5–20%, separable sets: F1", ours[ours["dataset"].isin(SEPARABLE)], 0.95, 0.95),
        _ceiling(f"{who}label flips 5–20%, other sets: the best that any score allows",
                 flips[(flips["trusted"] == 0.2) & ~flips["dataset"].isin(SEPARABLE)]),
        _clean(f"{who}clean lots: quarantined share, worst lot; none rejected", own[own["attack"] == "none"]),
        _success(f"{who}attack success after the gate", own[own["attack_success_kept"].notna()]),
        _loss(f"{who}loss of clean accuracy against a perfect filter",
              own[own["clean_kept"].notna() & (own["classes"] > 0)]),
    ]  # fmt: skip


@cache
def _all_tried() -> dict[str, str]:
    return dict(yaml.safe_load(Path(__file__).with_name("tried.yaml").read_text(encoding="utf-8")))


def tried(goal: str) -> str:
    """What was tried towards a goal, from tried.yaml; empty where that says nothing. The longest beginning counts."""
    name = goal.removeprefix(TWO_CLASSES)
    beginnings = [start for start in _all_tried() if name.startswith(start)]
    return _all_tried()[max(beginnings, key=len)] if beginnings else ""


def _mean_f1(goal: str, rows: pd.DataFrame, mean: float, least: float) -> Goal:
    by = rows.groupby(KEYS)["f1"].mean().dropna()
    wanted = f"≥ {mean:g}" + (f", none below {least:g}" if least else "")
    if by.empty:
        return _unmeasured(goal, wanted)
    reached = by.mean() >= mean and by.min() >= least
    measured = f"{by.mean():.3f}, least {by.min():.3f}; median {by.median():.3f}"
    return Goal(goal, wanted, measured, bool(reached), _name(by.idxmin()), len(by), int((by < (least or mean)).sum()))


def _rates(goal: str, rows: pd.DataFrame, tpr: float, fpr: float) -> Goal:
    """Mean TPR over the cases and the worst FPR of any; `short` counts the cases that miss either."""
    by = rows.groupby(KEYS)[["tpr", "fpr"]].mean().dropna()
    wanted = f"≥ {tpr:g} at ≤ {fpr:g}"
    if by.empty:
        return _unmeasured(goal, wanted)
    short = (by["tpr"] < tpr) | (by["fpr"] > fpr)
    reached = by["tpr"].mean() >= tpr and by["fpr"].max() <= fpr
    measured = f"{by['tpr'].mean():.3f} at {by['fpr'].mean():.4f} (worst {by['tpr'].min():.3f}, {by['fpr'].max():.4f})"
    weakest = by["tpr"].idxmin() if by["tpr"].min() < tpr else by["fpr"].idxmax()
    return Goal(goal, wanted, measured, bool(reached), _name(weakest), len(by), int(short.sum()))


def _above(goal: str, rows: pd.DataFrame, peers: tuple[str, ...] | None) -> Goal:
    """Mean F1 over seeds against the best of these peers in each case; None: of all that are not told the rate."""
    chosen = rows["method"].isin(peers) if peers else ~rows["method"].str.endswith("_told")
    rivals = rows[(rows["family"] == "peer") & chosen]
    best = rivals.groupby([*KEYS, "method"])["f1"].mean().groupby(KEYS).max()
    ahead = (rows[rows["method"] == "lotgate"].groupby(KEYS)["f1"].mean() - best).dropna()
    if ahead.empty:
        return _unmeasured(goal, "all")
    won, level = int((ahead > 0).sum()), int((ahead == 0).sum())
    sets = ahead.groupby("dataset").mean()
    measured = f"above in {won} of {len(ahead)}" + (f", level in {level}" if level else "")
    measured += f"; in the mean on {int((sets > 0).sum())} of {len(sets)} sets; least lead {ahead.min():+.3f}"
    return Goal(goal, "all", measured, won == len(ahead), _name(ahead.idxmin()), len(ahead), len(ahead) - won)


def _ceiling(goal: str, rows: pd.DataFrame) -> Goal:
    """Against the best score of any method that lot and trusted rows allowed, cut where the truth says is best."""
    if rows.empty:
        return _unmeasured(goal, "the ceiling")
    known = rows[rows["family"].isin(["detector", "reporter", "peer"]) & ~rows["method"].str.endswith("_told")]
    best = known.groupby([*KEYS, "method"])["f1_best"].mean().groupby(KEYS).max()
    own = rows[rows["method"] == "lotgate"].groupby(KEYS)["f1"].mean()
    pair = pd.DataFrame({"own": own, "best": best}).dropna()
    if pair.empty:
        return _unmeasured(goal, "the ceiling")
    gap = pair["own"] - pair["best"]
    measured = f"{pair['own'].mean():.3f} of a ceiling of {pair['best'].mean():.3f}"
    reached = bool((gap >= 0).all())
    return Goal(goal, "the ceiling", measured, reached, _name(gap.idxmin()), len(pair), int((gap < 0).sum()))


def _clean(goal: str, rows: pd.DataFrame) -> Goal:
    """Every single clean lot; one that was refused counts as rejected."""
    wanted = "≤ 0.01, none rejected"
    if rows.empty:
        return _unmeasured(goal, wanted)
    turned_away = rows["decision"].isin(["reject", "refused"])
    judged = rows[rows["flagged_share"].notna()]
    share = judged["flagged_share"].max() if len(judged) else float("nan")
    by_set = judged.groupby("dataset")["flagged_share"].mean().max() if len(judged) else float("nan")
    measured = f"{share:.4f} at worst (mean of the worst dataset {by_set:.4f}), {int(turned_away.sum())} rejected"
    short = turned_away | (rows["flagged_share"] > 0.01)
    weakest = str(judged.loc[judged["flagged_share"].idxmax(), "case"]) if len(judged) else ""
    reached = not short.any() and len(judged) == len(rows)
    return Goal(goal, wanted, measured, reached, weakest, len(rows), int(short.sum()))


def _success(goal: str, rows: pd.DataFrame) -> Goal:
    wanted = "≤ 0.03"
    if rows.empty:
        return _unmeasured(goal, wanted)
    by = rows.groupby(KEYS)[["attack_success_raw", "attack_success_kept", "attack_success_perfect"]].mean()
    kept, perfect = by["attack_success_kept"], by["attack_success_perfect"]
    beyond = (kept - perfect).max()  # some triggers make any model see the target, as noise does of two steel defects
    works = by["attack_success_raw"] >= WORKS
    measured = (
        f"{kept.max():.3f} at worst, {kept.mean():.3f} on average; beyond a perfect filter {beyond:+.3f} at worst; "
        f"{int(works.sum())} of these attacks work unfiltered (success {WORKS:g} or more): of them "
        f"{kept[works].max():.3f} at worst, {kept[works].mean():.3f} on average"
    )
    short = int((kept > 0.03).sum())
    return Goal(goal, wanted, measured, short == 0, _name(kept.idxmax()), len(by), short)


def _loss(goal: str, rows: pd.DataFrame) -> Goal:
    wanted = "≤ 0.005"
    if rows.empty:
        return _unmeasured(goal, wanted)
    by = rows.groupby(KEYS)[["clean_kept", "clean_perfect"]].mean()
    loss = by["clean_perfect"] - by["clean_kept"]
    error = loss.std() / max(len(loss), 1) ** 0.5
    measured = f"{loss.max():+.4f} at worst, {loss.mean():+.4f} ± {error:.4f} on average"
    reached = bool((loss <= 0.005).all())
    return Goal(goal, wanted, measured, reached, _name(loss.idxmax()), len(by), int((loss > 0.005).sum()))


def cost_in_trainings(rows: pd.DataFrame) -> pd.DataFrame:
    """By dataset, means over the lots whose training was priced: seconds of scan, of De-Pois and of one training.

    `scan` (De-Pois included; none where it was not asked) and `without_de_pois` are multiples of one training of the
    downstream model on the same lot, `memory` of the resident memory that it takes.
    """
    own = rows[(rows["method"] == "lotgate") & rows["training_seconds"].notna() & rows["seconds"].notna()]
    critic = rows[(rows["method"] == "de_pois") & rows["seconds"].notna()].drop_duplicates("case").set_index("case")
    columns = ["seconds", "peak_mb", "training_seconds", "training_mb"]
    priced = own.astype(dict.fromkeys(columns, float))
    # `seconds` of Lotgate leave out detectors that only report, De-Pois among them
    priced["de_pois_seconds"] = priced["case"].map(critic["seconds"]).astype(float)
    priced["scan"] = (priced["seconds"] + priced["de_pois_seconds"]) / priced["training_seconds"]
    priced["without_de_pois"] = priced["seconds"] / priced["training_seconds"]
    priced["memory"] = priced["peak_mb"] / priced["training_mb"]
    shown = [*columns, "de_pois_seconds", "scan", "without_de_pois", "memory"]
    return priced.groupby("dataset")[shown].mean()


def _cost_of_images(rows: pd.DataFrame) -> list[Goal]:
    goals = {
        ("a whole scan, De-Pois included", "scan"): 1.0,
        ("a whole scan without De-Pois", "without_de_pois"): 0.2,
    }
    known = "training_seconds" in rows and rows["training_seconds"].notna().any()
    by = cost_in_trainings(rows) if known else pd.DataFrame()
    return [_cost(f"images: {words}, in trainings of the downstream model", by.get(column), limit)
            for (words, column), limit in goals.items()]  # fmt: skip


def _cost(goal: str, by: pd.Series[float] | None, limit: float) -> Goal:
    by = None if by is None else by.dropna()
    if by is None or by.empty:
        return _unmeasured(goal, f"≤ {limit:g}")
    measured, short = f"{by.max():.3f} at worst, {by.mean():.3f} on average", int((by > limit).sum())
    return Goal(goal, f"≤ {limit:g}", measured, short == 0, str(by.idxmax()), len(by), short)


def _cost_of_tables(rows: pd.DataFrame) -> Goal:
    """The slowest lot of at least the size that was asked for; where there is none, only a miss can be read off."""
    goal, wanted = f"tables: {TABLE_ROWS:,} rows × 50 columns, a whole scan", f"≤ {TABLE_SECONDS} s"
    if rows.empty or "seconds" not in rows or rows["seconds"].isna().all():
        return _unmeasured(goal, wanted)
    large = rows[(rows["n"] >= TABLE_ROWS) & rows["seconds"].notna()]
    known = large if len(large) else rows
    slowest = known.loc[known["seconds"].idxmax()]
    size = f"{slowest['n']:,.0f} rows in {slowest['seconds']:.0f} s"
    measured = size if len(large) else f"not measured at that size; slowest table here {size}"
    slow = known["seconds"] > TABLE_SECONDS
    reached = False if slow.any() else (True if len(large) else None)
    return Goal(goal, wanted, measured, reached, str(slowest["case"]), len(known), int(slow.sum()))


def _unmeasured(goal: str, wanted: str) -> Goal:
    return Goal(goal, wanted, "not measured yet", None, "")


def _name(key: object) -> str:
    """A dataset's name, or a case's parts: `digits patch, 5% planted, 20% trusted`."""
    if isinstance(key, str):
        return key
    dataset, attack, rate, trusted = key  # type: ignore[misc]
    return f"{dataset} {attack}, {rate:.3g} planted, {trusted:.3g} trusted"
