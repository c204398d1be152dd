"""The commands that need neither Prefect nor a registry: scan, detectors, explain, report.

`flows/cli.py` adds run and verify, and is what the `lotgate` script starts.
Exit codes: 0 accepted, with or without quarantine; 3 rejected; 2 wrong input or settings; 1 internal error; 141 nobody
reads the output any more.
"""

from __future__ import annotations

import argparse
import errno
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lotgate import __version__
from lotgate.errors import InputError, LotgateError, OutputError

if TYPE_CHECKING:  # heavy
    from lotgate.context import Context
    from lotgate.settings import Settings

Subparsers = argparse._SubParsersAction  # the type argparse itself hands out
Extra = Callable[["Subparsers[argparse.ArgumentParser]"], None]

EXIT_ACCEPTED, EXIT_INTERNAL, EXIT_INPUT, EXIT_REJECTED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
EXIT_UNREAD = 141  # as a shell reports a program that SIGPIPE ended
STORAGE_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EFBIG}


def run(argv: Sequence[str] | None = None, extra: Extra | None = None) -> int:
    """Parses, runs one command, prints errors the one way they are printed, and returns the exit code."""
    parser = _parser(extra)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("lotgate").setLevel(logging.WARNING if args.quiet else logging.INFO)
    try:
        code = int(args.command(args))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _stopped()
    except Exception as error:  # noqa: BLE001  the last line of defence: an internal error is exit 1, with its traceback
        if isinstance(error, BrokenPipeError) and _unread():
            return EXIT_UNREAD
        return _stopped() if _interrupted(error) else _tell(error, args)


def main() -> None:
    """Entry point without the Prefect commands: `python -m lotgate.cli`."""
    sys.exit(run())


def decision_exit(decision: str) -> int:
    """The exit code that a decision means."""
    return EXIT_REJECTED if decision == "reject" else EXIT_ACCEPTED


def add_screening_arguments(parser: argparse.ArgumentParser) -> None:
    """What `scan` and `run` have in common."""
    parser.add_argument("lot", type=Path, metavar="LOT", help="folder of class folders, or a CSV or Parquet file")
    parser.add_argument("--trusted", type=Path, metavar="TRUSTED", help="vetted samples, in the same form")
    parser.add_argument("--target", metavar="COLUMN", help="label column of a table (default: label, then target)")
    parser.add_argument("--task", choices=["auto", "classification", "regression"], default="auto")
    parser.add_argument("--settings", type=Path, metavar="params.yaml", help="settings (default: built in)")
    parser.add_argument("--seed", type=int, help="seed of everything random (default: from the settings, 0)")


def tell_decision(run_folder: Path) -> str:
    """A few lines for a terminal: the decision, why, and where the report is. Returns the decision."""
    from lotgate.findings import Decision

    decision = Decision.model_validate_json((run_folder / "decision.json").read_text())
    print(f"{decision.decision.replace('_', ' ').upper()}: {decision.reasons[0]}")
    for reason in decision.reasons[1:]:
        print(f"  {reason}")
    for check in decision.checks:
        if not check.passed and not check.critical:
            print(f"  note: {check.words}")
    print(f"report: {run_folder / 'report.html'}")
    return decision.decision


def _parser(extra: Extra | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lotgate", description="Lot acceptance for training data. Exit 0: accepted; 3: rejected; 2: wrong input."
    )
    parser.add_argument("--version", action="version", version=f"lotgate {__version__}")
    quiet = argparse.ArgumentParser(add_help=False)
    quiet.add_argument("--quiet", action="store_true", help="no progress on stderr")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_quiet_parser(quiet))
    scan = commands.add_parser("scan", help="screen a lot: no registry, no Prefect server")
    add_screening_arguments(scan)
    scan.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    scan.set_defaults(command=_scan)
    listing = commands.add_parser("detectors", help="list the detectors")
    listing.set_defaults(command=_detectors)
    explain = commands.add_parser("explain", help="what a detector catches, misses, assumes and costs")
    explain.add_argument("detector", metavar="DETECTOR")
    explain.set_defaults(command=_explain)
    report = commands.add_parser("report", help="write report.html again from a run's tables")
    report.add_argument("run", type=Path, metavar="DIR")
    report.set_defaults(command=_report)
    if extra is not None:
        extra(commands)
    return parser


