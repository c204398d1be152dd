"""Statement: scores by store and row, whatever the ids; a row that was not scored is never taken for one that was."""

from pathlib import Path

import numpy as np
import pytest

from lotgate.checks import example
from lotgate.data import Dataset
from lotgate.errors import InputError
from lotgate.statements import Statement, load_statements, save_statement, statement_of


def parts(folder: Path) -> tuple[Dataset, Dataset, Dataset]:
    """A lot, and two parts of a trusted set that lie in one store."""
    evidence = example(folder, "nothing", n=60).evidence
    assert evidence.trusted is not None and evidence.heldout is not None
    return evidence.suspect, evidence.trusted, evidence.heldout


def scored(datasets: tuple[Dataset, ...]) -> Statement:
    """Every row scores its place in the store, those of the lot a thousand more."""
    lot = datasets[0].store
    return statement_of([(d, d.rows + 1000.0 * (d.store == lot)) for d in datasets])


def test_scores_come_back_by_store_and_row(tmp_path: Path) -> None:
    lot, trusted, heldout = parts(tmp_path)
    said = scored((lot, trusted, heldout))
    order = np.random.default_rng(0).permutation(len(lot))
    assert np.array_equal(said.of(lot.batch(order)), 1000 + lot.rows[order])
    assert np.array_equal(said.of_all((heldout, lot)), [*heldout.rows, *(1000 + lot.rows)])


def test_it_survives_the_disk_and_a_move_of_the_stores(tmp_path: Path) -> None:
    lot, trusted, heldout = datasets = parts(tmp_path)
    save_statement(scored(datasets), tmp_path / "said.npz", {"lot": lot.store, "trusted": trusted.store})
    elsewhere = {"lot": tmp_path / "moved/lot.npy", "trusted": trusted.store}
    (loaded,) = load_statements(tmp_path, ("said", "unsaid"), elsewhere).values()
    assert set(loaded.scores) == set(elsewhere.values())
    assert np.array_equal(loaded.scores[elsewhere["lot"]], 1000 + lot.rows)
    assert np.array_equal(loaded.of_all((heldout,)), heldout.rows)


def test_a_row_that_was_not_scored_is_refused(tmp_path: Path) -> None:
    lot, trusted, heldout = parts(tmp_path)
    said = scored((lot, trusted))
    for dataset in (heldout, lot.select(lot.ids[:1])):
        if dataset is heldout:
            with pytest.raises(InputError, match="not scored"):
                said.of_all((dataset,))
        else:
            assert said.of_all((dataset,)) == [1000 + lot.rows[0]]
    with pytest.raises(InputError, match="not scored"):
        statement_of([(trusted, trusted.rows * 1.0)]).of(lot.batch(np.array([0])))
