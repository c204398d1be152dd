"""Prefect's environment, set before Prefect is imported: its settings are read once, at import.

What the user has set stays. Analytics off also prevents a race for the SQLite file on a fresh machine; the batch
sizes prevent minutes of lock contention between flows on SQLite; JSON results need no unpickling.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lotgate.errors import LotgateError

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


class ToldOnce(logging.Filter):
    """Keeps our own errors off the terminal, where Prefect shows each twice with its traceback: the command tells
    them once, in words. Prefect's server still gets the whole record."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], LotgateError))


def tell_errors_once() -> None:
    """Puts `ToldOnce` on every handler by which Prefect writes to the terminal. To be called after its import."""
    for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs"):  # "": what we or Prefect gave the root
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and not any(isinstance(f, ToldOnce) for f in handler.filters):
                handler.addFilter(ToldOnce())