def _quiet_parser(quiet: argparse.ArgumentParser) -> type[argparse.ArgumentParser]:
    class Command(argparse.ArgumentParser):
        def __init__(self, **kwargs: object) -> None:
            super().__init__(**{**kwargs, "parents": [quiet]})  # type: ignore[arg-type]

    return Command


def _scan(args: argparse.Namespace) -> int:
    from lotgate.settings import load_settings

    return screen_lot(args, load_settings(args.settings, seed=args.seed))


def screen_lot(args: argparse.Namespace, settings: Settings, context: Sequence[Context] = ()) -> int:
    """`scan` with its settings read and its context fetched."""
    from lotgate.stages import screen

    screen(args.out, args.lot, args.trusted, settings, args.target, args.task, context)
    return decision_exit(tell_decision(args.out))


def _detectors(args: argparse.Namespace) -> int:
    from lotgate.detectors import DETECTORS
    from lotgate.policy import Policy

    voters = Policy().voters
    for detector in DETECTORS:
        voice = "votes" if detector.name in voters else "reports"
        scope = f"{'+'.join(sorted(detector.modalities))}, {'+'.join(sorted(detector.tasks))}"
        summary = inspect.getdoc(detector).splitlines()[0]  # type: ignore[union-attr]  # a test proves there is one
        print(f"{detector.name:<24} {voice:<8} {scope:<44} {summary}")
    return EXIT_ACCEPTED


def _explain(args: argparse.Namespace) -> int:
    from lotgate.detectors import DETECTORS

    known = {detector.name: detector for detector in DETECTORS}
    if args.detector not in known:
        raise InputError(
            f"there is no detector {args.detector!r}", where="DETECTOR", action=f"choose one of {', '.join(known)}"
        )
    detector = known[args.detector]
    print(f"{detector.name}\n\n{inspect.getdoc(detector)}\n\nParameters (params.yaml, detectors.{detector.name}):")
    for name, field in detector.model_fields.items():
        print(f"  {name:<20} {field.default!r:<20} {field.description or ''}".rstrip())
    return EXIT_ACCEPTED


def _report(args: argparse.Namespace) -> int:
    from lotgate.report import report

    if not (args.run / "decision.json").is_file():
        raise InputError(
            "this is not the folder of a finished run: it has no decision.json",
            where=args.run, action="give the DIR of a `lotgate scan` or `lotgate run`",
        )  # fmt: skip
    print(report(args.run))
    return EXIT_ACCEPTED


def _interrupted(error: BaseException | None) -> bool:
    """Whether it came of Ctrl-C: Prefect fails in other ways when that falls between two of its steps."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _stopped() -> int:
    print("lotgate: interrupted; nothing was published and the lot is untouched; run again", file=sys.stderr)
    return EXIT_INTERRUPTED


def _unread() -> bool:
    """Whether the reader of the output has gone, as `| head` does: then what is left to say goes nowhere."""
    try:
        print(flush=True)  # what could not be written may be lost already: only a new line tells
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _tell(error: Exception, args: argparse.Namespace) -> int:
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        error = OutputError(
            f"a file cannot be read or written: {error.strerror}",
            where=error.filename or getattr(args, "out", None) or Path.cwd(),
            action="free some space or correct the permissions, and run again; nothing was published",
        )
    if isinstance(error, LotgateError):
        print(f"lotgate: {error}", file=sys.stderr)
        return error.exit_code
    traceback.print_exc()
    print("lotgate: internal error, above; nothing was published and the lot is untouched", file=sys.stderr)
    return EXIT_INTERNAL


if __name__ == "__main__":
    main()
