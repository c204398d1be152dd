"""Images: every format and depth, and everything that a delivery can do wrong."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lotgate.data import MANIFEST_COLUMNS, Dataset
from lotgate.errors import LotError, OutputError, TrustedError
from lotgate.ingest import IngestSettings, ingest

Pixels = npt.NDArray[np.generic]


def noise(seed: int = 0, size: tuple[int, int] = (6, 8), channels: int = 3, depth: int = 8) -> Pixels:
    """(H, W, C) random pixels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**depth, (*size, channels), dtype=np.uint8 if depth == 8 else np.uint16)


def save(pixels: Pixels, file: Path, mode: str | None = None, **options: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0])
    (image if mode is None else image.convert(mode)).save(file, **options)
    return file


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png16(pixels: Pixels, extra: bytes = b"") -> bytes:
    """A 16-bit PNG of 1 to 4 channels, which Pillow cannot write."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + pixels[i].astype(">u2").tobytes() for i in range(height))
    return png((width, height), 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows, extra)


def stored(dataset: Dataset, sample_id: str) -> Pixels:
    """(H, W, C) of one sample as it lies in the store."""
    row = dataset.manifest.set_index("sample_id").loc[sample_id, "row"]
    assert row >= 0
    return np.load(dataset.store)[row].transpose(1, 2, 0)


def defects(dataset: Dataset) -> dict[str, str]:
    bad = dataset.manifest[dataset.manifest["defect"].notna()]
    assert (bad["row"] == -1).all()
    assert dataset.manifest.loc[dataset.manifest["defect"].isna(), "row"].ge(0).all()
    return dict(zip(bad["sample_id"], bad["defect"], strict=True))


@pytest.fixture
def lot(tmp_path: Path) -> Path:
    """Two classes of two sound images."""
    for i, name in enumerate(("cat/1.png", "cat/deep er/ü 2.png", "dog/3.png", "dog/4.png")):
        save(noise(i), tmp_path / "lot" / name)
    return tmp_path / "lot"


def test_class_folders_round_trip(lot: Path, tmp_path: Path) -> None:
    dataset = ingest(lot, tmp_path / "work")
    assert tuple(dataset.manifest.columns[:8]) == MANIFEST_COLUMNS
    assert dataset.ids.tolist() == ["cat/1.png", "cat/deep er/ü 2.png", "dog/3.png", "dog/4.png"]
    assert dataset.classes == ("cat", "dog")
    assert dataset.y.tolist() == [0, 0, 1, 1]
    assert dataset.shape == (3, 6, 8)
    assert not defects(dataset)
    for i, name in enumerate(dataset.ids):
        np.testing.assert_array_equal(stored(dataset, name), noise(i))
        assert dataset.manifest["sha256"][i] == hashlib.sha256((lot / name).read_bytes()).hexdigest()
    again = Dataset.load(tmp_path / "work")
    pd.testing.assert_frame_equal(again.manifest, dataset.manifest)
    assert again.fingerprint == dataset.fingerprint
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == ["dataset.json", "manifest.parquet", "store.npy"]


def test_fingerprint_does_not_depend_on_the_order_of_a_manifest(lot: Path, tmp_path: Path) -> None:
    rows = ["cat/1.png,a", "dog/3.png,b", "dog/3.png,b", "dog/4.png,b", "dog/4.png,c", "cat/nothing.png,a", ",a", ",b"]
    prints = []
    for number, order in enumerate((rows, rows[::-1])):
        (lot / "m.csv").write_text("path,label\n" + "\n".join(order) + "\n")
        dataset = ingest(lot / "m.csv", tmp_path / f"work{number}")
        prints.append(dataset.fingerprint)
        assert len(dataset.usable()) == 2
        assert dataset.manifest["sample_id"].is_unique
    assert prints[0] == prints[1]


def test_fingerprint_sees_content_label_and_name(lot: Path, tmp_path: Path) -> None:
    first = ingest(lot, tmp_path / "a").fingerprint
    copy = shutil.copytree(lot, tmp_path / "copy")
    assert ingest(copy, tmp_path / "b").fingerprint == first
    (copy / "dog/3.png").rename(copy / "cat/3.png")
    assert ingest(copy, tmp_path / "c").fingerprint != first


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("RGBA", 4), ("P", 3), ("1", 1)])
def test_8_bit_formats_are_what_pillow_shows(suffix: str, mode: str, channels: int, tmp_path: Path) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    file = save(noise(), tmp_path / "lot/a" / f"x.{suffix}", mode, **options)
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    with Image.open(file) as image:
        grey = image.mode in {"1", "L"}
        expected = np.atleast_3d(np.asarray(image.convert("L" if grey else "RGB")))
    assert np.load(dataset.store).dtype == np.uint8
    np.testing.assert_array_equal(stored(dataset, f"a/x.{suffix}"), expected)
    record = dataset.manifest.iloc[0]
    assert (record["width"], record["height"]) == (8, 6)
    if suffix != "webp" and (suffix, mode) != ("bmp", "RGBA"):  # WebP knows no grey, and Pillow no alpha in BMP
        assert record["channels"] == channels
        assert record["bit_depth"] == (1 if mode == "1" else 8)


def test_jpeg_grey_colour_and_cmyk(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "CMYK"):
        save(noise(), tmp_path / "lot/a" / f"{mode}.jpg", mode)
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    assert dataset.manifest.set_index("sample_id")["channels"].to_dict() == {
        "a/L.jpg": 1,
        "a/RGB.jpg": 3,
        "a/CMYK.jpg": 4,
    }
    with Image.open(tmp_path / "lot/a/L.jpg") as image:  # grey among colours: three equal channels
        np.testing.assert_array_equal(stored(dataset, "a/L.jpg"), np.repeat(np.asarray(image)[:, :, None], 3, 2))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_survive(suffix: str, channels: int, tmp_path: Path) -> None:
    pixels = noise(channels=channels, depth=16)
    file = tmp_path / "lot/a" / f"x.{suffix}"
    file.parent.mkdir(parents=True)
    if suffix == "png":
        file.write_bytes(png16(pixels))
    else:
        extra = {"extrasamples": ["unassalpha"]} if channels in {2, 4} else {}
        kind = "rgb" if channels > 2 else "minisblack"
        tifffile.imwrite(file, pixels if channels > 1 else pixels[:, :, 0], photometric=kind, **extra)
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    kept = pixels[:, :, :1] if channels <= 2 else pixels[:, :, :3]
    assert np.load(dataset.store).dtype == np.uint16
    np.testing.assert_array_equal(stored(dataset, f"a/x.{suffix}"), kept)
    assert dataset.manifest[["channels", "bit_depth"]].iloc[0].tolist() == [channels, 16]
    assert dataset.batch(np.array([0])).x.max() <= 1.0


def test_8_bit_among_16_bit_keeps_white_white(tmp_path: Path) -> None:
    save(np.full((4, 4, 1), 255, np.uint8), tmp_path / "lot/a/8.png")
    (tmp_path / "lot/a/16.png").write_bytes(png16(np.full((4, 4, 1), 65535, np.uint16)))
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    assert (stored(dataset, "a/8.png") == 65535).all()
    assert (dataset.batch(np.arange(2)).x == 1.0).all()


def test_planar_and_inverted_tiff(tmp_path: Path) -> None:
    (tmp_path / "lot/a").mkdir(parents=True)
    colour, grey = noise(1, depth=16), noise(2, channels=1, depth=16)[:, :, 0]
    planes = colour.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "lot/a/planar.tif", planes, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "lot/a/white.tif", grey, photometric="miniswhite")
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    np.testing.assert_array_equal(stored(dataset, "a/planar.tif"), colour)
    np.testing.assert_array_equal(stored(dataset, "a/white.tif")[:, :, 0], 65535 - grey)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_at_both_depths(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow = noise()
    save(shallow, tmp_path / "lot/a/8.png", exif=exif)
    deep = shallow.astype(np.uint16) * 257
    block = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "lot/a/16.png").write_bytes(png16(deep, block))
    tifffile.imwrite(tmp_path / "lot/a/8.tif", shallow, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    turns = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
             5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
             8: Image.Transpose.ROTATE_90}  # fmt: skip
    image = Image.fromarray(shallow)
    expected = np.asarray(image if orientation == 1 else image.transpose(turns[orientation])).astype(np.uint16) * 257
    for name in ("a/8.png", "a/16.png", "a/8.tif"):
        np.testing.assert_array_equal(stored(dataset, name), expected)
    assert set(dataset.manifest["width"]) == {8}  # of the file as it came


def test_content_is_what_is_seen_whatever_the_file(tmp_path: Path) -> None:
    """A comment, another compression, container, depth or a turn back change the file and nothing else."""
    pixels = noise(size=(40, 30))
    grey = noise(1, (40, 30), channels=1)
    note = PngInfo()
    note.add_text("note", "not the same file")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(pixels).copy()
    deep = pixels.astype(np.uint16) * 257
    save(pixels, tmp_path / "lot/a/plain.png")
    save(pixels, tmp_path / "lot/a/note.png", pnginfo=note)
    save(pixels, tmp_path / "lot/a/loose.png", compress_level=0)
    save(pixels, tmp_path / "lot/a/other.bmp")
    save(turned, tmp_path / "lot/a/turned.png", exif=exif)
    (tmp_path / "lot/a/deep.png").write_bytes(png16(deep))
    tifffile.imwrite(tmp_path / "lot/a/deep.tif", deep, photometric="rgb", byteorder=">")
    save(grey, tmp_path / "lot/b/grey.png")
    save(np.repeat(grey, 3, axis=2), tmp_path / "lot/b/colour.png")
    (tmp_path / "lot/c").mkdir()
    (tmp_path / "lot/c/dark.png").write_bytes(png16(grey.astype(np.uint16)))
    save(grey.reshape(30, 40, 1), tmp_path / "lot/c/shape.png")
    near = pixels.copy()
    near[0, 0, 0] ^= 1  # gone where it is averaged down
    save(near, tmp_path / "lot/c/near.png")
    dataset = ingest(tmp_path / "lot", tmp_path / "work", settings=IngestSettings(image_size=8))
    manifest = dataset.manifest.set_index("sample_id")
    assert manifest["sha256"].is_unique
    assert manifest.groupby("label")["content_sha256"].nunique().to_dict() == {"a": 1, "b": 1, "c": 3}
    assert manifest["content_sha256"].nunique() == 5


def test_sizes_follow_the_median_and_the_cap(tmp_path: Path) -> None:
    for i, size in enumerate(((10, 20), (100, 200), (400, 200))):
        save(noise(i, size), tmp_path / "lot/a" / f"{i}.png")
    assert ingest(tmp_path / "lot", tmp_path / "w1").shape == (3, 32, 64)
    assert ingest(tmp_path / "lot", tmp_path / "w2", settings=IngestSettings(image_size=1024)).shape == (3, 100, 200)


def test_shrinking_averages_areas(tmp_path: Path) -> None:
    pixels = noise(size=(128, 128))
    save(pixels, tmp_path / "lot/a/x.png")
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    blocks = pixels.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(stored(dataset, "a/x.png") - blocks).max() <= 0.5


def test_a_lot_takes_shape_and_classes_from_the_trusted_set(lot: Path, tmp_path: Path) -> None:
    save(noise(size=(4, 4), channels=1), tmp_path / "trusted/dog/1.png")
    trusted = ingest(tmp_path / "trusted", tmp_path / "t", role="trusted")
    dataset = ingest(lot, tmp_path / "l", like=trusted)
    assert dataset.shape == trusted.shape == (1, 4, 4)
    assert dataset.classes == ("dog",)
    assert dataset.y.tolist() == [-1, -1, 0, 0]


def test_broken_files_are_kept_with_the_reason(lot: Path, tmp_path: Path) -> None:
    dog = lot / "dog"
    sound = png16(noise(depth=16, size=(40, 40)))
    (dog / "zero.png").touch()
    (dog / "half16.png").write_bytes(sound[: len(sound) // 2])
    (dog / "stub.png").write_bytes(sound[:5])
    for suffix in ("png", "jpg", "bmp", "webp", "tif"):
        whole = save(noise(size=(60, 60)), dog / f"half.{suffix}")
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with zipfile.ZipFile(dog / "zip.png", "w") as archive:
        archive.writestr("payload", "x")
    (dog / "bomb.png").write_bytes(png((90_000, 90_000), 8, 2, b"\0"))
    (dog / "small bomb.png").write_bytes(png((9_000, 9_000), 8, 2, b"\0"))
    (dog / "gif.png").write_bytes(b"GIF89a" + bytes(50))
    (dog / "noise.png").write_bytes(b"\x07" * 100)
    (dog / "note.doc").write_text("hello")
    tifffile.imwrite(dog / "float.tif", np.zeros((4, 4), np.float32))
    save(noise(), lot / "stray.png")
    os.mkfifo(dog / "pipe.png")
    for ignored in ("Thumbs.db", ".DS_Store", ".hidden.png", "3.xml", "README"):
        (dog / ignored).write_text("x")
    dataset = ingest(lot, tmp_path / "work")
    assert defects(dataset) == {
        "dog/zero.png": "zero bytes",
        "dog/half16.png": "truncated image",
        "dog/stub.png": "truncated image",
        **{f"dog/half.{suffix}": "truncated image" for suffix in ("png", "jpg", "bmp", "webp", "tif")},
        "dog/zip.png": "not an image: ZIP archive",
        "dog/bomb.png": "image of 90,000 × 90,000 pixels is over the limit of 50,000,000",
        "dog/small bomb.png": "image of 9,000 × 9,000 pixels is over the limit of 50,000,000",
        "dog/gif.png": "not an image: GIF image",
        "dog/noise.png": "not an image file",
        "dog/note.doc": "not an image file",
        "dog/float.tif": "TIFF with 32-bit float pixels is not supported (8- or 16-bit unsigned is)",
        "dog/pipe.png": "not a regular file",
        "stray.png": "lies in no class folder",
    }
    assert len(dataset.usable()) == 4
    known = dataset.manifest.set_index("sample_id")["sha256"]
    assert known["dog/zip.png"] == hashlib.sha256((dog / "zip.png").read_bytes()).hexdigest()


def test_symlinks(lot: Path, tmp_path: Path) -> None:
    save(noise(9), tmp_path / "secret/s.png")
    (lot / "dog/out.png").symlink_to(tmp_path / "secret/s.png")
    (lot / "dog/in.png").symlink_to("3.png")
    (lot / "dog/loop.png").symlink_to("loop.png")
    (lot / "dog/gone.png").symlink_to("nothing.png")
    (lot / "dog/folder").symlink_to("../cat")
    (lot / "away").symlink_to(tmp_path / "secret")
    dataset = ingest(lot, tmp_path / "work")
    assert defects(dataset) == {
        "dog/out.png": "symlink leaves the lot",
        "dog/loop.png": "symlink points to itself",
        "dog/gone.png": "symlink points to nothing",
        "dog/folder": "symlink to a folder, which is not followed",
        "away": "symlink leaves the lot",
    }
    assert dataset.manifest.set_index("sample_id").loc["dog/out.png", "sha256"] == ""
    np.testing.assert_array_equal(stored(dataset, "dog/in.png"), noise(2))
    link = tmp_path / "link"
    link.symlink_to(lot)
    assert ingest(link, tmp_path / "via").fingerprint == dataset.fingerprint


def test_a_name_that_is_not_utf8(lot: Path, tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(lot / "dog") + b"/bad\xff.png")).write_bytes((lot / "dog/3.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert defects(ingest(lot, tmp_path / "work")) == {"dog/bad\\xff.png": "file name is not valid UTF-8"}


def test_manifest_paths_labels_and_extras(lot: Path, tmp_path: Path) -> None:
    save(noise(9), tmp_path / "outside.png")
    (lot / "dog/link.png").symlink_to(tmp_path / "outside.png")
    (lot / "m.csv").write_text(
        "path,label,source,line,captured_at,score,batch\n"
        "cat/../cat/1.png,None,S1,L1,2026-01-01,3,x\n"
        "cat/deep er/ü 2.png,NA,,L2,,,\n"
        "../outside.png,dog,,,,,\n"
        f"{tmp_path}/outside.png,dog,,,,,\n"
        "dog/link.png,dog,,,,,\n"
        "dog/none.png,dog,,,,,\n"
        ",dog,,,,,\n"
        "dog/3.png,,,,,,\n"
        "dog/4.png,dog,,,,,\n"
        "dog//4.png,cat,,,,,\n"
    )
    dataset = ingest(lot / "m.csv", tmp_path / "work")
    assert defects(dataset) == {
        "../outside.png": "path leaves the lot through `..`",
        f"{tmp_path}/outside.png": "absolute path; it must be relative to the manifest",
        "dog/link.png": "symlink leaves the lot",
        "dog/none.png": "file not found",
        "m.csv#no path": "path is missing",
        "dog/3.png": "label is missing",
        "dog/4.png": "listed under different labels: cat, dog",
        "dog/4.png#2": "listed under different labels: cat, dog",
    }
    assert dataset.classes == ("NA", "None")
    first = dataset.manifest.set_index("sample_id").loc["cat/1.png"]
    carried = first[["source", "line", "captured_at", "score_given", "batch"]].tolist()
    assert carried == ["S1", "L1", "2026-01-01", 3.0, "x"]
    assert dataset.manifest["source"].notna().all()
    assert len(set(dataset.ids)) == len(dataset) == 10


def test_a_folder_that_holds_only_a_manifest(tmp_path: Path) -> None:
    save(noise(), tmp_path / "lot/x.png")
    pd.DataFrame({"path": ["x.png"], "target": [7]}).to_parquet(tmp_path / "lot/manifest.parquet")
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    assert dataset.classes == ("7",)
    (tmp_path / "lot/cat").mkdir()
    with pytest.raises(LotError, match="two ways"):
        ingest(tmp_path / "lot", tmp_path / "again")


def test_a_class_with_a_leading_zero_is_one_class_in_folders_and_manifests(tmp_path: Path) -> None:
    for i, name in enumerate(("01", "02", "10")):
        save(noise(i), tmp_path / "trusted" / name / "x.png")
        save(noise(i), tmp_path / "lot" / f"{i}.png")
    trusted = ingest(tmp_path / "trusted", tmp_path / "t", role="trusted")
    (tmp_path / "lot/m.csv").write_text("path,label\n0.png,01\n1.png,02\n2.png,10\n")
    dataset = ingest(tmp_path / "lot/m.csv", tmp_path / "work", like=trusted)
    assert dataset.manifest["label"].tolist() == ["01", "02", "10"]
    assert len(dataset.usable()) == 3


def test_many_numbered_classes_are_classes(tmp_path: Path) -> None:
    save(noise(), tmp_path / "x.png")
    for i in range(25):
        shutil.copy(tmp_path / "x.png", tmp_path / f"{i}.png")
    (tmp_path / "m.csv").write_text("path,label\n" + "".join(f"{i}.png,{i}\n" for i in range(25)))
    assert len(ingest(tmp_path / "m.csv", tmp_path / "work").classes) == 25


def test_one_image_in_a_class_is_for_the_contract_to_judge(tmp_path: Path) -> None:
    save(noise(), tmp_path / "lot/a/x.png")
    assert len(ingest(tmp_path / "lot", tmp_path / "work")) == 1


def test_lots_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes/a").mkdir(parents=True)
    save(noise(), tmp_path / "flat/x.png")
    (tmp_path / "broken/a").mkdir(parents=True)
    (tmp_path / "broken/a/x.png").touch()
    (tmp_path / "x.zip").write_bytes(b"PK")
    cases = {
        "nowhere": "does not exist",
        "empty": "is an empty folder",
        "classes": "hold no images",
        "flat": "no class folders",
        "broken": "1 × zero bytes",
        "x.zip": "neither a folder nor",
    }
    for name, words in cases.items():
        for role, kind in (("lot", LotError), ("trusted", TrustedError)):
            with pytest.raises(kind, match=words) as caught:
                ingest(tmp_path / name, tmp_path / "work", role=role)
            assert name in caught.value.where
            assert caught.value.action
            assert not (tmp_path / "work").exists()


def test_wrong_task_kind_or_place(lot: Path, tmp_path: Path) -> None:
    with pytest.raises(LotError, match="no regression on images"):
        ingest(lot, tmp_path / "work", task="regression")
    values = "\n".join(f"cat/1.png,{i * 0.37}" for i in range(30))
    (lot / "m.csv").write_text("path,label\n" + values)
    with pytest.raises(LotError, match="is continuous"):
        ingest(lot / "m.csv", tmp_path / "work")
    with pytest.raises(OutputError, match="never written to"):
        ingest(lot, lot / "work")
    (tmp_path / "t.csv").write_text("a,label\n1,x\n2,y\n")
    table = ingest(tmp_path / "t.csv", tmp_path / "t", role="trusted")
    with pytest.raises(LotError, match="holds images, but the trusted set holds rows"):
        ingest(lot, tmp_path / "work", like=table)


def test_more_images_than_one_handful_stay_in_order(tmp_path: Path) -> None:
    for i in range(300):
        save(np.full((2, 2, 1), i % 256, np.uint8), tmp_path / f"lot/{i % 2}/{i:03}.png")
    dataset = ingest(tmp_path / "lot", tmp_path / "work")
    values = np.load(dataset.store)[dataset.rows, 0, 0, 0]
    assert values.tolist() == [int(Path(name).stem) % 256 for name in dataset.ids]


def test_pillow_is_left_as_it_was_found(lot: Path, tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    ingest(lot, tmp_path / "work")
    assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(OSError, match="truncated"):  # still strict
        data = (lot / "cat/1.png").read_bytes()
        Image.open(io.BytesIO(data[: len(data) // 2])).load()


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    from lotgate.ingest.folders import Candidate
    from lotgate.ingest.images import _bring, _check
    from lotgate.ingest.intake import Intake
    from lotgate.ingest.store import new_store

    file = save(noise(), tmp_path / "lot/a/x.png")
    intake = Intake(tmp_path / "lot", "lot", None, "auto", None, IngestSettings())
    checked = _check(Candidate("a/x.png", "a/x.png", "a", file), intake)
    save(noise(size=(600, 800)), file)
    with new_store(tmp_path / "s.npy", (1, 3, 6, 8), np.uint8) as store:
        assert _bring(checked, 0, store, intake).defect == "file changed while it was read"
    assert not np.load(tmp_path / "s.npy").any()
