"""Git and DVC as subprocesses: the only place that starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lotgate.errors import RegistryError

#: Variables that would point Git at another repository than the one a command names.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")


class CommandError(RegistryError):
    """A git or dvc command failed; the message holds what it said."""


def git(
    root: Path, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None, strip: bool = True
) -> str:
    """Runs git in `root` and returns what it printed.

    Raises:
        CommandError: it failed.
    """
    output = git_bytes(root, *arguments, stdin=stdin, env=env).decode(errors="replace")
    return output.strip() if strip else output


def git_bytes(root: Path, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
    """As `git`, for content that must not be decoded."""
    safe = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    return _run(["git", *arguments], root, {**safe, **quiet, **(env or {})}, stdin)


def git_succeeds(root: Path, *arguments: str) -> bool:
    """Whether a git command that answers by its exit code says yes."""
    try:
        git(root, *arguments)
    except CommandError:
        return False
    return True


def dvc(root: Path, *arguments: str) -> str:
    """Runs `python -m dvc` in `root` and returns what it printed.

    Raises:
        CommandError: it failed.
    """
    return _run([sys.executable, "-m", "dvc", *arguments], root, {"DVC_NO_ANALYTICS": "1"}, None).decode(
        errors="replace"
    )


def _run(command: Sequence[str], root: Path, extra: Mapping[str, str], stdin: bytes | None) -> bytes:
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    try:
        done = subprocess.run(
            command, cwd=root, env={**env, **extra}, input=stdin or b"", capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise RegistryError(
            f"{command[0]} is not installed", where=root, action=f"install {command[0]} and run again"
        ) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        shown = " ".join(part for part in command[:5] if part != sys.executable)
        raise CommandError(
            f"`{shown}` failed with exit code {done.returncode}: {said[-800:]}",
            where=root,
            action="mend what the command names and run again; nothing was released",
        )
    return done.stdout
