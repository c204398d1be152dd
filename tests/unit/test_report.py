"""The report: complete, self-contained, the same for the same input, and unmoved by hostile names."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lotgate.data import Dataset
from lotgate.errors import InputError, OutputError
from lotgate.findings import Check, Decision, findings_frame
from lotgate.report import ReportTables, read_tables, render, report
from lotgate.report.charts import BINS, MOST_CLASSES, class_bars, histogram
from lotgate.report.rows import deviations
from lotgate.report.tables import MOST_SUSPICIOUS, suspects
from lotgate.report.text import figure, grouped, percent, plain, seconds
from lotgate.report.thumbnails import EDGE, thumbnail

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "x" * 10_000,
    "\u202egnp.exe\u2066 🧨👩‍🏭 " + "e\u0301" * 3_000,
    "{{ 7 * 7 }}{% raw %} &amp; ]]> </style> \x00\x1b[31m line\nbreak",
    "http://evil.example/x.js",
]


class Page(HTMLParser):
    """Fails on tags that are not nested; keeps tags, attributes and visible text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice on <{tag}>"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open and "head" not in self.open:
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)


def decision(**changes: Any) -> Decision:
    checks = (
        Check(name="manifest: labels known", passed=True, observed=0, limit=0),
        Check(name="manifest: balance", passed=False, observed=0.3, limit=0.1, critical=False, detail="Class 1."),
        Check(name="verdicts: share quarantined", passed=True, observed=0.1, limit=0.2),
        Check(name="verdicts: largest share quarantined in one class", passed=True, observed=0.2, limit=0.6),
    )
    fields: dict[str, Any] = {
        "decision": "accept_with_quarantine", "reasons": ("Six of sixty were set aside.", "The rest is clean."),
        "dataset": "digits", "lot": "lot 3", "lot_fingerprint": "ab" * 32, "trusted_fingerprint": "cd" * 32,
        "trusted": True, "task": "classification", "modality": "image", "n_samples": 60, "n_quarantined": 6,
        "voters": ("alpha", "beta"), "thresholds": {"alpha": 2.0, "beta": None}, "checks": checks,
        "seconds": {"ingest": 0.5, "scan": 70.0}, "versions": {"lotgate": "0.1.0"}, "seed": 7,
        "settings": {"policy": {"max_quarantined_rate": 0.2}, "empty": {}, "list": [1, 2]},
    }  # fmt: skip
    return Decision(**(fields | changes))


def tables(n: int = 60, **changes: Any) -> ReportTables:
    """A lot of n samples in three classes; every tenth is quarantined, the first was excluded by the contract."""
    rng = np.random.default_rng(0)
    ids = np.array([f"class/{i:05d}.png" for i in range(n)], dtype=object)
    bad = np.arange(n) % 10 == 0
    scores = rng.normal(0, 1, n) + 5 * bad
    verdicts = pd.DataFrame({
        "sample_id": ids, "label": [f"class {i % 3}" for i in range(n)],
        "action": np.where(bad, "quarantine", "keep"), "score": np.where(bad, 0.9, 0.1) + 0.01 * rng.random(n),
        "reasons": np.where(bad, "lies far from its class", ""),
    })  # fmt: skip
    findings = pd.concat(
        findings_frame(ids[1:], name, scores[1:], np.full(n - 1, 0.5), scores[1:] > 2) for name in ("alpha", "beta")
    )
    exclusions = pd.DataFrame({"sample_id": ids[:1], "reason": ["cannot be decoded"]})
    return replace(ReportTables(decision(), verdicts, findings, exclusions), **changes)


