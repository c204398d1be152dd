"""Corroboration: two witnesses that are not sure convict together; what they share by nature does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lotgate.checks import example
from lotgate.data import Dataset
from lotgate.detector import Evidence, judge
from lotgate.detectors.corroboration import Corroboration, corroborated
from lotgate.errors import InputError
from lotgate.findings import P_OF_CLASS
from lotgate.shift import Shift
from lotgate.statements import statement_of
from lotgate.surplus import LEVEL

RNG = np.random.default_rng


def heard(folder: Path, seed: int, together: float, planted: int) -> tuple[Evidence, np.ndarray]:
    """A lot of two classes, whose witnesses' scores of clean rows are normal and correlated; of the planted rows of
    class 0, each witness alone scores what the oddest hundredth of the clean ones do.
    """
    evidence = example(folder, "nothing", modality="image", classes=2, n=800, seed=seed).evidence
    assert evidence.trusted is not None and evidence.heldout is not None
    rng, rows = RNG(seed), (evidence.suspect, evidence.trusted, evidence.heldout)
    mark = np.isin(evidence.suspect.ids, evidence.suspect.ids[evidence.suspect.y == 0][:planted])

    def drawn(dataset: Dataset) -> np.ndarray:
        shared, own = rng.normal(size=len(dataset)), rng.normal(size=(2, len(dataset)))
        scores = np.sqrt(together) * shared + np.sqrt(1 - together) * own
        if dataset is evidence.suspect:
            scores[:, mark] = rng.normal(2.4, 0.2, (2, planted))
        return scores

    both = [drawn(dataset) for dataset in rows]
    statements = {
        name: statement_of([(d, scores[k]) for d, scores in zip(rows, both, strict=True)])
        for k, name in enumerate(Corroboration.hears)
    }
    return replace(evidence, statements=statements), mark


def found(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """(N,) p-values of the rows, and of their class."""
    detector = Corroboration()
    findings = judge(detector, detector.fit(evidence, RNG(0)), evidence).findings
    return findings["p_value"].to_numpy(), findings[P_OF_CLASS].to_numpy()


def test_ranks_are_within_the_class() -> None:
    first, second = np.array([3.0, 1.0, 9.0, 8.0]), np.array([5.0, 7.0, 2.0, 4.0])
    third = np.array([2.0, 1.0, 2.0, 1.0])
    assert corroborated([first, second], np.array([0, 0, 1, 1])) == pytest.approx([-np.log(2 / 9)] * 4)
    assert corroborated([first, third], np.array([0, 0, 1, 1])) == pytest.approx([2 * np.log(3), 2 * np.log(1.5)] * 2)


def test_what_neither_witness_is_sure_of_convicts_together(tmp_path: Path) -> None:
    evidence, planted = heard(tmp_path, 1, together=0.0, planted=12)
    p, _ = found(evidence)
    scores = [said.of_all((evidence.suspect,)) for said in evidence.statements.values()]
    alone = [(s[~planted] >= np.median(s[planted])).mean() for s in scores]
    assert np.median(p[planted]) < 0.6 * min(alone)
    assert (p[~planted] <= np.median(p[planted])).mean() < 0.3 * min(alone)


@pytest.mark.parametrize("together", [0.0, 0.5, 0.95])
def test_clean_rows_are_accused_as_seldom_as_it_says_however_much_the_witnesses_agree(
    together: float, tmp_path: Path
) -> None:
    p, of_class = zip(*(found(heard(tmp_path / str(s), s, together, planted=0)[0]) for s in range(8)), strict=True)
    rows = np.concatenate(p)
    for level in (0.1, 0.01, 0.001):
        assert (rows <= level).mean() <= 1.5 * level + 3 * np.sqrt(level / len(rows))
    assert np.mean([q.min() <= LEVEL for q in of_class]) <= 1 / 8


def test_a_class_with_too_many_such_rows_is_suspected_as_a_whole(tmp_path: Path) -> None:
    evidence, planted = heard(tmp_path, 2, together=0.6, planted=60)
    _, of_class = found(evidence)
    assert (of_class[planted] <= LEVEL).mean() > 0.5
    assert (of_class[~planted] < 1).mean() < 0.05


def test_a_lot_that_is_not_drawn_like_the_trusted_rows_is_not_accused(tmp_path: Path) -> None:
    evidence, _ = heard(tmp_path, 1, together=0.0, planted=12)
    detector, shifted = Corroboration(), replace(evidence, shift=Shift(0.9, 0.01))
    assert shifted.shift.certain
    findings = judge(detector, detector.fit(shifted, RNG(0)), shifted).findings
    assert (findings["p_value"] == 1).all() and not findings["flagged"].any() and P_OF_CLASS not in findings


def test_a_witness_that_said_nothing_is_named(tmp_path: Path) -> None:
    evidence, _ = heard(tmp_path, 1, together=0.0, planted=12)
    alone = {name: said for name, said in evidence.statements.items() if name != "trusted_distance"}
    with pytest.raises(InputError, match="statement of trusted_distance"):
        Corroboration().fit(replace(evidence, statements=alone), RNG(0))
