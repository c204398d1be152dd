"""One case from its line in cases.yaml to its rows: a row for each detector, for Lotgate as a whole, for each peer."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.detection import peers
from benchmarks.detection.cases import Case
from benchmarks.detection.data import load
from benchmarks.detection.downstream import outcomes, training_cost
from benchmarks.detection.lots import Lot, make_lot
from benchmarks.detection.measures import Measured, measure
from benchmarks.detection.peers_regression import regression_peers
from benchmarks.detection.product import PRODUCT, Screened, bench_settings, screen
from lotgate import stages
from lotgate.data import Dataset
from lotgate.detector import Evidence
from lotgate.errors import InputError
from lotgate.settings import Settings
from lotgate.sittings import alone, load_evidence, split

Row = dict[str, Any]
WITHOUT = ("tpr", "fpr", "f1", "flagged_share")


@dataclass(frozen=True)
class Wanted:
    """What to do beside Lotgate's own rows.

    Attributes:
        peers: ask them too. downstream: model to train on raw, kept and perfect sets; empty for none.
        price: also extrapolate the seconds of one training of the downstream model.
        skip: detectors without a vote that are not to report either.
        only_peers: nothing but these peers.
    """

    peers: bool = True
    downstream: str = ""
    price: bool = False
    skip: tuple[str, ...] = ()
    only_peers: tuple[str, ...] = ()


def run_case(case: Case, settings: Settings, folder: Path, wanted: Wanted) -> list[Row]:
    """Makes the lot, screens it, asks the peers, measures. `folder` is emptied before and removed after.

    Raises:
        Absent: the dataset is not on this machine.
        InputError: the attack does not fit the lot.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    samples = load(case.dataset if not case.data.of else case.data.of)
    start = time.perf_counter()
    lot = make_lot(case, samples, folder / "landing")
    planting = time.perf_counter() - start
    settings = bench_settings(settings, case.seed, wanted.skip)
    common = _common(case, lot) | {"plant_seconds": round(planting, 2)}
    try:
        screened = screen(folder / "run", lot.lot, lot.trusted, lot.target, settings, lot.context)
    except InputError as error:  # too few trusted rows, say: an outcome, and no reason to stop
        return [common | {"method": PRODUCT, "family": "lotgate", "decision": "refused", "absent": error.what}]
    common["decision"] = screened.decision.decision
    rows = _product_rows(lot, screened, settings)
    rows[0] |= _context_columns(lot, screened.earlier)
    if wanted.downstream:
        rows[0] |= _downstream_columns(lot, screened, folder, wanted.downstream, case.seed)
    if wanted.price:
        rows[0] |= training_cost(Dataset.load(folder / "run/work/lot").usable())
    if wanted.peers and not lot.context:  # peers know no context
        rows += _peer_rows(case, lot, _for_peers(screened.run, settings))
    shutil.rmtree(folder)
    return [common | row for row in rows]


