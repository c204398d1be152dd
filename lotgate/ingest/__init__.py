"""Ingest: a folder of images, a manifest of images or a table of features becomes a Dataset.

    folder with one sub-folder per class          → images   (folders.py, pixels.py, images.py)
    CSV or Parquet with a text column `path`      → images   (files.py, then the same)
    any other CSV or Parquet                      → table    (files.py, labels.py, encoding.py, tables.py)

What cannot be read *as a sample* is kept in the manifest with the reason; what cannot be read *as a lot* is an error.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lotgate.data import Dataset
from lotgate.errors import InputError, OutputError
from lotgate.ingest.files import TABLE_SUFFIXES, read_frame
from lotgate.ingest.images import ingest_images
from lotgate.ingest.intake import IngestSettings, Intake, Role, WishedTask
from lotgate.ingest.tables import ingest_table

__all__ = ["IngestSettings", "ingest"]

MANIFEST_NAMES = ("manifest.csv", "manifest.parquet")


def ingest(
    path: Path,
    work: Path,
    *,
    role: Role = "lot",
    target: str | None = None,
    task: WishedTask = "auto",
    like: Dataset | None = None,
    settings: IngestSettings = IngestSettings(),  # noqa: B008  (frozen)
    counters: tuple[str, ...] = (),
) -> Dataset:
    """Reads a lot or a trusted set, each file once, and writes it under `work` as `Dataset.save` does.

    The folder gets `store.npy`, `manifest.parquet`, `dataset.json` and, for tables, `raw.parquet`; on an error or a
    crash an earlier content of `work` is either still whole or no longer loadable, never a mixture.

    Args:
        path: a folder with one sub-folder per class, a folder with only `manifest.csv` or `manifest.parquet` and no
            sub-folders, a manifest with a `path` column, or a table.
        work: where to write; made if need be.
        role: who it is; decides the kind of error.
        target: the label column of a manifest or table (default: `label`, else `target`). Folders have none.
        task: "auto" takes text, booleans and up to 20 distinct whole numbers that repeat for classes, other
            numbers for regression; "01" is text. Images are always classified.
        like: the trusted set, ingested before: gives classes, task, image shape and encoding.
        counters: columns of a table that number or date its rows, and so are no features.

    Returns:
        The dataset, as `Dataset.load(work)` returns it.

    Raises:
        LotError, TrustedError, ContextError: the data of this role cannot be used, or does not fit `like`.
        OutputError: `work` cannot be written.
    """
    intake = _locate(Intake(path, role, target, task, like, settings, counters))
    frame = None if intake.path.is_dir() else read_frame(intake)
    is_table = frame is not None and not _lists_images(frame)
    _refuse_mismatch(intake, is_table)
    work = work.absolute()
    _refuse_inside(intake, work)
    part = work / ".part"
    made = not work.exists()
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        table = frame if is_table else None
        dataset = ingest_images(intake, frame, part) if table is None else ingest_table(intake, table, part)
        _commit(dataset, part, work)
    except OSError as error:
        raise _blame(error, intake, work) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if made and work.is_dir() and not any(work.iterdir()):
            work.rmdir()
    return Dataset.load(work)


def _locate(intake: Intake) -> Intake:
    """The request with the file or folder that is really to be read."""
    path = intake.path
    try:
        if not path.exists():
            raise intake.error(f"{intake.noun} does not exist", "check the path", path.absolute())
        if path.is_dir():
            if next(path.iterdir(), None) is None:  # fails here, not half way, where it may not be read
                raise intake.error(
                    f"{intake.noun} is an empty folder",
                    "give a folder with one sub-folder of images per class, or a CSV or Parquet file",
                    path.absolute(),
                )
            return _in_folder(replace(intake, path=path.resolve()))
        if path.is_file():
            with path.open("rb"):
                pass
    except OSError as error:
        raise intake.error(
            f"{intake.noun} cannot be read: {error.strerror or error}", "check the path, or allow this user to read it"
        ) from error
    if not path.is_file() or path.suffix.lower() not in TABLE_SUFFIXES:
        raise intake.error(
            f"{intake.noun} is neither a folder nor a {', '.join(TABLE_SUFFIXES)} file",
            "give a folder with one sub-folder per class, or a CSV or Parquet file",
        )
    return replace(intake, path=path.parent.resolve() / path.name)


def _in_folder(intake: Intake) -> Intake:
    """The folder itself, or the manifest that is all it says about its images."""
    manifests = [intake.path / name for name in MANIFEST_NAMES if (intake.path / name).is_file()]
    if not manifests:
        return intake
    folders = [entry.name for entry in intake.path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if folders or len(manifests) > 1:
        others = "sub-folders" if folders else manifests[1].name
        raise intake.error(
            f"{intake.noun} can be read in two ways: it has {manifests[0].name} and {others}",
            f"give the path of {manifests[0].name} itself, or move it elsewhere to use the rest",
        )
    return replace(intake, path=manifests[0])


def _lists_images(frame: pd.DataFrame) -> bool:
    """Whether it is a manifest: it has a column `path` of text."""
    return "path" in frame.columns and pd.api.types.infer_dtype(frame["path"], skipna=True) == "string"


def _refuse_mismatch(intake: Intake, is_table: bool) -> None:
    like, found = intake.like, "table" if is_table else "image"
    if like is None:
        return
    if like.modality != found:
        words = {"table": "rows of a table", "image": "images"}
        raise intake.error(
            f"{intake.noun} holds {words[found]}, but the trusted set holds {words[like.modality]}",
            "give a trusted set of the same kind (a manifest of images needs a text column named `path`)",
        )
    if intake.task not in {"auto", like.task}:
        raise intake.error(
            f"the task is {intake.task}, but the trusted set was read for {like.task}",
            "give both the same --task",
        )


def _refuse_inside(intake: Intake, work: Path) -> None:
    if intake.path.is_dir() and work.resolve().is_relative_to(intake.path):
        raise OutputError(
            f"the output folder lies inside {intake.noun}, which is never written to",
            where=work,
            action=f"name an output folder outside {intake.path}",
        )


def _blame(error: OSError, intake: Intake, work: Path) -> InputError:
    """Whether it was reading or writing that failed, by the file that the error names."""
    why = os.strerror(error.errno) if error.errno else str(error)
    if isinstance(error.filename, str):
        file = Path(error.filename)
        if not file.is_relative_to(work) and not work.is_relative_to(file):
            return intake.error(f"{intake.noun} cannot be read: {why}", "allow this user to read it", file)
    return OutputError(
        f"the ingested samples cannot be written: {why}",
        where=work,
        action="free space on the disk, or name a folder that this user may write to",
    )


def _commit(dataset: Dataset, part: Path, work: Path) -> None:
    """Moves the finished files into place. `dataset.json` goes first and comes last: without it nothing loads."""
    final = replace(dataset, store=work / "store.npy", raw=None if dataset.raw is None else work / "raw.parquet")
    final.save(part)
    (work / "dataset.json").unlink(missing_ok=True)
    if final.raw is None:
        (work / "raw.parquet").unlink(missing_ok=True)
    else:
        (part / "raw.parquet").replace(final.raw)
    for name in ("store.npy", "manifest.parquet", "dataset.json"):
        (part / name).replace(work / name)
