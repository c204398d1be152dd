"""The figures that README quotes, straight from the committed rows. Reads results only.

It holds pairs of marks, `<!-- quote NAME -->` and `<!-- end of quote -->`; what stands between them is written here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.detection.against import where_a_peer_is_ahead
from benchmarks.detection.data import ROOT
from benchmarks.detection.goals import WORKS, goal_table
from benchmarks.detection.markdown import percent, table
from benchmarks.detection.names import ATTACKS, IMAGES, IN_ORDER, PARTS, SETS, TABLES, WHOLE
from benchmarks.detection.results import cases_run, csv_file, read_csv, states
from benchmarks.detection.standing import RATE, TRUSTED
from lotgate.errors import LotgateError
from lotgate.files import write_text

README = ROOT / "README.md"
BEGIN = "<!-- quote "
QUOTE = re.compile(r"(<!-- quote (\w+) -->\n)(?:(?!<!-- quote ).)*?(<!-- end of quote -->)", re.DOTALL)
FEW = 0.05  # a twentieth trusted
REACHED = {True: "yes", False: "**no**", None: "?"}


def write_quotes(path: Path = README) -> Path:
    """README with the figures of the committed report rows; as it is where there are none.

    Raises:
        LotgateError: it asks for a quote that nobody makes, or one of its quotes has no end.
    """
    if not csv_file("report").exists():
        return path
    return write_text(path, quoted(path.read_text(encoding="utf-8"), read_csv("report")))


def quoted(text: str, rows: pd.DataFrame) -> str:
    """The text with every quote made anew.

    Args:
        rows: of the report split, with results.COLUMNS.

    Raises:
        LotgateError: it asks for a quote that nobody makes, or one of its quotes has no end.
    """
    if text.count(BEGIN) != len(QUOTE.findall(text)):
        raise LotgateError("a quote has no end", where=BEGIN, action="write <!-- end of quote --> below each of them")

    def made(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name not in QUOTES:
            raise LotgateError(
                f"no quote is called {name}", where=begin.strip(), action=f"name one of {', '.join(QUOTES)}"
            )
        return f"{begin}\n{QUOTES[name](rows)}\n\n{end}"

    return QUOTE.sub(made, text)


def _goals(rows: pd.DataFrame) -> str:
    lines = [[goal.goal, goal.wanted, goal.measured, REACHED[goal.reached]] for goal in goal_table(rows)]
    return table(["goal", "wanted", "measured", "reached"], lines)


def _images(rows: pd.DataFrame) -> str:
    return _by_set(IMAGES, [*_against_peers(_usual(rows), IMAGES), *_lost(rows, IMAGES)])


def _tables(rows: pd.DataFrame) -> str:
    return _by_set(TABLES, [*_against_peers(_usual(rows), TABLES), *_lost(rows, TABLES)])


def _few(rows: pd.DataFrame) -> str:
    few = _poisoned(rows)[lambda r: (r["rate"] == RATE) & (r["trusted"] == FEW)]
    sets = {name: shown for name, shown in SETS.items() if name in set(few["dataset"])}
    return _by_set(sets, _against_peers(few, sets))


def _mixed(rows: pd.DataFrame) -> str:
    """Lots that two poisoners share."""
    shared = _poisoned(rows)[lambda r: r["kind"] == "mixed"]
    sets = {name: shown for name, shown in SETS.items() if name in set(shared["dataset"])}
    return _by_set(sets, _against_peers(shared, sets))


def _rates(rows: pd.DataFrame) -> str:
    """Where three rates or more were tried: attack and set against the rate."""
    usual = _poisoned(rows)[lambda r: (r["trusted"] == TRUSTED) & r["dataset"].isin(SETS)]
    found = usual[usual["method"] == "lotgate"].pivot_table(index=["dataset", "attack"], columns="rate", values="f1")
    found = found[found.notna().sum(axis=1) > 2].sort_index(key=_places)
    lines = [
        [SETS[dataset], _attack(attack), *("" if pd.isna(f1) else _f1(f1) for f1 in values)]
        for (dataset, attack), values in zip(found.index, found.to_numpy(), strict=True)
    ]
    return table(["lot", "attack", *(f"{rate:.1%}".replace(".0%", "%") for rate in found.columns)], lines)


def _spoiled(rows: pd.DataFrame) -> str:
    """Digits of whose trusted set a part carries the same attack: F1 by how much of it."""
    own = rows[(rows["method"] == "lotgate") & (rows["dataset"] == "digits")]
    part = own[own["attack"].isin(own.loc[own["poisoned_trusted"] > 0, "attack"])]
    usual = part[(part["rate"] == RATE) & (part["trusted"] == TRUSTED)]
    found = usual.pivot_table(index="attack", columns="poisoned_trusted", values="f1").sort_index(key=_places)
    lines = [[_attack(attack), *map(_f1, values)] for attack, values in zip(found.index, found.to_numpy(), strict=True)]
    return table(["trusted rows spoiled", *(f"{share:.0%}" for share in found.columns)], lines)


def _order(rows: pd.DataFrame) -> str:
    """Lots and trusted sets that are neighbouring stretches of a file."""
    return _lot_by_lot(rows, "in_order", IN_ORDER)


def _whole(rows: pd.DataFrame) -> str:
    """Lots of images that ingest averages down, with marks that are small beside what is left of them."""
    return _lot_by_lot(rows, "whole_images", WHOLE)


def _lot_by_lot(rows: pd.DataFrame, group: str, names: Mapping[str, str]) -> str:
    own = rows[(rows["method"] == "lotgate") & (rows["group"] == group)]
    lines = []
    for (dataset, attack), lots in own.groupby(["dataset", "attack"]):
        f1 = ", ".join(_f1(value) for value in lots["f1"].dropna())
        lost = lots["fpr"].where(lots["n_planted"] > 0, lots["flagged_share"])
        lines.append([names[str(dataset)], _attack(str(attack)), f1 or "–", ", ".join(map(percent, lost))])
    return table(["lots", "attack", "F1", "clean rows lost"], lines)


def _trained(rows: pd.DataFrame) -> str:
    """By dataset: what a model obeys and how right it is, trained on all, on what was kept, on a perfect filter's."""
    own = rows[(rows["method"] == "lotgate") & rows["clean_kept"].notna() & (rows["classes"] > 0)]
    lines = []
    for dataset, lots in own.groupby("dataset"):
        aimed = lots[lots["attack_success_kept"].notna()]
        by = aimed.groupby(["attack", "rate"])[["attack_success_raw", "attack_success_kept", "attack_success_perfect"]]
        success = by.mean()[lambda t: t["attack_success_raw"] >= WORKS]
        worst = f" ({_attack(success['attack_success_kept'].idxmax()[0])})" if len(success) else ""
        lines.append([
            SETS[str(dataset)], f"{len(success)} of {by.ngroups}",
            *(percent(success[f"attack_success_{part}"].mean()) for part in PARTS),
            percent(success["attack_success_kept"].max()) + worst,
            *(percent(lots[f"clean_{part}"].mean()) for part in PARTS),
        ])  # fmt: skip
    head = ["lot", "attacks that work", *(f"obeyed: {words}" for words in PARTS.values()), "kept, worst attack",
            *(f"right: {words}" for words in PARTS.values())]  # fmt: skip
    return table(head, lines)


