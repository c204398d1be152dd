"""Writing a `.npy` file row by row, from several threads, without holding it in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class StoreWriter:
    """Rows of one array on disk. Rows that are never written read as zeros.

    Plain positioned writes instead of a memory map: on a full disk they raise OSError, where a map would end the
    process by a signal. Writes to different rows may run in different threads.
    """

    def __init__(self, descriptor: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._descriptor = descriptor
        self.sample_shape = shape[1:]
        self.dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._start = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.ftruncate(descriptor, self._start + shape[0] * self._row_bytes)

    def write(self, row: int, values: npt.NDArray[Any]) -> None:
        """Writes whole rows, (*sample) or (B, *sample), beginning at `row`."""
        data = memoryview(np.ascontiguousarray(values, dtype=self.dtype).tobytes())
        offset = self._start + row * self._row_bytes
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written


@contextmanager
def new_store(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Iterator[StoreWriter]:
    """A store to write into; on disk and flushed when the block ends."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        yield StoreWriter(file.fileno(), shape, dtype)
        os.fsync(file.fileno())
