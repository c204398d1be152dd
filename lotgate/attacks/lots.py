"""Planted data as a lot on disk, with the ground truth beside it and never in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lotgate.attacks.attack import Labels, Mask
from lotgate.data import FloatArray
from lotgate.errors import LotError


def write_image_folder(
    x: FloatArray, y: Labels, class_names: Sequence[str], folder: Path, planted: Mask
) -> pd.DataFrame:
    """One PNG per row under `folder/<class>/`; the name is the row's number and tells nothing.

    Args:
        x: (N, C, H, W) float32 in [0, 1], C = 1 or 3.
        y: (N,) indices into `class_names`.
        folder: made if it is missing; must be empty.
        planted: (N,) ground truth, written nowhere.

    Returns:
        sample_id (the POSIX path under `folder`, as ingest names it) and planted, one row per image, in the order of x.

    Raises:
        LotError: the folder has files in it, or an image has another number of channels.
    """
    if x.ndim != 4 or x.shape[1] not in {1, 3}:
        raise LotError("only grey and RGB images can be written", where=f"x of shape {x.shape}", action="give 1 or 3")
    if folder.exists() and any(folder.iterdir()):
        raise LotError("the folder for a planted lot is not empty", where=folder, action="name an empty one")
    for name in class_names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    pixels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)  # (N, H, W, C)
    ids = []
    for row, (image, label) in enumerate(zip(pixels, y, strict=True)):
        sample_id = f"{class_names[int(label)]}/{row:06d}.png"
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(folder / sample_id)
        ids.append(sample_id)
    return pd.DataFrame({"sample_id": ids, "planted": np.asarray(planted, bool)})


def write_table(
    x: FloatArray,
    y: Labels,
    path: Path,
    planted: Mask,
    *,
    columns: Sequence[str],
    target: str,
    class_names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One CSV with the features and the target as the last column; numbers come back bit for bit as float32.

    Args:
        x: (N, F) float32. y: (N,) targets, or indices into `class_names`.
        columns: F names. target: name of the label column.
        planted: (N,) ground truth, written nowhere.

    Returns:
        sample_id (`<file name>#<row>`, as ingest names it) and planted, in the order of x.

    Raises:
        LotError: names and columns differ in number.
    """
    if x.ndim != 2 or x.shape[1] != len(columns) or target in columns:
        raise LotError(
            f"{len(columns)} names for x of shape {x.shape}, target {target!r}",
            where=path,
            action="name each column once, the target apart",
        )
    frame = pd.DataFrame(x, columns=pd.Index(list(columns)))
    frame[target] = y if class_names is None else [class_names[int(label)] for label in y]
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, float_format="%.9g")
    ids = [f"{path.name}#{row}" for row in range(len(frame))]
    return pd.DataFrame({"sample_id": ids, "planted": np.asarray(planted, bool)})
