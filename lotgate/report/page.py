"""From the tables to the page: what is said, in which order. How it looks is in lotgate/templates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from lotgate.findings import Check, Decision
from lotgate.report import charts, text
from lotgate.report.rows import Deviation
from lotgate.report.tables import ReportTables, suspects, typical

WORDS = {"accept": "Accept", "accept_with_quarantine": "Accept with quarantine", "reject": "Reject"}
FALLBACK = {
    "accept": "Every check held and no sample had to be set aside.",
    "accept_with_quarantine": "The suspect samples were set aside; the rest may be used.",
    "reject": "A critical check failed; nothing of this lot may be used.",
}
TITLES = {"de_pois": "De-Pois"}  # methods whose authors spell them in their own way
MOST_EXCLUDED = 24
MOST_EARLIER = 24
MOST_REASONS = 8
MOST_SETTINGS = 300
COLUMNS_SHOWN = 5
COLUMNS_LISTED = 40


@dataclass(frozen=True)
class Panel:
    """One detector's part of the page; `chart` is None where there is nothing to draw, and `silence` says why."""

    title: str
    role: str
    scored: int
    flagged: int
    quarantined: int
    chart: charts.Histogram | None
    silence: str
    spoken: str


@dataclass(frozen=True)
class Suspect:
    """One sample shown: a picture, or the columns of its row."""

    sample_id: str
    label: str
    score: str
    kept: bool
    reasons: tuple[str, ...]
    picture: str | None
    columns: tuple[Deviation, ...]
    others: tuple[Deviation, ...]
    n_unlisted: int


