"""The committed CSV of a split → one self-contained HTML page: goals, heat maps, ROC curves, tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path

import pandas as pd

from benchmarks.detection.against import attacks_on_the_gate, lots_that_peers_judged, where_a_peer_is_ahead
from benchmarks.detection.cases import Split, expand, load_cases
from benchmarks.detection.charts import heat_map, legend, roc
from benchmarks.detection.goals import TABLES, TWO_CLASSES, Goal, cost_in_trainings, every_goal, tried
from benchmarks.detection.measures import GRID
from benchmarks.detection.results import RESULTS, read_csv, states, summary
from lotgate.files import write_text

STYLE = Path(__file__).with_name("page.css")
READING = (
    "Poison is the positive class. Figures are means over seeds, and over what a heading pools; the worst seed is in "
    "the summary CSV. Peers run with their defaults on the same lot, trusted rows and probe, on the rows that the "
    "contract left. <code>_told</code> peers are told the true share of poison."
)
KINDS = {
    "images, more than two classes": lambda r: r["image"] & (r["classes"] > 2),
    "images, two classes": lambda r: r["image"] & (r["classes"] == 2),
    "tables": lambda r: ~r["image"] & (r["classes"] > 0),
    "regression": lambda r: r["classes"] == 0,
}
OF_TRAINING = ("base_mb", "peak_mb", "training_seconds", "training_mb")
VERDICTS = {True: "reached", False: "missed", None: "not measured"}


def write_page(split: Split) -> Path:
    """results/<split>.html from results/<split>.csv; the path of the page."""
    rows = read_csv(split)
    rows["image"] = ~rows["dataset"].isin(TABLES)
    said = rows[rows["n"].notna()]
    body = [
        f"<h1>Detection benchmark: {escape(split)} cases</h1>", _about(rows, split),
        *([_goals(rows)] if split == "report" else []), _coverage(rows, coverage(rows, split)),
        _clean(said), *_kinds(said), *_curves(said), _axis(said, "rate"), _axis(said, "trusted"),
        *([_behind(said), _on_the_gate(said)] if split == "report" else []),
        _downstream(said), _cost(said), _absent(rows), _all(said),
    ]  # fmt: skip
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Lotgate: detection benchmark, {split}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE.read_text()}</style>'
        f"<body>{''.join(body)}</body></html>"
    )
    write_text(RESULTS / f"{split}.html", page)
    return RESULTS / f"{split}.html"


def ordered_methods(rows: pd.DataFrame) -> list[str]:
    """Lotgate, its detectors, then the peers."""
    rank = {"lotgate": 0, "detector": 1, "reporter": 2, "peer": 3}
    place = rows.groupby("method")["family"].agg(lambda families: min(rank[family] for family in families))
    return sorted(map(str, place.index), key=lambda method: (place[method], method))


def coverage(rows: pd.DataFrame, split: Split) -> pd.DataFrame:
    """By group of cases.yaml: its cases, how many of them have rows, and what is not run, in words."""
    known = set(rows["case"])
    cases = pd.DataFrame([(c.group, c.dataset, c.name in known) for c in expand(load_cases(), split)],
                         columns=["group", "dataset", "run"])  # fmt: skip
    table = cases.groupby("group", sort=False).agg(cases=("run", "size"), run=("run", "sum"))
    left = cases[~cases["run"]].groupby(["group", "dataset"], sort=False).size()
    words = {g: ", ".join(f"{d} {n}" for (_, d), n in part.items()) for g, part in left.groupby("group", sort=False)}
    return table.assign(not_run=[words.get(group, "") for group in table.index])


def _about(rows: pd.DataFrame, split: Split) -> str:
    versions = json.loads((RESULTS / "versions.json").read_text())
    held = ", ".join(sorted(set.union(*load_cases().held_out())))
    seeds = ", ".join(str(seed) for seed in sorted(rows["seed"].unique()))
    apart = (
        f"No decision was made by datasets and attacks marked *: {held}."
        if split == "report"
        else "These cases may be looked at while Lotgate is improved; no figure here is a claim."
    )
    stack = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"<p>{rows['case'].nunique()} lots, seeds {seeds}; <b>{escape(states(rows))}</b>. {READING}</p>"
        f"<p class=note>{escape(apart)}</p><p class=note>{escape(stack)}</p>"
    )


def _section(title: str, note: str, *content: str) -> str:
    inside = "".join(f"<div class=wide>{part}</div>" for part in content)
    return f"<h2>{escape(title)}</h2>" + (f"<p class=note>{escape(note)}</p>" if note else "") + inside


def _goals(rows: pd.DataFrame) -> str:
    lines = []
    for goal in every_goal(rows):
        verdict = VERDICTS[goal.reached]
        cells = f"<td>{escape(goal.goal)}</td><td>{escape(goal.wanted)}</td>"
        cells += f'<td class="text {verdict.replace(" ", "-")}">{verdict}</td>'
        cells += f"<td class=text>{escape(goal.measured)}</td>"
        cells += f"<td>{goal.cases}</td><td>{goal.short}</td><td class=text>{escape(goal.weakest)}</td>"
        cells += f"<td class=text>{escape(_tried(goal))}</td>"
        lines.append(f"<tr>{cells}</tr>")
    columns = ("goal", "wanted", "", "best that was", "cases", "short", "weakest", "tried")
    head = "".join(f"<th{'' if c in {'cases', 'short'} else ' class=text'}>{c}</th>" for c in columns)
    note = (
        "A case is a dataset × attack × rate × trusted share, its figures are means over seeds (clean lots: each lot "
        "by itself; cost: each dataset). Short: how many cases miss the goal by themselves. Cases that were not run "
        "count nowhere; the next table names them."
    )
    return _section("Goals", note, f"<table><tr>{head}</tr>{''.join(lines)}</table>")


def _tried(goal: Goal) -> str:
    """For goals that were missed; those of two-class lots were tried towards together with those of all lots."""
    if goal.reached is not False:
        return ""
    return "as for all lots" if goal.goal.startswith(TWO_CLASSES) else tried(goal.goal)


def _coverage(rows: pd.DataFrame, table: pd.DataFrame) -> str:
    run, every = int(table["run"].sum()), int(table["cases"].sum())
    refused = rows[rows["decision"] == "refused"]["case"].nunique()
    note = f"{run} of {every} cases run" + (f", {refused} of them refused by Lotgate." if refused else ".")
    named = table.rename(columns={"not_run": "not run, by dataset"}).reset_index()
    return _section("Cases run", note, _table(named))


def _clean(rows: pd.DataFrame) -> str:
    clean = rows[(rows["attack"] == "none") & (rows["poisoned_trusted"] == 0)]
    if clean.empty:
        return ""
    shares = clean.pivot_table(index="dataset", columns="method", values="flagged_share", aggfunc="mean")
    own = clean[clean["method"] == "lotgate"].groupby("dataset")
    worst = own["flagged_share"].max().map("{:.4f}".format)
    rejected = own["decision"].apply(lambda d: f"{(d == 'reject').sum()} of {len(d)}")
    extra = pd.DataFrame({"worst quarantined share": worst, "rejected": rejected})
    drawn = heat_map(shares[_present(clean, shares)], load_cases().held_out()[0], frozenset(map(str, shares.index)))
    return _section("Clean lots: share flagged", "", drawn, _table(extra.reset_index()))


def _kinds(rows: pd.DataFrame) -> list[str]:
    held = load_cases().held_out()[1]
    note = (
        "Rates of 1% and more, 20% trusted; mean over datasets, rates and seeds: over the lots that peers judged too, "
        "where they judged any of an attack."
    )
    return [
        _section(f"{words} by attack and method: {title}", note, chart)
        for measure, words in (("f1", "F1"), ("auroc", "AUROC"))
        for title, chart in _by_kind(rows, partial(_heat, measure=measure, held=held))
    ]


def _heat(part: pd.DataFrame, measure: str, held: set[str]) -> str:
    table = lots_that_peers_judged(part).pivot_table(index="attack", columns="method", values=measure, aggfunc="mean")
    return heat_map(table[_present(part, table)], held)


def _behind(rows: pd.DataFrame) -> str:
    table, judged = where_a_peer_is_ahead(rows)
    note = (
        f"{len(table)} of {judged} cases that peers judged, the best of them by mean F1; fpr is the share of clean "
        "rows lost. Peers without an error rate flag clean lots, too: see there."
    )
    return _section("Where a peer is ahead", note, _table(table))


def _on_the_gate(rows: pd.DataFrame) -> str:
    table = attacks_on_the_gate(rows)
    note = (
        "poisoned_trusted: share of the trusted set that carries the same attack. digits_drip: the fifth lot of a "
        "drip, with four earlier ones as context (context_tpr, context_fpr: of their planted and clean rows), "
        "digits_drip_alone: without; digits_after, breast_cancer_after: with clean lots before it as context, which "
        "thin out what is planted in it. critic_evasion moves patched images until a copy of De-Pois' critic believes "
        "in them (by 16 of 255 grey levels, wide: by 77); adaptive blend and patch are made against activation "
        "clustering and spectral signatures; trusted_copy repeats trusted rows under another label."
    )
    return _section("Attacks on the gate", note, _table(table)) if len(table) else ""


def _curves(rows: pd.DataFrame) -> list[str]:
    note = "False positive rate on a fourth-root axis, so that the gate's corner is seen."
    return [_section(f"ROC curves: {title}", note, drawn) for title, drawn in _by_kind(rows, _small_multiples)]


def _small_multiples(part: pd.DataFrame) -> str:
    columns = [f"roc_{g:g}" for g in GRID]
    methods = [m for m in ordered_methods(part) if part.loc[part["method"] == m, columns[-1]].notna().any()]
    charts = []
    for attack, of_attack in part.groupby("attack"):
        means = of_attack.groupby("method")[columns].mean().dropna()
        charts.append(roc({m: means.loc[m].tolist() if m in means.index else None for m in methods}, str(attack)))
    return f"{legend(methods)}<div class=small>{''.join(charts)}</div>"


def _by_kind(rows: pd.DataFrame, draw: Callable[[pd.DataFrame], str]) -> list[tuple[str, str]]:
    poisoned = rows[(rows["attack"] != "none") & (rows["poisoned_trusted"] == 0)]
    usual = poisoned[(poisoned["rate"] >= 0.01) & (poisoned["trusted"] == 0.2)]
    parts = {title: usual[is_kind(usual)] for title, is_kind in KINDS.items()}
    return [(title, draw(part)) for title, part in parts.items() if len(part)]


def _axis(rows: pd.DataFrame, axis: str) -> str:
    """F1 against the rate or the trusted share, on the cases that vary it."""
    poisoned = rows[(rows["attack"] != "none") & (rows["poisoned_trusted"] == 0)]
    varied = poisoned.groupby(["dataset", "attack"])[axis].transform("nunique") > 1
    part = poisoned[varied & (poisoned["trusted" if axis == "rate" else "rate"] == (0.2 if axis == "rate" else 0.05))]
    if part.empty:
        return ""
    table = part.pivot_table(index=["dataset", "attack", "method"], columns=axis, values="f1", aggfunc="mean")
    ours = table[table.index.get_level_values("method").isin(["lotgate", *_best_peers(part)])].dropna(thresh=2)
    return _section(f"F1 by {axis}", "Lotgate and the three peers with the best mean F1.", _table(ours.reset_index()))


def _best_peers(part: pd.DataFrame) -> list[str]:
    return list(part[part["family"] == "peer"].groupby("method")["f1"].mean().nlargest(3).index)


def _downstream(rows: pd.DataFrame) -> str:
    part = rows[rows["downstream"].notna() & (rows["method"] == "lotgate")]
    if part.empty:
        return ""
    columns = [f"{m}_{t}" for m in ("attack_success", "clean") for t in ("raw", "kept", "perfect")]
    table = part.groupby(["dataset", "attack", "rate"])[columns].mean()
    note = (
        f"Model: {', '.join(part['downstream'].unique())}. Attack success and clean accuracy (R² for regression) after "
        "training on the raw lot, on what Lotgate kept, on what a perfect filter keeps."
    )
    return _section("A model trained on what was kept", note, _table(table.reset_index()))


def _cost(rows: pd.DataFrame) -> str:
    table = rows.pivot_table(index=["family", "method"], columns="dataset", values="seconds", aggfunc="mean")
    memory = rows[rows["method"] == "lotgate"].groupby("dataset")[list(OF_TRAINING)].mean().T
    memory.index = pd.MultiIndex.from_tuples([("lotgate", f"lotgate: {name}") for name in memory.index])
    both = pd.concat([table, memory.reindex(columns=table.columns)])
    both.index.names = ["family", "method"]
    note = "Seconds per lot: a detector's own; Lotgate's with everything that is shared. MB: resident memory."
    priced = cost_in_trainings(rows).reset_index()
    words = (
        "scan and without_de_pois: as multiples of one training of the downstream model on that lot (ResNet-18 for "
        "images, the probe for tables; 30 epochs, extrapolated from timed steps); memory: peak_mb as a multiple of "
        "what that training takes. Seconds of a scan are without detectors that only report."
    )
    multiples = "" if priced.empty else _section("Cost in trainings of the downstream model", words, _table(priced))
    return _section("Cost", note, _table(both.reset_index())) + multiples


def _absent(rows: pd.DataFrame) -> str:
    part = rows[rows["absent"].notna()].groupby(["method", "absent"]).size().rename("lots").reset_index()
    return "" if part.empty else _section("Gave no answer", "", _table(part))


def _all(rows: pd.DataFrame) -> str:
    shown = [
        "dataset", "attack", "rate", "trusted", "poisoned_trusted", "method", "seeds", "tpr", "fpr", "precision", "f1",
        "worst_f1", "f1_best", "auroc", "balanced_accuracy", "flagged_share", "rejected", "f1_clean", "seconds",
    ]  # fmt: skip
    words = (
        "Means over seeds. f1_best is that of the best threshold, known only with the truth: a ceiling. f1_clean "
        "counts clean rows as the positive class, as the De-Pois paper does."
    )
    table = _table(summary(rows)[shown])
    return _section("Every row", "", f"<details><summary>{words}</summary>{table}</details>")


def _present(rows: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    return [m for m in ordered_methods(rows) if m in table.columns]


def _table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(c))}</th>" for c in frame.columns)
    lines = []
    for values in frame.itertuples(index=False):
        ours = ' class="ours"' if "lotgate" in values else ""
        cells = "".join(f"<td{' class=text' if isinstance(v, str) else ''}>{escape(_shown(v))}</td>" for v in values)
        lines.append(f"<tr{ours}>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value)
