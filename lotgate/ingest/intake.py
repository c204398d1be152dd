"""What every part of ingest is told: the settings, and who the data is when an error must name it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lotgate.data import Dataset
from lotgate.errors import ContextError, InputError, LotError, TrustedError

Role = Literal["lot", "trusted", "context"]
WishedTask = Literal["auto", "classification", "regression"]

NOUNS = {"lot": "the lot", "trusted": "the trusted set", "context": "the context"}
ERRORS = {"lot": LotError, "trusted": TrustedError, "context": ContextError}

#: Columns that describe where a sample comes from. They are carried along and are never features.
CARRIED = ("source", "line", "captured_at")

#: Texts that stand for a missing value in columns of numbers and features; pandas' own list.
MISSING = (
    "", " ", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip


class IngestSettings(BaseModel):
    """How samples are brought into the store.

    Attributes:
        image_size: largest side of a stored image in pixels; bigger images are averaged down, keeping the shape.
        max_pixels: an image whose header claims more is refused before any pixel is decoded (decompression bombs).
        max_bytes: an image file that is larger is refused unread.
        max_categories: a text column is one-hot encoded up to this many categories. Above, each value is hashed into
            one of `hash_buckets` features, so that a column of 10⁶ categories costs no more than one of 100.
        hash_buckets: see above.
        ignore_columns: columns of a table that are neither features nor carried along.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: Annotated[int, Field(ge=8, le=1024)] = 64
    # The upper end is where Pillow starts to warn through global state, which a library must not touch.
    max_pixels: Annotated[int, Field(ge=1, le=89_478_485)] = 50_000_000
    max_bytes: Annotated[int, Field(ge=1)] = 512 * 2**20
    max_categories: Annotated[int, Field(ge=1, le=10_000)] = 64
    hash_buckets: Annotated[int, Field(ge=2, le=10_000)] = 16
    ignore_columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Intake:
    """One request to ingest.

    Attributes:
        path: the folder or file, resolved.
        role: who it is: the lot on trial, the trusted set, or an earlier release that is judged with the lot.
        target: name of the label column; None for `label`, else `target`.
        task: what the caller wants; "auto" decides by the labels.
        like: the trusted set, whose classes, task, image shape and encoding this data takes; None for itself.
        counters: columns of a table that number or date its rows, and are no features.
    """

    path: Path
    role: Role
    target: str | None
    task: WishedTask
    like: Dataset | None
    settings: IngestSettings
    counters: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        return NOUNS[self.role]

    def error(self, what: str, action: str, where: object = None) -> InputError:
        """The error of this role, about `where` (the path, where nothing is said)."""
        return ERRORS[self.role](what, where=self.path if where is None else where, action=action)


def listed(names: object, most: int = 12) -> str:
    """Names for an error message, the long tail counted."""
    every = [str(name) for name in names]  # type: ignore[attr-defined]
    tail = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + tail


def readable_name(raw: str) -> str:
    """A file name as valid Unicode: bytes that are not UTF-8 are written as `\\xNN`."""
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
