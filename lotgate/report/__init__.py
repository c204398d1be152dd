"""The report: the tables of a run become one self-contained HTML file.

    run folder ─read→ ReportTables ─render→ HTML ─report→ run/report.html

`render` is pure: the same tables give the same bytes. The page loads nothing: styles, charts and pictures are inside.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lotgate.errors import OutputError
from lotgate.report.page import render
from lotgate.report.tables import ReportTables, read_tables

__all__ = ["ReportTables", "read_tables", "render", "report"]


def report(run: Path) -> Path:
    """Writes `run/report.html`, all or nothing, from the files of a run's folder.

    Args:
        run: a run's folder with at least `decision.json`; see docs/architecture.md.

    Returns:
        The path of the report.

    Raises:
        InputError: the folder holds no readable decision, or tables that the decision speaks of are missing.
        OutputError: the report cannot be written there.
    """
    page = render(read_tables(run)).encode("utf-8")
    target = run / "report.html"
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=run, prefix=".report-", suffix=".part")
        part = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(page)
        part.chmod(0o644)  # mkstemp makes it private; a report is for others to read
        part.replace(target)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise OutputError(
            f"the report cannot be written: {error.strerror}", where=target, action="free space or make it writable"
        ) from error
    return target
