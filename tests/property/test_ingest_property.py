"""Whatever a table holds: every row has one id, features are finite, and the lot is encoded as the trusted set."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lotgate.data import Dataset
from lotgate.errors import InputError
from lotgate.ingest import IngestSettings, ingest
from lotgate.ingest.encoding import CLIP, ROOM, encode, learn, names

NUMBERS = st.one_of(st.none(), st.floats(width=64), st.sampled_from([0.0, 1.0]))
TEXTS = st.one_of(
    st.none(), st.text(st.characters(codec="utf-8"), max_size=4), st.sampled_from(["a", "b", "5", "01", "1.0"])
)
CELLS = st.sampled_from([NUMBERS, TEXTS, st.booleans(), st.integers(-(2**70), 2**70)])


@st.composite
def frames(draw: st.DrawFn, columns: int = 3) -> pd.DataFrame:
    """A few rows of columns of any kind."""
    rows = draw(st.integers(1, 25))
    return pd.DataFrame({f"c{i}": draw(st.lists(draw(CELLS), min_size=rows, max_size=rows)) for i in range(columns)})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), frames())
def test_features_are_finite_bounded_and_named(defining: pd.DataFrame, other: pd.DataFrame) -> None:
    encoding = learn(defining, IngestSettings(max_categories=5, hash_buckets=4))
    if not names(encoding):
        return
    for frame in (defining, other):
        x = encode(frame, encoding)
        assert x.shape == (len(frame), len(names(encoding))) and x.dtype == np.float32
        assert np.isfinite(x).all() and np.abs(x).max() <= np.float32(CLIP + ROOM)
    halves = [encode(other.iloc[:5], encoding), encode(other.iloc[5:], encoding)]
    np.testing.assert_array_equal(np.concatenate(halves), encode(other, encoding))  # row by row


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), st.data())
def test_ingest_round_trips(frame: pd.DataFrame, data: st.DataObject) -> None:
    labels = st.lists(st.sampled_from(["x", "y", None]), min_size=len(frame), max_size=len(frame))
    frame["label"] = data.draw(labels)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame.to_csv(folder / "lot.csv", index=False)
        try:
            dataset = ingest(folder / "lot.csv", folder / "work")
        except InputError as error:
            assert error.action and not (folder / "work").exists()
            return
        _check(dataset, frame)
        again = ingest(folder / "lot.csv", folder / "again", like=dataset)
        assert again.fingerprint == dataset.fingerprint
        np.testing.assert_array_equal(np.load(again.store), np.load(dataset.store))


def _check(dataset: Dataset, frame: pd.DataFrame) -> None:
    ids = dataset.manifest["sample_id"]
    assert sorted(ids) == sorted(f"lot.csv#{i}" for i in range(len(dataset)))
    readable = dataset.manifest[dataset.manifest["row"] >= 0]
    assert readable["defect"].isna().all()
    assert dataset.manifest.loc[dataset.manifest["row"] < 0, "defect"].notna().all()
    assert (readable["sample_id"] == [f"lot.csv#{row}" for row in readable["row"]]).all()
    assert len(dataset.usable()) == len(readable)
    assert np.isfinite(dataset.usable().batch(np.arange(len(readable))).x).all()
    assert dataset.manifest["sha256"].str.len().eq(64).all()
    assert len(dataset) == len(frame)
