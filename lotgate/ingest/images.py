"""Images → store and manifest. Every file is read once, and what is hashed is what is decoded, and its pixels."""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lotgate.data import Dataset
from lotgate.ingest.carried import carried, sources
from lotgate.ingest.folders import Candidate, from_folders, from_manifest
from lotgate.ingest.intake import Intake
from lotgate.ingest.labels import find_target
from lotgate.ingest.pixels import Header, Unreadable, content_digest, decode, fit, read_header
from lotgate.ingest.store import StoreWriter, new_store

CHUNK = 2048  # files handed to the threads at once, so that an interrupt is heard soon
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Checked:
    """A candidate whose header was read: `header` where it has one, `defect` where it cannot be used."""

    candidate: Candidate
    header: Header | None
    defect: str | None


@dataclass(frozen=True)
class Brought:
    """A sample after its file was read: `sha256` of the file's bytes and `content` of its pixels, "" where they could
    not be read."""

    checked: Checked
    row: int
    sha256: str
    defect: str | None
    content: str = ""


def ingest_images(intake: Intake, frame: pd.DataFrame | None, out: Path) -> Dataset:
    """Writes `store.npy` under `out`; `frame` is the lot's own manifest, None for class folders."""
    if intake.task == "regression":
        raise intake.error("images are classified; there is no regression on images", "use --task classification")
    candidates = from_folders(intake) if frame is None else from_manifest(intake, frame)
    candidates.sort(key=lambda c: c.sample_id)
    checked = _in_threads(lambda c: _check(c, intake), candidates)
    _refuse_nothing(intake, [c.defect for c in checked])
    samples = _bring_all(checked, intake, out)
    _refuse_nothing(intake, [s.defect for s in samples])
    labels = {str(s.checked.candidate.label) for s in samples if s.defect is None}
    return Dataset(
        modality="image",
        task="classification",
        manifest=_manifest(samples, intake, frame),
        root=intake.path if frame is None else intake.path.parent,
        store=out / "store.npy",
        classes=intake.like.classes if intake.like is not None else tuple(sorted(labels)),
    )


def _in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`function` of every item, in order."""
    results: list[R] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), CHUNK):
            results.extend(pool.map(function, items[start : start + CHUNK]))
    return results


def _check(candidate: Candidate, intake: Intake) -> Checked:
    """The header of a candidate's file. A sample that is known to be unusable keeps its first reason."""
    if candidate.file is None:
        return Checked(candidate, None, candidate.defect)
    try:
        with candidate.file.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > intake.settings.max_bytes:
                raise Unreadable(f"file of {size:,} bytes is over the limit of {intake.settings.max_bytes:,}")
            return Checked(candidate, read_header(file, intake.settings.max_pixels), candidate.defect)
    except Unreadable as error:
        return Checked(candidate, None, candidate.defect or str(error))
    except OSError as error:
        return Checked(candidate, None, candidate.defect or f"file cannot be read ({error.strerror or error})")


def _shape(intake: Intake, headers: list[Header]) -> tuple[int, int, int]:
    """(C, H, W): the trusted set's, or one channel if all is grey and the median size, capped."""
    if intake.like is not None:
        channels, height, width = intake.like.shape
        return channels, height, width
    height, width = np.median([header.shown for header in headers], axis=0)
    scale = min(1.0, intake.settings.image_size / max(height, width))
    channels = 1 if all(header.grey for header in headers) else 3
    return channels, max(1, round(height * scale)), max(1, round(width * scale))


def _bring_all(checked: list[Checked], intake: Intake, out: Path) -> list[Brought]:
    """Decodes every usable image into the store; the k-th usable one, in order of id, is row k."""
    headers = [c.header for c in checked if c.defect is None and c.header is not None]
    dtype = np.uint16 if any(header.bit_depth == 16 for header in headers) else np.uint8
    rows = np.cumsum([c.defect is None for c in checked]) - 1
    with new_store(out / "store.npy", (len(headers), *_shape(intake, headers)), dtype) as store:
        return _in_threads(
            lambda pair: _bring(pair[0], int(pair[1]), store, intake), list(zip(checked, rows, strict=True))
        )


def _bring(checked: Checked, row: int, store: StoreWriter, intake: Intake) -> Brought:
    """Reads one file, once, and writes its pixels into `row`."""
    file, header = checked.candidate.file, checked.header
    if file is None:
        return Brought(checked, -1, "", checked.defect)
    try:
        if checked.defect is not None or header is None:
            with file.open("rb") as stream:
                return Brought(checked, -1, hashlib.file_digest(stream, "sha256").hexdigest(), checked.defect)
        data = file.read_bytes()
    except OSError as error:
        return Brought(checked, -1, "", checked.defect or f"file cannot be read ({error.strerror or error})")
    digest = hashlib.sha256(data).hexdigest()
    try:
        if read_header(io.BytesIO(data), intake.settings.max_pixels) != header:
            raise Unreadable("file changed while it was read")
        pixels = decode(data, header)
    except Unreadable as error:
        return Brought(checked, -1, digest, str(error))
    store.write(row, fit(pixels, store.sample_shape, store.dtype))
    return Brought(checked, row, digest, None, content_digest(pixels))


def _refuse_nothing(intake: Intake, defects: list[str | None]) -> None:
    """Fails if no sample is left, and says what is wrong with most of them."""
    if any(defect is None for defect in defects):
        return
    reasons = "; ".join(f"{count:,} × {reason}" for reason, count in Counter(defects).most_common(3))
    raise intake.error(
        f"none of the {len(defects):,} images of {intake.noun} can be used: {reasons}",
        "check how the files were exported and copied",
    )


def _manifest(samples: list[Brought], intake: Intake, frame: pd.DataFrame | None) -> pd.DataFrame:
    candidates = [s.checked.candidate for s in samples]
    headers = [s.checked.header for s in samples]
    lines = [c.line for c in candidates]
    columns: dict[str, Any] = {
        "sample_id": [c.sample_id for c in candidates],
        "uri": [c.uri for c in candidates],
        "label": pd.array([c.label for c in candidates], dtype=object),
        "source": "" if frame is None else sources(frame).iloc[lines].tolist(),
        "sha256": [s.sha256 for s in samples],
        "content_sha256": [s.content for s in samples],
        "row": [s.row for s in samples],
        "defect": pd.array([s.defect for s in samples], dtype=object),
    }
    for name in ("width", "height", "channels", "bit_depth"):
        columns[name] = [-1 if header is None else getattr(header, name) for header in headers]
    manifest = pd.DataFrame(columns)
    if frame is None:
        return manifest
    extras = [
        name for name in frame.columns if name not in {"path", "source", find_target(list(frame.columns), intake)}
    ]
    return pd.concat([manifest, carried(frame, extras).iloc[lines].reset_index(drop=True)], axis=1)
