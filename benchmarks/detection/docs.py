"""docs/detectors/*.md: what each detector says of itself, and its row of the report cases. No figure is typed by hand.

Words come from the class docstring, figures from results/report.csv; until that is there, pages say "not measured yet".
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.detection.data import ROOT
from benchmarks.detection.markdown import listed, number, percent, table
from benchmarks.detection.results import COLUMNS, cases_run, csv_file, read_csv, states
from benchmarks.detection.standing import CASE, KINDS, RATE, RULE, TRUSTED, Standing, standing
from lotgate.data import Task
from lotgate.detector import Detector
from lotgate.detectors import DETECTORS
from lotgate.errors import LotgateError
from lotgate.files import write_text
from lotgate.policy import Policy

FOLDER = ROOT / "docs" / "detectors"
HEADINGS = {
    "Catches": "What it catches", "Misses": "What it misses", "Assumes": "What it assumes", "Cost": "What it costs",
    "Method": "Method", "Source": "Source", "Differs": "Where it differs from its source",
}  # fmt: skip
EXTRA = "Attributes"  # what parameters mean, where a docstring says so
SHOWN = 15  # cases on a page; the others are counted
SO_FAR = ", a verdict so far"
EARNS = {True: "yes", False: "**no**", None: "not measured yet"}
NOT_YET = "Not measured yet."
MADE = "<!-- Made by `python -m benchmarks.detection docs` from the docstring and the results; edits here are lost. -->"
READING = (
    f"F1: mean over lots with {RATE:.0%} poison and {TRUSTED:.0%} trusted rows, each detector alone at its own "
    f"threshold; in brackets how many lots: means over unlike numbers do not compare. Clean flagged: mean share of a "
    f"clean lot that it flags. Alone in lots: poisoned lots of which it flags half or more of the planted rows, and no "
    f"other voter does. Leads in cases: poisoned cases in which its F1 is ahead of that of every other voter. Gate's "
    f"F1 without its vote: by how much the verdict's F1 changes on average when this one voter is silent, in brackets "
    f"over how many poisoned cases."
)
JOINT = (
    " Detectors that find the same poison equally well take this from each other: of two that say `no`, one may be "
    "needed."
)


def write_docs(folder: Path = FOLDER) -> list[Path]:
    """One page per detector and their index, from the committed report rows if there are any."""
    rows = read_csv("report") if csv_file("report").exists() else pd.DataFrame(columns=list(COLUMNS))
    return [write_text(folder / name, text) for name, text in pages(rows).items()]


def pages(rows: pd.DataFrame) -> dict[str, str]:
    """File name → text.

    Args:
        rows: of the report split, with results.COLUMNS; none: "not measured yet".

    Raises:
        LotgateError: a docstring has nothing under one of its headings.
    """
    run, every = cases_run(rows)
    extent = f"{run} of {every} cases run" + (SO_FAR if run < every else "")
    records = {detector: standing(rows, detector.name) for detector in DETECTORS}
    found = {f"{detector.name}.md": _page(detector, entry, extent) for detector, entry in records.items()}
    return {"README.md": _index(records, rows, extent), **found}


def sections(detector: type[Detector]) -> dict[str, str]:
    """Heading → text of a detector's docstring; the summary under "".

    Raises:
        LotgateError: nothing under one of HEADINGS.
    """
    text = inspect.getdoc(detector) or ""
    parts = re.split(r"^([A-Z][a-z]+):$", text, flags=re.MULTILINE)
    found = {name: textwrap.dedent(body).strip() for name, body in zip(["", *parts[1::2]], parts[::2], strict=True)}
    for heading in HEADINGS:
        if not found.get(heading):
            raise LotgateError(
                f"{detector.name} says nothing under {heading}", where=f"docstring of {detector.__qualname__}",
                action=f"write a section `{heading}:`, as the other detectors do",
            )  # fmt: skip
    return found


def _page(detector: type[Detector], entry: Standing, extent: str) -> str:
    told = sections(detector)
    parts = [MADE, f"# {detector.name}", told[""], _vote(detector, entry, extent)]
    for heading, title in HEADINGS.items():
        body = f"```text\n{told[heading]}\n```" if heading == "Method" else told[heading]
        parts += [f"## {title}", body]
    parts += ["## Parameters", _parameters(detector, told.get(EXTRA, ""))]
    parts += ["## In the benchmark", *_benchmark(detector, entry)]
    return "\n\n".join(parts) + "\n"


def _vote(detector: type[Detector], entry: Standing, extent: str) -> str:
    """Who it is for, whether it votes, and what its row says of that."""
    applies = f"Made for {listed(detector.modalities)} lots, {listed(detector.tasks)}."
    policy, row = Policy(), _row_in_words(entry, extent)
    if detector.name not in policy.voters:
        words = "**It does not vote by default**: it reports only, and quarantines nothing"
        why = " It has no vote all the same: votes are given by tune lots, never by these." if entry.earns else ""
        return f"> {words}. {applies}\n>\n> {row}{why}"
    said = [_say(detector, policy, task) for task in sorted(detector.tasks)]
    return f"> **It votes by default**, {'; '.join(said)}. {applies}\n>\n> {row}"


def _say(detector: type[Detector], policy: Policy, task: Task) -> str:
    of_classes = task == "classification"
    weight, labels = policy.weight(detector.name, of_classes=of_classes), "classes" if of_classes else "targets"
    may_err = policy.false_discovery_rate * weight
    return f"with weight {weight:g} where labels are {labels}: its first word may err by {may_err:.1%}"


def _row_in_words(entry: Standing, extent: str) -> str:
    """The reason why a detector should or should not vote, in figures."""
    if entry.rows.empty:
        return f"Its row of the benchmark: {NOT_YET[0].lower()}{NOT_YET[1:]}"
    words = [
        f"mean F1 {f1:.3f} on {kind} at {RATE:.0%} poison"
        for kind, f1 in entry.usual.groupby("lots")["f1"].mean().items()
    ]
    if len(entry.clean):
        words.append(f"{entry.clean['flagged_share'].mean():.4f} of clean lots flagged")
    words.append(f"alone in finding half of the poison in {len(entry.alone)} of {entry.poisoned} poisoned lots")
    words.append(f"ahead of every other voter in {entry.led} of {entry.cases} cases")
    if len(entry.worth):
        words.append(_worth_in_words(entry.worth))
    if entry.earns is None:
        verdict = "Too little of it is measured to say whether it earns its place"
    elif entry.earns:
        verdict = "**It earns its place**"
    else:
        verdict = f"**It does not earn its place**: {'; '.join(entry.short_of())}"
    return f"Its row: {', '.join(words)}. {verdict} ({extent}; the rule is in the [index](README.md))."


def _worth_in_words(worth: pd.Series[float]) -> str:
    """What the gate's F1 loses without this vote, over the cases where that was measured."""
    return (
        f"and without its vote the gate's F1 changes by {_change(worth.mean())} on average over {len(worth)} cases, by "
        f"{_change(worth.max())} to {_change(worth.min())}"
    )


