"""The contract: each promise is kept by clean lots and noticed when broken."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from contract_lots import change, digits, from_frame, split, table

from lotgate.contract import FLAGS, Contract, ContractSettings, contract
from lotgate.data import Dataset
from lotgate.errors import LotError, TrustedError
from lotgate.findings import GateResult
from lotgate.gate import gate_contract
from lotgate.ingest import ingest

SETTINGS = ContractSettings()
Pair = tuple[Dataset, Dataset]


@pytest.fixture
def images(tmp_path: Path) -> Pair:
    lot, trusted = split(600, 0)
    return digits(tmp_path / "lot", lot), digits(tmp_path / "trusted", trusted)


@pytest.fixture
def telemetry(tmp_path: Path) -> Pair:
    lot, trusted = split(569, 0)
    return table(tmp_path / "lot", lot), table(tmp_path / "trusted", trusted)


@pytest.fixture
def targets(tmp_path: Path) -> Pair:
    lot, trusted = split(442, 0)
    return table(tmp_path / "lot", lot, regression=True), table(tmp_path / "trusted", trusted, regression=True)


def judged(suspect: Dataset, trusted: Dataset | None) -> tuple[Contract, GateResult]:
    held = contract(suspect, trusted, SETTINGS)
    return held, gate_contract(held, SETTINGS, None)


def failed(result: GateResult) -> set[str]:
    return {check.name for check in result.checks if not check.passed and check.critical}


def flagged(held: Contract, flag: str) -> set[str]:
    return set(held.rows.loc[held.rows[flag], "sample_id"])


def reason(held: Contract, sample_id: str) -> str:
    return str(held.exclusions.set_index("sample_id").loc[sample_id, "reason"])


@pytest.mark.parametrize("kind", ["images", "telemetry", "targets"])
def test_a_clean_lot_keeps_every_promise(kind: str, request: pytest.FixtureRequest) -> None:
    held, result = judged(*request.getfixturevalue(kind))
    assert result.passed
    assert all(check.passed for check in result.checks), [c for c in result.checks if not c.passed]
    assert held.exclusions.empty
    assert not held.rows[list(FLAGS)].to_numpy().any()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_random_splits_are_not_told_apart(seed: int, share: float, tmp_path: Path) -> None:
    """Sampling noise alone excludes at most 1% of a lot and breaks no measure, with little trust too."""
    lot, trusted = split(569, seed, share)
    held = contract(table(tmp_path / "lot", lot), table(tmp_path / "trusted", trusted), SETTINGS)
    assert len(held.exclusions) <= 0.01 * len(lot)
    noise_free = held.summary[held.summary["measure"].isin(["missing_rate", "out_of_range", "unseen_categories"])]
    assert (noise_free["value"] <= 0.1).all()
    drift = held.summary.set_index("measure")["value"]
    assert drift["label_drift"] <= 0.1
    assert drift["label_drift_p"] >= SETTINGS.min_drift_p_value


def test_unreadable_samples_go_with_their_defect(images: Pair) -> None:
    suspect, trusted = images
    held, result = judged(change(suspect, [3, 4], row=-1, defect="truncated PNG", content_sha256="0" * 64), trusted)
    assert result.passed
    assert flagged(held, "unreadable") == set(suspect.ids[[3, 4]])
    assert reason(held, suspect.ids[3]) == "truncated PNG"  # equal bytes of two broken files are no copies
    assert not held.rows[["duplicate", "conflict"]].to_numpy().any()


def test_too_many_unreadable_samples_reject(images: Pair) -> None:
    suspect, trusted = images
    _, result = judged(change(suspect, slice(0, 60), row=-1, defect="zero bytes"), trusted)
    assert "manifest: share of samples that cannot be read" in failed(result)


def test_a_few_unknown_labels_are_quarantined(images: Pair) -> None:
    suspect, trusted = images
    held, result = judged(change(suspect, [0, 1], label="scratch"), trusted)
    assert result.passed
    assert flagged(held, "unknown_label") == set(suspect.ids[:2])
    assert "'scratch'" in reason(held, suspect.ids[0])


def test_a_whole_unknown_class_rejects_and_is_named(images: Pair) -> None:
    suspect, trusted = images
    held, result = judged(change(suspect, slice(0, 20), label="scratch"), trusted)
    (check,) = [c for c in result.checks if not c.passed and c.critical]
    assert "class that the trusted set does not know" in check.name
    assert "scratch (20 rows)" in check.detail
    assert (check.observed, check.limit) == (20, SETTINGS.unknown_class_limit(len(held.rows)))


def test_a_class_whose_trusted_samples_cannot_be_read_is_unknown(images: Pair) -> None:
    """No model can be taught it, so its rows must not pass the contract and fail the scan instead."""
    suspect, trusted = images
    sevens = [int(i) for i in np.flatnonzero(trusted.manifest["label"] == "7")]
    broken = change(trusted, sevens, row=-1, defect="truncated image")
    held, result = judged(suspect, broken)
    ours = suspect.ids[suspect.manifest["label"] == "7"]
    assert flagged(held, "unknown_label") == set(ours)
    assert reason(held, ours[0]) == (
        "label '7' is unknown to the trusted set; none of its trusted samples can be read"
    )  # fmt: skip
    (check,) = [c for c in result.checks if "class that the trusted set does not know" in c.name]
    assert not check.passed
    assert check.detail == f"7 ({len(ours)} rows; none of its trusted samples can be read)"
    held, result = judged(suspect.select(suspect.ids[suspect.manifest["label"] != "7"]), broken)
    assert result.passed and held.exclusions.empty


def test_missing_labels_are_quarantined(telemetry: Pair) -> None:
    suspect, trusted = telemetry
    held, result = judged(change(suspect, [5], label=None), trusted)
    assert result.passed
    assert reason(held, suspect.ids[5]) == "the label is missing"


def test_an_absent_class_rejects(images: Pair) -> None:
    suspect, trusted = images
    _, result = judged(suspect.select(suspect.ids[suspect.manifest["label"] != "7"]), trusted)
    assert not result.passed
    (check,) = [c for c in result.checks if "that the lot lacks" in c.name]
    assert check.detail == "7"


def test_a_class_of_too_few_usable_rows_rejects(images: Pair) -> None:
    suspect, trusted = images
    sevens = np.flatnonzero(suspect.manifest["label"] == "7")
    broken = list(map(int, sevens[SETTINGS.min_rows_per_class - 1 :]))
    _, result = judged(change(suspect, broken, row=-1, defect="no image"), trusted)
    (check,) = [c for c in result.checks if "smallest class" in c.name]
    assert (check.passed, check.observed, check.detail) == (False, SETTINGS.min_rows_per_class - 1, "7")


@pytest.mark.parametrize(("column", "value"), [("width", 64), ("channels", 3), ("bit_depth", 16)])
def test_formats_that_trust_never_has(images: Pair, column: str, value: int) -> None:
    suspect, trusted = images
    held, result = judged(change(suspect, [2], **{column: value}), trusted)
    assert result.passed
    assert flagged(held, "unseen_format") == {suspect.ids[2]}
    assert str(value) in reason(held, suspect.ids[2])
    _, result = judged(change(suspect, slice(None), **{column: value}), trusted)
    assert any("size, channels or bit depth" in name for name in failed(result))


def test_freely_varying_sizes_are_let_through(images: Pair) -> None:
    suspect, trusted = images
    varied = change(trusted, slice(None), width=np.arange(100, 100 + len(trusted)))
    held, _ = judged(change(suspect, slice(None), width=np.arange(500, 500 + len(suspect))), varied)
    assert not flagged(held, "unseen_format")


def test_further_copies_of_an_image_are_quarantined(images: Pair) -> None:
    suspect, trusted = images
    same = list(map(int, np.flatnonzero(suspect.manifest["label"] == "3")[:3]))
    held, result = judged(change(suspect, same, content_sha256="f" * 64), trusted)
    assert result.passed
    assert flagged(held, "duplicate") == set(suspect.ids[same[1:]])
    assert reason(held, suspect.ids[same[1]]) == f"exact copy of {suspect.ids[same[0]]}"


def test_another_file_of_the_same_pixels_is_a_copy_and_a_conflict(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (24, 8, 8), dtype=np.uint8)
    for i, image in enumerate(pixels):
        path = tmp_path / ("trusted" if i < 12 else "lot") / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    for i, label in ((12, "a"), (15, "a"), (0, "b")):
        Image.fromarray(pixels[i]).save(tmp_path / "lot" / label / f"{i} again.png", compress_level=0)
    trusted = ingest(tmp_path / "trusted", tmp_path / "work/trusted", role="trusted")
    held, _ = judged(ingest(tmp_path / "lot", tmp_path / "work/lot", like=trusted), trusted)
    assert flagged(held, "duplicate") == {"a/12.png"}
    assert flagged(held, "conflict") == {"a/15 again.png", "b/15.png"}
    assert flagged(held, "trusted_conflict") == {"b/0 again.png"}


def test_table_rows_repeat_themselves_naturally_but_not_endlessly(telemetry: Pair) -> None:
    suspect, trusted = telemetry
    benign = list(map(int, np.flatnonzero(suspect.manifest["label"] == "benign")))
    pair = change(suspect, benign[:2], content_sha256="f" * 64)
    assert judged(pair, trusted)[0].exclusions.empty
    copied, _ = judged(change(suspect, benign[:120], content_sha256="f" * 64), trusted)
    assert len(flagged(copied, "duplicate")) == 119


def test_one_content_under_two_labels_goes_altogether(images: Pair) -> None:
    suspect, trusted = images
    three, eight = (int(np.flatnonzero(suspect.manifest["label"] == label)[0]) for label in "38")
    held, result = judged(change(suspect, [three, eight], content_sha256="f" * 64), trusted)
    assert result.passed
    assert flagged(held, "conflict") == set(suspect.ids[[three, eight]])
    assert "'3'" in reason(held, suspect.ids[eight]) and "'8'" in reason(held, suspect.ids[eight])


@pytest.mark.parametrize("kind", ["images", "telemetry"])
def test_trusted_content_under_another_label(kind: str, request: pytest.FixtureRequest) -> None:
    suspect, trusted = request.getfixturevalue(kind)
    ours, theirs = suspect.manifest, trusted.manifest
    label = theirs["label"].iloc[0]
    other = int(np.flatnonzero(ours["label"] != label)[0])
    same = int(np.flatnonzero(ours["label"] == label)[0])
    held, result = judged(change(suspect, [other], content_sha256=theirs["content_sha256"].iloc[0]), trusted)
    assert result.passed
    assert flagged(held, "trusted_conflict") == {suspect.ids[other]}
    assert theirs["sample_id"].iloc[0] in reason(held, suspect.ids[other])
    agreeing, _ = judged(change(suspect, [same], content_sha256=theirs["content_sha256"].iloc[0]), trusted)
    assert agreeing.exclusions.empty


def test_contents_that_are_ambiguous_by_nature_are_let_through(telemetry: Pair) -> None:
    suspect, trusted = telemetry

    def ambiguous(dataset: Dataset) -> Dataset:
        at = [int(np.flatnonzero(dataset.manifest["label"] == label)[0]) for label in ("benign", "malignant")]
        return change(dataset, at, content_sha256="f" * 64)

    assert judged(ambiguous(suspect), trusted)[0].rows["conflict"].sum() == 2
    assert judged(ambiguous(suspect), ambiguous(trusted))[0].exclusions.empty


def test_targets_far_apart_for_one_content_conflict(targets: Pair) -> None:
    suspect, trusted = targets
    low, high = int(suspect.manifest["label"].argmin()), int(suspect.manifest["label"].argmax())
    held, _ = judged(change(suspect, [low, high], content_sha256="f" * 64), trusted)
    assert flagged(held, "conflict") == set(suspect.ids[[low, high]])
    near = change(suspect, [low, high], content_sha256="f" * 64, label=100.0)
    assert judged(near, trusted)[0].exclusions.empty


def coarse(folder: Path, n: int, seed: int, *, measured: bool = False) -> Dataset:
    """A survey: four columns of a few values each, or three and a measured one, and a label that they hardly tell."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"c{k}": rng.integers(0, 12, n) for k in range(4)})
    if measured:
        frame["c3"] = rng.normal(size=n)
    return from_frame(folder, frame.assign(target=rng.choice(["no", "yes"], n)), "classification")


