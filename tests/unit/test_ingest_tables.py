"""Tables: kinds of columns, labels and tasks, and strict reading."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lotgate.data import Dataset
from lotgate.errors import LotError, TrustedError
from lotgate.ingest import IngestSettings, ingest
from lotgate.ingest.encoding import CLIP, ROOM, as_it_came, encode, learn, names


def rich(n: int = 40, seed: int = 0) -> pd.DataFrame:
    """A table with every kind of column."""
    rng = np.random.default_rng(seed)
    gap = rng.normal(size=n)
    gap[::5] = np.nan
    return pd.DataFrame(
        {
            "uid": [f"u{i}" for i in range(n)],
            "temp": rng.normal(300, 2, n),
            "rpm": rng.integers(1000, 2000, n),
            "kind": rng.permutation(np.resize(["L", "M", "H"], n)),
            "on": rng.permutation(np.resize([True, False], n)),
            "fixed": 1,
            "void": np.nan,
            "gap": gap,
            "source": "supplier",
            "line": "line 1",
            "captured_at": "2026-01-01",
            "label": rng.permutation(np.resize(["ok", "bad"], n)),
        }
    )


def write(frame: pd.DataFrame, file: Path) -> Path:
    frame.to_parquet(file, index=False) if file.suffix == ".parquet" else frame.to_csv(file, index=False)
    return file


def features(dataset: Dataset) -> pd.DataFrame:
    """(N, F) by feature name, in the order of the file."""
    return pd.DataFrame(np.load(dataset.store), columns=list(dataset.features))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_round_trip(suffix: str, tmp_path: Path) -> None:
    frame = rich()
    dataset = ingest(write(frame, tmp_path / f"lot.{suffix}"), tmp_path / "work")
    assert dataset.features == (
        "temp", "rpm", "kind=H", "kind=L", "kind=M", "on", "gap", "gap: missing", *(f"rare#{i}" for i in range(16)),
    )  # fmt: skip
    dropped = {r["column"]: r["why"] for r in dataset.encoding if r["kind"] == "dropped"}
    assert dropped == {"uid": "identifier", "fixed": "constant", "void": "all missing"}
    assert [r["column"] for r in dataset.encoding] == list(frame.columns)
    assert dataset.classes == ("bad", "ok")
    assert dataset.raw is not None
    raw = pd.read_parquet(dataset.raw)
    pd.testing.assert_frame_equal(raw, frame, check_dtype=False)
    for i, (sample_id, row) in enumerate(zip(dataset.ids, dataset.rows, strict=True)):
        assert sample_id == f"lot.{suffix}#{row}"
        assert dataset.manifest["label"][i] == frame["label"][row]
    assert list(dataset.ids) == sorted(dataset.ids)
    assert set(dataset.manifest["line"]) == {"line 1"} and set(dataset.manifest["source"]) == {"supplier"}
    x = features(dataset)
    assert np.isfinite(x.to_numpy()).all()
    np.testing.assert_array_equal(x["on"], np.where(frame["on"], 1, -1))
    np.testing.assert_array_equal(x["kind=H"], frame["kind"] == "H")
    np.testing.assert_array_equal(x["gap: missing"], frame["gap"].isna())
    assert x["temp"].median() == pytest.approx(0, abs=1e-6)
    assert np.corrcoef(x["temp"], frame["temp"])[0, 1] == pytest.approx(1, abs=1e-6)


def test_csv_and_parquet_agree(tmp_path: Path) -> None:
    a = ingest(write(rich(), tmp_path / "lot.csv"), tmp_path / "a")
    b = ingest(write(rich(), tmp_path / "lot.parquet"), tmp_path / "b")
    assert a.manifest["sha256"].tolist() == b.manifest["sha256"].tolist()
    np.testing.assert_array_equal(np.load(a.store), np.load(b.store))


def test_a_lot_is_encoded_as_the_trusted_set(tmp_path: Path) -> None:
    trusted = ingest(write(rich(), tmp_path / "t.csv"), tmp_path / "t", role="trusted")
    frame = rich(seed=1)
    frame["temp"] = frame["temp"].astype(object)
    frame.loc[0, "temp"] = "broken"
    frame.loc[1, "temp"] = np.inf
    frame.loc[2, "temp"] = 1e300
    frame.loc[3, "kind"] = "XL"
    frame.loc[4, "kind"] = None
    frame.loc[5, "label"] = "unknown"
    frame.loc[6, "label"] = None
    dataset = ingest(write(frame, tmp_path / "l.csv"), tmp_path / "l", like=trusted)
    assert dataset.encoding == trusted.encoding and dataset.features == trusted.features
    assert dataset.classes == trusted.classes
    bad = dataset.manifest.dropna(subset="defect").set_index("sample_id")["defect"].to_dict()
    assert bad == {"l.csv#0": "temp: 'broken' is not a number", "l.csv#6": "label is missing"}
    assert len(dataset.usable()) == len(frame) - 3
    x = features(dataset)
    rare = [name for name in dataset.features if name.startswith("rare#")]
    assert x.loc[1, "temp"] == 0 and x.loc[1, rare].sum() == 1  # an infinite value counts as missing
    assert x.loc[2, "temp"] == CLIP + ROOM and x.loc[2, rare].sum() == 0
    assert x.loc[3, rare].sum() == 1 and x.loc[4, rare].sum() == 1 and (x.loc[3, rare] != x.loc[4, rare]).any()
    assert x.loc[[3, 4], ["kind=H", "kind=L", "kind=M"]].to_numpy().sum() == 0 and not x.loc[7:, rare].to_numpy().any()


def parts(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows with one of 60 parts, some of them rare."""
    common = 1 / np.arange(1, 61)
    return pd.DataFrame({"part": rng.choice([f"part {i}" for i in range(60)], n, p=common / common.sum())})