def _change(worth: float) -> str:
    """What leaving out a vote of that worth changes."""
    return f"{0 - worth:+.3f}"


def _judges(detector: type[Detector], kind: str) -> bool:
    modality, task = (
        "image" if kind == "images" else "table",
        "regression" if kind == "regression" else "classification",
    )
    return modality in detector.modalities and task in detector.tasks


def _parameters(detector: type[Detector], meanings: str) -> str:
    lines = [
        [f"`{name}`", f"`{_shown_default(field.get_default(call_default_factory=True))}`",
         ", ".join(_bound(limit) for limit in field.metadata) or "–"]
        for name, field in detector.model_fields.items()
    ]  # fmt: skip
    listing = table(["parameter", "default", "range"], lines)
    bullets = re.sub(r"^(?=\S)", "- ", meanings, flags=re.MULTILINE)
    return f"{listing}\n\n{textwrap.dedent(bullets)}" if meanings else listing


def _bound(limit: object) -> str:
    """`Ge(ge=1)` → `≥ 1`; other constraints as they show themselves."""
    for field, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if hasattr(limit, field):
            bound = getattr(limit, field)
            return f"{sign} {bound:,}" if isinstance(bound, int) else f"{sign} {bound:g}"
    return str(limit)


def _shown_default(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _benchmark(detector: type[Detector], entry: Standing) -> Iterable[str]:
    if entry.rows.empty:
        yield NOT_YET
        return
    voted = sorted({"voted" if family == "detector" else "did not vote" for family in entry.rows["family"]})
    yield (
        f"Poison is the positive class; figures are means over lots (datasets × seeds) with the worst lot beside them. "
        f"It is measured alone, at its own threshold; which of its findings count is then the policy's. In these rows "
        f"it {listed(voted)}." + (f" Lots without an answer: {entry.failed}." if entry.failed else "")
    )
    for kind in KINDS:
        if _judges(detector, kind):
            part = entry.usual[entry.usual["lots"] == kind]
            yield f"### {kind.capitalize()}: {RATE:.0%} poison, {TRUSTED:.0%} trusted"
            yield _by_attack(part) if len(part) else NOT_YET
    yield "### Clean lots, and time"
    yield _by_kind(detector, entry)
    yield "### Where it is needed"
    yield _needed(entry)


def _by_attack(part: pd.DataFrame) -> str:
    head = ["attack", "lots"]
    for measure in ("TPR", "FPR", "F1", "AUROC"):
        head += [measure, "worst"]
    lines = []
    for attack, lots in [*part.groupby("attack"), ("**all**", part)]:
        line = [str(attack), str(len(lots))]
        for measure, digits in (("tpr", 3), ("fpr", 4), ("f1", 3), ("auroc", 3)):
            worst = lots[measure].max() if measure == "fpr" else lots[measure].min()
            line += [number(lots[measure].mean(), digits), number(worst, digits)]
        lines.append(line)
    return table(head, lines)


def _by_kind(detector: type[Detector], entry: Standing) -> str:
    lines = []
    for kind in (kind for kind in KINDS if _judges(detector, kind)):
        clean, every = entry.clean[entry.clean["lots"] == kind], entry.rows[entry.rows["lots"] == kind]
        flagged = clean["flagged_share"]
        where = f" ({clean.loc[flagged.idxmax(), 'dataset']})" if flagged.notna().any() else ""
        lines.append([kind, str(len(clean)), number(flagged.mean(), 4), number(flagged.max(), 4) + where,
                      str(len(every)), number(every["seconds"].mean(), 2), percent(every["share"].mean())])  # fmt: skip
    shown = table(["lots", "clean ones", "share flagged", "worst", "all", "seconds", "of a scan"], lines)
    return f"{shown}\n\nSeconds are its own, without what all share: reading, probes, cross-fitted models."


def _needed(entry: Standing) -> str:
    words = (
        f"In {len(entry.alone)} of {entry.poisoned} poisoned lots, of all rates and trusted shares, it alone flags at "
        f"least half of the planted rows: no other voter does. That is most seeds of {entry.carried} of {entry.cases} "
        f"cases. In {entry.led} cases its F1 is ahead of that of every other voter."
    )
    if entry.alone.empty:
        return words
    by = entry.alone.groupby(CASE)[["tpr", "fpr"]].agg(["mean", "size"])
    cases = pd.DataFrame({"lots": by[("tpr", "size")], "tpr": by[("tpr", "mean")], "fpr": by[("fpr", "mean")]})
    first = cases.sort_values(["lots", "tpr"], ascending=False, kind="stable").reset_index().head(SHOWN)
    lines = [
        [row["dataset"], row["attack"], f"{row['rate']:.3g}", f"{row['trusted']:.3g}",
         f"{row['poisoned_trusted']:.3g}", str(row["lots"]), number(row["tpr"], 3), number(row["fpr"], 4)]
        for _, row in first.iterrows()
    ]  # fmt: skip
    shown = table(["dataset", "attack", "rate", "trusted", "trusted spoiled", "lots", "TPR", "FPR"], lines)
    left = len(cases) - len(first)
    return f"{words}\n\n{shown}" + (f"\n\nAnd {left} more cases." if left else "")


def _index(records: dict[type[Detector], Standing], rows: pd.DataFrame, extent: str) -> str:
    policy = Policy()
    lines = []
    for detector, entry in records.items():
        f1 = entry.usual.groupby("lots")["f1"].agg(["mean", "count"])
        votes = f"yes, {policy.weight(detector.name):g}" if detector.name in policy.voters else "**no**"
        lines.append([f"[{detector.name}]({detector.name}.md)", sections(detector)[""].splitlines()[0], votes,
                      *(f"{f1.loc[kind, 'mean']:.3f} ({f1.loc[kind, 'count']})" if kind in f1.index else "–"
                        for kind in KINDS),
                      number(entry.clean["flagged_share"].mean(), 4),
                      f"{len(entry.alone)} of {entry.poisoned}" if entry.poisoned else "–",
                      f"{entry.led} of {entry.cases}" if entry.cases else "–",
                      f"{_change(entry.worth.mean())} ({len(entry.worth)})" if len(entry.worth) else "–",
                      EARNS[entry.earns]])  # fmt: skip
    head = ["detector", "what it measures", "votes, weight", *(f"F1, {kind}" for kind in KINDS), "clean flagged",
            "alone in lots", "leads in cases", "gate's F1 without its vote", "earns its place"]  # fmt: skip
    return "\n\n".join([MADE, "# Detectors", _origin(rows, extent), table(head, lines), READING, RULE + JOINT]) + "\n"


def _origin(rows: pd.DataFrame, extent: str) -> str:
    if rows.empty:
        return f"{NOT_YET} Figures will come from `benchmarks/detection/results/report.csv`."
    return (
        f"Figures are those of the report cases of the [benchmark](../../benchmarks/README.md): {extent}, seeds "
        f"{listed(str(seed) for seed in rows['seed'].unique())}, {states(rows)}."
    )