def image_lot(folder: Path, size: int = 8, n: int = 60, noise: bool = False) -> Dataset:
    """A lot of grey (or noisy colour) images with the ids of `tables`; the store holds the negatives."""
    rng = np.random.default_rng(1)
    channels = 3 if noise else 1
    pixels = rng.integers(0, 256, (n, channels, size, size), dtype=np.uint8)
    root = folder / "landing"
    (root / "class").mkdir(parents=True)
    ids, hashes = [f"class/{i:05d}.png" for i in range(n)], []
    for name, image in zip(ids, pixels, strict=True):
        Image.fromarray(np.moveaxis(image, 0, -1).squeeze()).save(root / name)
        hashes.append(hashlib.sha256((root / name).read_bytes()).hexdigest())
    manifest = pd.DataFrame({
        "sample_id": ids, "uri": ids, "label": [f"class {i % 3}" for i in range(n)], "source": None,
        "sha256": hashes, "row": np.arange(n), "defect": None,
    })  # fmt: skip
    (folder / "work").mkdir()
    np.save(folder / "work" / "store.npy", 255 - pixels)
    lot = Dataset("image", "classification", manifest, root, folder / "work" / "store.npy", ("a",))
    lot.save(folder / "work" / "lot")
    return lot


def write(run: Path, given: ReportTables) -> Path:
    run.mkdir(exist_ok=True)
    (run / "decision.json").write_text(given.decision.model_dump_json())
    for name in ("verdicts", "findings", "exclusions"):
        getattr(given, name).to_parquet(run / f"{name}.parquet", index=False)
    return run


def decoded(uri: str) -> Image.Image:
    import base64
    import io

    assert uri.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize(
    ("outcome", "word"),
    [("accept", "Accept"), ("accept_with_quarantine", "Accept with quarantine"), ("reject", "Reject")],
)
def test_the_decision_and_why_are_read_first(outcome: str, word: str) -> None:
    page = Page(render(tables(decision=decision(decision=outcome))))
    assert page.words[:2] == [word, "Six of sixty were set aside."]
    assert next(tag for tag, _ in page.tags if tag in {"h1", "h2"}) == "h1"
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


def test_a_decision_without_reasons_still_says_why() -> None:
    page = Page(render(tables(decision=decision(decision="reject", reasons=(), checks=()))))
    assert page.words[1].startswith("A critical check failed")
    assert "No check ran" in page.text


def test_report_of_a_run_folder_is_self_contained(tmp_path: Path) -> None:
    image_lot(tmp_path)
    path = report(write(tmp_path, tables()))
    html = path.read_text("utf-8")
    page = Page(html)
    assert path == tmp_path / "report.html"
    assert not list(tmp_path.glob(".report-*"))
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "base", "form"}
        for name, value in attributes.items():
            assert name not in {"href", "srcset", "action", "xlink:href"}
            assert not name.startswith("on")
            if name == "src":
                assert value is not None
                assert value.startswith("data:image/png;base64,")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[\w+/=]+", "", html))
    assert sum(tag == "img" for tag, _ in page.tags) == 12 + 3  # the suspects and one typical sample of each class
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(names)


def test_failures_come_before_what_held_and_critical_ones_first() -> None:
    checks = (
        Check(name="fine", passed=True, observed=1, limit=1),
        Check(name="minor", passed=False, observed=float("nan"), limit=None, critical=False),
        Check(name="grave", passed=False, observed="scratch", limit="none"),
    )
    words = Page(render(tables(decision=decision(decision="reject", checks=checks)))).words
    assert words.index("grave") < words.index("minor") < words.index("fine")
    assert words[words.index("grave") + 1] == "critical"


