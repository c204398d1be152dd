"""The command line: every line of bad input ends with exit 2, words, an untouched lot and no half-written folder."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lotgate import cli
from lotgate.detectors import DETECTORS
from tests.small_lots import digit_lots, snapshot, tumour_lots, write_settings

ROOT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0


@dataclass(frozen=True)
class Case:
    """One scan about to be made: what it reads, where it writes, and what it must say."""

    lot: Path
    trusted: Path | None
    out: Path
    extra: tuple[str, ...] = ()

    def argv(self) -> list[str]:
        trusted = [] if self.trusted is None else ["--trusted", str(self.trusted)]
        return ["scan", str(self.lot), *trusted, "--out", str(self.out), "--quiet", *self.extra]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small sound lots of every kind; copied, never changed."""
    base = tmp_path_factory.mktemp("delivered")
    digit_lots(base / "images", 60, 60)
    tumour_lots(base / "tables", 80, 80)
    write_settings(base / "params.yaml")
    return base


@pytest.fixture
def images(delivered: Path, tmp_path: Path) -> Case:
    shutil.copytree(delivered / "images", tmp_path / "in")
    settings = ("--settings", str(delivered / "params.yaml"))
    return Case(tmp_path / "in/lot", tmp_path / "in/trusted", tmp_path / "out", settings)


@pytest.fixture
def tables(delivered: Path, tmp_path: Path) -> Case:
    shutil.copytree(delivered / "tables", tmp_path / "in")
    settings = ("--settings", str(delivered / "params.yaml"), "--target", "diagnosis")
    return Case(tmp_path / "in/lot.csv", tmp_path / "in/trusted.csv", tmp_path / "out", settings)


def but(case: Case, **changes: object) -> Case:
    return Case(**{**case.__dict__, **changes})


def refused(case: Case, capsys: pytest.CaptureFixture[str], words: str) -> None:
    """Exit 2, what, where and next are said, the lot is untouched and nothing is left behind."""
    base = case.lot.parents[1] if case.lot.name != "typo" else case.lot.parents[2]
    before = snapshot(base)
    assert cli.run(case.argv()) == cli.EXIT_INPUT
    told = capsys.readouterr().err
    assert told.startswith("lotgate: ") and "  where: " in told and "  next:  " in told
    assert words in told
    assert "Traceback" not in told
    assert snapshot(base) == before, "something was left behind or changed"


def test_a_sound_lot_is_judged(images: Case, capsys: pytest.CaptureFixture[str]) -> None:
    landing = snapshot(images.lot)
    assert cli.run(images.argv()) == cli.EXIT_ACCEPTED
    assert "report.html" in capsys.readouterr().out
    assert snapshot(images.lot) == landing
    decision = json.loads((images.out / "decision.json").read_text())
    assert (decision["n_samples"], decision["seed"]) == (60, 0)
    assert {"ingest", "contract", "gather", "decide", "gate"} <= set(decision["seconds"])
    verdicts = pd.read_parquet(images.out / "verdicts.parquet")
    assert list(verdicts.columns[:5]) == ["sample_id", "label", "action", "score", "reasons"]
    assert verdicts["score"].between(0, 1).all() and len(verdicts) == 60

    (images.out / "report.html").unlink()
    assert cli.run(["report", str(images.out)]) == cli.EXIT_ACCEPTED
    assert (images.out / "report.html").is_file()

    again = but(images, out=images.out.with_name("again"))
    assert cli.run(again.argv()) == cli.EXIT_ACCEPTED
    pd.testing.assert_frame_equal(verdicts, pd.read_parquet(again.out / "verdicts.parquet"))


Edit = Callable[[Path], object]