def _extent(rows: pd.DataFrame) -> str:
    run, every = cases_run(rows)
    seeds = ", ".join(str(seed) for seed in sorted(rows["seed"].unique()))
    return f"{run:,} of {every:,} cases run, seeds {seeds}; {states(rows)}."


def _ahead(rows: pd.DataFrame) -> str:
    ahead, judged = where_a_peer_is_ahead(rows)
    usual = ahead[ahead["trusted"] >= TRUSTED]
    return (
        f"A peer has the higher F1 in {len(ahead)} of {judged} cases, in {len(usual)} with a fifth trusted or more. "
        f"There it loses {percent(usual['fpr_peer'].median())} of the clean rows (median; "
        f"{percent(usual['fpr_peer'].max())} at most), Lotgate {percent(usual['fpr'].median())} "
        f"({percent(usual['fpr'].max())} at most)."
    )


QUOTES: dict[str, Callable[[pd.DataFrame], str]] = {
    "goals": _goals, "images": _images, "tables": _tables, "few": _few, "mixed": _mixed, "rates": _rates,
    "spoiled": _spoiled, "order": _order, "whole": _whole, "trained": _trained, "ahead": _ahead, "extent": _extent,
}  # fmt: skip


def _poisoned(rows: pd.DataFrame) -> pd.DataFrame:
    """Poisoned lots whose trusted set is clean; peers that are told the share of poison left out."""
    told = rows["method"].str.endswith("_told")
    return rows[(rows["attack"] != "none") & (rows["poisoned_trusted"] == 0) & ~told]


