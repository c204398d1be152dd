"""The release record: what was released, and the SHA-256 of every byte of it.

DVC names content by MD5 and hands out what it finds in a cache or on a remote; this record is the anchor instead.
It is checked after every push, after every checkout, and right before training. Pure: no Git, no DVC.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lotgate.errors import IntegrityError, SettingsError

ACCEPTED = ("accept", "accept_with_quarantine")
CHUNK = 1 << 20
SHOWN = 5  # names listed in a message before "and N more"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RegistrySettings(BaseModel):
    """Where released data is versioned.

    Attributes:
        path: the registry: a clone of the team's Git + DVC repository, or a folder that does not exist yet, which
            then becomes an embedded registry with a local DVC remote beside it (`<path>-remote`).
        remote: name of the DVC remote; empty takes the registry's default remote.
        lock_timeout: seconds to wait for another process that is publishing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = "data/registry"
    remote: str = ""
    lock_timeout: Annotated[float, Field(ge=0, le=86_400)] = 600.0


class TrainSettings(BaseModel):
    """What a release starts.

    Attributes:
        enabled: false releases without training.
        deployment: the Prefect deployment to run, as `flow/deployment`. The default is Lotgate's own; any other one
            must exist and gets the parameters `dataset` and `version`.
        model: "auto" (a small CNN or MLP), "resnet18", or whatever else `probe.model` takes.
        epochs, batch_size, learning_rate, width: of the training; see `ProbeSettings`.
        holdout_rate: share of the released rows kept back to measure accuracy where no trusted set is given.
        out: folder for models: `<out>/<dataset>/v<version>/`.
        work: folder for the checked-out version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    deployment: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")] = "train/train"
    model: str = "auto"
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 3e-3
    width: Annotated[int, Field(ge=2, le=4096)] = 64
    holdout_rate: Annotated[float, Field(gt=0, lt=1)] = 0.2
    out: str = "data/models"
    work: str = "data/runs/train"


class FileRecord(BaseModel):
    """One released file: POSIX path relative to the data folder, size in bytes, SHA-256 of the content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class DetectorSummary(BaseModel):
    """What one detector said about the lot; `voter` is whether its findings could quarantine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    n_flagged: int
    threshold: float | None
    voter: bool


class ReleaseRecord(BaseModel):
    """`release.json`: one version of one dataset.

    Attributes:
        dataset, lot, version: names; the tag is `<dataset>/v<version>`.
        release_id: SHA-256 over the lot's fingerprint and every verdict: the same judged lot has the same id.
        lot_fingerprint, trusted_fingerprint: see `Dataset.fingerprint`.
        decision, reasons: accept or accept_with_quarantine, and why.
        modality, task, target: of the lot; `target` is the label column of `entry`, None for a class-folder tree.
        entry: what to ingest, relative to the data folder: ".", "manifest.csv" or "table.parquet".
        n_samples, n_kept, n_quarantined: rows of the lot.
        detectors: one summary per detector that ran.
        settings, versions, seed: of the scan.
        files: every file of the sanitized data folder; `quarantine_files` those of the quarantine's data folder.
        documents: verdicts.parquet and manifest.parquet, as committed beside this record.
        digest: SHA-256 over all of these files.
        released_at: UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    dataset: str
    lot: str
    version: Annotated[int, Field(ge=1)]
    release_id: Sha256
    lot_fingerprint: str
    trusted_fingerprint: str | None
    decision: Literal["accept", "accept_with_quarantine"]
    reasons: tuple[str, ...]
    modality: Literal["image", "table"]
    task: Literal["classification", "regression"]
    target: str | None
    entry: str
    n_samples: int
    n_kept: int
    n_quarantined: int
    detectors: tuple[DetectorSummary, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    seed: int
    files: tuple[FileRecord, ...]
    quarantine_files: tuple[FileRecord, ...]
    documents: tuple[FileRecord, ...]
    digest: Sha256
    released_at: str

    @property
    def tag(self) -> str:
        return release_tag(self.dataset, self.version)

    def to_bytes(self) -> bytes:
        """The exact bytes of `release.json`: what the tag's `Lotgate-Record` digest is taken over."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def parse_record(content: bytes, where: object) -> ReleaseRecord:
    """The record in these bytes, consistent with its own digest.

    Raises:
        IntegrityError: not a release record, or its digest is not that of the files it lists.
    """
    try:
        record = ReleaseRecord.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise IntegrityError(
            f"the release record is not valid: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=where,
            action="restore release.json from the release's commit; do not train on this version",
        ) from error
    if record.digest != total_digest(record.files, record.quarantine_files, record.documents):
        raise IntegrityError(
            "the release record's digest is not that of the files it lists",
            where=where,
            action="restore release.json from the release's commit; do not train on this version",
        )
    return record


def record_files(folder: Path) -> tuple[FileRecord, ...]:
    """Every file under a folder, sorted by path; an absent folder has none."""
    return tuple(
        FileRecord(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=sha256_file(path))
        for path in _files(folder)
    )


def verify_files(folder: Path, expected: Iterable[FileRecord]) -> None:
    """Compares a folder with what was released.

    Args:
        folder: a data folder.
        expected: the record's `files` (or `quarantine_files`, `documents`).

    Raises:
        IntegrityError: naming missing, changed and extra files.
    """
    wanted = {file.path: file for file in expected}
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    changed = [name for name, file in wanted.items() if name in found and _differs(found[name], file)]
    faults = [("missing", missing), ("changed", changed), ("not part of the release", extra)]
    told = [f"{len(names)} {word}: {_some(names)}" for word, names in faults if names]
    if told:
        raise IntegrityError(
            "the data is not what was released: " + "; ".join(told),
            where=folder,
            action="do not train on it; fetch the version again, and if that fails restore the DVC remote",
        )


def total_digest(*groups: Iterable[FileRecord]) -> str:
    """SHA-256 over groups of file records; the order inside a group does not matter."""
    total = hashlib.sha256()
    for number, group in enumerate(groups):
        lines = sorted(f"{file.sha256} {file.bytes} {file.path}" for file in group)
        total.update("\n".join([str(number), *lines, ""]).encode())
    return total.hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def release_tag(dataset: str, version: int) -> str:
    """`<dataset>/v<version>`."""
    return f"{dataset}/v{version}"


def release_name(dataset: str, version: int) -> str:
    """`<dataset>@v<version>`: how a release is named to and by a user."""
    return f"{dataset}@v{version}"


def check_dataset_name(name: str) -> str:
    """The name, if it can be a folder and a Git tag.

    Raises:
        SettingsError: it cannot.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", name) or ".." in name or name.endswith((".", ".lock")):
        raise SettingsError(
            f"{name!r} cannot be the name of a dataset",
            where="--dataset",
            action="use lower-case letters, digits, '.', '_' and '-', starting with a letter or digit",
        )
    return name


def lot_name(lot: str, fingerprint: str) -> str:
    """A folder name for a lot: a slug of its path's last part and the first 12 digits of its fingerprint."""
    slug = re.sub(r"[^a-z0-9]+", "-", Path(lot).name.lower()).strip("-")[:40].strip("-")
    return f"{slug or 'lot'}-{fingerprint[:12]}"


def split_release_name(name: str) -> tuple[str, int]:
    """`dataset@v3` or `dataset@3` → ("dataset", 3).

    Raises:
        SettingsError: the name is neither.
    """
    dataset, _, version = name.partition("@")
    digits = version.removeprefix("v")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", digits):
        raise SettingsError(
            f"{name!r} names no version",
            where="DATASET@VERSION",
            action="write it as in digits@v1; `git tag` in the registry lists the versions",
        )
    return check_dataset_name(dataset), int(digits)


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _differs(path: Path, file: FileRecord) -> bool:
    # A link could be re-pointed after the check; released data has none.
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.bytes:
        return True
    return sha256_file(path) != file.sha256


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
