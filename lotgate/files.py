"""Writing files so that a crash leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


def write_text(path: Path, text: str) -> Path:
    """Replaces `path` by a file with this text, flushed to disk first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    return path


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Replaces `path` by this table as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    table.to_parquet(draft, index=False)
    draft.replace(path)
    return path


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Path:
    """Replaces `path` by these arrays as `.npz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    with draft.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    draft.replace(path)
    return path


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
