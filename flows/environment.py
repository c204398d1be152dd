"""Prefect's environment, set before Prefect is imported: its settings are read once, at import.

What the user has set stays. Analytics off also prevents a race for the SQLite file on a fresh machine; the batch
sizes prevent minutes of lock contention between flows on SQLite; JSON results need no unpickling.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
}
HOME = Path("data/.prefect")


def prepare() -> None:
    """Sets what Prefect needs to run reliably with no server set up."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    profiles = Path.home() / ".prefect" / "profiles.toml"
    if "PREFECT_API_URL" not in os.environ and not profiles.exists():
        os.environ.setdefault("PREFECT_HOME", str(HOME.resolve()))


def make_home() -> None:
    """Makes Prefect's folder; Prefect itself makes no parents, and its server then cannot open its database.

    Raises:
        OSError: it cannot be made.
    """
    if "PREFECT_HOME" in os.environ:
        Path(os.environ["PREFECT_HOME"]).expanduser().mkdir(parents=True, exist_ok=True)


@contextmanager
def quiet_heartbeat() -> Iterator[None]:
    """No heartbeat thread: joining it costs a second per flow run, and there is nobody to watch it locally."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