def test_share_above_the_limit_is_said() -> None:
    within = Page(render(tables())).text
    above = Page(render(tables(decision=decision(decision="reject", n_quarantined=30)))).text
    assert "10% limit 20%" in within
    assert "50% above the limit of 20%" in above
    assert "no judged without one" in Page(render(tables(decision=decision(trusted=False)))).text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_change_no_tag(text: str) -> None:
    calm, hostile = tables(), tables()
    first = calm.verdicts["sample_id"].iloc[10]
    for given, word in ((calm, "calm"), (hostile, text)):
        for frame in (given.verdicts, given.findings, given.exclusions):
            frame["sample_id"] = frame["sample_id"].astype(object).replace(first, f"{word}.png")
        given.verdicts["label"] = given.verdicts["label"].astype(object).replace("class 1", f"{word}!")
        reasons = given.verdicts["reasons"].astype(object)
        given.verdicts["reasons"] = reasons.replace("lies far from its class", word)
        given.findings["detector"] = given.findings["detector"].astype(object).replace("beta", word)
        given.exclusions["reason"] = pd.Series([word], dtype=object)

    def page(given: ReportTables, word: str) -> Page:
        checks = (Check(name=word, passed=False, observed=word, limit=word, detail=word),)
        changed = decision(
            reasons=(word, word), dataset=word, lot=word, voters=("alpha", word), checks=checks, seconds={word: 1.0},
            versions={word: word}, settings={word: word}, lot_fingerprint=word,
        )  # fmt: skip
        html = render(replace(given, decision=changed))
        html.encode("utf-8")
        assert len(html) < 200_000
        return Page(html)

    quiet, loud = page(calm, "calm"), page(hostile, text)
    shape = [(tag, sorted(attributes)) for tag, attributes in loud.tags]
    assert shape == [(tag, sorted(attributes)) for tag, attributes in quiet.tags]
    assert not set("\u202e\u2066\x00\x1b") & set(loud.text)
    assert max(map(len, loud.words)) < 500


def test_lone_surrogates_do_not_stop_the_report() -> None:
    given = tables()
    given.verdicts["reasons"] = pd.Series(["\ud800 odd"] * 60, dtype=object)
    assert "\ufffd odd" in Page(render(given)).text


@pytest.mark.parametrize(
    ("thresholds", "said"), [({"alpha": 2.0, "beta": None}, "out of reach"), ({"alpha": 2.0}, "not recorded")]
)
def test_why_no_threshold_is_drawn(thresholds: dict[str, float | None], said: str) -> None:
    """Of `beta`: few trusted rows leave it without one, or the run did not write it down."""
    page = Page(render(tables(decision=decision(thresholds=thresholds))))
    assert [page.text.count(words) for words in ("out of reach", "not recorded")] == [
        words == said for words in ("out of reach", "not recorded")
    ]


def test_a_lot_rejected_by_the_contract_needs_no_other_table(tmp_path: Path) -> None:
    run = write(tmp_path, tables(decision=decision(decision="reject", thresholds={})))
    for name in ("verdicts", "findings", "exclusions"):
        (run / f"{name}.parquet").unlink()
    page = Page(report(run).read_text("utf-8"))
    assert "No detector ran" in page.text
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_empty_findings_show_no_suspects() -> None:
    given = tables()
    page = Page(render(replace(given, findings=given.findings.iloc[:0])))
    assert "It scored no sample." in page.text
    assert "most suspicious" not in page.text


def test_missing_tables_of_an_accepted_lot_are_an_error(tmp_path: Path) -> None:
    run = write(tmp_path, tables())
    (run / "verdicts.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="missing or unreadable"):
        report(run)
    (run / "verdicts.parquet").unlink()
    with pytest.raises(InputError, match="missing or unreadable"):
        report(run)
    (run / "decision.json").write_text("{}")
    with pytest.raises(InputError, match="no readable decision"):
        report(run)
    assert not (run / "report.html").exists()


def test_a_report_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    run = write(tmp_path, tables())
    (run / "report.html").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        report(run)
    assert not list(run.glob(".report-*"))


def test_skipped_and_silent_voters_are_named() -> None:
    changed = decision(voters=("alpha", "gone"), skipped={"elsewhere": "needs classes"})
    text = Page(render(tables(decision=changed))).text
    assert "Gone votes It scored no sample." in text
    assert "Elsewhere left out needs classes" in text
    assert "Beta reports only" in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.5, 0.0, 1e308, 1e-320])
def test_no_nan_whatever_the_scores(value: float) -> None:
    given = tables()
    scores = given.findings["score"].to_numpy().copy()
    scores[given.findings["detector"] == "alpha"] = value
    given.findings["score"] = scores
    given.verdicts.loc[3, "score"] = np.nan
    html = render(replace(given, decision=decision(seconds={"scan": float("nan")})))
    page = Page(html)
    written = page.text + " ".join(str(value) for _, attributes in page.tags for value in attributes.values() if value)
    assert not re.search(r"\b(nan|NaN|inf|None|Infinity)\b", written)


