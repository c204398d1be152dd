"""After an interruption: complete what had begun to exist, and roll back what had not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lotgate.errors import RegistryError
from tasks.registry.commands import CommandError, dvc, git, git_succeeds
from tasks.registry.repository import OURS, Registry
from tasks.registry.verify import remote_tag


def recover(registry: Registry) -> None:
    """Closes every transaction that is open. The registry must be locked by the caller.

    Raises:
        RegistryError: whether a release was shared cannot be asked; the transaction stays open.
    """
    for tx, facts in registry.journal.open_transactions().items():
        if _exists(registry, facts):
            finish(registry, tx, lambda step: None)
        else:
            registry.journal.append(tx, "rolled_back")
    for room in (registry.private / "tx").iterdir():
        shutil.rmtree(room)


def finish(registry: Registry, tx: str, fault: Callable[[str], None]) -> None:
    """Brings a version that exists, or whose objects are complete, into this clone: references, files, record."""
    facts = registry.journal.transactions()[tx]
    _move_references(registry, facts)
    _reached(registry, tx, "tagged", fault)
    _install(registry, tx, facts)
    _reached(registry, tx, "installed", fault)
    _reached(registry, tx, "recorded", fault)
    shutil.rmtree(registry.private / "tx" / tx, ignore_errors=True)


def _reached(registry: Registry, tx: str, step: str, fault: Callable[[str], None]) -> None:
    registry.journal.append(tx, step)
    fault(step)


def _exists(registry: Registry, facts: dict[str, Any]) -> bool:
    """Whether anybody can have seen the version."""
    if "tag_object" not in facts:
        return False
    if _local_tag(registry, facts["tag"]) == facts["tag_object"]:
        return True
    upstream = registry.upstream()
    if upstream is not None:
        return remote_tag(registry, upstream.remote, facts["tag"]) == str(facts["tag_object"])
    return _on_branch(registry, facts)  # the reference transaction was cut between its two renames


def _local_tag(registry: Registry, tag: str) -> str:
    try:
        return git(registry.root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}")
    except CommandError:
        return ""


def _on_branch(registry: Registry, facts: dict[str, Any]) -> bool:
    return git_succeeds(registry.root, "merge-base", "--is-ancestor", facts["commit"], f"refs/heads/{facts['branch']}")


def _move_references(registry: Registry, facts: dict[str, Any]) -> None:
    """Branch and tag in one reference transaction; what has moved already is left."""
    lines = ["start"]
    if not _on_branch(registry, facts):
        lines.append(f"update refs/heads/{facts['branch']} {facts['commit']} {facts['head']}")
    if _local_tag(registry, facts["tag"]) != facts["tag_object"]:
        lines.append(f"create refs/tags/{facts['tag']} {facts['tag_object']}")
    if len(lines) == 1:
        return
    try:
        git(registry.root, "update-ref", "--stdin", stdin="\n".join([*lines, "prepare", "commit", ""]).encode())
    except CommandError as error:
        raise RegistryError(
            f"the branch {facts['branch']!r} moved while {facts['tag']} was being released: {error.what}",
            where=registry.root,
            action="let other Git commands in the registry finish and run again",
        ) from error


def _install(registry: Registry, tx: str, facts: dict[str, Any]) -> None:
    """Files of the release into the working tree, path by path; the user's other changes stay as they are."""
    if registry.branch() != facts["branch"]:
        return  # the user has switched branches since the interruption; the files come with that branch
    staged = registry.private / "tx" / tx / "tree"
    for area in OURS:
        place = f"{area}/{facts['lot']}"
        if not git_succeeds(registry.root, "cat-file", "-e", f"{facts['commit']}:{place}"):
            _remove(registry, place)
            continue
        git(registry.root, "checkout", "--quiet", facts["commit"], "--", place)
        _install_data(registry, staged / place / "data", registry.root / place / "data")


def _remove(registry: Registry, place: str) -> None:
    """An earlier version of the lot had this part; its bytes stay in DVC's cache and on the remote."""
    git(registry.root, "rm", "-r", "--force", "--quiet", "--ignore-unmatch", "--", place)
    shutil.rmtree(registry.root / place, ignore_errors=True)


def _install_data(registry: Registry, staged: Path, place: Path) -> None:
    if staged.is_dir():
        if place.exists():
            place.replace(staged.with_name("before"))
        staged.replace(place)
    elif not place.exists() and place.with_name("data.dvc").exists():
        dvc(registry.root, "checkout", "--quiet", str(place.relative_to(registry.root)) + ".dvc")
