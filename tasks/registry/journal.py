"""A journal that survives a kill, and the lock around everything that publishes.

One JSON object per line, fsynced: `{"tx": id, "step": name, …}`. A transaction is open until its last step is
`recorded` (it is released) or `rolled_back` (it never was).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotgate.errors import RegistryError

CLOSED = ("recorded", "rolled_back")
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Journal:
    """The journal file of one registry."""

    path: Path

    def append(self, tx: str, step: str, **facts: Any) -> None:
        """Writes one line and returns when it is on disk."""
        torn = self.path.exists() and self.path.stat().st_size > 0 and not self.path.read_bytes().endswith(b"\n")
        line = json.dumps({"tx": tx, "step": step, "at": round(time.time(), 3), **facts})
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(("\n" if torn else "") + line + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def transactions(self) -> dict[str, dict[str, Any]]:
        """Facts by transaction id, in order of their first line; `step` is the last step reached."""
        found: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return found
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line a killed process was writing: its step was not reached
            found.setdefault(entry["tx"], {}).update(entry)
        return found

    def open_transactions(self) -> dict[str, dict[str, Any]]:
        """Those that neither were recorded nor rolled back."""
        return {tx: facts for tx, facts in self.transactions().items() if facts["step"] not in CLOSED}

    def released(self, tag: str) -> dict[str, Any] | None:
        """What was recorded for a tag by this clone, if it published it."""
        recorded = [f for f in self.transactions().values() if f["step"] == "recorded" and f.get("tag") == tag]
        return recorded[-1] if recorded else None


@contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Holds an exclusive lock on `path`; the kernel gives it back when the process dies.

    Args:
        timeout: seconds to wait for another holder.

    Raises:
        RegistryError: another process still holds it.
    """
    with path.open("a+") as stream:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    stream.seek(0)
                    raise RegistryError(
                        f"the registry is locked by another process ({stream.read().strip() or 'unknown'})",
                        where=path,
                        action=f"waited {timeout:g} s; let it finish and run again, or raise registry.lock_timeout",
                    ) from None
                time.sleep(POLL_SECONDS)
        stream.seek(0)
        stream.truncate()
        stream.write(f"process {os.getpid()}")
        stream.flush()
        yield
