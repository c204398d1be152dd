"""decide(): the rule from findings to verdicts, and from verdicts to the lot's decision."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lotgate.findings import P_OF_CLASS, Check, combined_p_values, decide, findings_frame, outcome, quarantined
from lotgate.policy import Policy

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
    weighted = Policy(voters=("a", "b"), weights={"b": 1 / 3})
    p = combined_p_values(findings(a=[0.01, 0.9], b=[0.9, 0.01]), weighted)
    assert p.to_dict() == pytest.approx({"s0": 0.01 * 4 / 3, "s1": 0.04})


def test_a_voters_rate_is_its_own_whoever_else_votes() -> None:
    """Evidence that convinces from one voter alone convinces beside another that says nothing."""
    rng = np.random.default_rng(4)
    p = [*np.full(10, 3e-3), *rng.uniform(0.05, 1, 990)]
    alone, beside = findings(a=p), findings(a=p, b=list(rng.uniform(0.05, 1, 1000)))
    assert set(np.flatnonzero(set_aside(alone))) == set(np.flatnonzero(set_aside(beside))) == set(range(10))


@pytest.mark.parametrize(("cost", "classes", "n"), [(1, ["x"] * 1000, 45), (2, ["x"] * 1000, 20), (1, None, 20)])
def test_false_alarms_about_classes_cost_what_they_cost_for_that_voter(
    cost: float, classes: list[str] | None, n: int
) -> None:
    """25 suspects among whom ten clean ones are expected are worth it at a cost of 1, not at 2; targets cost 2."""
    table = findings(a=[*np.full(20, 1e-6), *np.full(25, 1e-2), *np.linspace(0.05, 1, 955)])
    assert set_aside(table, Policy(voters=("a",), false_alarm_costs={"a": cost}), classes).sum() == n


def test_a_voter_of_groups_in_reserve_is_asked_last_and_only_about_what_the_others_left() -> None:
    """Clean rows in the same cluster as poison that others had found were set aside for it."""
    poison, group = np.arange(1000) < 30, np.arange(1000) < 45
    sharp, group_p = np.where(poison, 1e-6, 0.9), np.where(group, 1e-9, 0.9)
    table = findings(a=list(sharp), b=list(group_p))
    at_once = Policy(voters=("a", "b"), groups=("b",), reserve=())
    reserved = at_once.model_copy(update={"reserve": ("b",)})
    assert np.array_equal(set_aside(table, at_once), group)
    assert np.array_equal(set_aside(table, reserved), poison)


@pytest.mark.parametrize(("p_of_group", "heard"), [(1e-9, "b"), (2e-6, "a")])
def test_an_exact_voter_in_reserve_is_not_kept_waiting_where_it_is_certain(p_of_group: float, heard: str) -> None:
    """Flips were heard before a value that 96 rows shared: 20 of these went free, and 44 clean rows went along."""
    group, flips = np.arange(1000) < 96, (np.arange(1000) >= 20) & (np.arange(1000) < 140)
    table = findings(a=list(np.where(flips, 0.01, 0.9)), b=list(np.where(group, p_of_group, 0.9)))
    policy = Policy(voters=("a", "b"), groups=("b",), reserve=("b",), exact=("b",))
    assert np.array_equal(set_aside(table, policy), group if heard == "b" else flips)


def test_what_one_voter_of_groups_found_explains_the_group_of_another() -> None:
    """A vaguer view of the same poison takes clean rows with it: it has nothing to add."""
    sharp, vague = np.arange(1000) < 68, (np.arange(1000) >= 5) & (np.arange(1000) < 80)
    table = findings(a=list(np.where(sharp, 1e-9, 0.9)), b=list(np.where(vague, 3e-3, 0.9)))
    told = Policy(voters=("a", "b"), groups=("a", "b"), reserve=(), follow_up=1)
    assert np.array_equal(set_aside(table, told), sharp)
    assert np.array_equal(set_aside(table, told.model_copy(update={"groups": ()})), sharp | vague)


@pytest.mark.parametrize("caught", [0, 10])
def test_a_decoy_does_not_silence_a_voter_in_reserve(caught: int) -> None:
    """Others found a few rows, of the group or elsewhere; most of the group is left, and is heard."""
    group = np.arange(1000) < 45
    sharp = np.where((np.arange(1000) < caught) | (np.arange(1000) >= 980), 1e-6, 0.9)
    table = findings(a=list(sharp), b=list(np.where(group, 1e-9, 0.9)))
    taken = set_aside(table, Policy(voters=("a", "b"), groups=("b",), reserve=("b",)))
    assert np.array_equal(taken, group | (sharp < 0.5))


def _two_classes(decoys: int) -> tuple[pd.DataFrame, pd.Series, npt.NDArray[np.bool_]]:
    """Decoys of class u that a and b see, b more surely than the backdoor of 40 in class v, which only b sees."""
    row = np.arange(1000)
    decoy, backdoor = row < decoys, (row >= 500) & (row < 540)
    table = findings(a=list(np.where(decoy, 1e-6, 0.9)), b=list(np.select([decoy, backdoor], [1e-12, 1e-9], 0.9)))
    labels = pd.Series(np.where(row < 500, "u", "v"), index=table["sample_id"].unique(), dtype=object)
    return table, labels, decoy | backdoor


@pytest.mark.parametrize("decoys", [0, 39, 40, 60, 200])
def test_a_decoy_in_another_class_does_not_silence_a_voter_of_groups(decoys: int) -> None:
    table, labels, planted = _two_classes(decoys)
    taken = quarantined(table, labels, Policy(voters=("a", "b"), groups=("b",), reserve=("b",)))
    assert np.array_equal(np.isin(labels.index, taken["sample_id"]), planted)


@pytest.mark.parametrize(("caught", "silent"), [(19, False), (20, True), (21, True)])
def test_a_group_of_which_half_is_set_aside_is_explained(caught: int, silent: bool) -> None:
    row = np.arange(1000)
    table = findings(a=list(np.where(row < caught, 1e-9, 0.9)), b=list(np.where(row < 40, 1e-6, 0.9)))
    taken = set_aside(table, Policy(voters=("a", "b"), groups=("b",), reserve=("b",)))
    assert taken.sum() == (caught if silent else 40)


JURY = Policy(voters=("a", "b", "c", "d"), groups=("a", "b", "c"), reserve=())


def _accusing(*ranges: tuple[int, int]) -> list[list[float]]:
    """p-values of a thousand rows, one list per voter, who accuses rows first to last − 1; the longer, the louder."""
    row = np.arange(1000)
    return [list(np.where((row >= first) & (row < last), 1e-9, 0.9)) for first, last in ranges]


def test_two_voters_who_see_the_same_group_come_before_a_louder_and_vaguer_one() -> None:
    """The vaguest view has the largest group: it took clean rows with it and missed a part of the poison."""
    a, b, c = _accusing((0, 60), (2, 62), (10, 90))
    taken = set_aside(findings(a=a, b=b, c=c), JURY)
    assert set(np.flatnonzero(taken)) == set(range(62))


def test_of_three_who_see_the_same_group_half_must_name_a_sample() -> None:
    a, b, c = _accusing((0, 60), (2, 60), (0, 63))
    taken = set_aside(findings(a=a, b=b, c=c), JURY)
    assert set(np.flatnonzero(taken)) == set(range(60))


def test_what_a_view_finds_that_two_narrower_ones_miss_stays_found() -> None:
    """An adaptive blend: four of 75 planted images were named by one view of three, and kept the backdoor open."""
    a, b, c = _accusing((0, 69), (0, 60), (0, 80))
    taken = set_aside(findings(a=a, b=b, c=c), JURY)
    assert set(np.flatnonzero(taken)) == set(range(80))


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([(0, 60)], {*range(10, 90)}),  # they agree on too little
        ([(0, 60), (500, 560)], {*range(10, 90), *range(500, 560)}),  # a third sees another group
        ([(0, 60), (60, 200)], {*range(200)}),  # a third sees a group of which this is a small part
    ],
)
def test_voters_who_see_different_groups_are_no_jury(others: list[tuple[int, int]], expected: set[int]) -> None:
    said = dict(zip("abc", _accusing((10, 90), *others), strict=False))
    assert set(np.flatnonzero(set_aside(findings(**said), JURY))) == expected


def test_whom_a_jury_clears_a_voter_of_single_samples_may_still_accuse() -> None:
    a, b, c, d = _accusing((0, 60), (2, 60), (0, 64), (62, 80))
    taken = set_aside(findings(a=a, b=b, c=c, d=d), JURY)
    assert set(np.flatnonzero(taken)) == {*range(60), *range(62, 80)}


def test_those_who_agree_are_heard_before_one_who_has_more_to_say() -> None:
    """A voter of single samples took as many clean rows as it may along; what others knew exactly came too late."""
    a, b, c = _accusing((0, 60), (0, 60), (5, 60))
    vague = [*np.full(60, 1e-9), *np.full(20, 4e-3), *np.full(920, 0.9)]
    alone = set_aside(findings(d=vague), JURY)
    assert set(np.flatnonzero(alone)) == set(range(80))
    taken = set_aside(findings(a=a, b=b, c=c, d=vague), JURY)
    assert set(np.flatnonzero(taken)) == set(range(60))


def test_a_jury_decides_in_its_own_class_only() -> None:
    a, b, c = _accusing((0, 60), (2, 60), (0, 64))
    elsewhere = np.arange(1000) >= 900
    c = list(np.where(elsewhere, 1e-9, c))
    taken = set_aside(findings(a=a, b=b, c=c), JURY, ["u"] * 900 + ["v"] * 100)
    assert set(np.flatnonzero(taken)) == {*range(60), *range(900, 1000)}


def test_who_named_a_sample_is_named_beside_it() -> None:
    a, b, c = _accusing((0, 60), (2, 60), (0, 64))
    table = findings(a=a, b=b, c=c)
    found = quarantined(table, pd.Series(1.0, index=[f"s{i}" for i in range(1000)]), JURY)
    assert found.groupby("detector").size().to_dict() == {"a": 60, "b": 58, "c": 60}


def test_weights_of_targets_are_their_own() -> None:
    """Thirty of 700 at p = .01: seven clean ones expected, which a voter may take with a weight of 1, not of .25."""
    table = findings(a=[0.01] * 30 + [0.5] * 670)
    policy = Policy(voters=("a",), weights={"a": 0.25}, weights_of_targets={}, groups=(), reserve=())
    assert set_aside(table, policy).sum() == 30
    assert set_aside(table, policy, ["u"] * 700).sum() == 0
    swapped = policy.model_copy(update={"weights": {}, "weights_of_targets": {"a": 0.25}})
    assert set_aside(table, swapped).sum() == 0
    assert set_aside(table, swapped, ["u"] * 700).sum() == 30


@pytest.mark.parametrize("seed", range(20))
def test_one_voters_limit_against_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = Policy(voters=("a",))
    p = np.r_[rng.random(200), rng.uniform(0, 0.002, rng.integers(0, 12))]
    seen = {t: ((p <= t).sum(), t * len(p)) for t in p if t <= policy.false_quarantine_rate}
    speaks = any(clean <= policy.false_discovery_rate * found for found, clean in seen.values())
    gain = {t: found - (1 + policy.false_alarm_cost) * clean for t, (found, clean) in seen.items()}
    taken = set_aside(findings(a=list(p)), policy)
    if not speaks:
        assert not taken.any()
    else:  # what is left of a lot that has spoken is asked once more: never less than the first answer
        assert taken[p <= max(gain, key=lambda t: gain[t])].all()


def test_a_clean_lot_is_mostly_left_alone() -> None:
    rng = np.random.default_rng(0)
    lots = ({name: list(rng.uniform(0.0002, 1, 1000)) for name in ("a", "b")} for _ in range(200))
    assert np.mean([set_aside(findings(**p)).mean() for p in lots]) <= 0.002


def test_a_poisoned_lot_loses_few_clean_samples() -> None:
    rng = np.random.default_rng(1)
    table = findings(a=[*rng.uniform(0, 1e-4, 100), *rng.random(1900)], b=list(rng.random(2000)))
    taken = set_aside(table)
    assert taken[:100].all()
    assert taken[100:].mean() <= 0.002


def test_a_second_voter_is_heard_on_what_is_left() -> None:
    """Alone its evidence would not open the search; in the class where another voter found poison it counts."""
    rng = np.random.default_rng(2)
    first = [*np.full(40, 1e-9), *rng.uniform(0.05, 1, 960)]
    second = [*rng.uniform(0.05, 1, 40), *np.full(10, 2e-3), *rng.uniform(0.05, 1, 950)]
    names = ["bad"] * 100 + ["good"] * 900
    light = Policy(voters=("a", "b"), weights={"a": 1.0, "b": 0.1})
    assert not set_aside(findings(a=list(rng.uniform(0.05, 1, 1000)), b=second), light, names).any()
    assert set(np.flatnonzero(set_aside(findings(a=first, b=second), light, names))) == set(range(50))


@pytest.mark.parametrize(
    ("also_accused", "groups", "heard"),
    [(5, (), True), (10, (), True), (25, (), False), (5, ("b",), False)],
    ids=["says something else", "half of it was said", "says what was said", "speaks of a group"],
)
def test_what_one_voter_found_hides_no_other_attack(also_accused: int, groups: tuple[str, ...], heard: bool) -> None:
    """Flips were let go, since a group had been found first. Who mostly repeats what was said needs stronger evidence,
    and so does who speaks of groups: a false word costs more there.
    """
    rng = np.random.default_rng(2)
    first = [*np.full(40, 1e-9), *rng.uniform(0.05, 1, 960)]
    second = [*np.full(also_accused, 5e-3), *rng.uniform(0.05, 1, 40 - also_accused), *np.full(10, 5e-3)]
    second += list(rng.uniform(0.05, 1, 950))
    policy = Policy(
        voters=("a", "b"), groups=groups, reserve=(), false_discovery_rate=0.55, false_alarm_cost=0.5, follow_up=0.5
    )
    alone = set_aside(findings(a=list(rng.uniform(0.05, 1, 1000)), b=second), policy)
    assert alone[40:50].all(), "it has enough to speak first"
    taken = set_aside(findings(a=first, b=second), policy)
    assert set(np.flatnonzero(taken)) == set(range(50 if heard else 40))


def test_a_suspected_class_is_searched_at_its_own_rate() -> None:
    """The same p-values convince in a class of 100 where poison was found, and not in a lot of 1,000."""
    rng = np.random.default_rng(3)
    p = [*np.full(30, 1e-9), *np.full(10, 4e-3), *rng.uniform(0.05, 1, 960)]
    one_class = set_aside(findings(a=p), names=["bad"] * 100 + ["good"] * 900)
    assert set(np.flatnonzero(one_class)) == set(range(40))
    assert set(np.flatnonzero(set_aside(findings(a=p)))) == set(range(30))


def test_a_voter_that_only_repeats_costs_nothing() -> None:
    rng = np.random.default_rng(4)
    first = [*np.full(50, 1e-9), *rng.uniform(0.05, 1, 950)]
    vague = [*rng.uniform(0, 0.01, 50), *rng.uniform(0, 1, 950)]
    assert set(np.flatnonzero(set_aside(findings(a=first, b=vague)))) == set(range(50))


def of_class(table: pd.DataFrame, voter: str, p_values: list[float]) -> pd.DataFrame:
    """The findings, with what one voter says of the classes of the samples as a whole."""
    said = table.assign(**{P_OF_CLASS: np.nan})
    said.loc[said["detector"] == voter, P_OF_CLASS] = p_values
    return said


def test_a_class_is_accused_as_a_whole_where_no_sample_is() -> None:
    rng = np.random.default_rng(5)
    quiet = rng.uniform(0.05, 1, 1000).tolist()
    table = of_class(findings(a=quiet, b=quiet), "a", [*np.full(40, 1e-4), *np.full(960, 1.0)])
    assert set(np.flatnonzero(set_aside(table))) == set(range(40))
    verdicts = decide(table, manifest(1000), NONE, POLICY, {"a": "it is odd"})
    assert verdicts["reasons"][0].startswith("it is odd, like more samples than trusted ones explain (a, p = 0.0001)")
    assert verdicts["score"][0] > verdicts["score"][40:].max()


def test_a_class_that_others_explain_is_not_accused() -> None:
    """Groups that found most of it are asked before, those in reserve too; less than half explains nothing."""
    rng = np.random.default_rng(6)
    quiet = rng.uniform(0.05, 1, 1000).tolist()
    said = [*np.full(60, 1e-4), *np.full(940, 1.0)]
    reserve = Policy(voters=("a", "b"), groups=("b",), reserve=("b",))
    for found, expected in ((40, 40), (20, 60)):
        table = findings(a=quiet, b=[*np.full(found, 1e-9), *rng.uniform(0.05, 1, 1000 - found)])
        assert set(np.flatnonzero(set_aside(of_class(table, "a", said), reserve))) == set(range(expected))


def set_aside(table: pd.DataFrame, policy: Policy = POLICY, names: list[str] | None = None) -> npt.NDArray[np.bool_]:
    """Which samples are quarantined, in the order of the findings; targets for labels unless classes are named."""
    ids = list(dict.fromkeys(table["sample_id"]))
    found = set(quarantined(table, pd.Series(names or 1.0, index=ids), policy)["sample_id"])
    return np.array([sample in found for sample in ids])


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
    ("held_back", "passed", "expected"),
    [(0, True, "accept"), (1, True, "accept_with_quarantine"), (0, False, "reject"), (2, False, "reject")],
)
def test_outcome(held_back: int, passed: bool, expected: str) -> None:
    actions = ["quarantine"] * held_back + ["keep"] * (4 - held_back)
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


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([1.0, 1.0], "do not meet the contract"),
        ([0.8, 0.9], "are suspect"),
        ([1.0, 0.9], "1 as suspect and 1 for breaking the contract"),
    ],
)
def test_broken_files_are_not_called_suspect(scores: list[float], words: str) -> None:
    verdicts = pd.DataFrame({"action": ["quarantine", "quarantine", "keep"], "score": [*scores, 0.0]})
    check = Check(name="share", passed=True, observed=0.1, limit=0.8)
    assert words in outcome(verdicts, (check,))[1][0]
