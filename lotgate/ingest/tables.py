"""Tables → store, raw copy and manifest. Store row i, raw row i and row i of the file are the same sample."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lotgate.data import Dataset, Task
from lotgate.ingest.carried import carried, sources
from lotgate.ingest.encoding import NUMBERS, Record, encode, learn, names, raw_values, typed
from lotgate.ingest.intake import CARRIED, Intake, listed
from lotgate.ingest.labels import as_numbers, decide_task, find_target, label_texts
from lotgate.ingest.store import new_store

CHUNK = 65_536  # rows encoded at once
NOT_CONTENT = frozenset({"identifier", "index column", "ignored", "counter"})


def ingest_table(intake: Intake, frame: pd.DataFrame, out: Path) -> Dataset:
    """Writes `store.npy` and `raw.parquet` under `out`."""
    target = find_target(list(frame.columns), intake)
    outside = {target, *CARRIED, *intake.settings.ignore_columns}
    columns = [name for name in frame.columns if name not in outside]
    task = decide_task(frame[target], intake, target)
    encoding = _encoding(intake, frame, columns, target)
    if not names(encoding):
        raise intake.error(
            f"{intake.noun} has no column that could be a feature: {_dropped(encoding)}",
            "give at least one column that varies beside the label",
        )
    labels, defects = _labels(frame[target], task)
    for record in encoding:
        _mark_wrong_kind(frame, record, defects)
    _refuse_nothing(intake, defects)
    frame.to_parquet(out / "raw.parquet", index=False)
    content = _write_store(frame, encoding, out)
    ids = [f"{intake.path.name}#{i}" for i in range(len(frame))]
    manifest = pd.DataFrame(
        {
            "sample_id": ids,
            "uri": intake.path.name,
            "label": labels,
            "source": sources(frame),
            "sha256": content,
            "content_sha256": content,
            "row": np.where([d is None for d in defects], np.arange(len(frame)), -1),
            "defect": pd.array(defects, dtype=object),
        }
    )
    extras = carried(frame, [name for name in CARRIED[1:] if name in frame.columns and name != target])
    manifest = pd.concat([manifest, extras], axis=1).sort_values("sample_id", ignore_index=True)
    return Dataset(
        modality="table",
        task=task,
        manifest=manifest,
        root=intake.path.parent,
        store=out / "store.npy",
        classes=_classes(intake, manifest, task),
        features=names(encoding),
        raw=out / "raw.parquet",
        encoding=encoding,
    )


def _classes(intake: Intake, manifest: pd.DataFrame, task: Task) -> tuple[str, ...]:
    if task == "regression":
        return ()
    if intake.like is not None:
        return intake.like.classes
    return tuple(sorted(set(manifest.loc[manifest["row"] >= 0, "label"])))


def _encoding(intake: Intake, frame: pd.DataFrame, columns: list[str], target: str) -> tuple[Record, ...]:
    """The trusted set's encoding where there is one, else learned; with a record for every raw column."""
    if intake.like is None:
        learned = {record["column"]: record for record in learn(frame[columns], intake.settings)}
        learned |= {name: {"column": name, "kind": "dropped", "why": "counter"} for name in intake.counters}
        return tuple(learned.get(name) or _no_feature(str(name), target) for name in frame.columns)
    expected = [r["column"] for r in intake.like.encoding if not _outside(r)]
    lacking = [name for name in expected if name not in columns]
    surplus = [name for name in columns if name not in expected]
    if lacking or surplus:
        parts = [f"{intake.noun} lacks {listed(lacking)}"] if lacking else []
        parts += [f"{intake.noun} has {listed(surplus)}, which the trusted set lacks"] if surplus else []
        raise intake.error(
            "the columns differ from the trusted set's: " + "; ".join(parts),
            "give both sets the same columns, or name the others in `ingest.ignore_columns`",
        )
    return intake.like.encoding


def _outside(record: Record) -> bool:
    return record["kind"] in {"label", "carried"} or record.get("why") == "ignored"


def _no_feature(name: str, target: str) -> Record:
    if name == target:
        return {"column": name, "kind": "label"}
    if name in CARRIED:
        return {"column": name, "kind": "carried"}
    return {"column": name, "kind": "dropped", "why": "ignored"}


def _dropped(encoding: Sequence[Record]) -> str:
    return listed(f"{r['column']} is {r['why']}" for r in encoding if r["kind"] == "dropped") or "it has no others"


def _labels(values: pd.Series, task: Task) -> tuple[Any, list[str | None]]:
    """(labels: object texts or float64; per row, why it has no usable label, else None)."""
    if task == "classification":
        texts = label_texts(values)
        return texts, ["label is missing" if missing else None for missing in texts.isna()]
    numbers, bad = as_numbers(values)
    defects: list[str | None] = [None] * len(values)
    for i in np.flatnonzero(~np.isfinite(numbers)):
        if bad.iloc[i]:
            defects[i] = f"target {values.iloc[i]!r} is not a number"
        else:
            defects[i] = "label is missing" if np.isnan(numbers.iloc[i]) else "target is infinite"
    return numbers, defects


def _mark_wrong_kind(frame: pd.DataFrame, record: Record, defects: list[str | None]) -> None:
    """A text in a column of numbers makes its row defective."""
    if _outside(record):
        return
    values = raw_values(frame, record)
    bad = typed(values, record["kind"])[1]
    for i in np.flatnonzero(bad):
        defects[i] = defects[i] or f"{record['column']}: {values.iloc[i]!r} is not a {_what(record)}"


def _what(record: Record) -> str:
    return {"numeric": "number", "boolean": "boolean", "datetime": "time"}[record["kind"]]


def _refuse_nothing(intake: Intake, defects: list[str | None]) -> None:
    if any(defect is None for defect in defects):
        return
    common = "; ".join(f"{count:,} × {reason}" for reason, count in Counter(defects).most_common(3))
    raise intake.error(
        f"none of the {len(defects):,} rows of {intake.noun} can be used: {common}",
        "check the label column and the types of the columns",
    )


def _write_store(frame: pd.DataFrame, encoding: Sequence[Record], out: Path) -> list[str]:
    """Encodes in chunks of rows → SHA-256 of every row's content."""
    content: list[str] = []
    with new_store(out / "store.npy", (len(frame), len(names(encoding))), np.float32) as store:
        for start in range(0, len(frame), CHUNK):
            chunk = frame.iloc[start : start + CHUNK]
            store.write(start, encode(chunk, encoding))
            content += _content(chunk, encoding)
    return content


def _content(frame: pd.DataFrame, encoding: Sequence[Record]) -> list[str]:
    """SHA-256 of each row as a JSON list of its values in order of column name.

    The label, carried and ignored columns, identifiers, counters and index columns are left out: rows that differ in
    nothing else are the same content. Numbers are float64, whatever the type of their column in this file.
    """
    records = [r for r in encoding if not _outside(r) and r.get("why") not in NOT_CONTENT]
    columns = []
    for record in sorted(records, key=lambda r: str(r["column"])):
        raw = raw_values(frame, record)
        values, bad = typed(raw, record["kind"])
        if record["kind"] in NUMBERS:
            values = as_numbers(raw)[0]  # keeps infinities apart from missing values
        cells = values.astype(object).where(values.notna(), None)
        columns.append(cells.where(~bad, raw.astype(object)).tolist())
    rows = zip(*columns, strict=True)
    return [hashlib.sha256(json.dumps(row, default=str).encode()).hexdigest() for row in rows]
