"""The release record: what it notices, and names that may be tags."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotgate.errors import IntegrityError, SettingsError
from lotgate.release import (
    FileRecord,
    ReleaseRecord,
    check_dataset_name,
    lot_name,
    parse_record,
    record_files,
    split_release_name,
    total_digest,
    verify_files,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.png").write_bytes(b"one")
    (tmp_path / "two ü.png").write_bytes(b"two")
    return tmp_path


def record(files: tuple[FileRecord, ...]) -> ReleaseRecord:
    return ReleaseRecord(
        dataset="parts", lot="lot-1", version=1, release_id="0" * 64, lot_fingerprint="f", trusted_fingerprint=None,
        decision="accept", reasons=("clean",), modality="image", task="classification", target=None, entry=".",
        n_samples=2, n_kept=2, n_quarantined=0, detectors=(), settings={}, versions={}, seed=0, files=files,
        quarantine_files=(), documents=(), digest=total_digest(files, (), ()), released_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_record_holds_path_size_and_sha256(folder: Path) -> None:
    files = record_files(folder)
    assert [(f.path, f.bytes, f.sha256) for f in files] == [
        ("a/one.png", 3, hashlib.sha256(b"one").hexdigest()),
        ("two ü.png", 3, hashlib.sha256(b"two").hexdigest()),
    ]
    verify_files(folder, files)


def test_missing_changed_and_extra_files_are_named(folder: Path) -> None:
    files = record_files(folder)
    (folder / "a" / "one.png").write_bytes(b"0ne")  # the same size
    (folder / "two ü.png").rename(folder / "three.png")
    with pytest.raises(IntegrityError) as caught:
        verify_files(folder, files)
    told = str(caught.value)
    assert "1 missing: two ü.png" in told
    assert "1 changed: a/one.png" in told
    assert "1 not part of the release: three.png" in told
    assert str(folder) in told


def test_a_link_to_the_same_bytes_is_not_the_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = record_files(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "one.png"
    (folder / "a" / "one.png").rename(elsewhere)
    (folder / "a" / "one.png").symlink_to(elsewhere)
    with pytest.raises(IntegrityError, match=r"changed: a/one\.png"):
        verify_files(folder, files)


def test_an_empty_folder_is_not_a_release(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(IntegrityError, match="2 missing"):
        verify_files(tmp_path_factory.mktemp("empty"), record_files(folder))


def test_record_round_trips_and_an_edited_one_is_refused(folder: Path) -> None:
    made = record(record_files(folder))
    assert parse_record(made.to_bytes(), "here") == made
    edited = json.loads(made.to_bytes())
    edited["files"][0]["sha256"] = "1" * 64
    with pytest.raises(IntegrityError, match="digest"):
        parse_record(json.dumps(edited).encode(), "here")
    with pytest.raises(IntegrityError, match="decision"):
        parse_record(json.dumps({**edited, "decision": "reject"}).encode(), "here")
    with pytest.raises(IntegrityError, match="not valid"):
        parse_record(b"{", "here")


def test_digest_depends_on_group_but_not_on_order(folder: Path) -> None:
    files = record_files(folder)
    assert total_digest(files, ()) == total_digest(files[::-1], ())
    assert total_digest(files, ()) != total_digest((), files)
    assert total_digest(files[:1], files[1:]) != total_digest(files, ())


@pytest.mark.parametrize("name", ["", "Parts", "a/b", "../a", "a..b", "a.lock", "a.", "-a", ".a", "a b", "a" * 101])
def test_names_that_cannot_be_tags_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be the name"):
        check_dataset_name(name)


def test_release_names() -> None:
    assert split_release_name("parts@v3") == split_release_name("parts@3") == ("parts", 3)
    for name in ("parts", "parts@", "parts@v0", "parts@-1", "parts@latest"):
        with pytest.raises(SettingsError, match="names no version"):
            split_release_name(name)


@given(st.text(max_size=60))
def test_a_lot_name_is_always_one_plain_folder(lot: str) -> None:
    name = lot_name(lot, "0123456789abcdef")
    assert name.endswith("-0123456789ab")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
