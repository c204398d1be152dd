"""One image file: what its header says, and its pixels as they are, never silently reduced to 8 bits."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from lotgate.ingest.files import kind_of

Pixels = npt.NDArray[Any]  # (H, W, C) uint8 or uint16, C in {1, 3}

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".tif", ".tiff"})
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # colour type → channels
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MODE_CHANNELS = {
    "1": 1, "L": 1, "I;16": 1, "I;16B": 1, "I;16L": 1, "I": 1, "LA": 2, "La": 2, "P": 3, "PA": 4,
    "RGB": 3, "RGBX": 3, "YCbCr": 3, "LAB": 3, "HSV": 3, "RGBA": 4, "RGBa": 4, "CMYK": 4,
}  # fmt: skip
ORIENTATION = 0x0112
#: What Pillow's and tifffile's readers raise on hostile bytes.
BROKEN = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RuntimeError,
    EOFError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class Unreadable(Exception):
    """The file is not an image that can be used; the message says why, in words for the manifest."""


@dataclass(frozen=True)
class Header:
    """An image as its header describes it: `width` × `height` in pixels as stored, before any EXIF rotation."""

    width: int
    height: int
    channels: int
    bit_depth: int
    turned: bool
    deep: bool

    @property
    def shown(self) -> tuple[int, int]:
        """(height, width) as it is looked at."""
        return (self.width, self.height) if self.turned else (self.height, self.width)

    @property
    def grey(self) -> bool:
        return self.channels <= 2


def read_header(file: BinaryIO, max_pixels: int) -> Header:
    """The header of an open file, without decoding pixels.

    Raises:
        Unreadable: not an image of a supported kind, or over the limit.
    """
    head = file.read(64)
    file.seek(0)
    if not head:
        raise Unreadable("zero bytes")
    try:
        header = _tiff_header(file) if head.startswith(TIFF_MAGIC) else _other_header(file, head, max_pixels)
    except Image.DecompressionBombError as error:
        raise Unreadable(f"image is over the limit of {max_pixels:,} pixels") from error
    except UnidentifiedImageError as error:
        raise Unreadable(_what_else(head)) from error
    except BROKEN as error:
        raise Unreadable(_reason(error, "image header is damaged")) from error
    if header.width * header.height > max_pixels:
        size = f"{header.width:,} × {header.height:,}"
        raise Unreadable(f"image of {size} pixels is over the limit of {max_pixels:,}")
    if header.width < 1 or header.height < 1:
        raise Unreadable("image has no pixels")
    return header


def decode(data: bytes, header: Header) -> Pixels:
    """All pixels of the first frame, (H, W, C): upright, alpha dropped, palettes resolved, depth kept.

    Raises:
        Unreadable: the pixels are truncated or damaged.
    """
    try:
        if not header.deep:
            return _decode_plain(data)
        if data.startswith(TIFF_MAGIC):
            return _upright(_decode_deep_tiff(data), _orientation(data))
        return _upright(_decode_deep_png(data), _orientation(data))
    except BROKEN as error:
        raise Unreadable(_reason(error, "damaged image")) from error


def _what_else(head: bytes) -> str:
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM")):
        return "truncated image"
    kind = kind_of(head)
    return f"not an image: {kind}" if kind else "not an image file"


def _reason(error: BaseException, what: str) -> str:
    """Why a reader gave up, in words."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    cut = any(word in first.lower() for word in ("truncated", "end of file", "could not create decoder"))
    return "truncated image" if cut else f"{what} ({first})"


def _other_header(file: BinaryIO, head: bytes, max_pixels: int) -> Header:
    if head.startswith(PNG_MAGIC) and head[12:16] == b"IHDR" and len(head) >= 26:
        width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
        if width * height > max_pixels:  # Pillow would refuse without saying how large it is
            return Header(width, height, PNG_CHANNELS.get(colour, 3), depth, False, False)
    with Image.open(file, formats=FORMATS) as image:
        channels, depth = MODE_CHANNELS.get(image.mode, 3), 1 if image.mode == "1" else 8
        deep = False
        if image.format == "PNG":
            _, _, depth, colour = struct.unpack(">IIBB", head[16:26])
            depth = 8 if colour == 3 else depth  # a palette's entries have 8 bits
            channels = PNG_CHANNELS[colour]
            deep = depth == 16 and channels > 1
        return Header(image.width, image.height, channels, depth, _exif(image.info) >= 5, deep)


