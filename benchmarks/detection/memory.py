"""Resident memory of this process, on Linux."""

from __future__ import annotations

from pathlib import Path


def reset_peak() -> None:
    """From here on VmHWM is the peak since now; nothing where there is no /proc."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def status_mb(key: str) -> float:
    """MB by a key of /proc/self/status, such as VmRSS; NaN where there is none."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith(key))
    return round(int(line.split()[1]) / 1024, 1)
