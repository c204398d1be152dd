"""Rows on disk: one JSON file per case while running, one CSV per split to commit, and their summary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.detection.cases import Case, expand, load_cases
from benchmarks.detection.data import BUILD, ROOT
from benchmarks.detection.measures import GRID
from lotgate.files import write_text
from lotgate.settings import Settings
from lotgate.versions import installed, versions

RESULTS = Path(__file__).with_name("results")
PEER_STACK = ("adversarial-robustness-toolbox", "cleanlab", "pyod")
COLUMNS = (
    "case", "split", "group", "dataset", "attack", "kind", "rate", "trusted", "poisoned_trusted", "seed", "classes",
    "method", "family", "decision", "n", "n_planted", "n_cover", "n_flagged", "tpr", "fpr", "precision", "f1",
    "f1_best", "auroc", "balanced_accuracy", "flagged_share", "accuracy", "f1_clean", *(f"roc_{g:g}" for g in GRID),
    "seconds", "seconds_ingest", "seconds_gather", "training_seconds", "training_mb", "base_mb", "peak_mb",
    "plant_seconds", "context_tpr", "context_fpr",
    "tpr_without", "fpr_without", "f1_without", "flagged_share_without",
    "downstream", "clean_raw", "attack_success_raw", "clean_kept", "attack_success_kept", "clean_perfect",
    "attack_success_perfect", "absent", "headline", "machine", "code", "definition",
)  # fmt: skip
KEYS = ["dataset", "attack", "rate", "trusted", "poisoned_trusted", "method", "family"]
AVERAGED = [
    "tpr", "fpr", "precision", "f1", "auroc", "balanced_accuracy", "flagged_share", "seconds", "f1_best", "accuracy",
    "f1_clean", "peak_mb", *(f"roc_{g:g}" for g in GRID), "clean_raw", "attack_success_raw",
    "clean_kept", "attack_success_kept", "clean_perfect", "attack_success_perfect",
]  # fmt: skip
NOT_MEASURING = {
    "__main__.py", "against.py", "charts.py", "docs.py", "goals.py", "markdown.py", "names.py", "page.py", "quotes.py",
    "results.py", "runner.py", "standing.py",
}  # fmt: skip
WORST_IS_HIGH = {"fpr", "flagged_share", "seconds", "peak_mb"}


def fingerprint(settings: Settings) -> str:
    """Twelve hex digits of the product's source, of the benchmark's and of the settings: rows of one value compare."""
    digest = hashlib.sha256(settings.model_dump_json(exclude={"registry", "train"}).encode())
    for folder in (ROOT / "lotgate", ROOT / "expectations", Path(__file__).parent):
        for path in sorted(path for path in folder.rglob("*") if path.suffix in {".py", ".json"}):
            if path.name not in NOT_MEASURING and RESULTS not in path.parents:
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def definition(case: Case) -> str:
    """Eight hex digits of what cases.yaml says of a case; of drips and of order only where there is one."""
    unsaid = set() if case.data.earlier or case.data.drawn_as else {"earlier", "drawn_as"}
    unsaid |= {name for name in ("in_order", "clean_before") if not getattr(case.data, name)}
    words = case.model_dump_json(exclude={"data": unsaid})
    if case.data.halves and case.data.classes:  # rows from when each choice of classes was halved by itself are others
        words += "halved before classes are chosen"
    return hashlib.sha256(words.encode()).hexdigest()[:8]


def row_file(case: Case) -> Path:
    """Where the rows of one case are kept while the benchmark runs."""
    return BUILD / "rows" / case.split / f"{case.name}.json"


def save_rows(case: Case, rows: list[dict[str, Any]], code: str) -> None:
    """Writes the rows of a finished case, whole or not at all."""
    marks = {"code": code, "definition": definition(case)}
    write_text(row_file(case), json.dumps([row | marks for row in rows], indent=1, default=float))


def csv_file(split: str) -> Path:
    """The committed rows of a split."""
    return RESULTS / f"{split}.csv"


def read_csv(split: str) -> pd.DataFrame:
    """The committed rows."""
    texts = dict.fromkeys(("code", "definition", "absent", "headline", "downstream"), str)
    rows = pd.read_csv(csv_file(split), dtype=texts)
    return rows.reindex(columns=list(dict.fromkeys((*COLUMNS, *rows.columns))))


def load_rows(split: str, cases: list[Case]) -> pd.DataFrame:
    """Every row there is of these cases: the files of the run first, the committed CSV for what they lack.

    A method that was not asked this time keeps its committed row of the same lot, with the code that measured it. Rows
    of a case that is defined otherwise now are left out.
    """
    files = {case.name: row_file(case) for case in cases}
    records = [row for file in files.values() if file.exists() for row in json.loads(file.read_text())]
    fresh = pd.DataFrame(records).reindex(columns=list(COLUMNS))
    if not csv_file(split).exists():
        return fresh
    parts = [part.astype(object) for part in (_not_measured_again(read_csv(split), fresh, files), fresh) if len(part)]
    rows = pd.concat(parts, ignore_index=True)[list(COLUMNS)].infer_objects() if parts else fresh
    defined = {case.name: definition(case) for case in cases}
    return rows[rows["definition"] == rows["case"].map(defined)].reset_index(drop=True)


def _not_measured_again(old: pd.DataFrame, fresh: pd.DataFrame, cases: Iterable[str]) -> pd.DataFrame:
    """The committed rows of these cases but those that `fresh` replaces: same case and method, or a new definition."""
    named = pd.MultiIndex.from_frame(old[["case", "method"]])
    replaced = named.isin(pd.MultiIndex.from_frame(fresh[["case", "method"]]))
    now = old["case"].map(fresh.drop_duplicates("case").set_index("case")["definition"])
    return old[old["case"].isin(set(cases)) & ~replaced & (now.isna() | (now == old["definition"]))]


def write_csv(split: str, rows: pd.DataFrame) -> Path:
    """The rows as CSV, in a fixed order and with six digits, so that a re-run changes only what changed."""
    RESULTS.mkdir(exist_ok=True)
    ordered = rows.sort_values(["case", "family", "method"], kind="stable")
    ordered.to_csv(csv_file(split), index=False, float_format="%.6g")
    summary(ordered).to_csv(RESULTS / f"{split}_summary.csv", index=False, float_format="%.4g")
    return csv_file(split)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and worst over seeds, one row per dataset × attack × rate × trusted share × method."""
    numbers = rows.copy()
    numbers[AVERAGED] = numbers[AVERAGED].apply(pd.to_numeric)
    numbers["rejected"] = (numbers["decision"] == "reject").astype(float)
    grouped = numbers.groupby(KEYS, sort=True, dropna=False)
    means = grouped[[*AVERAGED, "rejected"]].mean()
    low, high = grouped[AVERAGED].min(), grouped[AVERAGED].max()
    worst = pd.DataFrame({f"worst_{c}": (high if c in WORST_IS_HIGH else low)[c] for c in AVERAGED[:8]})
    return pd.concat([grouped.size().rename("seeds"), means, worst], axis=1).reset_index()


def cases_run(rows: pd.DataFrame) -> tuple[int, int]:
    """How many cases of the report split have rows, and how many there are."""
    every = {case.name for case in expand(load_cases(), "report")}
    return len(every & set(rows["case"])), len(every)


def states(rows: pd.DataFrame) -> str:
    """Which state of the code measured these rows, or how many states did."""
    codes = sorted(map(str, rows["code"].dropna().unique()))
    if len(codes) == 1:
        return f"code {codes[0]}"
    return f"{len(codes)} states of the code (each row of the CSV names its own)"


def stack() -> dict[str, str]:
    """Versions of Lotgate, of what it stands on, and of the peers."""
    return versions() | {name: installed(name) for name in PEER_STACK}
