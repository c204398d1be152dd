"""The lot and the trusted set, read in the same terms: those of the trusted set, but for columns that count on."""

from __future__ import annotations

from pathlib import Path

from lotgate.contract.counters import counters
from lotgate.data import Dataset
from lotgate.ingest import IngestSettings, ingest
from lotgate.ingest.intake import WishedTask


def read_pair(
    work: Path,
    lot: Path,
    trusted: Path | None,
    target: str | None,
    task: WishedTask,
    settings: IngestSettings,
    aside: tuple[str, ...] = (),
) -> tuple[Dataset, Dataset | None]:
    """Reads both into `work`; once more where lot and trusted set together show columns to leave aside.

    Args:
        target, task, settings: see `lotgate.ingest.ingest`.
        aside: features of the trusted table that are known to count on; empty to find out.

    Raises:
        LotError, TrustedError: the one or the other cannot be read.
    """
    vetted = None
    if trusted is not None:
        vetted = ingest(
            trusted, work / "trusted", role="trusted", target=target, task=task, settings=settings, counters=aside
        )
    suspect = ingest(lot, work / "lot", role="lot", target=target, task=task, like=vetted, settings=settings)
    found = () if vetted is None or aside else counters(suspect, vetted)
    return read_pair(work, lot, trusted, target, task, settings, found) if found else (suspect, vetted)
