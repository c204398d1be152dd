"""Earlier releases for a lot that is judged with them: fetched anew, checked, and gone when they were read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lotgate.context import Context
from lotgate.errors import ContextError, IntegrityError
from lotgate.release import RegistrySettings, split_release_name
from tasks.registry.repository import open_existing
from tasks.registry.verify import checkout


@contextmanager
def context_room(names: Sequence[str], settings: RegistrySettings) -> Iterator[Path]:
    """A scratch folder that neither Git nor DVC of the registry sees; without names nothing is opened.

    Raises:
        RegistryError: there is no registry.
    """
    if not names:
        yield Path()
        return
    with tempfile.TemporaryDirectory(prefix="context-", dir=open_existing(settings).private) as room:
        yield Path(room)


def fetch_context(names: Sequence[str], settings: RegistrySettings, room: Path) -> tuple[Context, ...]:
    """Fetches each version from the DVC remote into `room`, every file compared with its release record.

    Args:
        names: as `dataset@v3`.

    Raises:
        RegistryError: there is no such release.
        ContextError: it is not what was released.
    """
    return tuple(_fetch(name, settings, room) for name in names)


def _fetch(name: str, settings: RegistrySettings, room: Path) -> Context:
    dataset, version = split_release_name(name)
    folder = room / f"{dataset}-{version}"
    try:
        record = checkout(settings, dataset, version, folder).record
    except IntegrityError as error:
        raise ContextError(
            f"{name} cannot be used as context: {error.what}",
            where=error.where,
            action=f"restore the release (`lotgate verify {name}` says when it is whole), or leave it out",
        ) from error
    return Context(dataset, version, folder / "data" / record.entry, record.target)
