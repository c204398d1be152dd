"""The registry: a Git repository with DVC in it, a clone of the team's or an embedded one made on first use."""

from __future__ import annotations

import configparser
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lotgate.errors import RegistryError
from lotgate.release import RegistrySettings
from tasks.registry.commands import CommandError, dvc, git, git_succeeds
from tasks.registry.journal import Journal, locked

OURS = ("datasets", "quarantine")
_PATH_KEYS = ("keyfile", "credentialpath", "configpath", "cert_path", "key_path")


@dataclass(frozen=True)
class Upstream:
    """The Git remote and branch that the registry's branch follows."""

    remote: str
    branch: str


@dataclass(frozen=True)
class Registry:
    """An opened registry.

    Attributes:
        root: working tree.
        private: `.git/lotgate/`: lock, journal and transactions, invisible to Git and DVC, on the same file system.
        remote: name of the DVC remote.
        settings: as given.
    """

    root: Path
    private: Path
    remote: str
    settings: RegistrySettings

    @property
    def journal(self) -> Journal:
        return Journal(self.private / "journal.jsonl")

    @property
    def cache(self) -> Path:
        """DVC's cache of this clone, wherever its settings put it."""
        config = read_dvc_config(self.root)
        return Path(config.get("cache", "dir", fallback=str(self.root / ".dvc" / "cache")))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in this clone: everything from recovery to the release record."""
        with locked(self.private / "lock", self.settings.lock_timeout):
            yield

    def branch(self) -> str:
        """The branch that is checked out.

        Raises:
            RegistryError: HEAD is detached.
        """
        try:
            return git(self.root, "symbolic-ref", "--short", "HEAD")
        except CommandError as error:
            raise RegistryError(
                "the registry is not on a branch (detached HEAD)",
                where=self.root,
                action="run `git switch main` (or your release branch) in the registry and run again",
            ) from error

    def head(self) -> str:
        """The commit that the branch points to.

        Raises:
            RegistryError: there is none yet.
        """
        try:
            return git(self.root, "rev-parse", "--verify", "HEAD^{commit}")
        except CommandError as error:
            raise RegistryError(
                "the registry has no commit yet",
                where=self.root,
                action="commit its DVC configuration (`git add .dvc && git commit`) and run again",
            ) from error

    def upstream(self) -> Upstream | None:
        """What the branch follows; None where the repository has no Git remote.

        Raises:
            RegistryError: there is a Git remote and the branch follows none.
        """
        if not git(self.root, "remote"):
            return None
        branch = self.branch()
        if not git_succeeds(self.root, "rev-parse", "--verify", f"{branch}@{{upstream}}"):
            raise RegistryError(
                f"the registry's branch {branch!r} follows no branch of its Git remote",
                where=self.root,
                action=f"run `git push -u <remote> {branch}` in the registry and run again",
            )
        remote = git(self.root, "config", f"branch.{branch}.remote")
        merged = git(self.root, "config", f"branch.{branch}.merge")
        return Upstream(remote, merged.removeprefix("refs/heads/"))

    def require_ready(self) -> None:
        """Refuses a registry that somebody else is in the middle of changing.

        Raises:
            RegistryError: detached, dirty, behind, ahead or diverged, or its Git remote cannot be reached.
        """
        self.branch()
        self.head()
        self._require_clean()
        upstream = self.upstream()
        if upstream is not None:
            self._require_in_step(upstream)

    def _require_clean(self) -> None:
        changed = git(self.root, "status", "--porcelain", "--untracked-files=all", "--", *OURS, ".dvc", strip=False)
        if changed.strip():
            names = ", ".join(line[3:] for line in changed.splitlines()[:5])
            raise RegistryError(
                f"the registry is dirty: uncommitted changes in {names}",
                where=self.root,
                action="commit, stash or undo them (`git status` shows all) and run again",
            )

    def _require_in_step(self, upstream: Upstream) -> None:
        try:
            git(self.root, "fetch", "--quiet", "--tags", upstream.remote)
        except CommandError as error:
            raise RegistryError(
                f"the registry's Git remote {upstream.remote!r} cannot be fetched: {error.what}",
                where=self.root,
                action="check the network, the credentials and that no tag differs from the remote's, and run again",
            ) from error
        counts = git(self.root, "rev-list", "--left-right", "--count", "HEAD...@{upstream}")
        ahead, behind = (int(count) for count in counts.split())
        if ahead or behind:
            word = "has diverged from" if ahead and behind else "is ahead of" if ahead else "is behind"
            act = "git push" if not behind else "git pull --rebase" if ahead else "git pull --ff-only"
            raise RegistryError(
                f"the registry {word} its Git remote ({ahead} commits here only, {behind} there only)",
                where=self.root,
                action=f"run `{act}` in the registry and run again",
            )


def open_or_create(settings: RegistrySettings) -> Registry:
    """Opens the registry that the settings name; makes an embedded one where the folder does not exist.

    Raises:
        RegistryError: the folder is something else, or its DVC remote is unknown.
    """
    root = Path(settings.path).resolve()
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        if settings.remote:
            raise RegistryError(
                f"there is no registry, and so no DVC remote {settings.remote!r}",
                where=root,
                action="clone the team's registry there, or leave registry.remote empty for an embedded one",
            )
        _create(root, settings)
    return _open(root, settings)


def open_existing(settings: RegistrySettings) -> Registry:
    """Opens the registry that the settings name, to read from it.

    Raises:
        RegistryError: there is none.
    """
    root = Path(settings.path).resolve()
    if not root.is_dir():
        raise RegistryError(
            "there is no registry, and so nothing was released",
            where=root,
            action="set registry.path, or release first",
        )
    return _open(root, settings)


def _open(root: Path, settings: RegistrySettings) -> Registry:
    try:
        top = Path(git(root, "rev-parse", "--show-toplevel")).resolve()
    except (CommandError, NotADirectoryError) as error:
        raise RegistryError(
            "the registry is not a Git repository", where=root, action="clone the team's registry, or name a new folder"
        ) from error
    if top != root or not (root / ".dvc" / "config").is_file():
        raise RegistryError(
            "the registry must be a Git repository of its own with DVC in its root",
            where=root,
            action="name the repository's root and run `dvc init` there, or name a folder that does not exist yet",
        )
    private = Path(git(root, "rev-parse", "--absolute-git-dir")) / "lotgate"
    (private / "tx").mkdir(parents=True, exist_ok=True)
    config = read_dvc_config(root)
    remote = settings.remote or config.get("core", "remote", fallback="")
    if not remote or not config.has_section(_section(remote)):
        known = [name for name in map(_remote_name, config.sections()) if name]
        raise RegistryError(
            f"the registry has no DVC remote {remote!r}" if remote else "the registry has no default DVC remote",
            where=root / ".dvc" / "config",
            action=f"set registry.remote to one of: {', '.join(known) or 'none yet (run `dvc remote add -d`)'}",
        )
    return Registry(root, private, remote, settings)


def _create(root: Path, settings: RegistrySettings) -> None:
    """Builds the embedded registry under another name and moves it into place in one step."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with locked(root.parent / f".{root.name}.lock", settings.lock_timeout):
            if root.exists() and any(root.iterdir()):
                return  # another process was first
            building = root.parent / f".{root.name}.new"
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            _initialise(building, f"{root.name}-remote")
            building.replace(root)
    except OSError as error:
        raise RegistryError(
            f"the registry cannot be made: {error.strerror}", where=root, action="name a folder that can be written"
        ) from error


