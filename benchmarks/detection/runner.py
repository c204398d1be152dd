"""Running many cases: one process each, rows saved as they come, then CSV and page."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pandas as pd

from benchmarks.detection.cases import Case, expand, load_cases
from benchmarks.detection.data import BUILD, Absent, load
from benchmarks.detection.page import write_page
from benchmarks.detection.product import PRODUCT
from benchmarks.detection.results import RESULTS, definition, fingerprint, load_rows, save_rows, stack, write_csv
from benchmarks.detection.run import Wanted, run_case, run_peers
from lotgate.settings import Settings, load_settings

CASES_PER_WORKER = 8


def run(cases: list[Case], args: argparse.Namespace) -> int:
    """Runs the cases that have no rows of this code yet, then writes CSV and page from all rows there are."""
    settings = load_settings(args.settings)
    code = fingerprint(settings)
    known = dict(iter(load_rows(args.split, cases).groupby("case")))
    empty = load_rows(args.split, [])
    done = _asked if args.only_peers else _done
    todo = [case for case in _with_data(cases) if not done(case, known.get(case.name, empty), code, args)]
    print(f"{len(cases)} cases, {len(todo)} to run, code {code}, {args.jobs} at a time", flush=True)
    failures = _run_all(todo, settings, code, args)
    rows = load_rows(args.split, expand(load_cases(), args.split))
    if len(rows):
        print(write_csv(args.split, rows))
        (RESULTS / "versions.json").write_text(json.dumps(stack(), indent=1) + "\n")
        print(write_page(args.split))
        _show(rows[rows["case"].isin({case.name for case in cases})])
    for name, why in failures.items():
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if failures else 0


def _run_all(todo: list[Case], settings: Settings, code: str, args: argparse.Namespace) -> dict[str, str]:
    """Runs the cases in worker processes, fresh ones every few cases: a crash takes only its neighbours with it.

    (`max_tasks_per_child` would do the same, but its pool stops for ever in Python 3.11.)
    """
    failures: dict[str, str] = {}
    context = multiprocessing.get_context("spawn")
    for start in range(0, len(todo), CASES_PER_WORKER * args.jobs):
        with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
            some = todo[start : start + CASES_PER_WORKER * args.jobs]
            futures = {pool.submit(_one, case, settings, code, _wanted(args), args.jobs): case for case in some}
            for number, future in enumerate(as_completed(futures), start + 1):
                case, why = futures[future], _failure(future)
                if why:
                    failures[case.name] = why
                print(f"[{number}/{len(todo)}] {case.name}: {why or future.result()}", flush=True)
    return failures


def _failure(future: Future[str]) -> str:
    """Why a case failed; empty where it did not."""
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        return "FAILED: its process, or a neighbour's, was killed (out of memory?); run again"
    return "" if error is None else f"FAILED: {type(error).__name__}: {str(error).splitlines()[0]}"


def _one(case: Case, settings: Settings, code: str, wanted: Wanted, jobs: int) -> str:
    import logging

    import torch

    for noisy in ("great_expectations", "art", "lotgate"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if jobs > 1:
        torch.set_num_threads(1)
    start = time.perf_counter()
    folder = BUILD / "cases" / case.split / case.name
    if wanted.only_peers:
        rows = run_peers(case, settings, folder, wanted.only_peers)
    else:
        rows = run_case(case, settings, folder, wanted)
    save_rows(case, rows, code)
    return f"{time.perf_counter() - start:.1f} s, {_figures(rows[0])}"


def _wanted(args: argparse.Namespace) -> Wanted:
    return Wanted(
        peers=not args.no_peers, downstream=args.downstream, price=args.price, skip=tuple(args.skip),
        only_peers=tuple(args.only_peers),
    )  # fmt: skip


def _figures(row: dict[str, Any]) -> str:
    shown = {k: row.get(k) for k in ("tpr", "fpr", "f1", "auroc", "context_tpr", "context_fpr")}
    words = " ".join(f"{k} {v:.3f}" for k, v in shown.items() if v is not None)
    return f"{words} {row.get('decision', row['method'])}"


def _with_data(cases: list[Case]) -> list[Case]:
    """The cases whose dataset is on this machine; the others are named."""
    absent: dict[str, str] = {}
    for name in {case.data.of or case.dataset for case in cases}:
        try:
            load(name)
        except Absent as error:
            absent[name] = str(error)
    for name, why in absent.items():
        skipped = sum((case.data.of or case.dataset) == name for case in cases)
        print(f"SKIPPED {skipped} cases on {name}: {why}", file=sys.stderr)
    return [case for case in cases if (case.data.of or case.dataset) not in absent]


def _done(case: Case, rows: pd.DataFrame, code: str, args: argparse.Namespace) -> bool:
    """Whether there are rows of this case, of this code and settings, with all that is wanted."""
    wanted = _wanted(args)
    own = rows[rows["method"] == PRODUCT]
    if own.empty or own["definition"].iloc[0] != definition(case):
        return False
    complete = own["decision"].iloc[0] == "refused" or (
        (not wanted.downstream or own["downstream"].iloc[0] == wanted.downstream)
        and (not wanted.price or own["training_seconds"].notna().all())
        and (not wanted.peers or (rows["family"] == "peer").any())
    )
    return bool(complete and (args.keep_stale or own["code"].iloc[0] == code))


def _asked(case: Case, rows: pd.DataFrame, code: str, args: argparse.Namespace) -> bool:
    """Whether the peers to ask anew answered under this code, or the lot was never screened with peers."""
    theirs = rows[rows["method"].isin(args.only_peers)]
    screened = rows[rows["family"] == "peer"]["definition"].eq(definition(case)).any()
    return bool(not screened or (len(theirs) and theirs["code"].eq(code).all()))


def _show(rows: pd.DataFrame) -> None:
    with pd.option_context("display.width", 200, "display.max_rows", 500, "display.float_format", "{:.3f}".format):
        table = rows[rows["n"].notna()].groupby(["dataset", "attack", "rate", "method"], sort=True)
        print(table[["tpr", "fpr", "f1", "auroc", "flagged_share", "seconds"]].mean().astype(float).to_string())
    absent = rows[rows["absent"].fillna("") != ""].groupby("method")["absent"].agg(["size", "first"])
    if len(absent):
        print("absent:\n" + absent.to_string())
