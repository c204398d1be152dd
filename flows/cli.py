"""The `lotgate` command: what the library offers, and the two commands that need Prefect or the registry."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from flows.environment import make_home, quiet_heartbeat, tell_errors_once
from lotgate import cli
from lotgate.errors import LotgateError


def main() -> None:
    """Entry point of the `lotgate` script."""
    sys.exit(cli.run(None, add_commands))


def add_commands(commands: cli.Subparsers[argparse.ArgumentParser]) -> None:
    """Adds run and verify to the library's commands, and to its scan what needs the registry."""
    scan = commands.choices["scan"]
    _add_context(scan)
    scan.set_defaults(command=scan_command)
    run = commands.add_parser("run", help="the whole job: screen, release what passes, train on it")
    cli.add_screening_arguments(run)
    _add_context(run)
    run.add_argument("--dataset", required=True, metavar="NAME", help="name of the dataset in the registry")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: data/runs/…)")
    run.set_defaults(command=run_command)
    verify = commands.add_parser("verify", help="fetch a released version and compare every file with its record")
    verify.add_argument("release", metavar="DATASET@VERSION")
    verify.add_argument("--settings", type=Path, metavar="params.yaml", help="settings (default: built in)")
    verify.set_defaults(command=verify_command)


def _add_context(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--context", action="append", metavar="DATASET@VERSION",
        help="judge the lot together with an earlier release, which finds poison that comes slowly, and say which of "
        "its samples are now suspect; may be given several times",
    )  # fmt: skip


def scan_command(args: argparse.Namespace) -> int:
    """The library's scan; what it takes as context is fetched for it."""
    from lotgate.settings import load_settings
    from tasks.registry import context_room, fetch_context

    settings = load_settings(args.settings, seed=args.seed, context=args.context)
    with context_room(settings.context, settings.registry) as room:
        return cli.screen_lot(args, settings, fetch_context(settings.context, settings.registry, room))


def run_command(args: argparse.Namespace) -> int:
    """The whole job through Prefect; the exit code is that of `decision.json`."""
    from lotgate.release import check_dataset_name, lot_name
    from lotgate.settings import load_settings

    check_dataset_name(args.dataset)
    load_settings(
        args.settings, seed=args.seed, context=args.context
    )  # wrong settings are told before a server is started
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    folder = args.out or Path("data/runs") / args.dataset / f"{lot_name(str(args.lot), '')}{stamp}"
    _screen(args, folder)
    return cli.decision_exit(cli.tell_decision(folder))


def _screen(args: argparse.Namespace, folder: Path) -> None:
    make_home()  # before Prefect is imported
    import httpx

    from flows.screen import screen

    tell_errors_once()
    try:
        with quiet_heartbeat():
            screen(
                lot=str(args.lot), trusted=None if args.trusted is None else str(args.trusted), dataset=args.dataset,
                run=str(folder), settings_path=None if args.settings is None else str(args.settings),
                target=args.target, task=args.task, seed=args.seed, context=args.context,
            )  # fmt: skip
    except (httpx.HTTPError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "API" not in str(error):
            raise
        raise LotgateError(
            f"the Prefect server cannot be reached or has gone: {error}",
            where=f"{folder}; what is written there stays",
            action="check PREFECT_API_URL (unset, Lotgate starts its own server) and run again; "
            "`lotgate scan` needs no server",
        ) from error


def verify_command(args: argparse.Namespace) -> int:
    """Fetches a version from the DVC remote and compares every file with the release record."""
    from lotgate.release import split_release_name
    from lotgate.settings import load_settings
    from tasks.registry import verify

    dataset, version = split_release_name(args.release)
    record = verify(load_settings(args.settings).registry, dataset, version)
    n_files = len(record.files) + len(record.quarantine_files)
    print(f"{record.tag}: {n_files} files are what was released; {record.n_kept} of {record.n_samples} samples kept")
    return cli.EXIT_ACCEPTED


if __name__ == "__main__":
    main()