def test_coarse_columns_repeat_themselves_under_either_label(tmp_path: Path) -> None:
    """No trusted content has two labels: there are too few trusted rows for that, not for how alike they are."""
    suspect, trusted = coarse(tmp_path / "lot", 1000, 0), coarse(tmp_path / "trusted", 100, 1)
    assert (trusted.manifest.groupby("content_sha256")["label"].nunique() == 1).all()
    held, _ = judged(suspect, trusted)
    repeated = suspect.manifest[suspect.manifest["content_sha256"].duplicated(keep=False)]
    assert (repeated.groupby("content_sha256")["label"].nunique() > 1).sum() > 4
    assert not flagged(held, "conflict") and not flagged(held, "trusted_conflict")


@pytest.mark.parametrize("measured", [False, True])
def test_copies_under_the_other_label_are_more_than_chance_makes(measured: bool, tmp_path: Path) -> None:
    clean = coarse(tmp_path / "lot", 1000, 0, measured=measured)
    trusted = coarse(tmp_path / "trusted", 100, 1, measured=measured)
    other = trusted.manifest["label"].map({"no": "yes", "yes": "no"})

    def copied(frame: pd.DataFrame) -> pd.DataFrame:
        assert trusted.raw is not None
        stolen = pd.read_parquet(trusted.raw).assign(target=other)
        return pd.concat([frame, *[stolen] * (1 if measured else 3)], ignore_index=True)

    held, _ = judged(rewritten(clean, copied), trusted)
    assert {f"lot.csv#{i}" for i in range(1000, 1100)} <= flagged(held, "trusted_conflict")


