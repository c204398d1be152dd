"""Small pictures of samples, from the original file where it is still what was judged, else from the store."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from lotgate.data import Dataset

EDGE = 96
MAX_FILE_BYTES = 32 * 2**20
MAX_PIXELS = 40_000_000


def thumbnail(lot: Dataset, sample_id: str) -> str | None:
    """A PNG of at most EDGE × EDGE pixels as a data URI; None where there is nothing to show."""
    found = np.flatnonzero(lot.ids == sample_id)
    if not len(found):
        return None
    entry = lot.manifest.iloc[int(found[0])]
    picture = _from_file(lot.root, str(entry["uri"]), str(entry["sha256"]))
    if picture is None and int(entry["row"]) >= 0:
        picture = _from_store(lot.store, int(entry["row"]))
    return None if picture is None else _data_uri(picture)


def _from_file(root: Path, uri: str, sha256: str) -> Image.Image | None:
    """The file as a small picture; None for what left the lot, changed, is huge, or is not an image."""
    try:
        path = (root / uri).resolve()
        if not path.is_relative_to(root.resolve()) or not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            return None
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd files; they are judged elsewhere
            with Image.open(io.BytesIO(content)) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                image.draft("RGB", (4 * EDGE, 4 * EDGE))  # JPEG: decode no more than is needed
                return _shrink(_eight_bit(image))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _from_store(store: Path, row: int) -> Image.Image | None:
    """A decoded sample (C, H, W), 1 to 4 channels, uint8 or uint16."""
    try:
        stored = np.load(store, mmap_mode="r", allow_pickle=False)
        pixels = np.moveaxis(np.asarray(stored[row]), 0, -1)  # (H, W, C)
    except (OSError, ValueError, IndexError):
        return None
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    channels = pixels.shape[-1]
    if pixels.dtype != np.uint8 or channels not in (1, 3, 4):
        pixels = pixels[..., :1].astype(np.uint8)
    return _shrink(Image.fromarray(np.ascontiguousarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Greys of 16 or 32 bits scaled to 8; palettes and exotic modes as RGB(A)."""
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretched(np.asarray(image, dtype=np.float64)))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _stretched(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    return (255 * (finite - low) / max(high - low, 1e-12)).astype(np.uint8)


def _shrink(image: Image.Image) -> Image.Image:
    scale = max(image.width, image.height) / EDGE
    if scale <= 1:
        return image.copy()
    size = (max(1, round(image.width / scale)), max(1, round(image.height / scale)))
    return image.resize(size, Image.Resampling.BOX if scale > 4 else Image.Resampling.LANCZOS)


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
