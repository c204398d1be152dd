"""Which images a lot has: class folders, or a manifest with a `path` column. Nothing is opened here but folders."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from lotgate.ingest.intake import Intake, listed, readable_name
from lotgate.ingest.labels import as_text, decide_task, find_target, label_texts
from lotgate.ingest.pixels import SUFFIXES

SIDECARS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"})
SIDECAR_SUFFIXES = frozenset({".txt", ".md", ".json", ".xml", ".yaml", ".yml", ".csv", ".parquet", ".html", ".log"})


@dataclass(frozen=True)
class Candidate:
    """One sample before its file is opened.

    Attributes:
        uri: its path relative to the lot's root, "" where it has none.
        file: where to read it; None where there is nothing that may be read.
        defect: why it cannot be used, already known from its path or label; else None.
        line: its 0-based row in the lot's own manifest; -1 for folders.
    """

    sample_id: str
    uri: str
    label: str | None
    file: Path | None
    defect: str | None = None
    line: int = -1


def from_folders(intake: Intake) -> list[Candidate]:
    """Every image of a folder with one sub-folder per class, nested files included.

    Dotfiles, well-known sidecars (`Thumbs.db`, `.txt`, `.json`, `.xml` …) and hidden folders are no samples. Any other
    file that is not an image, an image beside the class folders, and a symlink that leaves the lot are kept as
    defective samples, so that nothing vanishes unseen.
    """
    entries = sorted((e for e in intake.path.iterdir() if not _ignored(e.name)), key=lambda e: e.name)
    found = [c for entry in entries for c in _below(entry, intake)]
    if not entries:
        raise intake.error(f"{intake.noun} is an empty folder", "give a folder with one sub-folder of images per class")
    if not any(entry.is_dir() for entry in entries):
        what = "files, but no class folders" if found else "no class folders"
        raise intake.error(
            f"{intake.noun} has {what}",
            "sort the images into one sub-folder per class, or give a CSV manifest with the columns path,label",
        )
    if not found:
        raise intake.error(
            f"the class folders of {intake.noun} hold no images ({listed(e.name for e in entries if e.is_dir())})",
            "put PNG, JPEG, BMP, WebP or TIFF files into them",
        )
    return found


def _below(entry: Path, intake: Intake) -> Iterator[Candidate]:
    label = readable_name(entry.name)
    if entry.is_symlink() and entry.is_dir():
        yield _linked_folder(entry, label, intake)
    elif not entry.is_dir():
        candidate = _file(entry, None, intake)
        if candidate is not None:
            yield replace(candidate, defect=candidate.defect or "lies in no class folder")
    else:
        for folder, folders, files in os.walk(entry, onerror=_raise):
            here = Path(folder)
            links = [name for name in folders if (here / name).is_symlink() and not _ignored(name)]
            folders[:] = [name for name in folders if not _ignored(name)]
            yield from (_linked_folder(here / name, label, intake) for name in links)
            candidates = (_file(here / name, label, intake) for name in files if not _ignored(name))
            yield from (candidate for candidate in candidates if candidate is not None)


def _raise(error: OSError) -> None:
    raise error


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in SIDECARS


def _linked_folder(entry: Path, label: str, intake: Intake) -> Candidate:
    inside = entry.resolve().is_relative_to(intake.path)
    why = "symlink to a folder, which is not followed" if inside else "symlink leaves the lot"
    return Candidate(_id(entry, intake), _id(entry, intake), label, None, why)


def _id(file: Path, intake: Intake) -> str:
    return readable_name(file.relative_to(intake.path).as_posix())


def _file(file: Path, label: str | None, intake: Intake) -> Candidate | None:
    suffix = file.suffix.lower()
    if suffix in SIDECAR_SUFFIXES or (not suffix and file.name.upper().startswith(("README", "LICENSE"))):
        return None
    sample_id = _id(file, intake)
    defect = _defect(file, intake.path, real=True)
    if defect is None and sample_id != file.relative_to(intake.path).as_posix():
        defect = "file name is not valid UTF-8"
    if defect is None and suffix not in SUFFIXES:
        defect = "not an image file"
    unsafe = defect is not None and defect != "not an image file"
    return Candidate(sample_id, sample_id, label, None if unsafe else file, defect)


def _defect(file: Path, root: Path, real: bool = False) -> str | None:
    """Why this path may not or cannot be read; None where it is a regular file inside the root.

    `real`: the folders above it are known to be no symlinks, which spares a look at each.
    """
    try:
        if not (file if real and not file.is_symlink() else file.resolve()).is_relative_to(root):
            return "symlink leaves the lot"
        if file.is_file():
            return None
        if file.is_symlink():
            return "symlink points to nothing"
        return "not a regular file" if file.exists() else "file not found"
    except RuntimeError:
        return "symlink points to itself"
    except (OSError, ValueError) as error:  # a name that is too long, a NUL byte
        return f"path cannot be read ({getattr(error, 'strerror', None) or error})"


def from_manifest(intake: Intake, frame: pd.DataFrame) -> list[Candidate]:
    """Every row of a manifest with a `path` column, relative to the manifest's folder.

    A path that leaves the folder, or is listed more than once, makes a defective sample; of rows that repeat a path
    with one and the same label the first is kept, of rows that repeat it with different labels none.
    """
    target = find_target(list(frame.columns), intake)
    decide_task(frame[target], replace(intake, task="classification"), target)
    labels = label_texts(frame[target])
    paths = as_text(frame["path"])
    candidates: list[Candidate] = []
    for line, (text, label) in enumerate(zip(paths, labels, strict=True)):
        candidates.append(_listed_file(text, label, line, intake))
    return _once(candidates, intake)


def _listed_file(text: str | None, label: str | None, line: int, intake: Intake) -> Candidate:
    if text is None or not text.strip():
        return Candidate(f"{intake.path.name}#no path", "", label, None, "path is missing", line)
    relative = posixpath.normpath(text)
    root = intake.path.parent
    if posixpath.isabs(text):
        return Candidate(relative, relative, label, None, "absolute path; it must be relative to the manifest", line)
    if relative == ".." or relative.startswith("../"):
        return Candidate(relative, relative, label, None, "path leaves the lot through `..`", line)
    file = root / relative
    defect = _defect(file, root)
    if defect == "file not found" and "\\" in text:
        defect = "file not found (the path has backslashes; write it with /)"
    if defect is not None:
        return Candidate(relative, relative, label, None, defect, line)
    return Candidate(relative, relative, label, file, None if label is not None else "label is missing", line)


def _once(candidates: list[Candidate], intake: Intake) -> list[Candidate]:
    """Gives every sample an id of its own, whatever the order of the rows, and marks paths listed more than once."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.sample_id, []).append(candidate)
    result: list[Candidate] = []
    taken = set(groups)
    for sample_id, group in sorted(groups.items()):
        labels = sorted({str(c.label) for c in group})
        clash = f"listed under different labels: {listed(labels)}" if len(labels) > 1 else None
        group.sort(key=lambda c: (str(c.label), c.line))
        result.append(replace(group[0], defect=_first(group[0], clash)))
        for number, candidate in enumerate(group[1:], start=2):
            name = f"{sample_id}#{number}"
            while name in taken:
                name += "#"
            taken.add(name)
            again = clash or f"listed {len(group)} times in {intake.path.name}"
            result.append(replace(candidate, sample_id=name, defect=_first(candidate, again)))
    return result


def _first(candidate: Candidate, again: str | None) -> str | None:
    """Being listed again outweighs other defects, where there is a path at all."""
    return again or candidate.defect if candidate.uri else candidate.defect
