"""python -m benchmarks.detection list | run | page | docs — see --help of each."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from benchmarks.detection.cases import expand, load_cases
from benchmarks.detection.docs import write_docs
from benchmarks.detection.page import write_page
from benchmarks.detection.peers import FROM_TRUSTED
from benchmarks.detection.quotes import write_quotes
from benchmarks.detection.runner import run


def main(argv: list[str]) -> int:
    """Exit 0: every case that could run has rows; 1: some failed."""
    args = _parser().parse_args(argv)
    if args.command == "docs":
        print("\n".join(map(str, _write_texts())))
        return 0
    cases = [case for case in expand(load_cases(), args.split) if re.search(args.only, f"{case.group}/{case.name}")]
    if args.command == "list":
        print("\n".join(f"{case.group}/{case.name}" for case in cases))
        return 0
    if args.command == "run":
        status = run(cases, args)
    else:
        print(write_page(args.split))
        status = 0
    if args.split == "report":  # the only figures that a page may quote
        _write_texts()
    return status


def _write_texts() -> list[Path]:
    return [*write_docs(), write_quotes()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("docs", help="docstrings and CSV → docs/detectors/*.md and README; `run`, `page` too")
    for name, words in (("list", "the cases"), ("run", "run what has no rows yet"), ("page", "CSV → HTML")):
        command = commands.add_parser(name, help=words)
        command.add_argument("--split", choices=("tune", "report"), default="report")
        command.add_argument("--only", default="", metavar="PATTERN", help="regular expression on GROUP/CASE")
        if name == "run":
            _run_options(command)
    return parser


def _run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--jobs", type=int, default=1, help="cases at the same time, one process each")
    command.add_argument("--settings", type=Path, default=None, help="a params.yaml; default: Lotgate's own defaults")
    command.add_argument(
        "--downstream", default="", metavar="MODEL",
        help="also train on raw, kept and perfectly filtered sets: auto (the small probe) or resnet18",
    )  # fmt: skip
    command.add_argument("--price", action="store_true", help="extrapolate the cost of one downstream training")
    command.add_argument("--no-peers", action="store_true", help="only Lotgate's own rows, while improving it")
    command.add_argument(
        "--only-peers", action="append", default=[], choices=FROM_TRUSTED,
        help="ask only this peer anew, on lots that were screened before: it reads nothing that screening makes",
    )  # fmt: skip
    command.add_argument(
        "--skip", action="append", default=[], metavar="DETECTOR", help="one without a vote that need not report either"
    )
    command.add_argument("--keep-stale", action="store_true", help="do not run again what other code or settings ran")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
