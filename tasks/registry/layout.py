"""Writes one part of a judged lot (what is kept, or what is quarantined) as the folder that is released.

Images of a class-folder lot keep their tree; those of a manifest lot come with a `manifest.csv`; a table becomes
`table.parquet` with its own columns. The landing lot is only read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from lotgate.data import MANIFEST_COLUMNS, Dataset
from lotgate.errors import IntegrityError, LotError
from lotgate.release import CHUNK

FILE_COLUMNS = ("width", "height", "channels", "bit_depth")
TABLE = "table.parquet"
MANIFEST = "manifest.csv"


def write_part(lot: Dataset, rows: pd.DataFrame, folder: Path, *, kept: bool) -> None:
    """Writes the samples of these manifest rows under `folder`.

    Args:
        lot: the whole lot.
        rows: manifest rows of one verdict.
        kept: whether the bytes must be those that were judged; what was quarantined may be unreadable.

    Raises:
        IntegrityError: a kept file is not the file that was judged.
        LotError: a kept sample has a name that would leave the folder.
    """
    folder.mkdir(parents=True)
    if lot.modality == "table":
        _write_table(lot, rows, folder / TABLE)
        return
    for row in rows.to_dict("records"):
        _copy_image(lot.root, row, folder, kept=kept)
    if not is_class_tree(lot):
        _write_manifest(rows, folder)


def is_class_tree(lot: Dataset) -> bool:
    """Whether the folder names alone say all that the manifest says: `<label>/<file>`, no extra columns."""
    extras = set(lot.manifest.columns) - set(MANIFEST_COLUMNS) - set(FILE_COLUMNS)
    read = lot.manifest[lot.manifest["row"] >= 0]  # what is broken may lie anywhere
    pairs = zip(read["sample_id"], read["label"], strict=True)
    plain = not extras and not _has_sources(lot.manifest)
    return plain and all(PurePosixPath(i).parts[0] == str(label) and "/" in i for i, label in pairs)


def _has_sources(rows: pd.DataFrame) -> bool:
    return bool((rows["source"].fillna("") != "").any())


def entry_of(lot: Dataset) -> str:
    """What a consumer ingests, relative to the data folder."""
    if lot.modality == "table":
        return TABLE
    return "." if is_class_tree(lot) else MANIFEST


def target_of(lot: Dataset, target: str | None) -> str | None:
    """The label column of the released entry; for tables the one given, else `label`, else `target`."""
    if lot.modality == "image":
        return None if is_class_tree(lot) else "label"
    if target:
        return target
    columns = pq.read_schema(_raw(lot)).names
    found = next((name for name in ("label", "target") if name in columns), None)
    if found is None:
        raise LotError("the table's label column is not known", where=lot.root, action="name it with --target")
    return found


def _write_table(lot: Dataset, rows: pd.DataFrame, path: Path) -> None:
    table = pq.read_table(_raw(lot))
    pq.write_table(table.take(sorted(_positions(rows))), path)


def _raw(lot: Dataset) -> Path:
    if lot.raw is None:
        raise LotError("the table's columns were not kept", where=lot.root, action="scan the lot again")
    return lot.raw


def _positions(rows: pd.DataFrame) -> list[int]:
    """0-based rows of the table, from ids of the form `<file name>#<row>`."""
    return [int(str(sample_id).rpartition("#")[2]) for sample_id in rows["sample_id"]]


def _write_manifest(rows: pd.DataFrame, folder: Path) -> None:
    extras = [column for column in rows.columns if column not in {*MANIFEST_COLUMNS, *FILE_COLUMNS}]
    columns = rows[["sample_id", "label", *(["source"] if _has_sources(rows) else []), *extras]]
    columns.rename(columns={"sample_id": "path"}).to_csv(folder / MANIFEST, index=False, encoding="utf-8")


def _copy_image(root: Path, row: dict[Hashable, Any], folder: Path, *, kept: bool) -> None:
    name = PurePosixPath(str(row["sample_id"]))
    source = root / str(row["uri"])
    inside = not name.is_absolute() and ".." not in name.parts and source.resolve().is_relative_to(root.resolve())
    readable = inside and source.is_file()
    if not readable:
        if kept:
            raise LotError(
                "a kept sample has vanished or lies outside the lot", where=source, action="scan the lot again"
            )
        return  # its verdict is all there is to keep
    digest = _copy(source, folder / name)
    if digest != row["sha256"] and (kept or row["sha256"]):
        raise IntegrityError(
            "a sample is not the file that was judged: it changed after the scan",
            where=source,
            action="find out who writes to the landing lot, and scan it again",
        )


def _copy(source: Path, target: Path) -> str:
    """Copies a file and returns the SHA-256 of the bytes that were copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while piece := reader.read(CHUNK):
            digest.update(piece)
            writer.write(piece)
        writer.flush()
    os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    return digest.hexdigest()