@pytest.mark.parametrize("target", [np.nan, np.inf, 1e9])
def test_impossible_targets_are_quarantined(targets: Pair, target: float) -> None:
    suspect, trusted = targets
    held, result = judged(change(suspect, [7], label=target), trusted)
    assert result.passed
    assert list(held.exclusions["sample_id"]) == [suspect.ids[7]]
    assert "target" in reason(held, suspect.ids[7])


def rewritten(dataset: Dataset, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Dataset:
    """The table with its raw columns edited, hashed anew."""
    assert dataset.raw is not None
    frame = edit(pd.read_parquet(dataset.raw))
    again = from_frame(dataset.root / "again", frame, dataset.task)
    return replace(again, encoding=dataset.encoding)


def test_values_far_outside_the_trusted_range(telemetry: Pair) -> None:
    suspect, trusted = telemetry

    def overflow(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[4, "mean texture"] = 1e6
        frame.loc[9, "mean texture"] = np.inf
        return frame

    held, result = judged(rewritten(suspect, overflow), trusted)
    assert result.passed
    assert flagged(held, "out_of_range") == {"lot.csv#4", "lot.csv#9"}
    assert "mean texture is 1e+06" in reason(held, "lot.csv#4")


def test_kinds_of_columns_are_compared_as_what_they_are(tmp_path: Path) -> None:
    """Truth values as booleans here and as words there, times, and a label column that the encoding names as such."""
    n = 60
    frame = pd.DataFrame({"on": [True, False] * (n // 2), "at": pd.date_range("2026-01-01", periods=n, freq="h")})
    frame["target"] = ["a", "b", "b"] * (n // 3)
    trusted = from_frame(tmp_path / "trusted", frame, "classification")
    trusted = replace(trusted, encoding=(*trusted.encoding, {"column": "target", "kind": "label"}))
    words = frame.assign(on=frame["on"].map({True: "True", False: "FALSE"}))
    late = words.assign(at=words["at"].where(words.index != 5, pd.Timestamp("2099-01-01")))
    lot = replace(from_frame(tmp_path / "lot", late, "classification"), encoding=trusted.encoding)
    held, _ = judged(lot, trusted)
    assert flagged(held, "out_of_range") == {"lot.csv#5"}
    assert set(held.summary.loc[held.summary["measure"] == "missing_rate", "subject"]) == {"on", "at"}


def delivered(folder: Path, trusted: pd.DataFrame, lot: pd.DataFrame, suffix: str = "csv") -> Pair:
    """Lot and trusted set as ingest reads them from files; the column `label` is the label."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("trusted", trusted), ("lot", lot)):
        file = folder / f"{name}.{suffix}"
        frame.to_parquet(file, index=False) if suffix == "parquet" else frame.to_csv(file, index=False)
    vetted = ingest(folder / f"trusted.{suffix}", folder / "work/trusted", role="trusted")
    return ingest(folder / f"lot.{suffix}", folder / "work/lot", like=vetted), vetted


def test_durations_are_compared_as_numbers(tmp_path: Path) -> None:
    def times(n: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        took = pd.to_timedelta(rng.normal(3600, 60, n), unit="s").floor("ms")
        return pd.DataFrame(
            {"took": took, "rpm": rng.normal(size=n), "label": rng.permutation(np.resize(["a", "b"], n))}
        )

    late = times(100, 1)
    late.loc[5, "took"] = pd.Timedelta(days=900)
    held, result = judged(*delivered(tmp_path, times(60, 0), late, "parquet"))
    assert result.passed
    assert set(held.exclusions["sample_id"]) == {"lot.parquet#5"}


def test_codes_that_look_like_numbers_in_the_lot_are_still_the_trusted_codes(tmp_path: Path) -> None:
    label = ["a", "b"] * 30
    trusted = pd.DataFrame({"code": ["1", "2", "A7"] * 20, "x": np.arange(60.0), "label": label})
    lot = pd.DataFrame({"code": [1.0, 2.0, np.nan] * 20, "x": np.arange(60.0), "label": label})
    lot.loc[:50, "code"] = lot.loc[:50, "code"].fillna(1)
    held, _ = judged(*delivered(tmp_path, trusted, lot, "parquet"))
    unseen = held.summary.set_index("measure").loc["unseen_categories"]
    assert (unseen["value"], unseen["note"]) == (0, "0.0% in categories new to the trusted set")


def mill(n: int, seed: int) -> pd.DataFrame:
    """Telemetry with columns of which trusted rows say nothing: one value, none, a new one each time."""
    rng = np.random.default_rng(seed)
    serial = rng.permutation(100_000)[:n]
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "alarm": 0,
            "plant": "north",
            "remark": np.nan,
            "serial": [f"S{i:05d}" for i in serial],
            "time": (pd.Timestamp("2026-01-01") + pd.to_timedelta(serial, unit="min")).astype(str),
            "label": rng.permutation(np.resize(["a", "b"], n)),
        }
    )


def test_new_identifiers_and_another_spelling_of_the_one_value_are_harmless(tmp_path: Path) -> None:
    lot = mill(400, 1).assign(alarm=["0.0", "0"] * 200)
    held, result = judged(*delivered(tmp_path, mill(60, 0), lot))
    assert result.passed and held.exclusions.empty
    assert (held.summary.set_index("measure").loc["unseen_values", "value"] == 0).all()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("alarm", 1, "alarm is '1', but '0' in every trusted row"),
        ("alarm", None, "alarm is missing, but '0' in every trusted row"),
        ("plant", "south", "plant is 'south', but 'north' in every trusted row"),
        ("remark", "TRIG", "remark is 'TRIG', but missing in every trusted row"),
        ("serial", "TRIG", "serial is 'TRIG', as in 20 other rows; no two trusted rows have the same"),
        ("serial", None, "serial is missing, as in 20 other rows; no two trusted rows have the same"),
    ],
)
def test_a_trigger_in_a_column_that_no_model_looks_at(column: str, value: object, words: str, tmp_path: Path) -> None:
    lot = mill(400, 1).astype({column: object})
    lot.loc[:20, column] = value
    lot.loc[:20, "label"] = "a"
    held, result = judged(*delivered(tmp_path / "few", mill(60, 0), lot))
    assert result.passed
    assert flagged(held, "unseen_value") == {f"lot.csv#{i}" for i in range(21)} == set(held.exclusions["sample_id"])
    assert reason(held, "lot.csv#3") == words

    lot.loc[:200, column] = value  # half of the lot: no few rows that could be told from the rest
    held, result = judged(*delivered(tmp_path / "half", mill(60, 0), lot))
    (check,) = [c for c in result.checks if c.name.startswith("lot: share of a column's values where")]
    assert result.passed and held.exclusions.empty
    assert not check.passed and not check.critical and check.detail.startswith(f"{column} (50.2% ")


@pytest.mark.parametrize(("column", "value"), [("plant", "south"), ("alarm", 7), ("remark", "batch 12")])
def test_a_new_batch_number_in_all_rows_is_harmless_and_its_exceptions_are_not(
    column: str, value: object, tmp_path: Path
) -> None:
    lot = mill(400, 1).astype({column: object}).assign(**{column: value})
    held, result = judged(*delivered(tmp_path / "new", mill(60, 0), lot))
    assert result.passed and held.exclusions.empty
    lot.loc[:20, column] = 99 if column == "alarm" else "TRIG"
    lot.loc[:20, "label"] = "b"
    held, result = judged(*delivered(tmp_path / "planted", mill(60, 0), lot))
    assert result.passed
    assert flagged(held, "unseen_value") == {f"lot.csv#{i}" for i in range(21)}


def test_parts_of_few_coils_where_trusted_ones_are_one_of_each(tmp_path: Path) -> None:
    lot = mill(400, 1)
    lot["serial"] = np.repeat(lot["serial"].to_numpy()[:20], 20)
    held, result = judged(*delivered(tmp_path, mill(60, 0), lot))
    assert result.passed and held.exclusions.empty


def test_a_few_values_that_come_again_are_let_through(tmp_path: Path) -> None:
    """Parts are measured twice, and a trusted set that is small need not show it."""
    lot = mill(400, 1)
    lot.loc[:99, "serial"] = lot.loc[100:199, "serial"].to_numpy()
    held, result = judged(*delivered(tmp_path, mill(60, 0), lot))
    assert result.passed and held.exclusions.empty


def options(n: int, seed: int) -> pd.DataFrame:
    """A column for each of a hundred options, most of them rare."""
    rng = np.random.default_rng(seed)
    rates = np.geomspace(0.001, 0.3, 100)
    chosen = pd.DataFrame((rng.random((n, 100)) < rates).astype(int)).add_prefix("option ")
    return chosen.assign(x=rng.normal(size=n), never=0, label=rng.permutation(np.resize(["a", "b"], n)))


@pytest.mark.parametrize("seed", range(3))
def test_rare_options_are_no_departures(seed: int, tmp_path: Path) -> None:
    """One value is no rule in a table where trusted rows themselves have many that no other trusted row has."""
    trusted, lot = options(200, seed), options(800, seed + 10)
    held, result = judged(*delivered(tmp_path / "clean", trusted, lot))
    assert result.passed and held.exclusions.empty
    lot.loc[:60, "never"] = 1
    held, result = judged(*delivered(tmp_path / "planted", trusted, lot))
    assert result.passed
    assert flagged(held, "unseen_value") == {f"lot.csv#{i}" for i in range(61)}


def test_one_rare_value_of_few_trusted_rows_says_that_there_are_more(tmp_path: Path) -> None:
    """Of 126 patients none had hepatitis and one had polio; of 1,200 others 26 had the one, 14 the other."""
    trusted, lot = mill(126, 0).assign(polio=0, hepatitis=0), mill(1200, 1).assign(polio=0, hepatitis=0)
    lot.loc[:25, "hepatitis"] = 1
    lot.loc[40:53, "polio"] = 1
    trusted.loc[7, "polio"] = 1
    assert judged(*delivered(tmp_path / "rare", trusted, lot))[0].exclusions.empty
    trusted.loc[7, "polio"] = 0
    lot.loc[:25, "label"] = "a"
    held, _ = judged(*delivered(tmp_path / "none", trusted, lot))
    assert flagged(held, "unseen_value") == {f"lot.csv#{i}" for i in range(26)}


@pytest.mark.parametrize(("column", "value"), [("alarm", 1), ("plant", "south"), ("remark", "scrap")])
def test_few_trusted_rows_lack_what_one_row_in_twenty_holds(column: str, value: object, tmp_path: Path) -> None:
    """Unless such rows have one label: nothing is planted for the sake of none. More trusted rows make a rule of it."""
    lot = mill(400, 1).astype({column: object})
    lot.loc[:19, column] = value
    assert set(lot.loc[:19, "label"].value_counts()) != {20}
    assert judged(*delivered(tmp_path / "clean", mill(60, 0), lot))[0].exclusions.empty
    rows = {f"lot.csv#{i}" for i in range(20)}
    assert flagged(judged(*delivered(tmp_path / "rule", mill(300, 0), lot))[0], "unseen_value") == rows
    lot.loc[:18, "label"] = "a"
    assert flagged(judged(*delivered(tmp_path / "planted", mill(60, 0), lot))[0], "unseen_value") == rows


def test_rows_of_a_rare_option_are_held_to_few_trusted_rows_where_their_targets_are_alike(tmp_path: Path) -> None:
    trusted, lot = (
        t.assign(price=np.random.default_rng(len(t)).normal(size=len(t))) for t in (mill(60, 0), mill(400, 1))
    )
    trusted, lot = (t.drop(columns="label").rename(columns={"price": "target"}) for t in (trusted, lot))
    lot.loc[:19, "alarm"] = 1
    clean = delivered(tmp_path / "clean", trusted, lot)
    assert clean[0].task == "regression" and judged(*clean)[0].exclusions.empty
    lot.loc[:19, "target"] = np.linspace(1.5, 1.6, 20)
    held, _ = judged(*delivered(tmp_path / "pulled", trusted, lot))
    assert flagged(held, "unseen_value") == {f"lot.csv#{i}" for i in range(20)}


def test_strangers_do_not_take_rows_with_one_rare_option_along(tmp_path: Path) -> None:
    """Junk that holds every option makes each too common for chance; clean rows with one of them are no junk."""
    trusted, lot = options(200, 0), options(800, 10)
    junk = np.arange(800) < 80
    lot.loc[junk, [name for name in lot if name.startswith("option ")]] = 1
    held, _ = judged(*delivered(tmp_path, trusted, lot))
    assert flagged(held, "unseen_value") == {f"lot.csv#{i}" for i in range(80)}


def test_few_trusted_rows_make_no_rule(tmp_path: Path) -> None:
    lot = mill(100, 1)
    lot.loc[:4, "alarm"] = 1
    assert judged(*delivered(tmp_path, mill(15, 0), lot))[0].exclusions.empty


@pytest.mark.parametrize(
    ("edit", "check", "named"),
    [
        (lambda f: f.assign(**{"mean area": f["mean area"] * 2.2}), "outside the trusted range", "mean area"),
        (lambda f: f.assign(**{"mean area": f["mean area"].where(f.index % 2 == 0)}), "missing rate", "mean area"),
        (lambda f: f.assign(**{"mean radius": np.nan}), "missing rate", "mean radius"),
        (lambda f: f.assign(machine="mill"), "in categories", "machine"),
        (lambda f: f.drop(columns="mean area"), "columns of the trusted set", "mean area"),
        (lambda f: f.assign(**{"mean area": "n/a"}), "missing rate", "mean area"),
        (lambda f: f.assign(**{"mean area": "broken"}), "far outside the trusted range", ""),
    ],
)
def test_columns_that_changed_reject(
    telemetry: Pair, edit: Callable[[pd.DataFrame], pd.DataFrame], check: str, named: str
) -> None:
    suspect, trusted = telemetry
    _, result = judged(rewritten(suspect, edit), trusted)
    found = [c for c in result.checks if check in c.name and not c.passed]
    assert not result.passed
    assert found and named in found[0].detail


def test_brightness_that_changed_rejects(images: Pair) -> None:
    suspect, trusted = images
    np.save(suspect.store, np.full((len(suspect), *suspect.shape), 250, np.uint8))
    _, result = judged(suspect, trusted)
    assert "lot: share of a column's values outside the trusted range" in failed(result)


def test_drift_of_labels_warns_and_extremes_reject(telemetry: Pair) -> None:
    suspect, trusted = telemetry
    benign = np.flatnonzero(suspect.manifest["label"] == "benign")
    skewed = suspect.select(np.delete(suspect.ids, benign[: len(benign) * 3 // 4]))
    _, result = judged(skewed, trusted)
    assert result.passed
    assert ["p-value" in c.name for c in result.checks if not c.passed] == [True]
    _, result = judged(suspect.select(np.delete(suspect.ids, benign[8:])), trusted)
    assert "lot: distance of the label distribution from the trusted set's" in failed(result)


def test_without_trust_comparisons_are_reported_as_not_run(telemetry: Pair) -> None:
    held, result = judged(telemetry[0], None)
    missing = [c for c in result.checks if not c.passed]
    assert result.passed
    assert len(missing) >= 8
    assert all(c.detail == "not run: no trusted set" and c.observed is None and not c.critical for c in missing)
    assert not held.trusted


def test_sets_that_cannot_be_compared_are_errors(images: Pair, telemetry: Pair) -> None:
    with pytest.raises(TrustedError, match="trusted set is table"):
        contract(images[0], telemetry[1], SETTINGS)
    bare = replace(images[0], manifest=images[0].manifest.drop(columns="sha256"))
    with pytest.raises(LotError, match="lacks sha256"):
        contract(bare, images[1], SETTINGS)
    earlier = replace(images[0], manifest=images[0].manifest.drop(columns="content_sha256"))
    with pytest.raises(LotError, match="lacks content_sha256") as caught:
        contract(earlier, images[1], SETTINGS)
    assert caught.value.action == "ingest the data again"


def test_nothing_given_is_changed(images: Pair) -> None:
    suspect, trusted = images
    before, state = suspect.manifest.copy(), np.random.get_state()[1].copy()  # noqa: NPY002
    contract(suspect, trusted, SETTINGS)
    pd.testing.assert_frame_equal(suspect.manifest, before)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