def _usual(rows: pd.DataFrame) -> pd.DataFrame:
    poisoned = _poisoned(rows)
    return poisoned[(poisoned["rate"] == RATE) & (poisoned["trusted"] == TRUSTED)]


def _by_set(sets: Mapping[str, str], lines: Iterable[Sequence[str]]) -> str:
    return table(["attack", *sets.values()], lines)


def _against_peers(rows: pd.DataFrame, sets: Mapping[str, str]) -> list[list[str]]:
    """F1 of one rate and trusted share, attack by dataset, beside that of the best peer; the higher of the two bold."""
    part = rows[rows["dataset"].isin(sets)]
    own = part[part["method"] == "lotgate"].groupby(["attack", "dataset"])["f1"].mean()
    by_peer = part[part["family"] == "peer"].groupby(["attack", "dataset", "method"])["f1"].mean()
    best = by_peer.groupby(["attack", "dataset"]).max()
    attacks = sorted(own.index.get_level_values("attack").unique(), key=_place)
    return [
        [_attack(attack), *(_cell(own.get((attack, name)), best.get((attack, name))) for name in sets)]
        for attack in attacks
    ]


def _cell(own: float | None, peer: float | None) -> str:
    if own is None:
        return ""
    if peer is None or pd.isna(peer):
        return f"**{_f1(own)}**"
    return f"**{_f1(own)}** {_f1(peer)}" if own >= peer else f"{_f1(own)} **{_f1(peer)}**"


def _lost(rows: pd.DataFrame, sets: Mapping[str, str]) -> list[list[str]]:
    """What clean rows are lost, by dataset: beside poison on average and at worst, in clean lots at worst."""
    own = rows[rows["method"] == "lotgate"]
    beside = _usual(own).groupby("dataset")["fpr"]
    clean = own[(own["attack"] == "none") & (own["trusted"] == TRUSTED)].groupby("dataset")["flagged_share"].max()
    lines = {"*clean rows lost, mean*": beside.mean(), "*worst lot*": beside.max(), "*worst clean lot*": clean}
    return [[name, *(percent(values.get(s, float("nan"))) for s in sets)] for name, values in lines.items()]


def _f1(value: float) -> str:
    """With two digits, as `.97` or `1.00`."""
    return f"{value:.2f}".replace("0.", ".")


def _attack(name: str) -> str:
    return ATTACKS.get(name, name.replace("_", " "))


def _places(level: pd.Index[str]) -> pd.Index[int]:
    return level.map(_place)


def _place(name: str) -> int:
    """Where a set or an attack comes in the order of the tables."""
    order = [*SETS, *ATTACKS]
    return order.index(name) if name in order else len(order)