def test_same_tables_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    given = tables()
    shuffled = replace(
        given,
        verdicts=given.verdicts.sample(frac=1, random_state=1),
        findings=given.findings.sample(frac=1, random_state=2),
    )
    image_lot(tmp_path)
    first = report(write(tmp_path, given)).read_bytes()
    assert report(write(tmp_path, given)).read_bytes() == first
    assert report(write(tmp_path, shuffled)).read_bytes() == first


def test_large_lots_stay_small(tmp_path: Path) -> None:
    n = 10_000
    image_lot(tmp_path, size=110, n=300, noise=True)
    given = tables(n)
    given.verdicts["label"] = [f"class {i % 900}" for i in range(n)]
    given.exclusions.loc[:, "reason"] = "because"
    many = pd.DataFrame(
        {"sample_id": given.verdicts["sample_id"][n // 2 :], "reason": [f"reason {i}" for i in range(n // 2)]}
    )
    given.verdicts.loc[:299, "score"] += 0.05  # the most suspicious are those with noisy pictures
    path = report(write(tmp_path, replace(given, exclusions=many)))
    assert sum(tag == "img" for tag, _ in Page(path.read_text("utf-8")).tags) >= MOST_SUSPICIOUS
    assert path.stat().st_size < 3_000_000


def test_histogram_draws_every_bin_once() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(0, 1, 2_000)
    quarantined = scores > 1.5
    chart = histogram(scores, quarantined, 1.5)
    assert chart is not None
    assert chart.logarithmic
    assert chart.threshold is not None
    left = [float(x) for x in re.findall(r"M([\d.]+) ", chart.quarantined)]
    right = [float(x) for x in re.findall(r"M([\d.]+) ", chart.kept)]
    assert min(left) > chart.threshold > max(right)  # the threshold is a bin's edge
    assert BINS // 2 < len(left) + len(right) <= BINS + 2
    assert all(0 <= tick.at <= 100 for tick in (*chart.across, *chart.upright))


def test_histogram_heights_are_the_counts() -> None:
    chart = histogram(np.array([0.0, 0.0, 0.0, 1.0]), np.array([False, False, False, True]), None)
    assert chart is not None
    up = re.findall(r"v(-?[\d.]+)h", chart.kept)
    down = re.findall(r"v(-?[\d.]+)h", chart.quarantined)
    assert [float(h) for h in up] == [-75.0]
    assert [float(h) for h in down] == [25.0]
    assert chart.baseline == 75.0
    assert {tick.label for tick in chart.upright} >= {"0", "1", "3"}


def test_histogram_survives_outliers_and_says_so() -> None:
    scores = np.append(np.linspace(0, 1, 999), 1e12)
    chart = histogram(scores, np.zeros(1000, bool), 0.9)
    assert chart is not None
    assert chart.threshold is not None
    assert 20 < chart.threshold < 60  # the bulk still fills a good part of the axis
    assert "1 sample beyond the axis" in chart.note
    far = histogram(np.linspace(0, 1, 99), np.zeros(99, bool), 1e9)
    assert far is not None
    assert far.threshold is None
    assert "off this axis" in far.threshold_label
    unreached = histogram(np.linspace(0, 1, 99), np.zeros(99, bool), math.inf)
    assert unreached is not None
    assert (unreached.threshold, unreached.threshold_label) == (None, "out of reach")
    assert histogram(np.array([np.nan, -np.inf]), np.zeros(2, bool), 1.0) is None


def test_class_bars_account_for_every_sample() -> None:
    n = 3_000
    verdicts = pd.DataFrame({"label": [f"c{i % 100}" for i in range(n)], "action": "keep"})
    verdicts.loc[verdicts["label"] == "c77", "action"] = "quarantine"
    verdicts.loc[0, "label"] = None
    bars = class_bars(verdicts, "classification", 0.6)
    assert len(bars) == MOST_CLASSES + 1
    assert sum(bar.kept + bar.quarantined for bar in bars) == n
    assert (bars[0].name, bars[0].quarantined, bars[0].over_limit) == ("c77", 30, True)
    assert [bar.name for bar in bars[1:4]] == ["(no label)", "c0", "c1"]
    assert bars[-1].name == "61 further classes"
    assert all(bar.width_kept + bar.width_quarantined <= 100.01 for bar in bars)


def test_regression_is_shown_by_ranges_of_the_target() -> None:
    verdicts = pd.DataFrame({"label": [*np.linspace(-1, 1, 99), np.nan], "action": ["keep"] * 98 + ["quarantine"] * 2})
    bars = class_bars(verdicts, "regression", None)
    assert sum(bar.kept for bar in bars) == 98
    assert bars[0].name.startswith("−1 to")
    assert bars[-1].name == "(no target)"
    assert len(class_bars(verdicts.assign(label=5.0), "regression", None)) == 1


def test_suspects_leave_out_what_the_contract_excluded() -> None:
    given = tables(600)
    shown = suspects(given)
    assert len(shown) == MOST_SUSPICIOUS
    assert not set(shown["sample_id"]) & set(given.exclusions["sample_id"])
    assert (shown["action"] == "quarantine").all()
    assert shown["score"].is_monotonic_decreasing
    few = suspects(tables(60))
    assert list(few["action"]) == ["quarantine"] * 5 + ["keep"] * 7


def test_thumbnail_comes_from_the_file_only_while_it_is_what_was_judged(tmp_path: Path) -> None:
    lot = image_lot(tmp_path, size=200, n=4)
    ids = list(lot.ids)
    assert max(decoded(thumbnail(lot, ids[0]) or "").size) == EDGE
    original, negative = np.asarray(Image.open(lot.root / ids[1])), np.load(lot.store)[1, 0]
    small = np.asarray(Image.fromarray(negative).resize((EDGE, EDGE), Image.Resampling.LANCZOS))
    Image.fromarray(original // 2).save(lot.root / ids[1])  # changed since
    assert np.array_equal(np.asarray(decoded(thumbnail(lot, ids[1]) or "")), small)
    outside = tmp_path / "outside.png"
    (lot.root / ids[2]).rename(outside)
    (lot.root / ids[2]).symlink_to(outside)
    third = np.asarray(Image.fromarray(np.load(lot.store)[2, 0]).resize((EDGE, EDGE), Image.Resampling.LANCZOS))
    assert np.array_equal(np.asarray(decoded(thumbnail(lot, ids[2]) or "")), third)
    lost = replace(lot, manifest=lot.manifest.assign(row=-1))
    assert thumbnail(lost, ids[1]) is None
    assert thumbnail(lot, "no such sample") is None


@pytest.mark.parametrize("mode", ["I;16", "P", "RGBA", "1", "CMYK", "F", "LA"])
def test_thumbnail_of_any_mode_keeps_light_and_dark(tmp_path: Path, mode: str) -> None:
    lot = image_lot(tmp_path, n=1)
    ramp = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None], 64, axis=0)
    grey = Image.fromarray((ramp // 257).astype(np.uint8))
    image = Image.fromarray(ramp) if mode == "I;16" else grey.convert(mode)
    path = lot.root / "class" / ("x.png" if mode not in {"CMYK", "F"} else "x.tif")
    image.save(path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    lot = replace(lot, manifest=lot.manifest.assign(uri=f"class/{path.name}", sha256=sha, row=-1))
    shown = np.asarray(decoded(thumbnail(lot, lot.ids[0]) or "").convert("L"))
    assert shown.shape == (64, 64)
    assert shown[:, :5].mean() < 30
    assert shown[:, -5:].mean() > 220


def table_lot(folder: Path, task: str = "classification") -> tuple[Dataset, pd.DataFrame]:
    rng = np.random.default_rng(5)
    n = 200
    raw = pd.DataFrame({
        "speed": rng.normal(100, 5, n), "machine": ["A", "B"] * (n // 2), "serial": [f"s{i}" for i in range(n)],
        "constant": 1, "temperature": rng.normal(20, 1, n),
    })  # fmt: skip
    raw.loc[10, "temperature"] = 95.0
    raw.loc[11, "machine"] = "Z"
    raw.loc[12, "speed"] = np.nan
    raw.to_parquet(folder / "raw.parquet")
    ids = [f"t.csv#{i}" for i in range(n)]
    labels: Any = ["x", "x", "y", "y"] * (n // 4) if task == "classification" else rng.normal(0, 1, n)
    manifest = pd.DataFrame({"sample_id": ids, "uri": "t.csv", "label": labels, "sha256": "", "row": np.arange(n)})
    manifest = manifest.sort_values("sample_id").reset_index(drop=True)
    names = ("x", "y") if task == "classification" else ()
    lot = Dataset("table", task, manifest, folder, folder / "s.npy", names, ("f",), folder / "raw.parquet")
    return lot, raw


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_column_that_deviates_comes_first(tmp_path: Path, task: str) -> None:
    lot, raw = table_lot(tmp_path, task)
    wanted = ["t.csv#10", "t.csv#11", "t.csv#12", "t.csv#50"]
    kept = [i for i in lot.ids if i not in wanted[:3]]
    found = deviations(lot, wanted, kept)
    hot, other, gone, usual = (found[i] for i in wanted)
    assert (hot[0].column, hot[0].value, hot[0].stands_out) == ("temperature", "95", True)
    peers = lot.manifest[lot.manifest["sample_id"].isin(kept)]
    if task == "classification":
        peers = peers[peers["label"] == "y"]  # row 10 is a y
    assert hot[0].usual == figure(float(raw["temperature"][peers["sample_id"].str[6:].astype(int)].median()))
    assert hot[0].span is not None
    assert hot[0].span[3] == 94.0
    assert (gone[0].column, gone[0].value, gone[0].stands_out) == ("speed", "–", True)
    assert (other[0].column, other[0].value) == ("machine", "Z")
    assert not any(d.stands_out for d in usual)
    assert {d.column for d in usual} == set(raw.columns)
    assert next(d for d in hot if d.column == "serial").strength == 0.0


def test_report_of_a_table_shows_raw_values(tmp_path: Path) -> None:
    lot, _ = table_lot(tmp_path)
    lot.save(tmp_path / "work" / "lot")
    given = tables(200)
    renamed = {old: f"t.csv#{i}" for i, old in enumerate(given.verdicts["sample_id"])}
    for frame in (given.verdicts, given.findings, given.exclusions):
        frame["sample_id"] = frame["sample_id"].map(renamed)
    run = write(tmp_path, replace(given, decision=decision(modality="table")))
    assert "t.csv#10" in read_tables(run).deviations
    page = Page(report(run).read_text("utf-8"))
    assert "most suspicious rows" in page.text
    assert re.search(r"temperature ◂ 95 [\d.]+", page.text)


def test_words() -> None:
    assert plain("a" * 300 + "z", 30).endswith("z")
    assert len(plain("a" * 10_000, 30)) < 40
    assert plain("a\u202eb\tc\x00") == "a⟨U+202E⟩b c⟨U+0000⟩"
    assert plain("👩‍🏭") == "👩‍🏭"
    assert [figure(v) for v in (0.00000123456, 12345.678, True, None, -2, 1 / 3)] == [
        "1.235 × 10⁻⁶", "12\u202f346", "yes", "–", "−2", "0.3333",
    ]  # fmt: skip
    assert [figure(v) for v in (float("inf"), float("nan"), 10**30)] == ["∞", "not a number", "1 × 10³⁰"]
    assert [percent(v) for v in (0.0, 0.00001, 0.0625, 0.2, 0.99999, 1.0)] == [
        "0%", "< 0.1%", "6.2%", "20%", "> 99.9%", "100%",
    ]  # fmt: skip
    assert grouped(1234) == "1234"
    assert [seconds(v) for v in (0.04, 59.94, 59.96, 3725.0)] == ["0.0 s", "59.9 s", "1 min 00 s", "1 h 02 min"]
