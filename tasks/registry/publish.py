"""Publishing, all or nothing.

    begun → staged → added → pushed → verified → committed → shared → tagged → installed → recorded

Everything up to `committed` happens in a private folder and in Git's object store, where no reader looks. A version
begins to exist in one step: the atomic push of branch and tag to the team's Git remote (`shared`), or, where there
is none, the reference transaction that moves branch and tag together (`tagged`). What was interrupted before that
step is rolled back by the next run; what was interrupted after it is completed.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lotgate.errors import IntegrityError, RegistryError
from lotgate.release import (
    RegistrySettings,
    ReleaseRecord,
    check_dataset_name,
    lot_name,
    parse_record,
    record_files,
    release_tag,
    sha256_file,
    total_digest,
    verify_files,
)
from tasks.registry.commands import CommandError, dvc, git, git_bytes, git_succeeds
from tasks.registry.judged import Judged, read_judged
from tasks.registry.layout import entry_of, target_of, write_part
from tasks.registry.recovery import finish, recover
from tasks.registry.repository import OURS, Registry, Upstream, identity, open_or_create, write_dvc_room
from tasks.registry.verify import DOCUMENTS, LOT_TRAILER, RECORD, RECORD_TRAILER, fetch

STEPS = (
    "begun",
    "staged",
    "added",
    "pushed",
    "verified",
    "committed",
    "shared",
    "tagged",
    "installed",
    "recorded",
)
Fault = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """One published version.

    Attributes:
        dataset, version, tag, lot: names.
        commit: the Git commit that the tag names.
        record: path of release.json in the registry; record_sha256: digest of its bytes.
        new: false where the same judged lot had been released before.
    """

    dataset: str
    version: int
    tag: str
    lot: str
    commit: str
    record: Path
    record_sha256: str
    new: bool


def no_fault(step: str) -> None:
    """The fault of normal operation: none."""


def publish(
    run: Path,
    dataset: str,
    lot: str,
    settings: RegistrySettings,
    *,
    target: str | None = None,
    fault: Fault = no_fault,
) -> Release:
    """Releases an accepted lot as the next version of a dataset; the same judged lot only once.

    Args:
        run: folder of a finished scan.
        dataset: name of the dataset.
        lot: the lot's path, for its name in the registry.
        settings: which registry.
        target: label column, as it was given to the scan.
        fault: called with each step's name after it; tests crash in it.

    Raises:
        LotError: the run is not finished or its lot was not accepted.
        RegistryError: the registry is dirty, locked, behind, diverged, detached or unreachable.
        IntegrityError: the lot changed after it was judged, or the remote does not hold what was pushed.
    """
    check_dataset_name(dataset)
    judged = read_judged(run)
    registry = open_or_create(settings)
    if entry_of(judged.lot) == "." and registry.root.is_relative_to(judged.lot.root.resolve()):
        raise RegistryError("the registry lies inside the lot", where=registry.root, action="set another registry.path")
    with registry.locked():
        recover(registry)
        registry.require_ready()
        existing = _find_release(registry, dataset, judged.release_id)
        if existing is not None:
            return existing
        try:
            return _Transaction.begin(registry, judged, dataset, lot, target, fault).run()
        finally:
            recover(registry)  # nothing to do after a success


@dataclass(frozen=True, eq=False)
class _Transaction:
    """One release in the making; `tree` mirrors the registry's working tree."""

    registry: Registry
    judged: Judged
    dataset: str
    lot: str
    version: int
    target: str | None
    id: str
    head: str
    branch: str
    fault: Fault

    @classmethod
    def begin(
        cls, registry: Registry, judged: Judged, dataset: str, lot: str, target: str | None, fault: Fault
    ) -> _Transaction:
        made = cls(
            registry=registry,
            judged=judged,
            dataset=dataset,
            lot=lot_name(lot, judged.lot.fingerprint),
            version=_next_version(registry, dataset),
            target=target,
            id=uuid.uuid4().hex,
            head=registry.head(),
            branch=registry.branch(),
            fault=fault,
        )
        made._reached("begun", tag=made.tag, lot=f"{dataset}/{made.lot}", branch=made.branch, head=made.head)
        return made

    @property
    def tag(self) -> str:
        return release_tag(self.dataset, self.version)

    @property
    def room(self) -> Path:
        return self.registry.private / "tx" / self.id

    @property
    def tree(self) -> Path:
        return self.room / "tree"

    def folder(self, area: str) -> Path:
        return self.tree / area / self.dataset / self.lot

    def run(self) -> Release:
        record = self._stage()
        self._reached("staged")
        areas = [area for area in OURS if (self.folder(area) / "data").is_dir()]
        targets = [str(self.folder(area).relative_to(self.tree) / "data") for area in areas]
        dvc(self.tree, "add", "--quiet", *targets)
        self._reached("added")
        dvc(self.tree, "push", "--quiet")
        self._reached("pushed")
        self._verify_remote(record, areas)
        self._reached("verified")
        record_sha256 = sha256_file(self.folder("datasets") / RECORD)
        commit, tag_object = self._commit(record_sha256)
        self._reached("committed", commit=commit, tag_object=tag_object, record_sha256=record_sha256)
        upstream = self.registry.upstream()
        if upstream is not None:
            self._share(upstream, commit, tag_object)
        self._reached("shared")
        finish(self.registry, self.id, self.fault)
        path = self.registry.root / "datasets" / self.dataset / self.lot / RECORD
        return Release(self.dataset, self.version, self.tag, self.lot, commit, path, record_sha256, new=True)

    def _reached(self, step: str, **facts: str) -> None:
        self.registry.journal.append(self.id, step, **facts)
        self.fault(step)

    def _stage(self) -> ReleaseRecord:
        """Writes both parts, the documents and the record."""
        self.tree.mkdir(parents=True)
        write_dvc_room(self.tree, self.registry, self.registry.cache, link="reflink,copy")
        judged = self.judged
        write_part(judged.lot, judged.kept, self.folder("datasets") / "data", kept=True)
        if len(judged.quarantined):
            held = self.folder("quarantine") / "data"
            write_part(judged.lot, judged.quarantined, held, kept=False)
            if not any(held.iterdir()):
                held.rmdir()  # nothing of it could be read: the verdicts are all there is to keep
        for source in (judged.verdicts, judged.manifest):
            shutil.copyfile(source, self.folder("datasets") / source.name)
        record = self._record()
        for area in OURS:
            if self.folder(area).is_dir():
                self._write_documents(record, area)
        return record

    def _write_documents(self, record: ReleaseRecord, area: str) -> None:
        folder = self.folder(area)
        (folder / RECORD).write_bytes(record.to_bytes())
        (folder / ".gitignore").write_text("/data\n", encoding="utf-8")
        if area != "datasets":
            for name in DOCUMENTS:
                shutil.copyfile(self.folder("datasets") / name, folder / name)

    def _record(self) -> ReleaseRecord:
        judged, decision = self.judged, self.judged.decision
        folder = self.folder("datasets")
        groups = (
            record_files(folder / "data"),
            record_files(self.folder("quarantine") / "data"),
            tuple(file for file in record_files(folder) if file.path in DOCUMENTS),
        )
        return ReleaseRecord(
            dataset=self.dataset, lot=self.lot, version=self.version, release_id=judged.release_id,
            lot_fingerprint=judged.lot.fingerprint, trusted_fingerprint=decision.trusted_fingerprint,
            decision=decision.decision,  # type: ignore[arg-type]  # read_judged refused "reject"
            reasons=decision.reasons, modality=judged.lot.modality, task=judged.lot.task,
            target=target_of(judged.lot, self.target), entry=entry_of(judged.lot),
            n_samples=len(judged.lot), n_kept=len(judged.kept), n_quarantined=len(judged.quarantined),
            detectors=judged.detectors, settings=decision.settings, versions=decision.versions, seed=decision.seed,
            files=groups[0], quarantine_files=groups[1], documents=groups[2], digest=total_digest(*groups),
            released_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip

    def _verify_remote(self, record: ReleaseRecord, areas: list[str]) -> None:
        """Fetches everything back past every cache: DVC's own check does not see files missing on a remote."""
        back = self.room / "back"
        fetch(self.registry, {area: (self.folder(area) / "data.dvc").read_bytes() for area in areas}, back)
        verify_files(back / "datasets" / "data", record.files)
        if "quarantine" in areas:
            verify_files(back / "quarantine" / "data", record.quarantine_files)
        shutil.rmtree(back)

    def _commit(self, record_sha256: str) -> tuple[str, str]:
        """Builds commit and tag as objects, through an index of its own; no reference moves yet."""
        root = self.registry.root
        env = {"GIT_INDEX_FILE": str(self.room / "index")}
        git(root, "read-tree", self.head, env=env)
        lots = [f"{area}/{self.dataset}/{self.lot}" for area in OURS]
        git(root, "rm", "-r", "--force", "--quiet", "--cached", "--ignore-unmatch", "--", *lots, env=env)
        for area in OURS:
            for path in sorted(self.folder(area).glob("*")):
                if path.is_file():
                    blob = git(root, "hash-object", "-w", "--no-filters", "--", str(path))
                    name = path.relative_to(self.tree).as_posix()
                    git(root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", env=env)
        tree = git(root, "write-tree", env=env)
        message = self._message(record_sha256)
        who = identity(root)
        commit = git(root, "commit-tree", tree, "-p", self.head, stdin=message, env=who)
        tagger = f"{who['GIT_COMMITTER_NAME']} <{who['GIT_COMMITTER_EMAIL']}> {int(time.time())} +0000"
        head = f"object {commit}\ntype commit\ntag {self.tag}\ntagger {tagger}\n\n".encode()
        return commit, git(root, "mktag", stdin=head + message)

    def _message(self, record_sha256: str) -> bytes:
        judged = self.judged
        lines = [
            f"Release {self.tag}: {judged.decision.decision}, {len(judged.kept)} of {len(judged.lot)} samples kept",
            "",
            f"{LOT_TRAILER}: {self.dataset}/{self.lot}",
            f"{RECORD_TRAILER}: {record_sha256}",
            "",
        ]
        return "\n".join(lines).encode()

    def _share(self, upstream: Upstream, commit: str, tag_object: str) -> None:
        wanted = [f"{commit}:refs/heads/{upstream.branch}", f"{tag_object}:refs/tags/{self.tag}"]
        try:
            git(self.registry.root, "push", "--quiet", "--atomic", upstream.remote, *wanted)
        except CommandError as error:
            raise RegistryError(
                f"the registry's Git remote {upstream.remote!r} did not take the release: {error.what}",
                where=self.registry.root,
                action="somebody may have been faster: run `git pull --ff-only` in the registry and run again",
            ) from error


def _next_version(registry: Registry, dataset: str) -> int:
    if git_succeeds(registry.root, "rev-parse", "--verify", "--quiet", f"refs/tags/{dataset}"):
        raise RegistryError(
            f"a tag named {dataset!r} stands in the way of versions of this dataset",
            where=registry.root,
            action=f"delete or rename the tag, or choose another --dataset than {dataset}",
        )
    tags = git(registry.root, "tag", "--list", f"{dataset}/v*").splitlines()
    taken = [int(number) for number in (tag.rpartition("/v")[2] for tag in tags) if number.isdigit()]
    return max(taken, default=0) + 1


def _find_release(registry: Registry, dataset: str, release_id: str) -> Release | None:
    """The version that this judged lot was released as, by the records of the branch."""
    pattern = f'"release_id": "{release_id}"'
    for tag in git(registry.root, "tag", "--list", f"{dataset}/v*", "--sort=-v:refname").splitlines():
        for name in git(registry.root, "ls-tree", "-r", "--name-only", "-z", tag, f"datasets/{dataset}").split("\0"):
            if not name.endswith(f"/{RECORD}"):
                continue
            content = git_bytes(registry.root, "cat-file", "blob", f"{tag}:{name}")
            if pattern.encode() in content:
                return _as_release(registry, content, name)
    return None


def _as_release(registry: Registry, content: bytes, name: str) -> Release:
    record = parse_record(content, name)
    if not git_succeeds(registry.root, "rev-parse", "--verify", "--quiet", f"refs/tags/{record.tag}"):
        raise IntegrityError(
            f"{record.tag} was released, but its tag is gone", where=name, action="restore the tag from another clone"
        )
    commit = git(registry.root, "rev-parse", f"refs/tags/{record.tag}^{{commit}}")
    return Release(
        record.dataset, record.version, record.tag, record.lot, commit, registry.root / name,
        hashlib.sha256(content).hexdigest(), new=False,
    )  # fmt: skip
