"""A tagged version, fetched anew from the DVC remote and compared with its release record.

Nothing that lies in this clone is trusted: not its working tree, not DVC's cache. What a version is, is said by the
annotated tag, whose message names the SHA-256 of the record; what the record says is checked file by file.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lotgate.errors import IntegrityError, RegistryError
from lotgate.release import (
    RegistrySettings,
    ReleaseRecord,
    parse_record,
    record_files,
    release_tag,
    verify_files,
)
from tasks.registry.commands import CommandError, dvc, git, git_bytes, git_succeeds
from tasks.registry.repository import OURS, Registry, open_existing, write_dvc_room

RECORD = "release.json"
DOCUMENTS = ("manifest.parquet", "verdicts.parquet")
RECORD_TRAILER = "Lotgate-Record"
LOT_TRAILER = "Lotgate-Lot"


@dataclass(frozen=True)
class Version:
    """A released version as Git tells it.

    Attributes:
        tag, commit: its tag and the commit the tag names.
        lot: folder of the lot below `datasets/` and `quarantine/`: `<dataset>/<lot>`.
        record: the release record; record_sha256: digest of its bytes.
    """

    tag: str
    commit: str
    lot: PurePosixPath
    record: ReleaseRecord
    record_sha256: str


def verify(settings: RegistrySettings, dataset: str, version: int) -> ReleaseRecord:
    """Fetches a version, quarantine included, into a scratch folder and compares every file with its record.

    Raises:
        RegistryError: there is no such release.
        IntegrityError: the release is not what was released.
    """
    registry = open_existing(settings)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=registry.private) as scratch:
        return checkout(settings, dataset, version, Path(scratch) / "version", quarantine=True).record


def checkout(
    settings: RegistrySettings, dataset: str, version: int, into: Path, *, quarantine: bool = False
) -> Version:
    """Puts a verified version into a new folder: `data/`, the record and its documents, and `quarantine/` if asked.

    Raises:
        RegistryError: there is no such release, or the remote cannot be reached.
        IntegrityError: the release is not what was released; nothing is left in `into`.
    """
    registry = open_existing(settings)
    version_found = find_version(registry, dataset, version)
    building = into.with_name(f".{into.name}.fetching")
    shutil.rmtree(building, ignore_errors=True)
    try:
        _materialise(registry, version_found, building, quarantine=quarantine)
        shutil.rmtree(into, ignore_errors=True)
        building.rename(into)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return version_found


def find_version(registry: Registry, dataset: str, version: int) -> Version:
    """Reads a version's tag, commit and record and checks that they are one release.

    Raises:
        RegistryError: there is no such release.
        IntegrityError: the tag or the record was changed.
    """
    tag = release_tag(dataset, version)
    tag_object = _tag_object(registry, tag)
    _require_same_tag_upstream(registry, tag, tag_object)
    commit = git(registry.root, "rev-parse", f"{tag_object}^{{commit}}")
    trailers = _trailers(git(registry.root, "cat-file", "tag", tag_object))
    if RECORD_TRAILER not in trailers or LOT_TRAILER not in trailers:
        raise _tampered(tag, "the tag's message names no release record: it was not made by a release")
    lot = PurePosixPath(trailers[LOT_TRAILER])
    if len(lot.parts) != 2 or lot.parts[0] != dataset or ".." in lot.parts:
        raise _tampered(tag, f"the tag names the lot {lot}, which is not of this dataset")
    _require_release_commit(registry, tag, commit, lot)
    content = _show(registry, tag, commit, f"datasets/{lot}/{RECORD}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != trailers[RECORD_TRAILER]:
        raise _tampered(tag, "release.json is not the record that the tag names")
    record = parse_record(content, f"{tag}:datasets/{lot}/{RECORD}")
    if (record.dataset, record.version, f"{record.dataset}/{record.lot}") != (dataset, version, str(lot)):
        raise _tampered(tag, f"the record is that of {record.tag}, lot {record.lot}")
    _require_as_published(registry, tag, commit, digest)
    return Version(tag, commit, lot, record, digest)


def fetch(registry: Registry, pointers: Mapping[str, bytes], into: Path) -> None:
    """Fetches DVC folders from the remote, past every cache.

    Args:
        pointers: content of each `data.dvc`, by the folder below `into` where its `data/` shall be.
        into: a new folder.

    Raises:
        IntegrityError: something is missing on the remote, or differs there, or the remote cannot be reached.
    """
    into.mkdir(parents=True)
    # Hard links into a cache that is thrown away below: one copy on disk, and none shared with anything.
    write_dvc_room(into, registry, into / ".dvc" / "cache", link="hardlink,copy")
    for folder, content in pointers.items():
        (into / folder).mkdir(parents=True, exist_ok=True)
        (into / folder / "data.dvc").write_bytes(content)
    try:
        dvc(into, "pull", "--quiet")
    except CommandError as error:
        raise IntegrityError(
            f"the data cannot be fetched whole from the DVC remote {registry.remote!r}: {error.what}",
            where=registry.root,
            action="check that the remote is reachable, restore the objects it misses, and run again",
        ) from error
    shutil.rmtree(into / ".dvc")
    (into / ".dvcignore").unlink(missing_ok=True)
    for folder in pointers:
        (into / folder / "data.dvc").unlink()


def _materialise(registry: Registry, version: Version, folder: Path, *, quarantine: bool) -> None:
    record, lot = version.record, version.lot
    parts = {".": ("datasets", record.files)}
    if quarantine and record.quarantine_files:
        parts["quarantine"] = ("quarantine", record.quarantine_files)
    pointers = {
        name: _show(registry, version.tag, version.commit, f"{area}/{lot}/data.dvc")
        for name, (area, _) in parts.items()
    }
    fetch(registry, pointers, folder)
    for name, (_, files) in parts.items():
        verify_files(folder / name / "data", files)
    for document in DOCUMENTS:
        (folder / document).write_bytes(_show(registry, version.tag, version.commit, f"datasets/{lot}/{document}"))
    found = [file for file in record_files(folder) if file.path in DOCUMENTS]
    if set(found) != set(record.documents):
        raise _tampered(version.tag, "verdicts.parquet or manifest.parquet is not the released one")
    (folder / RECORD).write_bytes(_show(registry, version.tag, version.commit, f"datasets/{lot}/{RECORD}"))


def _tag_object(registry: Registry, tag: str) -> str:
    try:
        found = git(registry.root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}")
    except CommandError as error:
        raise RegistryError(
            f"{tag} was not released: the registry has no such tag",
            where=registry.root,
            action="list the versions with `git tag`; a team's registry may need `git pull`",
        ) from error
    if git(registry.root, "cat-file", "-t", found) != "tag":
        raise _tampered(tag, "the tag is not an annotated one: it was not made by a release")
    return found


def _require_same_tag_upstream(registry: Registry, tag: str, tag_object: str) -> None:
    upstream = registry.upstream()
    if upstream is None:
        return
    told = remote_tag(registry, upstream.remote, tag)
    if told is None:
        raise _tampered(tag, f"the Git remote {upstream.remote!r} has no such tag")
    if told != tag_object:
        raise _tampered(tag, f"the tag here is not the tag of the Git remote {upstream.remote!r}")


def remote_tag(registry: Registry, remote: str, tag: str) -> str | None:
    """The tag object that a Git remote has under this name.

    Raises:
        RegistryError: the remote cannot be reached.
    """
    try:
        told = git(registry.root, "ls-remote", remote, f"refs/tags/{tag}")
    except CommandError as error:
        raise RegistryError(
            f"the registry's Git remote {remote!r} cannot be reached: {error.what}",
            where=registry.root,
            action="check the network and the credentials, and run again",
        ) from error
    return told.split()[0] if told else None


def _require_release_commit(registry: Registry, tag: str, commit: str, lot: PurePosixPath) -> None:
    if not git(registry.root, "branch", "--all", "--contains", commit):
        raise _tampered(tag, "the tag points to a commit that is on no branch")
    changed = git(registry.root, "diff-tree", "-r", "--no-commit-id", "--name-only", "-z", commit).split("\0")
    ours = tuple(f"{area}/{lot}/" for area in OURS)
    names = [name for name in changed if name]
    if f"{ours[0]}{RECORD}" not in names or not all(name.startswith(ours) for name in names):
        raise _tampered(tag, "the tag does not point to the commit of its release")
    edited = git(registry.root, "status", "--porcelain", "--", *ours)
    if edited:
        raise _tampered(tag, f"the registry's working tree was edited: {edited.splitlines()[0]}")


def _require_as_published(registry: Registry, tag: str, commit: str, digest: str) -> None:
    published = registry.journal.released(tag)
    if published is not None and (published["commit"], published["record_sha256"]) != (commit, digest):
        raise _tampered(tag, "this clone published another commit or record under the tag")


def _show(registry: Registry, tag: str, commit: str, path: str) -> bytes:
    if not git_succeeds(registry.root, "cat-file", "-e", f"{commit}:{path}"):
        raise _tampered(tag, f"{path} is not part of the tagged commit")
    return git_bytes(registry.root, "cat-file", "blob", f"{commit}:{path}")


def _trailers(tag_text: str) -> dict[str, str]:
    lines = (line.partition(": ") for line in tag_text.splitlines())
    return {key: value for key, mark, value in lines if mark and key.startswith("Lotgate-")}


def _tampered(tag: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"{tag} is not what was released: {what}",
        where=f"tag {tag}",
        action="do not train on it; compare with another clone of the registry and restore the tag",
    )