def _initialise(root: Path, store: str) -> None:
    git(root, "init", "--quiet", "--initial-branch", "main")
    dvc(root, "init", "--quiet")
    config = configparser.RawConfigParser()
    config.read_dict(
        {
            "core": {"remote": "store", "analytics": "false", "autostage": "false"},
            _section("store"): {"url": f"../../{store}", "verify": "true"},  # relative to .dvc/
        }
    )
    _write(config, root / ".dvc" / "config")
    git(root, "add", ".dvc", ".dvcignore")
    git(root, "commit", "--quiet", "--no-verify", "-m", "An empty data registry", env=identity(root))


def identity(root: Path) -> dict[str, str]:
    """Who commits: the user of the clone's Git configuration, else Lotgate."""
    who: dict[str, str] = {}
    for key, fallback in (("name", "Lotgate"), ("email", "lotgate@localhost")):
        value = git(root, "config", "--default", fallback, "--get", f"user.{key}")
        who |= {f"GIT_AUTHOR_{key.upper()}": value, f"GIT_COMMITTER_{key.upper()}": value}
    return who


def read_dvc_config(root: Path) -> configparser.RawConfigParser:
    """The registry's DVC configuration, local over shared, with paths made absolute."""
    config = configparser.RawConfigParser()
    folder = root / ".dvc"
    for name in ("config", "config.local"):
        layer = configparser.RawConfigParser()
        try:
            layer.read(folder / name, encoding="utf-8")
        except configparser.Error as error:
            raise RegistryError(
                f"the DVC configuration cannot be read: {error}", where=folder / name, action="mend the file"
            ) from error
        for section in layer.sections():
            if not config.has_section(section):
                config.add_section(section)
            for key, value in layer.items(section):
                config.set(section, key, _absolute(section, key, value, folder))
    return config


def write_dvc_room(folder: Path, registry: Registry, cache: Path, *, link: str) -> None:
    """Makes `folder` a DVC room without Git that talks to the registry's remote.

    Args:
        cache: where content lies; the registry's cache to add, an empty one to fetch everything anew.
        link: DVC's cache type.
    """
    config = read_dvc_config(registry.root)
    ours = {
        "core": {
            "remote": registry.remote,
            "analytics": "false",
            "autostage": "false",
            "check_update": "false",
            "no_scm": "true",
            "site_cache_dir": str(folder / ".dvc" / "site"),
        },
        "cache": {"dir": str(cache), "type": link},
        # Without it DVC takes the remote's word for what it hands out.
        _section(registry.remote): {"verify": "true"},
    }
    for section, values in ours.items():
        if not config.has_section(section):
            config.add_section(section)
        for key, value in values.items():
            config.set(section, key, value)
    (folder / ".dvc").mkdir(parents=True)
    _write(config, folder / ".dvc" / "config")
    (folder / ".dvc" / "config").chmod(0o600)  # a remote's credentials may be in it


def _absolute(section: str, key: str, value: str, folder: Path) -> str:
    is_path = key in _PATH_KEYS or (key == "url" and "://" not in value) or (section, key) == ("cache", "dir")
    return str((folder / value).resolve()) if is_path else value


def _section(remote: str) -> str:
    return f"'remote \"{remote}\"'"


def _remote_name(section: str) -> str:
    parts = section.split('"')
    return parts[1] if section.startswith("'remote ") and len(parts) == 3 else ""


def _write(config: configparser.RawConfigParser, path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        config.write(stream)
