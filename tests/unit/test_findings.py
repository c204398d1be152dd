"""decide(): the rule from findings to verdicts, and from verdicts to the lot's decision."""

import numpy as np
import pandas as pd
import pytest

from lotgate.findings import Check, Policy, combined_p_values, decide, findings_frame, outcome, quarantine_limit

POLICY = Policy(voters=("a", "b"))


def findings(**p_values: list[float]) -> pd.DataFrame:
    tables = []
    for name, values in p_values.items():
        p = np.array(values)
        ids = np.array([f"s{i}" for i in range(len(p))], dtype=object)
        tables.append(findings_frame(ids, name, -np.log10(p), p, p < 0.01))
    return pd.concat(tables, ignore_index=True)


def manifest(n: int) -> pd.DataFrame:
    ids = [f"s{i}" for i in range(n)]
    blank = {"uri": ids, "label": "x", "source": "line 4", "sha256": ids, "row": range(n), "defect": None}
    return pd.DataFrame({"sample_id": ids, **blank, "captured_at": "2026-01-01"})


NONE = pd.DataFrame({"sample_id": pd.Series([], dtype=str), "reason": pd.Series([], dtype=str)})


def test_bonferroni_over_the_voters_only() -> None:
    p = combined_p_values(findings(a=[0.01, 0.5], b=[0.2, 0.9], c=[1e-9, 1e-9]), POLICY)
    assert p.to_dict() == {"s0": 0.02, "s1": 1.0}


def test_heavier_voters_pay_less() -> None:
    weighted = Policy(voters=("a", "b"), weights={"a": 3.0})
    p = combined_p_values(findings(a=[0.01, 0.9], b=[0.9, 0.01]), weighted)
    assert p.to_dict() == pytest.approx({"s0": 0.01 * 4 / 3, "s1": 0.04})


@pytest.mark.parametrize("seed", range(20))
def test_limit_against_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.r_[rng.random(200), rng.uniform(0, 0.002, rng.integers(0, 12))]
    shares = {t: t * len(p) / (p <= t).sum() for t in p if t <= POLICY.false_quarantine_rate}
    opens = any(share <= POLICY.false_discovery_rate for share in shares.values())
    naive = max((t for t, share in shares.items() if share <= POLICY.searched_discovery_rate), default=0.0)
    assert quarantine_limit(p, POLICY) == (naive if opens else 0.0)


def test_a_clean_lot_is_mostly_left_alone() -> None:
    rng = np.random.default_rng(0)
    shares = [(p <= quarantine_limit(p, POLICY)).mean() for p in rng.uniform(0.0005, 1, (200, 2000))]
    assert np.mean(shares) <= 0.002


def test_a_poisoned_lot_loses_few_clean_samples() -> None:
    rng = np.random.default_rng(1)
    clean, planted = rng.random(1900), rng.uniform(0, 1e-4, 100)
    limit = quarantine_limit(np.r_[clean, planted], POLICY)
    assert (planted <= limit).all()
    assert (clean <= limit).mean() <= 0.01


def test_verdicts_carry_reasons_scores_and_extra_columns() -> None:
    excluded = pd.DataFrame({"sample_id": ["s3"], "reason": ["zero bytes"]})
    verdicts = decide(
        findings(a=[1e-9, 0.6, 0.9], b=[0.5, 0.7, 0.4]), manifest(4), excluded, POLICY, {"a": "it is odd"}
    )
    assert list(verdicts["action"]) == ["quarantine", "keep", "keep", "quarantine"]
    assert verdicts["reasons"][0].startswith("it is odd (a, p = 1e-09)")
    assert verdicts["reasons"][3] == "zero bytes"
    assert verdicts["score"][3] == 1.0
    assert verdicts["score"].between(0, 1).all()
    assert verdicts["score"][0] > verdicts["score"][1]
    assert set(verdicts["source"]) == {"line 4"}
    assert "captured_at" in verdicts


@pytest.mark.parametrize(
    ("quarantined", "passed", "expected"),
    [(0, True, "accept"), (1, True, "accept_with_quarantine"), (0, False, "reject"), (2, False, "reject")],
)
def test_outcome(quarantined: int, passed: bool, expected: str) -> None:
    actions = ["quarantine"] * quarantined + ["keep"] * (4 - quarantined)
    verdicts = pd.DataFrame({"action": actions, "score": 0.5})
    check = Check(name="share", passed=passed, observed=0.1, limit=0.2, detail="too many")
    decision, reasons = outcome(verdicts, (check,))
    assert decision == expected
    assert reasons[0]


def test_no_checks_is_a_rejection() -> None:
    assert outcome(pd.DataFrame({"action": ["keep"]}), ())[0] == "reject"


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("verdicts: share of the lot in quarantine", "1 of 4 samples (25.0%) are suspect: too many"),
        ("manifest: share of samples that cannot be read", "does not meet its contract"),
        ("de_pois ran to its end", "incomplete"),
    ],
)
def test_a_rejection_opens_with_a_sentence(name: str, headline: str) -> None:
    verdicts = pd.DataFrame({"action": ["quarantine", "keep", "keep", "keep"]})
    reasons = outcome(verdicts, (Check(name=name, passed=False, observed=0.9, limit=0.1),))[1]
    assert headline in reasons[0]
    assert name in reasons[1]


@pytest.mark.parametrize(("scores", "words"), [([1.0, 1.0], "do not meet the contract"), ([1.0, 0.9], "are suspect")])
def test_broken_files_are_not_called_suspect(scores: list[float], words: str) -> None:
    verdicts = pd.DataFrame({"action": ["quarantine", "quarantine", "keep"], "score": [*scores, 0.0]})
    check = Check(name="share", passed=True, observed=0.1, limit=0.8)
    assert words in outcome(verdicts, (check,))[1][0]
