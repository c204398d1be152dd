"""One job → its rows: every variant of De-Pois, every peer and "flags nothing" on every lot of the job."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.de_pois.conventions import both
from benchmarks.de_pois.lots import Dealt, Lot, Rows, as_dataset, as_evidence, draw, poison, spoiled
from benchmarks.de_pois.parts import Job
from benchmarks.de_pois.peers import ask, peers_of
from benchmarks.de_pois.variants import VARIANTS, fit
from benchmarks.detection.data import BUILD
from lotgate.data import Dataset
from lotgate.detector import SCAN_BATCH
from lotgate.errors import InputError

Row = dict[str, Any]
PLANTED = BUILD / "de_pois"
NOTHING = "flags nothing"


def run_job(job: Job, code: str) -> list[Row]:
    """Fits and measures; one thread, so that CPU seconds are those of one core.

    Raises:
        Absent: the dataset is not on this machine.
    """
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="lotgate-de-pois-"))
    try:
        dealt = draw(job.dataset, job.trusted, job.seed)
        rows = spoiled(dealt, job.attacks[0], job.spoiled, job.seed)
        trusted = as_dataset(rows, dealt.names, folder / "trusted.npy", "trusted")
        lots = {(attack, r_p): _lot(dealt, job, attack, r_p, code, folder) for attack, r_p in job.lots()}
        made = [*_nothing(lots), *(row for name in job.variants for row in _variant(name, job, lots, trusted))]
        if job.peers:
            made += _peers(job, lots, trusted)
    finally:
        shutil.rmtree(folder)
    common = {
        "job": job.name, "dataset": job.dataset, "trusted": job.trusted, "spoiled": job.spoiled, "seed": job.seed,
        "n_trusted": len(trusted), "code": code,
    }  # fmt: skip
    return [common | row for row in made]


def _lot(dealt: Dealt, job: Job, attack: str, r_p: float, code: str, folder: Path) -> Lot:
    """The poisoned lot; images are kept, since every trusted share has the same ones and they take a while."""
    kept = PLANTED / code / f"{job.dataset}-{attack}-{r_p:g}-s{job.seed}.npz"
    if kept.exists():
        with np.load(kept, allow_pickle=False) as stored:
            rows, planted = Rows(stored["x"], stored["y"]), stored["planted"]
    else:
        rows, planted = poison(dealt, attack, r_p, job.seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f".{kept.name}")
        with draft.open("wb") as stream:
            np.savez_compressed(stream, x=rows.x, y=rows.y, planted=planted)
        draft.replace(kept)
    return Lot(as_dataset(rows, dealt.names, folder / f"{attack}-{r_p:g}.npy", "lot"), planted)


def _variant(name: str, job: Job, lots: dict[tuple[str, float], Lot], trusted: Dataset) -> Iterator[Row]:
    variant, first = VARIANTS[name], next(iter(lots.values())).suspect
    rng = np.random.default_rng([job.seed, 2])
    try:
        scorer, seconds = fit(variant, as_evidence(first, trusted, variant.held_out, job.seed), rng)
    except InputError as error:  # too few trusted rows: an outcome
        for attack, r_p in lots:
            yield {"method": name, "attack": attack, "r_p": r_p, "absent": error.what}
        return
    for (attack, r_p), lot in lots.items():
        start = time.process_time()
        scores = np.concatenate([scorer.score(batch) for batch in lot.suspect.batches(SCAN_BATCH)])
        took = 1000 * (time.process_time() - start) / len(scores)
        yield _row(name, attack, r_p, lot, scores > scorer.threshold, scores) | {
            "seconds_1000": took, "seconds_synthesis": seconds.get("synthesis"),
            "seconds_mimic": seconds.get("mimic"), "synthesised": seconds.get("synthesised"),
        }  # fmt: skip


def _peers(job: Job, lots: dict[tuple[str, float], Lot], trusted: Dataset) -> Iterator[Row]:
    for (attack, r_p), lot in lots.items():
        evidence = as_evidence(lot.suspect, trusted, True, job.seed)
        for name, peer in peers_of(attack, float(lot.planted.mean())).items():
            judged = ask(peer, evidence, job.seed)
            yield _row(name, attack, r_p, lot, judged.answer.flagged, judged.answer.scores) | {
                "seconds_1000": 1000 * judged.seconds / len(lot.planted)
            }


def _nothing(lots: dict[tuple[str, float], Lot]) -> Iterator[Row]:
    for (attack, r_p), lot in lots.items():
        yield _row(NOTHING, attack, r_p, lot, np.zeros(len(lot.planted), bool), None)


def _row(method: str, attack: str, r_p: float, lot: Lot, flagged: Any, scores: Any) -> Row:
    return {
        "method": method, "attack": attack, "r_p": r_p, "n": len(lot.planted), "n_planted": int(lot.planted.sum()),
        **both(lot.planted, flagged, scores),
    }  # fmt: skip