def zip_named_png(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x", "y")


def truncate(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        file.write_bytes(file.read_bytes()[:40])


def empty_files(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")


def link_out(folder: Path) -> None:
    outside = folder.parent / "outside"
    folder.rename(outside)
    for file in sorted(outside.rglob("*.png")):
        link = folder / file.relative_to(outside)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)


def bombs(folder: Path) -> None:
    bomb = folder.parent / "bomb.png"
    Image.new("L", (12_000, 12_000)).save(bomb)
    for file in folder.rglob("*.png"):
        file.unlink()
        os.link(bomb, file)


LOTS: dict[str, tuple[Edit, str]] = {
    "missing": (shutil.rmtree, "the lot does not exist"),
    "empty folder": (lambda lot: [shutil.rmtree(f) for f in lot.iterdir()], "empty folder"),
    "folders without images": (lambda lot: [f.unlink() for f in lot.rglob("*.png")], "no images"),
    "every file of zero bytes": (empty_files, "zero bytes"),
    "every file truncated": (truncate, "lot"),
    "every PNG a ZIP": (zip_named_png, "ZIP archive"),
    "every link leads out": (link_out, "lot"),
    "every file a decompression bomb": (bombs, "pixels"),
}


@pytest.mark.parametrize("kind", LOTS)
def test_image_lots_that_are_none(kind: str, images: Case, capsys: pytest.CaptureFixture[str]) -> None:
    edit, words = LOTS[kind]
    edit(images.lot)
    refused(images, capsys, words)


def csv_of(lot: Path, text: str, encoding: str = "utf-8") -> None:
    lot.write_bytes(text.encode(encoding))


def rewrite(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Edit:
    return lambda lot: change(pd.read_csv(lot)).to_csv(lot, index=False)


TABLES: dict[str, tuple[Edit, str]] = {
    "ragged": (lambda lot: lot.write_text(lot.read_text() + "1,2\n"), "fields; the header has"),
    "duplicated columns": (
        lambda lot: lot.write_text(lot.read_text().replace("mean_texture", "mean_radius", 1)),
        "more than one column named mean_radius",
    ),
    "another encoding": (lambda lot: csv_of(lot, "a,diagnosis\n1,bösartig\n", "latin-1"), "not UTF-8"),
    "no label column": (rewrite(lambda f: f.drop(columns="diagnosis")), "no column named 'diagnosis'"),
    "labels all missing": (rewrite(lambda f: f.assign(diagnosis=None)), "every label is missing"),
    "constant and all missing": (
        rewrite(lambda f: f.assign(**{c: 1.0 if i else None for i, c in enumerate(f.columns[:-1])})), "",
    ),
    "not Parquet": (lambda lot: lot.rename(lot.with_suffix(".parquet")), "not a Parquet file"),
    "header only": (rewrite(lambda f: f.head(0)), "no rows"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_table_lots_that_are_none(kind: str, tables: Case, capsys: pytest.CaptureFixture[str]) -> None:
    edit, words = TABLES[kind]
    edit(tables.lot)
    case = but(tables, lot=tables.lot.with_suffix(".parquet")) if kind == "not Parquet" else tables
    if kind == "constant and all missing":  # the trusted set gives the columns: such a lot is judged, and rejected
        assert cli.run(case.argv()) == cli.EXIT_REJECTED
        reasons = " ".join(json.loads((case.out / "decision.json").read_text())["reasons"])
        assert "mean_radius" in reasons
        return
    refused(case, capsys, words)


def test_the_wrong_kind_of_label(tables: Case, capsys: pytest.CaptureFixture[str]) -> None:
    refused(but(tables, extra=(*tables.extra, "--task", "regression")), capsys, "regression needs a numeric target")
    continuous = (*tables.extra[:2], "--target", "mean_radius", "--task", "classification")
    refused(but(tables, extra=continuous), capsys, "continuous")


def test_infinite_missing_and_too_many_values_are_judged_and_kept_in_the_verdicts(tables: Case) -> None:
    frame = pd.read_csv(tables.lot)
    frame.loc[3, "mean_area"] = np.inf
    frame.loc[5, "mean_radius"] = None
    frame.to_csv(tables.lot, index=False)
    assert cli.run(tables.argv()) in {cli.EXIT_ACCEPTED, cli.EXIT_REJECTED}
    verdicts = pd.read_parquet(tables.out / "verdicts.parquet").set_index("sample_id")
    assert len(verdicts) == len(frame) and np.isfinite(verdicts["score"]).all()
    assert verdicts.loc["lot.csv#3", "action"] == "quarantine" and "mean_area" in verdicts.loc["lot.csv#3", "reasons"]


def test_a_class_with_one_image_and_a_broken_image(images: Case) -> None:
    (images.lot / "0/broken.png").write_bytes(b"\x89PNG")
    name = images.lot / "1" / "größe  +1%.png"
    next((images.lot / "1").iterdir()).rename(name)
    assert cli.run(images.argv()) == cli.EXIT_ACCEPTED
    verdicts = pd.read_parquet(images.out / "verdicts.parquet").set_index("sample_id")
    assert verdicts.loc["0/broken.png", "action"] == "quarantine" and verdicts.loc["0/broken.png", "reasons"]
    assert "1/größe  +1%.png" in verdicts.index
    for file in sorted((images.lot / "0").iterdir())[1:]:
        file.unlink()
    assert cli.run(images.argv()) == cli.EXIT_REJECTED
    assert "0" in " ".join(json.loads((images.out / "decision.json").read_text())["reasons"])


def test_paths_with_dots_spaces_and_other_letters(images: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    place = images.lot.parent / "Werk 7 – Straße"
    images.lot.rename(place)
    monkeypatch.chdir(images.trusted or place)
    case = but(images, lot=Path("..") / place.name, trusted=Path(), out=Path("../../Prüfung 1"))
    assert cli.run(case.argv()) == cli.EXIT_ACCEPTED
    decision = images.out.with_name("Prüfung 1") / "decision.json"
    assert json.loads(decision.read_text())["n_samples"] == 60


def test_no_trusted_set(images: Case, capsys: pytest.CaptureFixture[str]) -> None:
    refused(but(images, trusted=None), capsys, "no trusted set was given")
    empty = images.lot.parent / "nothing"
    empty.mkdir()
    refused(but(images, trusted=empty), capsys, "the trusted set is an empty folder")
    refused(but(images, trusted=images.lot.parent / "gone"), capsys, "the trusted set does not exist")
    allowed = write_settings(
        images.lot.parent / "weak.yaml", policy={"allow_untrusted": True, "voters": ["spectral_signatures"]}
    )
    case = but(images, trusted=None, extra=("--settings", str(allowed)))
    assert cli.run(case.argv()) in {cli.EXIT_ACCEPTED, cli.EXIT_REJECTED}
    assert "without a trusted set" in " ".join(json.loads((case.out / "decision.json").read_text())["reasons"])


def test_an_empty_folder_is_called_so_beside_a_table_too(tables: Case, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tables.lot.parent / "nothing"
    empty.mkdir()
    refused(but(tables, lot=empty), capsys, f"the lot is an empty folder\n  where: {empty}")
    refused(but(tables, lot=Path(os.path.relpath(empty))), capsys, f"the lot is an empty folder\n  where: {Path.cwd()}")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sead: 1", "sead"),
        ("policy: {max_quarantined_rate: 1.5}", "policy.max_quarantined_rate"),
        ("detectors: {spectral_signatures: {rate: 7}}", "rate"),
        ("policy: {reserve: [unexplained_cluster]}", "no detector 'unexplained_cluster'"),
        ("policy: {weights: {unexplained_cluster: 0.5}}", "no detector 'unexplained_cluster'"),
        ("policy: {weights_of_targets: {unexplained_cluster: 0.5}}", "no detector 'unexplained_cluster'"),
        ("probe: {model: no.such.module:factory}", "probe.model"),
        ("probe: {model: weights.pkl}", "probe.model"),
        ("probe: {device: tpu}", "probe.device"),
    ],
)
def test_wrong_settings(text: str, named: str, images: Case, capsys: pytest.CaptureFixture[str]) -> None:
    path = images.lot.parent / "wrong.yaml"
    path.write_text(text)
    refused(but(images, extra=("--settings", str(path))), capsys, named)


def test_wrong_options_and_seed(images: Case, capsys: pytest.CaptureFixture[str]) -> None:
    refused(but(images, extra=(*images.extra, "--seed", "-1")), capsys, "seed")
    for argv in (["scan"], ["scan", "lot", "--out", "x", "--task", "ranking"], ["nothing"], []):
        with pytest.raises(SystemExit) as ended:
            cli.run(argv)
        assert ended.value.code == cli.EXIT_INPUT


def test_places_that_are_not_for_output(images: Case, capsys: pytest.CaptureFixture[str]) -> None:
    images.out.mkdir()
    (images.out / "thesis.docx").write_text("years of work")
    refused(images, capsys, "holds other files (thesis.docx)")
    refused(but(images, out=images.out / "thesis.docx"), capsys, "output folder")
    refused(but(images, out=images.lot / "new" / "out"), capsys, "inside the lot")
    refused(but(images, out=images.lot), capsys, "output folder")
    refused(but(images, out=Path("/proc/lotgate")), capsys, "output folder cannot be written")


@pytest.fixture
def finished(images: Case) -> Case:
    """A case whose output folder holds an earlier, finished run."""
    assert cli.run(images.argv()) == cli.EXIT_ACCEPTED
    return images


def test_bad_input_leaves_the_results_of_an_earlier_run(finished: Case, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    refused(but(finished, lot=finished.lot / "typo"), capsys, "the lot does not exist")
    empty_files(finished.lot)
    refused(finished, capsys, "zero bytes")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        not AS_ROOT
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a file system needs root; test_a_file_that_may_not_grow covers the same errors")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(images: Case, tiny_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(but(images, out=tiny_disk / "out"), capsys, "No space left on device")


def run_child(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


def test_a_file_that_may_not_grow(tables: Case) -> None:
    code = (
        "import resource, signal, sys\n"
        "from lotgate import cli\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "sys.dont_write_bytecode = True\n"  # half a compiled module would be everybody's
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, {resource.RLIM_INFINITY}))\n"
        "sys.exit(cli.run(sys.argv[1:]))\n"
    )
    landing = snapshot(tables.lot)
    done = run_child(code, *tables.argv())
    assert done.returncode == cli.EXIT_INPUT, done.stderr
    assert "File too large" in done.stderr and "next:" in done.stderr
    assert not tables.out.exists() and snapshot(tables.lot) == landing


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write to, root included."""
    place = tmp_path / "sealed"
    place.mkdir()
    if AS_ROOT:
        mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("root may write everywhere here")
    place.chmod(0o555) if not AS_ROOT else None
    yield place
    if AS_ROOT:
        subprocess.run(["umount", str(place)], check=True)


def test_read_only_output(images: Case, read_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(but(images, out=read_only / "out"), capsys, "cannot be written")
    refused(but(images, out=read_only), capsys, "cannot be written")


@pytest.mark.skipif(AS_ROOT, reason="root may read everything")
def test_a_lot_that_may_not_be_read(images: Case, capsys: pytest.CaptureFixture[str]) -> None:
    images.lot.chmod(0)
    assert cli.run(images.argv()) == cli.EXIT_INPUT
    images.lot.chmod(0o755)
    assert "cannot be read" in capsys.readouterr().err


def test_detectors_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["detectors"]) == cli.EXIT_ACCEPTED
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [detector.name for detector in DETECTORS]
    for detector in DETECTORS:
        assert cli.run(["explain", detector.name]) == cli.EXIT_ACCEPTED
        told = capsys.readouterr().out
        assert all(word in told for word in ("Catches:", "Misses:", "Source:", *detector.model_fields))


def test_a_reader_that_has_gone_is_no_defect() -> None:
    """`lotgate explain … | head -1` ends quietly; it said, with a traceback, that nothing was published."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lotgate.cli", "explain", "shared_pattern"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (cli.EXIT_UNREAD, "")


def test_what_cannot_be_explained_or_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for argv in (["explain", "nobody"], ["report", str(tmp_path)], ["report", str(tmp_path / "gone")]):
        assert cli.run(argv) == cli.EXIT_INPUT
        told = capsys.readouterr().err
        assert "where:" in told and "next:" in told


def test_a_defect_in_code_is_exit_1_with_its_traceback(images: Case, capsys: pytest.CaptureFixture[str]) -> None:
    settings = write_settings(images.lot.parent / "p.yaml", probe={"model": "tests.small_models:divides_by_zero"})
    assert cli.run(but(images, extra=("--settings", str(settings))).argv()) == cli.EXIT_INTERNAL
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told and "internal error" in told
    assert not (images.out / "decision.json").exists()


def test_ctrl_c_is_told_as_such_whatever_it_broke(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(args: object) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("Task run is not set")  # noqa: B904  (as Prefect does between two tasks)
        return cli.EXIT_ACCEPTED

    assert cli.run(["broken"], lambda commands: commands.add_parser("broken").set_defaults(command=broken)) == 130
    told = capsys.readouterr().err
    assert told.startswith("lotgate: interrupted; nothing was published") and "Traceback" not in told


@pytest.mark.parametrize("argv", [["--help"], ["scan", "--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys\n"
        "from flows.cli import main\n"
        "sys.argv = ['lotgate', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n"
        "    heavy = {'torch', 'pandas', 'prefect', 'great_expectations', 'dvc', 'sklearn'} & set(sys.modules)\n"
        "    sys.exit(f'imported {heavy}' if heavy else ended.code)\n"
    )
    done = run_child(code, *argv)
    assert done.returncode == 0, done.stderr
    assert "lotgate" in done.stdout
