"""python -m benchmarks.speed — scans two lots, runs the whole job on the larger one, writes results.json.

Everything is a process of its own, as a user would start it. Ratios count; seconds depend on the machine, whose load
is written down beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.detection.data import BUILD, ROOT, Absent, Samples, load
from benchmarks.detection.downstream import training_cost
from lotgate.attacks import write_image_folder
from lotgate.data import Dataset
from lotgate.detectors import DETECTORS
from lotgate.versions import versions

HOME = BUILD / "speed"
SETTINGS = HOME / "params.yaml"
RESULTS = Path(__file__).with_name("results.json")
TRUSTED_SHARE = 0.2
LIBRARY_STEPS = {"ingest", "gather", "decide", *(detector.name for detector in DETECTORS)}
SCAN = ("-m", "lotgate.cli")
RUN = ("-c", "from flows.cli import main; main()")


@dataclass(frozen=True)
class Cost:
    """One process from start to end: wall-clock seconds and largest resident memory."""

    seconds: float
    peak_mb: float
    exit_code: int


def main(argv: list[str]) -> int:
    """Exit 0 when all three processes ended with a decision."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--images", type=int, default=4000, help="of the larger lot; a fifth more is trusted")
    parser.add_argument("--small", type=int, default=1000, help="of the smaller lot, for memory")
    parser.add_argument("--price", action="store_true", help="extrapolate the cost of one ResNet-18 training too")
    parser.add_argument("--settings", type=Path, default=None, help="a params.yaml; default: Lotgate's own defaults")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write the figures")
    args = parser.parse_args(argv)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    given = yaml.safe_load(args.settings.read_text()) if args.settings else {}
    given |= {"registry": {"path": str(HOME / "registry")}, "train": {"enabled": False}}
    SETTINGS.write_text(yaml.safe_dump(given))
    source, samples = _samples()
    load_before = os.getloadavg()[0]
    costs = {n: scan(n, samples) for n in (args.small, args.images)}
    whole = run(args.images)
    result = {
        "data": f"{source}, 3 × 32 × 32, {TRUSTED_SHARE:.0%} trusted on top", "cores": os.cpu_count(),
        "load_before": round(load_before, 2), "versions": versions(),
        "scan": {str(n): _scan_figures(n, cost) for n, cost in costs.items()},
        "memory": _memory(args.small, args.images, costs), "run": _run_figures(whole, args.images, costs[args.images]),
    }  # fmt: skip
    result["next_run"] = next_run(args.images, result["run"]["library_seconds"])
    if args.price:
        lot = Dataset.load(_folder("scan", args.images) / "work/lot").usable()
        result["resnet18_30_epochs_seconds"] = training_cost(lot)["training_seconds"]
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return max(0 if cost.exit_code in {0, 3} else 1 for cost in (*costs.values(), whole))


def scan(n: int, samples: Samples) -> Cost:
    """`lotgate scan` on a clean lot of n images."""
    rows = np.random.default_rng(n).permutation(len(samples.y))
    trusted = round(TRUSTED_SHARE * n)
    for part, chosen in (("lot", rows[:n]), ("trusted", rows[n : n + trusted])):
        x, y = samples.take(chosen)
        write_image_folder(x, y, samples.names, HOME / f"{part}-{n}", np.zeros(len(y), bool))
    return _process(SCAN, "scan", n, [])


def run(n: int) -> Cost:
    """`lotgate run` on the same lot: Prefect around each step, release with Git and DVC; training switched off."""
    return _process(RUN, "run", n, ["--dataset", "speed"])


def next_run(n: int, library_seconds: float) -> dict[str, float]:
    """What Prefect, GX and DVC add to the next lot, when server database and registry exist already.

    They cost the same whichever detectors run, so the next lot (one image less) is scanned and run with one cheap
    detector, and the difference is held against the library's seconds of the whole job.
    """
    lot = HOME / f"lot-{n - 1}"
    shutil.copytree(HOME / f"lot-{n}", lot)
    max(lot.glob("*/*.png")).unlink()
    (HOME / f"trusted-{n - 1}").symlink_to(HOME / f"trusted-{n}")
    quick = yaml.safe_load(SETTINGS.read_text())
    quick |= {"policy": {"voters": ["spectral_signatures"]}, "probe": {"epochs": 2, "min_steps": 0}}
    SETTINGS.write_text(yaml.safe_dump(quick))
    scanned, ran = _process(SCAN, "scan", n - 1, []), _process(RUN, "run", n - 1, ["--dataset", "speed"])
    added = ran.seconds - _run_figures(ran, n - 1, scanned)["library_seconds"]
    return {"added_seconds": round(added, 1), "share_of_prefect_gx_dvc": round(added / (library_seconds + added), 4)}