def test_what_is_rare_does_not_tell_a_lot_from_its_trusted_set() -> None:
    """New categories once had a feature that no trusted row could have: a large group without a trusted row."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(50):
        trusted, lot = parts(100, rng), parts(1000, rng)
        encoding = learn(trusted, IngestSettings())
        rare = [name.startswith("rare#") for name in names(encoding)]
        shares.append([encode(frame, encoding)[:, rare].mean(axis=0) for frame in (trusted, lot)])
    known, new = np.array(shares)[:, 0], np.array(shares)[:, 1]  # (lots, features)
    assert new.sum(axis=1).mean() > 0.1  # rare ones are many together
    assert known.sum(axis=1).mean() > 0.4 * new.sum(axis=1).mean()  # and trusted rows have them as well
    assert new.max(axis=1).mean() < 0.06  # but hardly one feature means many rows


def test_a_category_seen_once_is_as_rare_as_one_never_seen() -> None:
    trusted = pd.DataFrame({"kind": ["a", "a", "b", "b", "c"], "gap": [1.0, 2.0, 3.0, 4.0, 5.0]})
    encoding = learn(trusted, IngestSettings())
    shown = pd.DataFrame(encode(trusted, encoding), columns=names(encoding))
    assert [name for name in shown if name.startswith("kind=")] == ["kind=a", "kind=b"]
    rare = [name for name in shown if name.startswith("rare#")]
    assert shown[rare].sum(axis=1).tolist() == [0, 0, 0, 0, 1]
    new = pd.DataFrame({"kind": ["c", "d"], "gap": [1.0, np.nan]})
    assert encode(new, encoding)[:, -len(rare) :].sum(axis=1).tolist() == [1, 2]


def test_content_hash_leaves_out_label_extras_and_identifiers(tmp_path: Path) -> None:
    frame = rich()
    frame.loc[1, ["temp", "rpm", "kind", "on", "gap"]] = frame.loc[0, ["temp", "rpm", "kind", "on", "gap"]]
    frame.loc[1, ["label", "line"]] = ["other", "line 2"]
    dataset = ingest(write(frame, tmp_path / "lot.csv"), tmp_path / "work")
    sha = dataset.manifest.set_index("sample_id")["sha256"]
    assert sha["lot.csv#0"] == sha["lot.csv#1"]
    assert sha.nunique() == len(frame) - 1
    shuffled = frame[frame.columns[::-1]]
    again = ingest(write(shuffled, tmp_path / "lot.csv"), tmp_path / "again")
    assert again.fingerprint == dataset.fingerprint


def test_infinite_missing_and_finite_values_are_different_content(tmp_path: Path) -> None:
    (tmp_path / "lot.csv").write_text("a,b,label\n1,1,x\ninf,1,y\n-inf,1,x\n,1,y\n0,2,x\n")
    dataset = ingest(tmp_path / "lot.csv", tmp_path / "work")
    assert dataset.manifest["sha256"].nunique() == 5


def test_many_categories_cost_a_fixed_number_of_features(tmp_path: Path) -> None:
    n = 3000
    frame = pd.DataFrame({"code": [f"c{i // 2}" for i in range(n)], "label": ["a", "b"] * (n // 2)})
    dataset = ingest(write(frame, tmp_path / "lot.csv"), tmp_path / "work", settings=IngestSettings(hash_buckets=8))
    assert len(dataset.features) == 9
    assert len(json.dumps(dataset.encoding)) < 300
    x = features(dataset).to_numpy()[:, :8]
    assert (x.sum(axis=1) == 1).all() and (x.sum(axis=0) > n / 16).all()
    np.testing.assert_array_equal(x[0::2], x[1::2])


def test_an_outlier_does_not_move_the_scale(tmp_path: Path) -> None:
    frame = rich()
    clean = ingest(write(frame, tmp_path / "a.csv"), tmp_path / "a")
    frame.loc[0, "temp"] = 1e12
    x = features(ingest(write(frame, tmp_path / "b.csv"), tmp_path / "b"))
    assert x["temp"].iloc[0] == CLIP + ROOM
    np.testing.assert_allclose(x["temp"][1:], features(clean)["temp"][1:], atol=0.3)


def test_ignored_and_unnamed_columns(tmp_path: Path) -> None:
    rich().to_csv(tmp_path / "lot.csv")  # with pandas' nameless row numbers
    settings = IngestSettings(ignore_columns=("rpm",))
    dataset = ingest(tmp_path / "lot.csv", tmp_path / "work", settings=settings)
    why = {r["column"]: r.get("why") for r in dataset.encoding}
    assert why["Unnamed: 0"] == "index column" and why["rpm"] == "ignored"
    without = write(rich().drop(columns="rpm").reset_index(names="Unnamed: 0"), tmp_path / "l.csv")
    lot = ingest(without, tmp_path / "l", like=dataset, settings=settings)
    assert lot.features == dataset.features


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        (["ok", "bad"], "classification", ("bad", "ok")),
        (["None", "NA"], "classification", ("NA", "None")),
        (["True", "False"], "classification", ("False", "True")),
        (["0", "1"], "classification", ("0", "1")),
        (["1.0", "2.0", ""], "classification", ("1", "2")),
        (["0.5", "1.5", "2.25"], "regression", ()),
        ([str(i) for i in range(21)], "regression", ()),
    ],
)
def test_task_is_seen_from_the_labels(
    labels: list[str], expected: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    rows = "".join(f"{i},{labels[i % len(labels)]}\n" for i in range(42))
    (tmp_path / "lot.csv").write_text("a,label\n" + rows)
    dataset = ingest(tmp_path / "lot.csv", tmp_path / "work")
    assert dataset.task == expected and dataset.classes == classes
    assert dataset.manifest["row"].eq(-1).sum() == sum(42 // len(labels) for name in labels if not name)


def test_regression_targets(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i * 0.37}\n" for i in range(50))
    (tmp_path / "lot.csv").write_text("a,y\n" + rows + "1,inf\n2,\n3,NA\n4,oops\n")
    dataset = ingest(tmp_path / "lot.csv", tmp_path / "work", target="y")
    assert dataset.task == "regression"
    assert dataset.manifest["label"].dtype == np.float64
    bad = dataset.manifest.dropna(subset="defect")["defect"].tolist()
    assert bad == ["target is infinite", "label is missing", "label is missing", "target 'oops' is not a number"]
    assert len(dataset.usable()) == 50
    np.testing.assert_allclose(dataset.usable().y, dataset.usable().rows * 0.37, rtol=1e-6)


BAD_CSV = {
    "no label": ("a,b\n1,2\n", "no column `label` or `target`; its columns are a, b"),
    "empty": ("", "is an empty file"),
    "header only": ("a,label\n", "has no rows"),
    "short row": ("a,b,label\n1,2,x\n1,2\n", "line 3 has 2 fields; the header has 3"),
    "long row": ("a,b,label\n1,2,x\n1,2,3,y\n", "line 3 has 4 fields; the header has 3"),
    "long first row": ("a,label\n1,2,x\n", "line 2 has 3 fields; the header has 2"),
    "duplicated": ("a,a,label\n1,2,x\n", "more than one column named a"),
    "open quote": ('a,label\n1,"x\n2,y\n', "malformed"),
    "semicolons": ("a;b;label\n1;2;3\n", "not separated by commas"),
    "no labels": ("a,label\n1,\n2,\n", "every label is missing"),
    "no features": ("a,b,label\n1,,x\n1,,y\n", "a is constant, b is all missing"),
    "only labels": ("label\nx\ny\n", "no column that could be a feature"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(case: str, tmp_path: Path) -> None:
    text, words = BAD_CSV[case]
    (tmp_path / "lot.csv").write_text(text)
    with pytest.raises(LotError) as caught:
        ingest(tmp_path / "lot.csv", tmp_path / "work")
    assert words in caught.value.what
    assert "lot.csv" in caught.value.where and caught.value.action
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("encoding", "words"), [("latin-1", "byte 0xfc on line 3"), ("cp1252", "0xfc"), ("utf-16", "begins like UTF-16")]
)
def test_other_encodings(encoding: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "lot.csv").write_bytes("a,label\n1,x\n2,Müller\n".encode(encoding))
    with pytest.raises(LotError, match=words) as caught:
        ingest(tmp_path / "lot.csv", tmp_path / "work")
    assert "iconv" in caught.value.action


def test_utf8_with_a_mark_and_quoted_newlines(tmp_path: Path) -> None:
    (tmp_path / "lot.csv").write_bytes('a,"b\nc",label\n1,"x\ny",ü\n\n2,"z,z",v\n'.encode("utf-8-sig"))
    dataset = ingest(tmp_path / "lot.csv", tmp_path / "work")
    assert dataset.classes == ("v", "ü") and len(dataset) == 2
    assert dataset.raw is not None
    assert pd.read_parquet(dataset.raw)["b\nc"].tolist() == ["x\ny", "z,z"]


def test_whole_numbers_beyond_64_bits(tmp_path: Path) -> None:
    rows = "".join(f"{2**70 * (i + 1)},{10**400 + i % 3},{i % 2}\n" for i in range(30))
    (tmp_path / "lot.csv").write_text("big,vast,label\n" + rows)
    dataset = ingest(tmp_path / "lot.csv", tmp_path / "work")
    assert dataset.raw is not None
    assert pd.read_parquet(dataset.raw)["big"].iloc[0] == float(2**70)
    assert dataset.features == ("big", "rare#0")  # the vast ones count as infinite
    assert features(dataset)["big"].is_monotonic_increasing


def test_bad_parquet(tmp_path: Path) -> None:
    whole = write(rich(), tmp_path / "whole.parquet").read_bytes()
    cases = {
        "text": (b"hello" * 20, "does not begin like one"),
        "zip": (b"PK\x03\x04" + bytes(50), "it is a ZIP archive"),
        "empty": (b"", "zero bytes"),
        "cut": (whole[: len(whole) // 2], "damaged"),
    }
    for name, (data, words) in cases.items():
        file = tmp_path / f"{name}.parquet"
        file.write_bytes(data)
        with pytest.raises(LotError, match=words):
            ingest(file, tmp_path / "work")
    nested = write(pd.DataFrame({"a": [[1], [2]], "label": ["x", "y"]}), tmp_path / "nested.parquet")
    with pytest.raises(LotError, match="lists, records or raw bytes: a"):
        ingest(nested, tmp_path / "work")


def test_labels_of_the_wrong_kind(tmp_path: Path) -> None:
    text = tmp_path / "text.csv"
    text.write_text("a,label\n1,x\n2,y\n")
    with pytest.raises(LotError, match="regression needs a numeric target"):
        ingest(text, tmp_path / "work", task="regression")
    floats = tmp_path / "floats.csv"
    floats.write_text("a,label\n" + "".join(f"{i},{i * 0.37}\n" for i in range(50)))
    with pytest.raises(LotError, match="is continuous: 50 distinct values"):
        ingest(floats, tmp_path / "work", task="classification")
    numbers = ingest(floats, tmp_path / "numbers", role="trusted")
    with pytest.raises(LotError, match="regression needs a numeric target"):
        ingest(text, tmp_path / "work", like=numbers)
    with pytest.raises(LotError, match="read for regression"):
        ingest(floats, tmp_path / "work", like=numbers, task="classification")


def test_columns_that_differ_from_the_trusted_set(tmp_path: Path) -> None:
    trusted = ingest(write(rich(), tmp_path / "t.csv"), tmp_path / "t", role="trusted")
    other = write(rich().drop(columns=["temp", "line"]).assign(extra=1), tmp_path / "l.csv")
    with pytest.raises(LotError, match="the lot lacks temp; the lot has extra, which the trusted set lacks"):
        ingest(other, tmp_path / "work", like=trusted)


def test_errors_of_the_trusted_set_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TrustedError, match="the trusted set has no column named 'y'"):
        ingest(tmp_path / "t.csv", tmp_path / "work", role="trusted", target="y")


def test_times_and_decimals_of_parquet(tmp_path: Path) -> None:
    from decimal import Decimal

    frame = pd.DataFrame(
        {
            "when": pd.date_range("2026-01-01", periods=30, freq="h", tz="Europe/Berlin"),
            "price": [Decimal(i) / 8 for i in range(30)],
            "flag": pd.array([True, None, False] * 10, dtype="boolean"),
            "count": pd.array([1, None, 3] * 10, dtype="Int64"),
            "kind": pd.Categorical(["a", "b", "c"] * 10),
            "label": pd.Categorical(["x", "y"] * 15),
        }
    )
    dataset = ingest(write(frame, tmp_path / "lot.parquet"), tmp_path / "work")
    kinds = {r["column"]: r["kind"] for r in dataset.encoding}
    assert kinds == {
        "when": "datetime", "price": "numeric", "flag": "boolean", "count": "numeric", "kind": "categorical",
        "label": "label",
    }  # fmt: skip
    x = features(dataset)
    assert np.isfinite(x.to_numpy()).all()
    assert x["when"].is_monotonic_increasing and x["price"].is_monotonic_increasing


def test_an_unreadable_file_is_an_error_of_the_lot(tmp_path: Path) -> None:
    file = write(rich(), tmp_path / "lot.csv")
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(LotError, match="cannot be read"):
        ingest(file, tmp_path / "work")


@pytest.mark.parametrize(
    ("targets", "task"),
    [([*range(100, 115)], "regression"), ([0, 1, 2] * 2, "classification"), ([*range(10)] * 4, "classification")],
)
def test_a_handful_of_whole_targets_is_no_set_of_classes(tmp_path: Path, targets: list[int], task: str) -> None:
    """Fifteen trusted rows of a whole-numbered target have fifteen labels, none of which is a class."""
    frame = pd.DataFrame({"a": np.linspace(0, 1, len(targets)), "label": targets})
    assert ingest(write(frame, tmp_path / "few.csv"), tmp_path / "work", role="trusted").task == task


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_leading_zero_makes_text(suffix: str, tmp_path: Path) -> None:
    """ "01" and "1" are two classes and two codes; 0, 0.5 and -0.5 are numbers."""
    frame = pd.DataFrame(
        {
            "code": ["01", "1", "02"] * 20,
            "x": [0, 0.5, -0.5] * 20,
            "n": [0, 10, 20] * 20,
            "label": ["01", "1", "2", "1"] * 15,
        }
    )
    dataset = ingest(write(frame, tmp_path / f"lot.{suffix}"), tmp_path / "work")
    assert dataset.classes == ("01", "1", "2")
    assert {r["column"]: r["kind"] for r in dataset.encoding} == {
        "code": "categorical", "x": "numeric", "n": "numeric", "label": "label",
    }  # fmt: skip
    assert dataset.raw is not None
    pd.testing.assert_frame_equal(pd.read_parquet(dataset.raw), frame, check_dtype=False)


def test_many_codes_are_classes_and_spaces_do_not_hide_them(tmp_path: Path) -> None:
    rows = [f"{i}, {i % 30:03d}\n" for i in range(60)]
    (tmp_path / "lot.csv").write_text("a,label\n" + "".join(rows))
    dataset = ingest(tmp_path / "lot.csv", tmp_path / "work")
    assert dataset.task == "classification" and len(dataset.classes) == 30


def test_columns_that_are_text_in_the_trusted_set_are_text_in_the_lot(tmp_path: Path) -> None:
    label = ["1", "2", "A7"] * 20
    vetted = pd.DataFrame({"code": ["01", "02", "A7"] * 20, "version": ["1.0", "1.1", "x"] * 20, "label": label})
    trusted = ingest(write(vetted, tmp_path / "t.csv"), tmp_path / "t", role="trusted")
    frame = pd.DataFrame({"code": ["01", "02"] * 30, "version": ["1.0", "1.1"] * 30, "label": ["1", "2"] * 30})
    lot = ingest(write(frame, tmp_path / "l.csv"), tmp_path / "l", like=trusted)
    assert lot.raw is not None
    pd.testing.assert_frame_equal(pd.read_parquet(lot.raw), frame, check_dtype=False)
    assert not features(lot)[[name for name in lot.features if name.startswith("rare#")]].to_numpy().any()
    assert len(lot.usable()) == len(frame)


def test_whole_numbers_exported_with_decimals_are_the_trusted_texts(tmp_path: Path) -> None:
    """Columns of 1 and 2 with gaps are exported as 1.0, 2.0; where the trusted set has "01", 1.0 is not it."""
    vetted = pd.DataFrame({"code": ["1", "2", "A7"] * 20, "zero": ["01", "02"] * 30, "label": ["1", "2", "A7"] * 20})
    trusted = ingest(write(vetted, tmp_path / "t.csv"), tmp_path / "t", role="trusted")
    frame = pd.DataFrame({"code": [1.0, np.nan, 2.0], "zero": [1.0, 2.0, 2.0], "label": [1.0, 2.0, np.nan]})
    lot = ingest(write(frame, tmp_path / "l.csv"), tmp_path / "l", like=trusted)
    assert lot.raw is not None
    assert pd.read_parquet(lot.raw)["code"].fillna("").tolist() == ["1", "", "2"]
    assert lot.manifest["label"].fillna("").tolist() == ["1", "2", ""]
    assert features(lot)["rare#0"].all() and features(lot)["code=1"].tolist() == [1, 0, 0]


def test_what_lies_far_out_is_squeezed_and_keeps_its_order() -> None:
    """Spikes of different height once looked the same, and so like a value that was written in."""
    frame = pd.DataFrame({"current": np.r_[np.linspace(-1, 1, 40), 50.0, 51.0, -1e5, -1e6]})
    encoding = learn(frame, IngestSettings())
    current = encode(pd.concat([frame, pd.DataFrame({"current": [np.inf, -np.inf]})]), encoding)[:, 0]
    assert len(np.unique(current[:44])) == 44
    assert (np.argsort(current[:44]) == np.argsort(frame["current"])).all()
    assert np.abs(current).max() <= CLIP + ROOM
    assert (current[44:] == 0).all()  # as missing ones


def test_a_value_is_told_as_it_came() -> None:
    frame = pd.DataFrame({"speed": np.r_[np.linspace(1200.5, 1300.5, 41), 9e5], "lamp": ["on", "off"] * 21})
    encoding = learn(frame, IngestSettings())
    speed = encode(frame, encoding)[:, 0]
    assert as_it_came(encoding, "speed", float(speed[4])) == "1210.5"
    assert as_it_came(encoding, "speed", float(speed[-1])) == "about 8.9e+05"  # in single precision
    assert as_it_came(encoding, "lamp: on", 1.0) == "1"