def render(tables: ReportTables) -> str:
    """The whole page as HTML. Pure: the same tables give the same text."""
    decision = tables.decision
    environment = Environment(
        loader=PackageLoader("lotgate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        plain=text.plain, figure=text.figure, percent=text.percent, seconds=text.seconds, grouped=text.grouped
    )
    per_class = _limit(decision, "max_quarantined_rate_per_class")
    page = environment.get_template("report.html").render(
        decision=decision,
        word=WORDS[decision.decision],
        headline=decision.reasons[0] if decision.reasons else FALLBACK[decision.decision],
        rate=decision.n_quarantined / decision.n_samples if decision.n_samples else 0.0,
        limit=_limit(decision, "max_quarantined_rate"),
        class_limit=per_class,
        total_seconds=sum(decision.seconds.values()),
        steps=_steps(decision.seconds),
        failed=sorted((c for c in decision.checks if not c.passed), key=lambda check: not check.critical),
        passed=_passed(decision.checks),
        panels=_panels(tables),
        bars=charts.class_bars(tables.verdicts, decision.task, per_class),
        suspects=[_suspect(row, tables) for row in _records(suspects(tables))],
        typical=[_suspect(row, tables) for row in _records(typical(tables))],
        excluded=_excluded(tables.exclusions),
        earlier=_earlier(tables.earlier),
        settings=_settings(decision.settings),
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate in a name must not stop the report


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _limit(decision: Decision, setting: str) -> float | None:
    """A limit of the policy that the lot was judged by, as recorded in its settings."""
    policy = decision.settings.get("policy")
    found = policy.get(setting) if isinstance(policy, Mapping) else None
    return float(found) if isinstance(found, float | int) else None


def _passed(checks: Iterable[Check]) -> list[Check]:
    return sorted((check for check in checks if check.passed), key=lambda check: not check.critical)


def _steps(seconds: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """(step, seconds, percent of the longest step), in the order they ran."""
    longest = max([value for value in seconds.values() if np.isfinite(value)], default=0.0)
    return [
        (text.plain(name, 60), value, round(100 * value / longest, 2) if longest > 0 and np.isfinite(value) else 0.0)
        for name, value in seconds.items()
    ]


def _panels(tables: ReportTables) -> list[Panel]:
    """Voters first, in the policy's order, then those that only report; none is left out."""
    decision, findings = tables.decision, tables.findings
    if findings.empty and tables.verdicts.empty:
        return []
    present = sorted(set(findings["detector"]))
    names = dict.fromkeys([*decision.voters, *decision.skipped, *present])
    set_aside = tables.verdicts.loc[tables.verdicts["action"] == "quarantine", "sample_id"]
    quarantined = findings["sample_id"].isin(set_aside).to_numpy(dtype=bool)
    return [_panel(name, tables, quarantined) for name in names]


def _panel(name: str, tables: ReportTables, quarantined: np.ndarray[Any, np.dtype[np.bool_]]) -> Panel:
    decision, findings = tables.decision, tables.findings
    mine = (findings["detector"] == name).to_numpy(dtype=bool)
    scores = findings["score"].to_numpy(dtype=np.float64, na_value=np.nan)[mine]
    flagged = int(findings["flagged"].to_numpy(dtype=bool)[mine].sum())
    set_aside = quarantined[mine]
    chart = charts.histogram(scores, set_aside, _threshold(name, decision)) if len(scores) else None
    silence = ""
    if chart is None:
        without = "It scored no sample." if not len(scores) else "All of its scores are infinite or not numbers."
        silence = decision.skipped.get(name) or without
    title = TITLES.get(name) or text.plain(name, 60).replace("_", " ").capitalize()
    count = int(set_aside.sum())
    said = charts.spoken(title, len(scores), flagged, count)
    return Panel(title, _role(name, decision), len(scores), flagged, count, chart, silence, said)


def _threshold(name: str, decision: Decision) -> float | None:
    """The score above which that detector flags: infinite where none is enough, None where it is not recorded."""
    found = decision.thresholds.get(name)
    return math.inf if found is None and name in decision.thresholds else found


def _suspect(row: Mapping[str, Any], tables: ReportTables) -> Suspect:
    columns = tables.deviations.get(str(row["sample_id"]), ())
    listed = columns[COLUMNS_SHOWN : COLUMNS_SHOWN + COLUMNS_LISTED]
    return Suspect(
        sample_id=text.plain(row["sample_id"], 120),
        label=_label(row["label"]),
        score=_suspicion(row["score"]),
        kept=row["action"] != "quarantine",
        reasons=_reasons(row["reasons"]),
        picture=tables.pictures.get(str(row["sample_id"])),
        columns=columns[:COLUMNS_SHOWN],
        others=listed,
        n_unlisted=max(0, len(columns) - COLUMNS_SHOWN - len(listed)),
    )


def _label(label: Any) -> str:
    return text.figure(label) if isinstance(label, float) else text.plain(text.NONE if label is None else label, 60)


def _suspicion(score: Any) -> str:
    value = float(score) if score is not None else float("nan")
    return f"{value:.3f}" if np.isfinite(value) else "not scored"


def _reasons(value: Any) -> tuple[str, ...]:
    """Reasons come as one text or as a list of texts."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable):
        return ()
    return tuple(text.plain(reason, 280) for reason in list(value)[:6] if str(reason).strip())


def _role(name: str, decision: Decision) -> str:
    if name in decision.skipped:
        return "left out"
    return "votes" if name in decision.voters else "reports only"


@dataclass(frozen=True)
class Excluded:
    """What the contract quarantined: how many for which reason, and some of them of every reason."""

    n_samples: int
    reasons: tuple[tuple[str, int], ...]
    n_other_reasons: int
    sample: tuple[tuple[str, str], ...]


def _excluded(exclusions: pd.DataFrame) -> Excluded:
    reasons = exclusions["reason"].map(lambda reason: text.plain(reason, 200))
    counts = sorted(reasons.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    turn = reasons.groupby(reasons).cumcount()  # the first of every reason, then the second, …
    chosen = exclusions.assign(_turn=turn, _reason=reasons).sort_values(
        ["_turn", "_reason", "sample_id"], kind="stable"
    )
    rows = chosen.head(MOST_EXCLUDED).sort_values(["_reason", "sample_id"], kind="stable")
    return Excluded(
        n_samples=int(exclusions["sample_id"].nunique()),
        reasons=tuple((str(reason), int(count)) for reason, count in counts[:MOST_REASONS]),
        n_other_reasons=max(0, len(counts) - MOST_REASONS),
        sample=tuple(
            (text.plain(sample_id, 120), str(reason))
            for sample_id, reason in zip(rows["sample_id"], rows["_reason"], strict=True)
        ),
    )


def _earlier(earlier: pd.DataFrame) -> list[tuple[str, str, str, str, str]]:
    """(release, sample, label, suspicion, reasons) of earlier samples that are now suspect, most suspicious first."""
    found = earlier[earlier["suspect"].to_numpy(dtype=bool)].sort_values(
        ["score", "context", "sample_id"], ascending=[False, True, True], kind="stable"
    )
    return [
        (
            text.plain(row["context"], 120), text.plain(row["sample_id"], 120), _label(row["label"]),
            _suspicion(row["score"]), text.plain(row["reasons"], 280),
        )
        for row in _records(found.head(MOST_EARLIER))
    ]  # fmt: skip


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) rows."""
    rows: list[tuple[str, str]] = []

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                walk(f"{name}.{key}" if name else str(key), inner)
        elif isinstance(value, list | tuple):
            rows.append((text.plain(name, 100), text.plain(", ".join(map(str, value)) or text.NONE, 300)))
        else:
            rows.append((text.plain(name, 100), text.figure(value, 6)))

    walk("", settings)
    return rows[:MOST_SETTINGS]
