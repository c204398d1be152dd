"""The De-Pois benchmark: both conventions on worked examples, poison as asked for, and a page that follows its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.de_pois.conventions import both, implied, in_paper, planted_share, positive_share
from benchmarks.de_pois.lots import SIZES, Dealt, Rows, as_dataset, as_evidence, draw, poison, spoiled
from benchmarks.de_pois.page import page
from benchmarks.de_pois.parts import PARTS, Job, jobs
from benchmarks.de_pois.peers import ask, peers_of
from benchmarks.de_pois.reading import CLAIMS
from benchmarks.de_pois.results import published, read_rows, with_job, write_rows
from benchmarks.de_pois.variants import VARIANTS, Parts, Variant, fit
from benchmarks.detection.data import Samples


def test_the_same_flags_count_differently_in_the_two_conventions() -> None:
    planted = np.array([True, True, False, False, False, False, False, False, False, False])
    flagged = np.array([True, False, True, False, False, False, False, False, False, False])
    found = both(planted, flagged, flagged.astype(float))
    assert found["tpr"] == pytest.approx(1 / 2)
    assert found["fpr"] == pytest.approx(1 / 8)
    assert found["f1"] == pytest.approx(1 / 2)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 7 / 8) / 2)
    assert found["paper_accuracy"] == pytest.approx(8 / 10)
    assert found["paper_recall"] == pytest.approx(7 / 8)
    assert found["paper_precision"] == pytest.approx(7 / 8)
    assert found["paper_f1"] == pytest.approx(7 / 8)


def test_flagging_nothing_looks_good_in_the_papers_convention_only() -> None:
    planted = np.arange(1200) < 200  # R_p = 200 / 1000
    nothing = both(planted, np.zeros(1200, bool), None)
    assert nothing["paper_accuracy"] == pytest.approx(1 - planted_share(0.2))
    assert nothing["paper_recall"] == 1
    assert nothing["paper_f1"] == pytest.approx(0.909, abs=1e-3)
    assert (nothing["tpr"], nothing["f1"], nothing["balanced_accuracy"]) == (0, 0, 0.5)


def test_flagging_everything_is_counted_without_a_division_by_zero() -> None:
    assert in_paper(np.array([True, False]), np.array([True, True])) == {
        "paper_accuracy": 0.5, "paper_recall": 0.0, "paper_precision": 0.0, "paper_f1": 0.0
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_figures_in_the_papers_convention_can_be_read_backwards(seed: int) -> None:
    rng = np.random.default_rng(seed)
    planted, flagged = np.arange(1200) < 200, rng.random(1200) < 0.3
    found = both(planted, flagged, None)
    figures = found["paper_accuracy"], found["paper_recall"], found["paper_f1"]
    assert positive_share(*figures) == pytest.approx(1000 / 1200)
    back = implied(figures[0], figures[1], 0.2)
    assert (back.tpr, back.fpr) == (pytest.approx(found["tpr"]), pytest.approx(found["fpr"]))


def test_the_published_table_is_whole() -> None:
    table = published("table_iii")
    assert len(table) == 3 * 12 * 6
    assert table["value"].between(0, 1).all()
    assert not table.duplicated(["metric", "attack", "defense", "trusted"]).any()
    assert set(published("claims")["id"]) == set(CLAIMS)


def test_jobs_are_named_apart_and_shared_between_parts() -> None:
    every = jobs()
    assert len({job.name for job in every}) == len(every)
    assert set(PARTS["figures_5_7"]) <= set(PARTS["table_iii"])
    assert all(job.variants and set(job.variants) <= set(VARIANTS) for job in every)


def _two_classes(n: int, rng: np.random.Generator) -> Rows:
    y = np.arange(n) % 2
    return Rows((rng.normal(size=(n, 2)) + 4 * y[:, None]).astype(np.float32), y.astype(np.int64))


def test_a_draw_parts_the_rows_and_keeps_the_lot_at_every_trusted_share(monkeypatch: pytest.MonkeyPatch) -> None:
    numbered = np.arange(900, dtype=np.float32)[:, None]
    samples = Samples(numbered, np.arange(900) % 2, ("no", "yes"), ("number",))
    monkeypatch.setattr("benchmarks.de_pois.lots.load", lambda name: samples)
    few, many = draw("fourclass", 0.05, seed=20), draw("fourclass", 0.3, seed=20)
    parts = [set(part.x[:, 0].tolist()) for part in (many.clean, many.trusted, many.spare)]
    assert [len(part) for part in parts] == [SIZES["fourclass"], 180, 120]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert np.array_equal(few.clean.x, many.clean.x)
    assert len(few.trusted.x) == 30


def test_a_lot_holds_the_papers_rate_and_every_judge_answers_for_every_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dealt = Dealt(_two_classes(120, rng), _two_classes(60, rng), _two_classes(10, rng), ("a", "b"))
    rows, planted = poison(dealt, "LF", 0.2, 0)
    assert planted.sum() == round(120 * 0.2 / 1.2)
    assert ((rows.y != dealt.clean.y) == planted).all()
    assert (spoiled(dealt, "LF", 0.1, 0).y != dealt.trusted.y).sum() == 6
    lot = as_dataset(rows, dealt.names, tmp_path / "lot.npy", "lot")
    trusted = as_dataset(dealt.trusted, dealt.names, tmp_path / "trusted.npy", "trusted")
    evidence = as_evidence(lot, trusted, True, 0)
    assert not set(evidence.trusted.ids) & set(evidence.heldout.ids)  # type: ignore[union-attr]
    for name, peer in peers_of("LF", float(planted.mean())).items():
        answer = ask(peer, evidence, 0).answer
        assert answer.flagged.shape == planted.shape, name
    duti = ask(peers_of("LF", float(planted.mean()))["DUTI"], evidence, 0).answer
    assert (duti.flagged & planted).sum() > 0.8 * planted.sum()


def test_parts_taken_out_change_the_critic_and_leave_the_rest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lot, trusted = (
        as_dataset(_two_classes(n, rng), ("a", "b"), tmp_path / f"{n}.npy", f"{n}-") for n in (60, 30)
    )  # fmt: skip
    batch, scores = lot.batch(np.arange(60)), {}
    for name in ("paper", "paper-no-authenticator", "paper-gan", "paper-no-synthesis"):
        short = VARIANTS[name].detector.model_copy(update={"augment_steps": 5, "mimic_steps": 5, "window": 5})
        scorer, seconds = fit(Variant(short, False, ""), as_evidence(lot, trusted, False, 0), np.random.default_rng(0))
        scores[name] = scorer.score(batch)
        assert scorer.boundary == "paper"
        assert seconds["synthesised"] == (0 if name == "paper-no-synthesis" else 30)
    assert len({tuple(score) for score in scores.values()}) == len(scores)
    assert VARIANTS["default"].detector == Parts(device="cpu")


def _row(job: Job, method: str, **figures: Any) -> dict[str, Any]:
    attack = job.attacks[0]
    known = {"n": 720, "n_planted": 120, "n_trusted": 120, "code": "abc", "tpr": 0.25, "fpr": 0.125, "auroc": 0.75}
    paper = {"paper_accuracy": 0.8125, "paper_recall": 0.875, "paper_precision": 0.9, "paper_f1": 0.9375}
    where = {"dataset": job.dataset, "attack": attack, "r_p": 0.2, "trusted": job.trusted, "spoiled": job.spoiled}
    return {"job": job.name, "seed": job.seed, "method": method, **where, **known, **paper, **figures}


def test_the_page_shows_its_rows_and_the_difference_to_the_paper(tmp_path: Path) -> None:
    job = Job("fourclass", 20)
    rows = with_job(read_rows(tmp_path / "none.csv"), [_row(job, m) for m in ("paper", "default", "DUTI")])
    write_rows(rows, tmp_path / "rows.csv")
    made = page(read_rows(tmp_path / "rows.csv"))
    line = next(x for x in made.splitlines() if x.startswith("| LF, fourclass | 20% | De-Pois, paper | 1 |"))
    assert "| 0.929 | 0.812 | -0.117 | 0.954 | 0.875 | -0.079 |" in line  # published, ours, the difference
    assert "| LF, fourclass | 20% | De-Pois, paper | 0.250 | 0.125 |" in made
    other = with_job(rows, [_row(Job("house_prices", 20), m) for m in ("paper", "default")])
    assert page(other).count("| R, house_prices | 20% |") == 2 * 2  # in the paper's convention and in ours
    moved = with_job(rows, [_row(job, m, paper_accuracy=0.5) for m in ("paper", "default", "DUTI")])
    assert len(moved) == len(rows)
    assert "| 0.929 | 0.500 | -0.429 |" in page(moved)


def test_a_page_without_rows_says_so(tmp_path: Path) -> None:
    assert "Nothing has been measured" in page(read_rows(tmp_path / "none.csv"))


def test_a_refusal_is_named_and_counts_in_no_mean() -> None:
    job = Job("fourclass", 20)
    refused = {"job": "x", "dataset": "fourclass", "trusted": 0.005, "method": "default", "absent": "too few rows",
               "seed": 20, "spoiled": 0.0, "attack": "LF", "r_p": 0.2, "code": "abc"}  # fmt: skip
    rows = pd.DataFrame([_row(job, "paper"), _row(job, "default"), refused]).reindex(
        columns=read_rows(Path("-")).columns
    )
    made = page(rows)
    assert "default at 0.5% of fourclass: too few rows" in made
