"""Rows → Markdown tables. Figures are means over seeds; nothing is typed by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pandas as pd

from benchmarks.de_pois.conventions import implied, planted_share, positive_share
from benchmarks.de_pois.parts import COMPONENTS, TABLES, USUAL
from benchmarks.de_pois.run import NOTHING
from benchmarks.de_pois.variants import VARIANTS

METRICS = {"accuracy": "paper_accuracy", "recall": "paper_recall", "f1": "paper_f1"}
OURS = {
    "TPR": "tpr", "FPR": "fpr", "precision": "precision", "F1": "f1", "AUROC": "auroc",
    "balanced accuracy": "balanced_accuracy",
}  # fmt: skip
LABELS = {name: f"De-Pois, {name}" for name in VARIANTS}
ORDER = ["De-Pois (published)", *LABELS.values(), "Deep-kNN", "CD", "DUTI", "Sever", "TRIM", NOTHING]


def markdown(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; figures with three decimals, a dash where there is none."""
    lines = [headers, ["---"] * len(headers), *([_shown(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def usual(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with R_p and trusted share at the paper's usual value and clean trusted rows."""
    return rows[(rows["trusted"] == USUAL) & (rows["r_p"] == USUAL) & (rows["spoiled"] == 0)]


def conventions(published: pd.DataFrame) -> str:
    """What the published figures imply of the positive class, and of the poison if that is the clean one."""
    nothing = 1 - planted_share(USUAL)
    made = []
    for (attack, defense), cell in _cells(published).groupby(["attack", "defense"], sort=False):
        shares = [positive_share(r.accuracy, r.recall, r.f1) for r in cell.itertuples()]
        row = cell[cell["trusted"] == USUAL].iloc[0]
        poison = implied(row["accuracy"], row["recall"], USUAL)
        made.append(
            (attack, defense, pd.Series(shares).median(), row["accuracy"], row["accuracy"] - nothing, row["f1"],
             row["f1"] - 2 * nothing / (1 + nothing), poison.tpr, poison.fpr, poison.balanced_accuracy)
        )  # fmt: skip
    headers = ["attack", "defence", "share of the positive class", "accuracy", "over flagging nothing", "F1",
               "over flagging nothing", "implied TPR", "implied FPR", "implied balanced accuracy"]  # fmt: skip
    return markdown(headers, made)


def beside(rows: pd.DataFrame, published: pd.DataFrame) -> str:
    """Table III in the paper's convention: published, ours, difference."""
    cells, made = _cells(published), []
    for key, ours in _points(rows):
        dataset, attack, trusted, method = key
        cell = cells[(cells["attack"] == _paper_attack(attack)) & (cells["trusted"] == trusted)]
        cell = cell[cell["defense"] == ("De-Pois" if method in LABELS else method)]
        line: list[object] = [
            _attack(attack, dataset),
            f"{trusted:.0%}",
            LABELS.get(method, method),
            int(ours["seeds"]),
        ]
        for metric, column in METRICS.items():
            theirs = float(cell[metric].iloc[0]) if len(cell) else None
            line += [theirs, ours[column], None if theirs is None else ours[column] - theirs]
        made.append(line)
    headers = ["attack", "trusted", "method", "seeds"]
    headers += [f"{metric} {what}" for metric in ("accuracy", "recall", "F1") for what in ("published", "ours", "Δ")]
    return markdown(headers, made)


def in_ours(rows: pd.DataFrame) -> str:
    """The same points with poison as the positive class."""
    made = [
        [_attack(a, d), f"{t:.0%}", LABELS.get(m, m), *(point[c] for c in OURS.values())]
        for (d, a, t, m), point in _points(rows)
    ]
    return markdown(["attack", "trusted", "method", *OURS], made)


def across(rows: pd.DataFrame, column: str, axis: str, methods: Collection[str] | None = None) -> str:
    """One figure of every attack and method along one axis: R_p, the trusted share, or the poison in it."""
    chosen = rows if methods is None else rows[rows["method"].isin(methods)]
    values = sorted(chosen[axis].dropna().unique())
    made = []
    for (dataset, attack, method), group in _sorted(chosen.groupby(["dataset", "attack", "method"])):
        means = group.groupby(axis)[column].mean()
        made.append([_attack(attack, dataset), LABELS.get(method, method), *(means.get(v) for v in values)])
    return markdown(["attack", "method", *(f"{v:.1%}" if 0 < v < 0.01 else f"{v:.0%}" for v in values)], made)


def components(rows: pd.DataFrame) -> str:
    """Figure 8, ours: every variant at the usual point."""
    made = []
    own = usual(rows)
    own = own[own["method"].isin(list(VARIANTS))]
    own = own[own["seed"].isin(own.loc[own["method"].isin(COMPONENTS), "seed"])]  # the same seeds for all
    columns = [*METRICS.values(), "f1", "auroc", "balanced_accuracy"]
    for (dataset, attack, method), group in _sorted(own.groupby(["dataset", "attack", "method"])):
        if dataset in TABLES:
            means = group[columns].mean()
            made.append([_attack(attack, dataset), method, VARIANTS[method].words, len(group), *means])
    headers = ["attack", "variant", "what it is", "seeds", "accuracy", "recall", "F1", "F1 of poison", "AUROC",
               "balanced accuracy"]  # fmt: skip
    return markdown(headers, made)


def times(rows: pd.DataFrame, published: pd.DataFrame) -> str:
    """Tables IV and V: seconds and their ratio to the peers, published and ours."""
    made: list[list[object]] = []
    for cell in published.itertuples():
        here = usual(rows)[lambda r, name=cell.dataset: r["dataset"] == name]
        own = here[here["method"] == ("paper" if cell.method == "De-Pois" else cell.method)]
        if cell.stage == "detection":
            ours, base = own["seconds_1000"].mean(), published
            base = base[(base["dataset"] == cell.dataset) & (base["stage"] == "detection")]
            depois = float(base.loc[base["method"] == "De-Pois", "seconds"].iloc[0])
            our_depois = here.loc[here["method"] == "paper", "seconds_1000"].mean()
            ratios: list[object] = [cell.seconds / depois, ours / our_depois]
        else:
            made_rows = own["synthesised"] if cell.stage == "synthesis" else own["n"]
            ours, ratios = (500 * own[f"seconds_{cell.stage}"] / made_rows).mean(), [None, None]
        made.append(
            [cell.table, cell.dataset, cell.method, f"{cell.stage}, per {cell.per} rows", cell.seconds, ours, *ratios]
        )
    headers = ["table", "dataset", "method", "stage", "published s", "our CPU s", "published ÷ De-Pois",
               "ours ÷ De-Pois"]  # fmt: skip
    return markdown(headers, made)


def fits(rows: pd.DataFrame) -> str:
    """What a whole fit costs, both variants."""
    own = usual(rows)[lambda r: r["method"].isin(["paper", "default"])].drop_duplicates(["job", "method"])
    made = [
        [dataset, LABELS[method], len(group), *group[["seconds_synthesis", "seconds_mimic", "seconds_1000"]].mean()]
        for (dataset, method), group in own.groupby(["dataset", "method"])
    ]
    return markdown(
        ["dataset", "method", "seeds", "synthesis, CPU s", "mimic, CPU s", "detection per 1,000 rows"], made
    )


def whole(rows: pd.DataFrame) -> str:
    """CPU seconds of a whole screening of one lot, training included, and how often a peer's fits into De-Pois'."""
    own = usual(rows)
    seconds = own[["seconds_synthesis", "seconds_mimic"]].fillna(0).sum(axis=1) + own["seconds_1000"] * own["n"] / 1000
    means = own.assign(whole=seconds).dropna(subset=["whole"]).groupby(["dataset", "attack", "method"])["whole"].mean()
    made = []
    for (dataset, attack, method), peer in means.items():  # type: ignore[misc]
        if method not in VARIANTS:
            depois = means[dataset, attack, "default"]
            made.append([_attack(attack, dataset), method, depois, peer, depois / peer])
    return markdown(["attack", "peer", "De-Pois, default, CPU s", "peer, CPU s", "De-Pois ÷ peer"], made)


def _cells(published: pd.DataFrame) -> pd.DataFrame:
    wide = published.pivot_table(index=["attack", "defense", "trusted"], columns="metric", values="value", sort=False)
    return wide.reset_index()


def _points(rows: pd.DataFrame) -> list[tuple[tuple[str, str, float, str], pd.Series]]:
    """Means over seeds of every point of Table III, in a fixed order."""
    chosen = rows[(rows["r_p"] == USUAL) & (rows["spoiled"] == 0) & (rows["trusted"] >= 0.05)]
    chosen = chosen[~chosen["method"].isin([m for m in VARIANTS if m not in {"paper", "default"}])]
    columns = [*METRICS.values(), *OURS.values()]
    made = []
    for key, group in _sorted(chosen.groupby(["dataset", "attack", "trusted", "method"])):
        made.append((key, pd.concat([group[columns].mean(), pd.Series({"seeds": len(group)})])))
    return made


def _sorted(groups: Iterable[tuple[Any, pd.DataFrame]]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    def rank(item: tuple[tuple[Any, ...], pd.DataFrame]) -> tuple[Any, ...]:
        *before, method = item[0]
        label = LABELS.get(method, method)
        return (*before, ORDER.index(label) if label in ORDER else len(ORDER))

    return sorted(groups, key=rank)


def _paper_attack(attack: str) -> str:
    return attack.split("-", maxsplit=1)[0]


def _attack(attack: str, dataset: str) -> str:
    return f"{attack}, {dataset}"


def _shown(cell: object) -> str:
    if cell is None or (isinstance(cell, float) and pd.isna(cell)):
        return "–"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
