"""Whatever is missing, the gate does not pass."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from verdict_tables import screened

N = 60
FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
some_of = st.sets(st.integers(0, N - 3), min_size=1, max_size=4).map(sorted)


@FEW
@given(at=some_of, twice=st.booleans(), shuffle=st.integers(0, 2**31 - 1))
def test_an_id_missing_or_given_twice_never_passes(at: list[int], twice: bool, shuffle: int) -> None:
    run = screened(N)
    changed = pd.concat([run.verdicts, run.verdicts.iloc[at]]) if twice else run.verdicts.drop(index=at)
    changed = changed.sample(frac=1, random_state=shuffle % 2**31).reset_index(drop=True)
    assert not run.but(verdicts=changed).gate().passed


@FEW
@given(at=some_of, voter=st.integers(0, 1), twice=st.booleans(), swap=st.booleans())
def test_a_voter_that_lacks_or_repeats_a_row_never_passes(at: list[int], voter: int, twice: bool, swap: bool) -> None:
    """Nor when the number of rows is right because another sample was scored twice."""
    run = screened(N)
    rows = [i + voter * len(run.scanned) for i in at]
    others = [i for i in range(len(run.scanned)) if i not in at][: len(at)]
    findings = pd.concat([run.findings, run.findings.iloc[rows]]) if twice else run.findings.drop(index=rows)
    if swap and not twice:
        findings = pd.concat([findings, run.findings.iloc[[i + voter * len(run.scanned) for i in others]]])
    assert not run.but(findings=findings.reset_index(drop=True)).gate().passed


@FEW
@given(shuffle=st.integers(0, 2**31 - 1))
def test_the_order_of_rows_does_not_matter(shuffle: int) -> None:
    run = screened(N)
    findings = run.findings.sample(frac=1, random_state=shuffle)
    assert run.but(findings=findings, verdicts=run.verdicts.sample(frac=1, random_state=shuffle)).gate().passed