def _tiff_header(file: BinaryIO) -> Header:
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages[0]
        channels, depth = int(page.samplesperpixel), int(page.bitspersample)
        if int(page.sampleformat) not in {1, 4} or depth > 16:  # unsigned or undeclared
            kind = "float" if int(page.sampleformat) == 3 else "integer"
            raise Unreadable(f"TIFF with {depth}-bit {kind} pixels is not supported (8- or 16-bit unsigned is)")
        palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
        tag = page.tags.get(ORIENTATION)
        turned = tag is not None and int(tag.value) >= 5
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE  # Pillow does not invert 16-bit grey
        deep = depth == 16 and not palette and (channels > 1 or inverted)
        channels, depth = (3, 8) if palette else (channels, depth)
        return Header(int(page.imagewidth), int(page.imagelength), channels, depth, turned, deep)


def _exif(info: dict[Any, Any]) -> int:
    if not info.get("exif"):
        return 1
    exif = Image.Exif()
    try:
        exif.load(info["exif"])
        return int(exif.get(ORIENTATION, 1))
    except BROKEN:  # a damaged EXIF block does not damage the pixels
        return 1


def _orientation(data: bytes) -> int:
    if data.startswith(TIFF_MAGIC):
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            tag = tiff.pages[0].tags.get(ORIENTATION)
            return 1 if tag is None else int(tag.value)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return _exif(image.info)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """(H, W, C) turned as EXIF says: 2–4 flip, 5–8 also swap the axes."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels


def _decode_plain(data: bytes) -> Pixels:
    if data.startswith(PNG_MAGIC) and b"IEND" not in data[-4096:]:
        raise Unreadable("truncated image")
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.load()
        upright = image if _exif(image.info) == 1 and image.format != "TIFF" else ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16-bit grey
            return np.asarray(upright).astype(np.uint16)[:, :, None]
        grey = MODE_CHANNELS.get(upright.mode, 3) <= 2
        pixels = np.asarray(upright.convert("L" if grey else "RGB"), dtype=np.uint8)
        return pixels[:, :, None] if grey else pixels


def _decode_deep_png(data: bytes) -> Pixels:
    import torch  # noqa: PLC0415  (seconds that lots of 8-bit images never pay)
    from torchvision.io import ImageReadMode, decode_image  # noqa: PLC0415

    try:
        tensor = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED)
    except RuntimeError as error:
        raise Unreadable("truncated image") from error
    return _colours(tensor.numpy().transpose(1, 2, 0))


def _decode_deep_tiff(data: bytes) -> Pixels:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        pixels = page.asarray()
        if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
            pixels = pixels.transpose(1, 2, 0)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = np.iinfo(np.uint16).max - pixels
    return _colours(pixels if pixels.ndim == 3 else pixels[:, :, None])


def _colours(pixels: Pixels) -> Pixels:
    return pixels[:, :, :1] if pixels.shape[2] <= 2 else pixels[:, :, :3]


def content_digest(pixels: Pixels) -> str:
    """SHA-256 of what an image shows, (H, W, C) as decoded and not yet averaged down: of its shape and its values.

    A comment, another compression or container change nothing of it, nor does grey kept as three equal colours or
    8 bits kept as 16.
    """
    if pixels.shape[2] == 3 and all(np.array_equal(pixels[:, :, 0], pixels[:, :, c]) for c in (1, 2)):
        pixels = pixels[:, :, :1]
    deep = pixels.dtype.itemsize > 1
    if deep and not (pixels % 257).any():
        pixels, deep = pixels // 257, False
    kind = "<u2" if deep else "u1"
    values = np.ascontiguousarray(pixels, dtype=kind)
    digest = hashlib.sha256(f"{kind} {values.shape}".encode())
    digest.update(values.data)
    return digest.hexdigest()


def fit(pixels: Pixels, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
    """(H, W, C) → (C', H', W') of `shape` and dtype: colours first, then area-averaged, depth last.

    Enlarging is bilinear. 8-bit values become 16-bit ones by ×257, so that white stays white.
    """
    channels, height, width = shape
    if channels == 3 and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif channels == 1 and pixels.shape[2] == 3:  # luma of ITU-R BT.601, as Pillow's mode L
        luma = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        pixels = np.rint(luma).astype(pixels.dtype)[:, :, None]
    if pixels.shape[:2] != (height, width):
        pixels = _resize(pixels, height, width)
    if pixels.dtype == np.uint8 and dtype == np.uint16:
        pixels = pixels.astype(np.uint16) * 257
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """(H, W, C) → (height, width, C) of the same dtype, computed in float32 per channel."""
    smaller = height <= pixels.shape[0] and width <= pixels.shape[1]
    how = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    planes = [
        np.asarray(Image.fromarray(pixels[:, :, c].astype(np.float32)).resize((width, height), how))
        for c in range(pixels.shape[2])
    ]
    resized: Pixels = np.clip(np.rint(np.stack(planes, axis=2)), 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return resized
