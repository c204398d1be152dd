"""Columns that number or date the rows: known for what they are, left aside, told; nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lotgate.contract import ContractSettings, contract
from lotgate.contract.columns import feature_names
from lotgate.data import Dataset
from lotgate.gate import gate_contract
from lotgate.ingest import IngestSettings
from lotgate.pair import read_pair

LATER = 5_000  # parts made between the trusted ones and the lot


def parts(n: int, seed: int, first: int = 0) -> pd.DataFrame:
    """Telemetry of n parts, one after the other."""
    rng = np.random.default_rng(seed)
    number = np.arange(first, first + n)
    return pd.DataFrame(
        {
            "part": number,
            "time": pd.Timestamp("2026-01-01") + pd.to_timedelta(number * 37, unit="s"),
            "batch": [f"B{i // 40:04d}" for i in number],
            "force": rng.normal(size=n),
            "speed": rng.integers(1000, 3000, n),
            "label": rng.choice(["good", "bad"], n, p=[0.7, 0.3]),
        }
    )


def read(folder: Path, trusted: pd.DataFrame, lot: pd.DataFrame, suffix: str = "parquet") -> tuple[Dataset, Dataset]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("trusted", trusted), ("lot", lot)):
        file = folder / f"{name}.{suffix}"
        frame.to_parquet(file, index=False) if suffix == "parquet" else frame.to_csv(file, index=False)
    files = [folder / f"{name}.{suffix}" for name in ("lot", "trusted")]
    suspect, vetted = read_pair(folder / "work", *files, "label", "auto", IngestSettings())
    assert vetted is not None
    return suspect, vetted


def aside(vetted: Dataset) -> set[str]:
    return {str(entry["column"]) for entry in vetted.encoding if entry.get("why") == "counter"}


def failing(suspect: Dataset, vetted: Dataset) -> dict[str, bool]:
    """Checks of the contract that fail → whether they reject."""
    held = contract(suspect, vetted, ContractSettings())
    return {c.name: c.critical for c in gate_contract(held, ContractSettings(), None).checks if not c.passed}


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_later_lot_is_not_rejected_for_its_numbers_times_and_batches(suffix: str, tmp_path: Path) -> None:
    suspect, vetted = read(tmp_path, parts(200, 0), parts(1000, 1, LATER), suffix)
    identifier = {str(entry["column"]) for entry in vetted.encoding if entry.get("why") == "identifier"}
    assert aside(vetted) | identifier == {"part", "time", "batch"}
    assert feature_names(vetted) == ("force", "speed") and suspect.features == vetted.features
    found = failing(suspect, vetted)
    assert not any(found.values()) and len(found) == 1
    held = contract(suspect, vetted, ContractSettings())
    told = held.summary[held.summary["measure"] == "counters"].set_index("subject")["note"]
    assert told["part"] == "100.0% beyond 0 … 199" and told["batch"] == "100.0% beyond the 5 trusted ones"
    assert held.exclusions.empty


def test_columns_of_the_same_rows_are_kept(tmp_path: Path) -> None:
    """Numbers that the trusted set covers cost nothing: nothing is left aside without need."""
    everyone = parts(1200, 0)
    chosen = np.random.default_rng(1).permutation(1200)
    _, vetted = read(tmp_path, everyone.iloc[chosen[:200]], everyone.iloc[chosen[200:]])
    assert aside(vetted) == set()


def test_numbers_without_order_are_known_as_they_never_repeat(tmp_path: Path) -> None:
    trusted, lot = (parts(n, n, first).sample(frac=1, random_state=0) for n, first in ((200, 0), (1000, LATER)))
    _, vetted = read(tmp_path, trusted, lot)
    assert aside(vetted) == {"part", "time"}  # the shuffled batches are categories like any other


@pytest.mark.parametrize(
    "drifted",
    [
        lambda lot: lot.assign(speed=lot["speed"] + 2500),
        lambda lot: lot.assign(force=lot["force"] + 9.0),
        lambda lot: lot.assign(force=np.sort(lot["force"]) + 9.0),
        lambda lot: lot.assign(steel="brass"),
    ],
    ids=["whole numbers", "numbers", "numbers in order", "another category"],
)
def test_a_measure_that_drifts_is_still_a_reason_to_reject(drifted: object, tmp_path: Path) -> None:
    trusted, lot = (parts(n, n).drop(columns=["part", "time", "batch"]) for n in (200, 1000))
    trusted, lot = (t.assign(steel=np.resize(["grey", "white"], len(t))) for t in (trusted, lot))
    suspect, vetted = read(tmp_path, trusted.sort_values("steel"), drifted(lot))  # type: ignore[operator]
    assert aside(vetted) == set() and any(failing(suspect, vetted).values())


def test_what_is_planted_in_a_counter_is_no_counter_and_is_found(tmp_path: Path) -> None:
    """Rows that share a part number stand out, wherever the lot lies; poison in the order's way takes none away."""
    lot = parts(1000, 1, LATER)
    lot.loc[::20, ["part", "label"]] = [99_999, "good"]
    suspect, vetted = read(tmp_path, parts(200, 0), lot)
    assert "part" in aside(vetted)
    told = contract(suspect, vetted, ContractSettings()).rows
    assert set(told.loc[told["unseen_value"], "sample_id"]) == {f"lot.parquet#{i}" for i in range(0, 1000, 20)}


def test_a_sorted_feature_is_no_counter_for_the_sake_of_a_few_rows(tmp_path: Path) -> None:
    """An export in order of a feature: rows planted far beyond it must not take it away from the models."""
    trusted, lot = (parts(n, n)[["force", "speed", "label"]].sort_values("force") for n in (200, 1000))
    lot.iloc[-100:, 0] = 99.0
    suspect, vetted = read(tmp_path, trusted, lot)
    assert aside(vetted) == set()
    assert contract(suspect, vetted, ContractSettings()).rows["out_of_range"].sum() == 100


def test_a_table_of_nothing_else_keeps_its_columns(tmp_path: Path) -> None:
    trusted, lot = parts(200, 0)[["part", "label"]], parts(1000, 1, LATER)[["part", "label"]]
    suspect, vetted = read(tmp_path, trusted, lot)
    assert feature_names(vetted) == ("part",) and any(failing(suspect, vetted).values())