def run_peers(case: Case, settings: Settings, folder: Path, names: Collection[str]) -> list[Row]:
    """Asks only these peers, none of which reads a model of the lot: the lot is made and read, but not screened.

    Raises:
        Absent, InputError: as `run_case`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lot = make_lot(case, load(case.data.of or case.dataset), folder / "landing")
    settings = bench_settings(settings, case.seed)
    stages.open_run(folder / "run")
    stages.ingest(folder / "run", lot.lot, lot.trusted, lot.target, "auto", settings)
    stages.contract(folder / "run", settings)
    rows = _peer_rows(case, lot, split(alone(folder / "run"), settings), names)
    shutil.rmtree(folder)
    return [_common(case, lot) | row for row in rows]


def _common(case: Case, lot: Lot) -> Row:
    return {
        "case": case.name, "split": case.split, "group": case.group, "dataset": case.dataset, "attack": case.label,
        "kind": lot.kind, "rate": case.rate, "trusted": case.trusted, "poisoned_trusted": case.poisoned_trusted,
        "seed": case.seed, "classes": len(lot.samples.names), "machine": f"{platform.machine()} {platform.system()}",
    }  # fmt: skip


def _product_rows(lot: Lot, screened: Screened, settings: Settings) -> list[Row]:
    rows: list[Row] = [
        {
            "method": PRODUCT, "family": "lotgate", "seconds": round(screened.wall - _unpaid(screened, settings), 2),
            "base_mb": screened.base_mb, "peak_mb": screened.peak_mb,
            "headline": screened.decision.reasons[0],
            **{f"seconds_{step}": round(s, 2) for step, s in screened.seconds.items() if step in ("ingest", "gather")},
            **_of_verdicts(lot, screened.verdicts),
        }
    ]  # fmt: skip
    for name, found in screened.findings.groupby("detector", sort=True):
        planted, cover = lot.truth.of(found["sample_id"].to_numpy())
        rows.append(
            {
                "method": str(name), "family": "detector" if name in settings.policy.voters else "reporter",
                "seconds": round(screened.seconds.get(str(name), float("nan")), 2),
                **measure(planted, cover, found["flagged"].to_numpy(), found["score"].to_numpy()),
                **_columns_without(lot, screened.without.get(str(name))),
            }
        )  # fmt: skip
    rows += [
        {"method": name, "family": "detector", "absent": why.splitlines()[0]} for name, why in screened.failed.items()
    ]
    return rows


def _of_verdicts(lot: Lot, verdicts: pd.DataFrame) -> Measured:
    planted, cover = lot.truth.of(verdicts["sample_id"].to_numpy())
    return measure(planted, cover, (verdicts["action"] == "quarantine").to_numpy(), verdicts["score"].to_numpy())


def _columns_without(lot: Lot, verdicts: pd.DataFrame | None) -> Row:
    """What the lot's verdict would be without this voter; nothing of those that only report."""
    if verdicts is None:
        return {}
    found = _of_verdicts(lot, verdicts)
    return {f"{name}_without": found[name] for name in WITHOUT}


def _unpaid(screened: Screened, settings: Settings) -> float:
    """Seconds of detectors that only report: nobody pays for them by default."""
    mere = set(screened.findings["detector"].unique()) - set(settings.policy.voters)
    return sum(screened.seconds.get(str(name), 0.0) for name in mere)


def _for_peers(run: Path, settings: Settings) -> Evidence:
    """The evidence that Lotgate's detectors have, with every trusted row: that some labels are doubtful it found out
    by itself."""
    whole = split(alone(run), settings)
    return replace(load_evidence(alone(run), settings), trusted=whole.trusted, heldout=whole.heldout)


def _peer_rows(case: Case, lot: Lot, evidence: Evidence, names: Collection[str] | None = None) -> list[Row]:
    """Peers judge the rows that the contract left: those the probe has features of. All peers, or those named."""
    regression = evidence.suspect.task == "regression"
    table = {**peers.ANY_TASK, **regression_peers(case.rate)} if regression else peers.CLASSIFICATION
    planted, cover = lot.truth.of(evidence.suspect.ids)
    rows: list[Row] = []
    for number, (name, peer) in enumerate(table.items()):
        if names is not None and name not in names:
            continue
        heard = peers.ask(peer, evidence, np.random.default_rng([case.seed, number]))
        row: Row = {"method": name, "family": "peer", "seconds": round(heard.seconds, 2), "absent": heard.absent}
        if heard.answer is not None:
            row |= measure(planted, cover, heard.answer.flagged, heard.answer.scores)
        rows.append(row)
    return rows


def _context_columns(lot: Lot, earlier: pd.DataFrame | None) -> Row:
    """Shares of the earlier lots' planted and of their clean rows that are now suspect."""
    if earlier is None:
        return {}
    pairs = zip(earlier["context"], earlier["sample_id"], strict=True)
    planted = np.array([lot.earlier[name].planted[i] for name, i in pairs], bool)
    suspect = earlier["suspect"].to_numpy(bool)
    found = {"context_tpr": suspect[planted], "context_fpr": suspect[~planted]}
    return {name: float(part.mean()) for name, part in found.items() if len(part)}


def _downstream_columns(lot: Lot, screened: Screened, folder: Path, model: str, seed: int) -> Row:
    verdicts: pd.DataFrame = screened.verdicts
    quarantined = set(verdicts.loc[verdicts["action"] == "quarantine", "sample_id"])
    found = outcomes(lot, screened.run, quarantined, folder / "test", model, seed)
    return {"downstream": model} | {
        f"{measure_}_{training}": value for training, row in found.items() for measure_, value in row.items()
    }
