"""decide(): actions partition the ids, evidence only ever adds to quarantine, and nobody else's vote counts."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from lotgate.findings import decide, findings_frame
from lotgate.policy import Policy

POLICY = Policy(voters=("a", "b"), weights={"b": 0.3})
P_VALUES = st.lists(st.sampled_from([1e-12, 1e-6, 1e-4, 1e-3, 0.004, 0.01, 0.02, 0.3, 1.0]), min_size=1, max_size=40)


def judge(a: list[float], b: list[float], excluded: list[int], others: float = 1.0) -> pd.DataFrame:
    ids = np.array([f"s{i}" for i in range(len(a))], dtype=object)
    scanned = [i for i in range(len(a)) if i not in excluded]
    votes = {"a": np.array(a)[scanned], "b": np.array(b)[scanned], "stranger": np.full(len(scanned), others)}
    findings = pd.concat(
        [findings_frame(ids[scanned], name, -np.log10(p), p, p < 0.01) for name, p in votes.items()], ignore_index=True
    )
    columns = {"uri": ids, "label": "x", "source": "", "sha256": ids, "row": range(len(a)), "defect": None}
    exclusions = pd.DataFrame({"sample_id": ids[excluded], "reason": ["zero bytes"] * len(excluded)})
    return decide(findings, pd.DataFrame({"sample_id": ids, **columns}), exclusions, POLICY, {})


@st.composite
def lots(draw: st.DrawFn) -> tuple[list[float], list[float], list[int]]:
    a = draw(P_VALUES)
    b = draw(st.lists(st.sampled_from(a), min_size=len(a), max_size=len(a)))
    excluded = draw(st.lists(st.integers(0, len(a) - 1), unique=True, max_size=max(0, len(a) - 1)))
    return a, b, sorted(excluded)


@settings(deadline=None, max_examples=60)
@given(lots())
def test_actions_partition_the_ids_and_every_quarantine_has_a_reason(
    lot: tuple[list[float], list[float], list[int]],
) -> None:
    a, b, excluded = lot
    verdicts = judge(a, b, excluded)
    assert list(verdicts["sample_id"]) == [f"s{i}" for i in range(len(a))]
    assert set(verdicts["action"]) <= {"keep", "quarantine"}
    assert ((verdicts["action"] == "quarantine") == (verdicts["reasons"] != "")).all()
    assert (verdicts["action"].iloc[excluded] == "quarantine").all()
    assert verdicts["score"].between(0, 1).all()


@settings(deadline=None, max_examples=60)
@given(lots(), st.data())
def test_more_evidence_never_frees_a_sample(
    lot: tuple[list[float], list[float], list[int]], data: st.DataObject
) -> None:
    a, b, excluded = lot
    index = data.draw(st.integers(0, len(a) - 1))
    stronger = [*a]
    stronger[index] = a[index] / 1000
    before, after = judge(a, b, excluded), judge(stronger, b, excluded)
    freed = (before["action"] == "quarantine") & (after["action"] == "keep")
    assert not freed.any()
    assert after["score"][index] >= before["score"][index]


@settings(deadline=None, max_examples=30)
@given(lots())
def test_a_detector_without_a_vote_changes_nothing(lot: tuple[list[float], list[float], list[int]]) -> None:
    pd.testing.assert_frame_equal(judge(*lot), judge(*lot, others=1e-12))
