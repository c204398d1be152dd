"""python -m benchmarks.de_pois [--only PART] — runs what has no rows yet, then writes docs/de-pois-tables.md."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from benchmarks.de_pois.page import write_page
from benchmarks.de_pois.parts import PARTS, jobs
from benchmarks.de_pois.results import fingerprint, read_rows, with_job, write_rows
from benchmarks.de_pois.run import run_job
from benchmarks.detection.data import Absent


def main(argv: list[str]) -> int:
    """Exit 0; a job whose data is not on this machine is named and skipped."""
    args = _parser().parse_args(argv)
    logging.getLogger("lotgate").setLevel(logging.ERROR)
    code, rows = fingerprint(), read_rows()
    for job in [] if args.page else jobs(args.only):
        known = rows.loc[rows["job"] == job.name, "code"]
        if len(known) and (args.keep_stale or (known == code).all()):
            continue
        start = time.process_time()
        try:
            rows = with_job(rows, run_job(job, code))
        except Absent as error:
            print(f"SKIPPED {job.name}: {error}", file=sys.stderr)
            continue
        write_rows(rows)
        print(f"{job.name}: {time.process_time() - start:.0f} CPU seconds", flush=True)
    print(write_page(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.de_pois", description=__doc__)
    parser.add_argument("--only", choices=tuple(PARTS), default="", help="one part; default: all")
    parser.add_argument("--page", action="store_true", help="only write the page from the rows there are")
    parser.add_argument("--keep-stale", action="store_true", help="do not run again what other code measured")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
