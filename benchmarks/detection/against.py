"""Lotgate against its peers on the same lots, and against those who know it. Reads results only."""

from __future__ import annotations

import pandas as pd

from benchmarks.detection.standing import CASE

CRAFTED = ("critic_evasion", "critic_evasion_wide", "adaptive_blend", "adaptive_patch", "trusted_copy")
WITH_OTHERS = ("slow_drip", "after_clean", "after_clean_tables")
AIMED_AT = ("de_pois", "activation_clustering", "spectral_signatures")


def lots_that_peers_judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each attack the lots that peers judged, so that means compare; all of them where peers judged none."""
    judged = rows["case"].isin(rows.loc[rows["family"] == "peer", "case"])
    return rows[judged | ~judged.groupby(rows["attack"]).transform("any")]


def where_a_peer_is_ahead(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Cases in which a peer that is not told the rate has a higher mean F1, and how many cases peers judged."""
    poisoned = rows[(rows["attack"] != "none") & ~rows["method"].str.endswith("_told")]
    own = poisoned[poisoned["method"] == "lotgate"].groupby(CASE)[["f1", "fpr"]].mean()
    peers = poisoned[poisoned["family"] == "peer"].groupby([*CASE, "method"])[["f1", "fpr"]].mean()
    best = peers.dropna().reset_index("method").sort_values("f1", ascending=False).groupby(level=CASE).head(1)
    both = own.join(best, rsuffix="_peer", how="inner").rename(columns={"method": "peer"})
    ahead = both[both["f1_peer"] > both["f1"]].assign(lead=lambda t: t["f1_peer"] - t["f1"])
    return ahead.sort_values("lead", ascending=False).reset_index(), len(both)


def attacks_on_the_gate(rows: pd.DataFrame) -> pd.DataFrame:
    """Spoiled trusted rows, lots with others before them, copies, and poison made against a detector, with the F1 of
    those aimed at."""
    part = rows[(rows["poisoned_trusted"] > 0) | rows["group"].isin(WITH_OTHERS) | rows["attack"].isin(CRAFTED)]
    own = part[part["method"] == "lotgate"].groupby(CASE)
    table = own[["tpr", "fpr", "f1", "context_tpr", "context_fpr"]].mean().join(own.size().rename("lots"))
    for detector in AIMED_AT:
        table[f"{detector} f1"] = part[part["method"] == detector].groupby(CASE)["f1"].mean()
    return table.reset_index()
