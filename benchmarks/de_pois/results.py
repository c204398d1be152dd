"""The rows: one committed CSV, rewritten whole after every job, which is also what a stopped run goes on from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.de_pois.conventions import OURS, PAPERS
from benchmarks.detection.data import ROOT
from lotgate.files import write_text

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
COLUMNS = (
    "job", "dataset", "attack", "r_p", "trusted", "n_trusted", "spoiled", "seed", "method", "n", "n_planted",
    *OURS, *PAPERS, "seconds_1000", "seconds_synthesis", "seconds_mimic", "synthesised", "absent", "code",
)  # fmt: skip
MEASURED = ("lotgate/detectors/de_pois.py", "lotgate/calibration.py", "lotgate/networks.py", "lotgate/probe.py")
MEASURED_FOLDERS = ("lotgate/detectors/_de_pois", "lotgate/attacks")
OWN = ("lots.py", "variants.py", "peers.py", "conventions.py", "run.py")
BORROWED = ("data.py", "lots.py", "peers_regression.py", "measures.py")


def fingerprint() -> str:
    """Twelve hex digits of all source that a figure depends on: rows of one value compare."""
    files = [ROOT / name for name in MEASURED]
    files += [path for folder in MEASURED_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    files += [HERE / name for name in OWN] + [HERE.parent / "detection" / name for name in BORROWED]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def read_rows(path: Path = RESULTS) -> pd.DataFrame:
    """Every row there is; empty where there is no file."""
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.read_csv(path, dtype={"code": str, "absent": str})


def with_job(rows: pd.DataFrame, fresh: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows with those of one job replaced."""
    made = pd.DataFrame(fresh).reindex(columns=list(COLUMNS))
    others = rows[~rows["job"].isin(set(made["job"]))]
    joined = made if others.empty else pd.concat([others.astype(object), made.astype(object)], ignore_index=True)
    return joined.sort_values(["job", "attack", "r_p", "method"], kind="stable").reset_index(drop=True).infer_objects()


def write_rows(rows: pd.DataFrame, path: Path = RESULTS) -> Path:
    """Five digits, so that a re-run changes only what changed."""
    return write_text(path, rows.to_csv(index=False, float_format="%.5g"))


def published(name: str) -> pd.DataFrame:
    """One of the paper's tables, typed from it: published/NAME.csv."""
    return pd.read_csv(HERE / "published" / f"{name}.csv")
