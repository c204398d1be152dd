"""Earlier releases judged with a lot: one union, every row accounted for, verdicts parted, nothing unfit taken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lotgate import cli, run_folder, stages
from lotgate.context import (
    LOT,
    Context,
    context_check,
    heard_twice,
    load_union,
    part_verdicts,
    read_context,
    summarise,
)
from lotgate.data import Dataset
from lotgate.errors import ContextError, SettingsError
from lotgate.findings import VERDICTS_COLUMNS, Decision
from lotgate.ingest import IngestSettings, ingest
from lotgate.settings import Settings, load_settings
from lotgate.sittings import WITH_CONTEXT
from tests.small_lots import digits, snapshot, tumour_lots, write_digits, write_settings

SETTINGS = IngestSettings()


def context(path: Path, version: int = 1) -> Context:
    return Context("digits", version, path)


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Dataset, Dataset]:
    """A lot of 20 and a trusted set of 20."""
    x, y = digits()
    write_digits(tmp_path / "lot", x[:20], y[:20])
    trusted = ingest(write_digits(tmp_path / "trusted", x[20:40], y[20:40]), tmp_path / "t", role="trusted")
    return ingest(tmp_path / "lot", tmp_path / "l", like=trusted), trusted


def test_the_union_holds_every_sample_once_and_says_where_it_is_from(
    parts: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    lot, trusted = parts
    x, y = digits()
    first, second = tmp_path / "first", tmp_path / "second"
    write_digits(first, x[15:30], y[15:30])  # 5 of the lot again
    write_digits(second, x[25:45], y[25:45])  # 5 of the first again
    union = read_context(lot, trusted, [context(first), context(second, 2)], tmp_path / "run/work", SETTINGS)
    assert union is not None
    loaded = load_union(tmp_path / "run", ())
    assert loaded is not None and loaded.fingerprint == union.fingerprint
    manifest = union.manifest.set_index("sample_id")
    assert manifest["origin"].value_counts().to_dict() == {LOT: 20, "digits@v1": 15, "digits@v2": 20}
    assert manifest.index.is_unique and list(manifest.index) == sorted(manifest.index)
    repeated = manifest[manifest["twin"] != ""]
    assert repeated["origin"].value_counts().to_dict() == {"digits@v1": 5, "digits@v2": 5}
    assert set(repeated["twin"].map(manifest["origin"])) == {LOT, "digits@v1"}
    assert (repeated["content_sha256"].to_numpy() == manifest.loc[repeated["twin"], "content_sha256"].to_numpy()).all()
    usable = union.usable()
    assert len(usable) == 45 and not usable.manifest.duplicated(["content_sha256", "label"]).any()
    alone = ingest(second, tmp_path / "alone", like=trusted)
    for name, part in (("", lot), ("digits@v2/", alone)):
        at = [i for i in part.ids if f"{name}{i}" in set(usable.ids)]
        ours = usable.select([f"{name}{i}" for i in at])
        np.testing.assert_array_equal(ours.batch(np.arange(len(at))).x, part.select(at).batch(np.arange(len(at))).x)
        np.testing.assert_array_equal(ours.y, part.select(at).y)
    records = summarise(tmp_path / "run", None)
    assert [(r.name, r.n_samples, r.n_repeated, r.n_suspect) for r in records] == [
        ("digits@v1", 15, 5, None), ("digits@v2", 20, 5, None),
    ]  # fmt: skip
    assert records[1].fingerprint == alone.fingerprint
    assert read_context(lot, trusted, [], tmp_path / "run/work", SETTINGS) is None
    assert load_union(tmp_path / "run", ()) is None and summarise(tmp_path / "run", None) == ()


def test_the_same_content_under_another_label_stays_on_trial(parts: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    lot, trusted = parts
    x, y = digits()
    union = read_context(
        lot, trusted, [context(write_digits(tmp_path / "c", x[:4], 1 - y[:4]))], tmp_path / "work", SETTINGS
    )
    assert union is not None and len(union.usable()) == 24 and (union.manifest["twin"] == "").all()


def test_what_repeats_an_excluded_sample_of_the_lot_is_judged_itself(
    parts: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    lot, trusted = parts
    x, y = digits()
    releases = [
        context(write_digits(tmp_path / "c", x[:30], y[:30])),
        context(write_digits(tmp_path / "d", x[:30], y[:30]), 2),
    ]
    united = read_context(lot, trusted, releases, tmp_path / "run/work", SETTINGS)
    assert united is not None and len(united.usable()) == 30
    gone = lot.ids[0]
    union = load_union(tmp_path / "run", {gone})
    assert union is not None
    twins = union.manifest.set_index("sample_id")["twin"]
    assert (twins[f"digits@v1/{gone}"], twins[f"digits@v2/{gone}"]) == ("", f"digits@v1/{gone}")
    assert set(union.usable().ids) - set(united.usable().ids) == {f"digits@v1/{gone}"}
    theirs = union.select([f"digits@v1/{gone}"])
    np.testing.assert_array_equal(theirs.batch(np.arange(1)).x, lot.select([gone]).batch(np.arange(1)).x)
    assert load_union(tmp_path / "run", ()).usable().ids.tolist() == united.usable().ids.tolist()


def test_pixels_of_another_depth_keep_their_values(parts: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    lot, trusted = parts
    x, y = digits()
    for label in ("0", "1"):
        (tmp_path / "deep" / label).mkdir(parents=True)
    for i in range(6):
        Image.fromarray(x[50 + i].astype(np.uint16) * 257).save(tmp_path / f"deep/{y[50 + i]}/{i}.png")
    union = read_context(lot, trusted, [context(tmp_path / "deep")], tmp_path / "work", SETTINGS)
    shallow = read_context(
        lot, trusted, [context(write_digits(tmp_path / "c", x[50:56], y[50:56]))], tmp_path / "again", SETTINGS
    )
    assert union is not None and shallow is not None
    assert np.load(union.store, mmap_mode="r").dtype == np.uint16
    for dataset in (union, shallow):
        ours = dataset.select(lot.ids)
        np.testing.assert_allclose(ours.batch(np.arange(20)).x, lot.batch(np.arange(20)).x, atol=1e-6)
    theirs = [d.select(d.ids[d.manifest["origin"] != LOT]) for d in (union, shallow)]
    sums = [np.sort(d.batch(np.arange(6)).x.sum(axis=(1, 2, 3))) for d in theirs]
    np.testing.assert_allclose(*sums, rtol=1e-5)


def test_verdicts_are_parted_and_a_repeated_sample_is_as_suspect_as_its_twin() -> None:
    judged = pd.DataFrame(
        {
            "sample_id": ["a@v1/p", "a@v1/q", "a@v2/p", "x", "y"],
            "label": ["0", "1", "0", "1", "1"],
            "action": ["quarantine", "keep", "keep", "keep", "quarantine"],
            "score": [0.9, 0.1, 0.0, 0.2, 0.8],
            "reasons": ["odd", "", "", "", "odd too"],
            "source": "", "origin": ["a@v1", "a@v1", "a@v2", LOT, LOT], "twin": ["", "y", "a@v1/p", "", ""],
        }
    )  # fmt: skip
    lot = pd.DataFrame({"sample_id": ["y", "x"], "sha256": "", "source": ["s", "r"], "line": [7, 8]})
    mine, earlier = part_verdicts(judged, lot)
    assert list(mine.columns) == [*VERDICTS_COLUMNS, "source", "line"]
    assert mine[["sample_id", "action", "line"]].to_numpy().tolist() == [["y", "quarantine", 7], ["x", "keep", 8]]
    assert earlier.drop(columns="label").to_numpy().tolist() == [
        ["a@v1", "p", True, 0.9, "odd"],
        ["a@v1", "q", True, 0.8, "the same sample as y: odd too"],
        ["a@v2", "p", True, 0.9, "the same sample as a@v1/p: odd"],
    ]


def test_a_sample_that_either_sitting_quarantines_is_quarantined() -> None:
    judged = pd.DataFrame(
        {
            "sample_id": ["a@v1/p", "both", "neither", "lot", "union"],
            "action": ["quarantine", "quarantine", "keep", "keep", "quarantine"],
            "score": [0.9, 0.8, 0.1, 0.2, 0.7],
            "reasons": ["odd", "odd (p = .01)", "", "", "odd"],
        }
    )
    alone = pd.DataFrame(
        {
            "sample_id": ["both", "lot", "neither", "union"],
            "action": ["quarantine", "quarantine", "keep", "keep"],
            "score": [0.7, 0.6, 0.3, 0.4],
            "reasons": ["odd (p = .02)", "strange", "", ""],
        }
    )
    assert heard_twice(judged, alone).to_numpy().tolist() == [
        ["a@v1/p", "quarantine", 0.9, "odd"],
        ["both", "quarantine", 0.8, "odd (p = .02)"],
        ["neither", "keep", 0.3, ""],
        ["lot", "quarantine", 0.6, "strange"],
        ["union", "quarantine", 0.7, "with earlier lots: odd"],
    ]


@pytest.fixture(scope="module")
def dripped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """Two earlier releases and a lot, each with some labels turned, and a trusted set."""
    base = tmp_path_factory.mktemp("drip")
    x, y = digits()
    y = y.copy()
    for start in (0, 80, 160):
        y[start : start + 4] = 1 - y[start : start + 4]
    for name, start in (("v1", 0), ("v2", 80), ("lot", 160)):
        write_digits(base / name, x[start : start + 80], y[start : start + 80])
    write_digits(base / "trusted", x[240:], y[240:])
    shutil.copy(base / "v1/0/0010.png" if y[10] == 0 else base / "v1/1/0010.png", base / "lot" / str(y[10]) / "re.png")
    settings = load_settings(
        write_settings(
            base / "p.yaml",
            policy={"voters": ["disagreement"], "false_quarantine_rate": 0.02, "false_discovery_rate": 0.5},
            detectors={"disagreement": {"drops": [], "epochs": 8}},
        )
    )
    return base, settings


def scan(base: Path, out: str, settings: Settings, names: tuple[str, ...]) -> tuple[Decision, pd.DataFrame]:
    given = [context(base / name, int(name[1:])) for name in names]
    decision = stages.screen(base / out, base / "lot", base / "trusted", settings, context=given)
    return decision, pd.read_parquet(base / out / "verdicts.parquet")


def test_a_slow_drip_is_found_in_lot_and_context_and_again_the_same(dripped: tuple[Path, Settings]) -> None:
    base, settings = dripped
    alone, mine_alone = scan(base, "alone", settings, ())
    decision, mine = scan(base, "with", settings, ("v1", "v2"))
    assert alone.context == () and not (base / "alone" / run_folder.CONTEXT_VERDICTS).exists()
    assert (decision.n_samples, decision.lot_fingerprint) == (81, alone.lot_fingerprint)
    pd.testing.assert_series_equal(mine["sample_id"], mine_alone["sample_id"])
    assert (mine.dtypes == mine_alone.dtypes).all() and list(mine.columns) == list(mine_alone.columns)
    hidden = mine_alone.loc[mine_alone["action"] == "quarantine"].merge(mine, on="sample_id", suffixes=("", "_with"))
    assert (hidden["action_with"] == "quarantine").all() and (hidden["reasons_with"] == hidden["reasons"]).all()
    earlier = pd.read_parquet(base / "with" / run_folder.CONTEXT_VERDICTS)
    assert earlier["context"].value_counts().to_dict() == {"digits@v1": 80, "digits@v2": 80}
    assert [(c.name, c.n_repeated) for c in decision.context] == [("digits@v1", 1), ("digits@v2", 0)]
    suspect = earlier[earlier["suspect"]]
    for name, number in (("digits@v1", 0), ("digits@v2", 1)):
        turned = suspect[
            (suspect["context"] == name) & suspect["sample_id"].str[2:-4].isin([f"{i:04d}" for i in range(4)])
        ]
        assert len(turned) >= 3, "most of the turned labels of each release are found"
        assert decision.context[number].n_suspect == (suspect["context"] == name).sum() <= 8
    assert suspect["reasons"].str.contains("disagreement").all()
    check = decision.checks[-1]
    assert (check.name, check.passed, check.critical) == (
        "context: earlier samples that are now suspect", False, False,
    )  # fmt: skip
    assert f"{len(suspect)} earlier samples are now suspect too: recall digits@v1, digits@v2" in decision.reasons[0]
    findings = pd.read_parquet(base / "with/findings.parquet")
    assert set(findings["sample_id"]) <= set(mine["sample_id"])
    page = (base / "with/report.html").read_text()
    assert "Earlier releases" in page and suspect["sample_id"].iloc[0] in page
    assert "Earlier releases" not in (base / "alone/report.html").read_text()

    again, _ = scan(base, "again", settings, ("v1", "v2"))
    for name in ("verdicts.parquet", run_folder.CONTEXT_VERDICTS, "findings.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(base / "with" / name), pd.read_parquet(base / "again" / name))
    assert again.context == decision.context and again.decision == decision.decision

    theirs = base / "with" / WITH_CONTEXT / "work/findings/disagreement.parquet"
    part = pd.read_parquet(theirs)
    part[part["sample_id"] != earlier["context"].iloc[0] + "/" + earlier["sample_id"].iloc[0]].to_parquet(theirs)
    assert not stages.gate(base / "with", settings).passed, "a scan of the union that is not whole fails the gate"
    (theirs.parent / "disagreement.error").write_text("ValueError: no")
    part.to_parquet(theirs)
    assert not stages.gate(base / "with", settings).passed, "and so does one that failed"


def test_a_release_is_not_suspect_for_what_the_contract_holds_against_the_lot(
    dripped: tuple[Path, Settings], tmp_path: Path
) -> None:
    """The lot delivers an image of the release again, once under its label and once under the other."""
    base, settings = dripped
    label = str(digits()[1][10])
    shutil.copytree(base / "lot", tmp_path / "lot")
    shutil.copy(base / f"v1/{label}/0010.png", tmp_path / "lot" / str(1 - int(label)) / "again.png")
    decision = stages.screen(
        tmp_path / "out", tmp_path / "lot", base / "trusted", settings, context=[context(base / "v1")]
    )
    verdicts = pd.read_parquet(tmp_path / "out/verdicts.parquet").set_index("sample_id")["action"]
    assert decision.decision == "accept_with_quarantine" and verdicts[f"{label}/re.png"] == "quarantine"
    earlier = pd.read_parquet(tmp_path / "out" / run_folder.CONTEXT_VERDICTS).set_index("sample_id")
    again = earlier.loc[f"{label}/0010.png"]
    assert not again["suspect"] and again["reasons"] == ""
    assert 0 < again["score"] < 1, "it was judged itself"


def test_a_lot_that_is_stopped_early_says_nothing_of_its_context(
    dripped: tuple[Path, Settings], tmp_path: Path
) -> None:
    base, settings = dripped
    shutil.copytree(base / "lot/0", tmp_path / "lot/0")  # a class is absent
    decision = stages.screen(
        tmp_path / "out", tmp_path / "lot", base / "trusted", settings, context=[context(base / "v1")]
    )
    assert decision.decision == "reject" and decision.context[0].n_suspect is None
    assert decision.checks[-1] == context_check(decision.context) and "not judged" in decision.checks[-1].detail
    assert not (tmp_path / "out" / run_folder.CONTEXT_VERDICTS).exists()
    assert "They were not judged" in (tmp_path / "out/report.html").read_text()


def another_class(folder: Path) -> None:
    (folder / "0").rename(folder / "7")


def truncated(folder: Path) -> None:
    victim = next(folder.rglob("*.png"))
    victim.write_bytes(victim.read_bytes()[:40])


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, "does not exist"),
    "another class": (another_class, "label '7' is unknown to the trusted set"),
    "a broken image": (truncated, "1 of its samples cannot be used"),
}


def test_rows_of_tables_are_united_in_the_terms_of_the_trusted_set(tmp_path: Path) -> None:
    path, vetted = tumour_lots(tmp_path / "tables", 60, 60)
    frame = pd.read_csv(path)
    trusted = ingest(vetted, tmp_path / "t", role="trusted", target="diagnosis")
    lot = ingest(path, tmp_path / "l", target="diagnosis", like=trusted)
    frame.iloc[50:].to_parquet(tmp_path / "table.parquet", index=False)  # as a release is written
    release = Context("mill", 1, tmp_path / "table.parquet", "diagnosis")
    union = read_context(lot, trusted, [release], tmp_path / "work", SETTINGS)
    assert union is not None and (len(union), len(union.usable())) == (70, 60), "all ten are the lot's own rows"
    other = Context("mill", 2, vetted, "diagnosis")
    union = read_context(lot, trusted, [other], tmp_path / "work", SETTINGS)
    assert union is not None and (len(union.usable()), union.features) == (120, trusted.features)
    assert union.shape == trusted.shape, "where a row is from is no feature"
    theirs = union.select([f"mill@v2/{i}" for i in trusted.ids])
    every = np.arange(60)
    np.testing.assert_array_equal(theirs.batch(every).x, trusted.batch(every).x)


@pytest.mark.parametrize("kind", UNFIT)
def test_context_that_does_not_fit_is_refused(kind: str, dripped: tuple[Path, Settings], tmp_path: Path) -> None:
    base, settings = dripped
    edit, words = UNFIT[kind]
    shutil.copytree(base / "v1", tmp_path / "v1")
    edit(tmp_path / "v1")
    before = snapshot(tmp_path)
    with pytest.raises(ContextError, match=words) as caught:
        stages.screen(
            tmp_path / "out", base / "lot", base / "trusted", settings, context=[context(tmp_path / "v1")]
        )  # fmt: skip
    assert caught.value.what.startswith("digits@v1: ") and caught.value.exit_code == cli.EXIT_INPUT
    assert caught.value.where and caught.value.action and snapshot(tmp_path) == before


def test_context_of_another_kind_or_with_other_columns_is_refused(
    dripped: tuple[Path, Settings], tmp_path: Path
) -> None:
    base, settings = dripped
    lot, trusted = tumour_lots(tmp_path / "tables", 60, 60)
    narrow = pd.read_csv(lot).drop(columns="mean_area")
    narrow.to_csv(tmp_path / "narrow.csv", index=False)
    table = Context("mill", 3, tmp_path / "narrow.csv", "diagnosis")
    with pytest.raises(ContextError, match=r"mill@v3: .*rows of a table, but the trusted set holds images"):
        stages.screen(tmp_path / "a", base / "lot", base / "trusted", settings, context=[table])
    with pytest.raises(ContextError, match=r"mill@v3: the columns differ .* lacks mean_area"):
        stages.screen(tmp_path / "b", lot, trusted, settings, "diagnosis", context=[table])
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_a_lot_whose_names_are_those_of_a_release_is_refused(parts: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    lot, trusted = parts
    x, y = digits()
    release = context(write_digits(tmp_path / "c", x[40:44], y[40:44]))
    named = lot.manifest.assign(sample_id=[f"digits@v1/{y[40]}/0000.png", *lot.ids[1:]])
    with pytest.raises(ContextError, match="both have a sample named"):
        read_context(Dataset(**{**vars_of(lot), "manifest": named}), trusted, [release], tmp_path / "work", SETTINGS)


def vars_of(dataset: Dataset) -> dict[str, object]:
    return {name: getattr(dataset, name) for name in Dataset.__dataclass_fields__}


def test_settings_name_releases_and_the_library_alone_refuses_to_leave_them_out(
    dripped: tuple[Path, Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, settings = dripped
    assert load_settings(None, context=["a@2", "a@v2", "b@v1"]).context == ("a@v2", "b@v1")
    for wrong in ("a", "a@", "a@v0", "A B@v1", "../a@v1"):
        with pytest.raises(SettingsError, match="context"):
            load_settings(None, context=[wrong])
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps({**settings.model_dump(mode="json"), "context": ["digits@v1"]}))
    argv = ["scan", str(base / "lot"), "--trusted", str(base / "trusted"), "--settings", str(path)]
    assert cli.run([*argv, "--out", str(tmp_path / "out"), "--quiet"]) == cli.EXIT_INPUT
    assert "nobody fetched the context digits@v1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