def _process(program: tuple[str, ...], command: str, n: int, more: list[str]) -> Cost:
    out = _folder(command, n)
    line = [
        sys.executable, *program, command, str(HOME / f"lot-{n}"), "--trusted", str(HOME / f"trusted-{n}"),
        "--out", str(out), "--settings", str(SETTINGS), *more,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(HOME / "prefect")}
    start = time.perf_counter()
    with (HOME / f"{command}-{n}.log").open("w") as log:
        process = subprocess.Popen(line, cwd=HOME, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    print(f"{command} {n}: {time.perf_counter() - start:.1f} s, exit {code}", flush=True)
    return Cost(time.perf_counter() - start, usage.ru_maxrss / 1024, code)


def _scan_figures(n: int, cost: Cost) -> dict[str, Any]:
    decision = json.loads((_folder("scan", n) / "decision.json").read_text())
    shares = {step: round(seconds / cost.seconds, 4) for step, seconds in decision["seconds"].items()}
    return {
        "decision": decision["decision"], "seconds": round(cost.seconds, 1), "peak_mb": round(cost.peak_mb, 1),
        "seconds_by_step": decision["seconds"], "share_by_step": shares,
        "share_of_the_rest": round(1 - sum(shares.values()), 4),
    }  # fmt: skip


def _run_figures(whole: Cost, n: int, scanned: Cost) -> dict[str, Any]:
    """What is neither one of the library's own steps nor part of a plain scan's rest counts as Prefect, GX and DVC.

    A scan's rest is starting the interpreter, importing torch and pandas, and writing the page; its contract and gate,
    which is where GX is imported and runs, are steps.
    """
    decision, alone = (json.loads((_folder(command, n) / "decision.json").read_text()) for command in ("run", "scan"))
    rest = scanned.seconds - sum(alone["seconds"].values())
    library = rest + sum(seconds for step, seconds in decision["seconds"].items() if step in LIBRARY_STEPS)
    return {
        "decision": decision["decision"], "seconds": round(whole.seconds, 1), "library_seconds": round(library, 1),
        "share_of_prefect_gx_dvc": round(1 - library / whole.seconds, 4),
        "times_a_scan": round(whole.seconds / scanned.seconds, 3), "peak_mb": round(whole.peak_mb, 1),
    }  # fmt: skip


def _memory(small: int, large: int, costs: dict[int, Cost]) -> dict[str, float]:
    """Growth of the peak from the small to the large lot, beside what could have made it grow."""
    maps = {n: sum(file.stat().st_size for file in _maps(n)) for n in costs}
    pixels = (1 + TRUSTED_SHARE) * (large - small) * 3 * 32 * 32 * 4
    return {
        "peak_growth_mb": round(costs[large].peak_mb - costs[small].peak_mb, 1),
        "feature_map_growth_mb": round((maps[large] - maps[small]) / 2**20, 1),
        "float32_pixels_growth_mb": round(pixels / 2**20, 1),
    }


def _maps(n: int) -> list[Path]:
    """Feature maps and logits of probe and twin."""
    return [file for file in _folder("scan", n).glob("work/*/*.npy") if file.name != "store.npy"]


def _folder(command: str, n: int) -> Path:
    return HOME / f"{command}-{n}"


def _samples() -> tuple[str, Samples]:
    """CIFAR-10 where it is; else images of noise around one colour per class, which cost the same."""
    try:
        return "cifar10", load("cifar10")
    except Absent:
        rng = np.random.default_rng(0)
        y = np.arange(10_000) % 10
        colours = rng.integers(60, 200, (10, 3, 1, 1))
        x = np.clip(colours[y] + rng.normal(0, 40, (len(y), 3, 32, 32)), 0, 255).astype(np.uint8)
        return "noise around ten colours", Samples(x, y, tuple(f"class {c}" for c in range(10)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
