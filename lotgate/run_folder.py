"""The folder of a run: made ready, finished, or given back as it was found.

While a run replaces an earlier one in the same folder, the earlier results wait in `.earlier` and come back if the
input is bad. `decision.json` moves last both ways, so a kill in between loses neither.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lotgate.errors import OutputError

CONTEXT_VERDICTS = "context_verdicts.parquet"  # only where earlier releases were judged with the lot
OUTPUTS = (
    "manifest.parquet", "exclusions.parquet", "findings.parquet", "verdicts.parquet", CONTEXT_VERDICTS, "contract.json",
    "gate.json", "decision.json", "report.html",
)  # fmt: skip
FOLDERS = ("work", "data_docs")
DECISION, EARLIER = "decision.json", ".earlier"
CHECKPOINTS = Path("work/checkpoints")  # outlive a run: an interrupted training resumes where it was


def open_run(run: Path) -> Path | None:
    """Makes the run's folder ready: new, or with the results of an earlier run set aside until this one has ended.

    Returns:
        The topmost folder that had to be made; None where `run` was there.

    Raises:
        OutputError: it cannot be written, or holds files that are not a run's.
    """
    known = {*OUTPUTS, *FOLDERS, EARLIER}
    try:
        foreign = [p.name for p in run.iterdir() if p.name not in known] if run.is_dir() else []
        if not foreign:
            made = None if run.exists() else next(p for p in (run, *run.parents) if p.parent.exists())
            run.mkdir(parents=True, exist_ok=True)
            _set_aside(run)
            _clear(run)
            probe = run / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
            return made
    except OSError as error:
        raise OutputError(
            f"the output folder cannot be written: {error.strerror}", where=run, action="give a writable folder"
        ) from error
    raise OutputError(
        f"the output folder holds other files ({', '.join(sorted(foreign)[:3])})",
        where=run,
        action="give an empty folder, or one that an earlier run wrote",
    )


def close_run(run: Path) -> None:
    """A run that reached its report takes the place of the earlier one."""
    shutil.rmtree(run / EARLIER, ignore_errors=True)


def abandon_run(run: Path, made: Path | None) -> None:
    """After wrong input or a full disk: the folder as `open_run` found it, whose answer `made` is."""
    if made is not None:
        shutil.rmtree(made, ignore_errors=True)
        return
    _clear(run)
    if (run / EARLIER / DECISION).exists():
        if (run / CHECKPOINTS).exists():
            (run / CHECKPOINTS).replace(run / EARLIER / CHECKPOINTS)
        shutil.rmtree(run / "work", ignore_errors=True)
        for entry in (run / EARLIER).iterdir():
            entry.replace(run / entry.name)
        (run / EARLIER).rmdir()
    elif (run / "work").exists() and not any((run / "work").iterdir()):
        (run / "work").rmdir()


def _set_aside(run: Path) -> None:
    """Moves a finished run into `.earlier`, its decision last: without one there the move is not complete."""
    earlier = run / EARLIER
    if (earlier / DECISION).exists() or not (run / DECISION).exists():
        return
    earlier.mkdir(exist_ok=True)
    for name in sorted({*OUTPUTS, *FOLDERS}, key=lambda name: name == DECISION):
        if (run / name).exists():
            (run / name).replace(earlier / name)
    if (earlier / CHECKPOINTS).exists():
        (run / CHECKPOINTS).parent.mkdir()
        (earlier / CHECKPOINTS).replace(run / CHECKPOINTS)


def _clear(run: Path) -> None:
    """Removes what an unfinished run left, except for checkpoints."""
    for name in OUTPUTS:
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / "data_docs", ignore_errors=True)
    for entry in (run / "work").glob("*"):
        if entry != run / CHECKPOINTS:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
