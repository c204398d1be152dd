"""The folder that ingest writes: whole or not there, whatever happens to the disk or the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from lotgate.data import Dataset
from lotgate.errors import LotError, OutputError
from lotgate.ingest import ingest
from lotgate.ingest.store import new_store


def table(file: Path, rows: int = 50) -> Path:
    file.write_text("a,b,label\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(rows)))
    return file


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_store_is_a_plain_npy_file(tmp_path: Path) -> None:
    with new_store(tmp_path / "s.npy", (4, 2, 3), np.uint16) as store:
        store.write(1, np.ones((2, 3)))
        store.write(2, np.full((2, 2, 3), 7))
    read = np.load(tmp_path / "s.npy", mmap_mode="r", allow_pickle=False)
    assert read.dtype == np.uint16 and read[:, 0, 0].tolist() == [0, 1, 7, 7]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    lot = table(tmp_path / "lot.csv")
    (tmp_path / "file").touch()
    for place in (tmp_path / "file/work", Path("/proc/lotgate")):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            ingest(lot, place)
        assert str(place) in caught.value.where


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    lot = table(tmp_path / "lot.csv", rows=20_000)
    code = """
        import resource, signal, sys
        from pathlib import Path
        from lotgate.errors import OutputError
        from lotgate.ingest import ingest
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sys.dont_write_bytecode = True  # half a compiled module would be everybody's
        for limit in (20_000, 150_000):  # the first cuts the raw table, the second the store
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            try:
                ingest(Path(sys.argv[1]), Path(sys.argv[2]))
            except OutputError as error:
                print(error.what, Path(sys.argv[2]).exists())
    """
    out, _ = run(code, lot, tmp_path / "work").communicate(timeout=120)
    assert out.splitlines() == ["the ingested samples cannot be written: File too large False"] * 2


def test_an_error_leaves_an_earlier_result_whole(tmp_path: Path) -> None:
    first = ingest(table(tmp_path / "lot.csv"), tmp_path / "work")
    (tmp_path / "lot.csv").write_text("a,label\n1,\n")
    with pytest.raises(LotError):
        ingest(tmp_path / "lot.csv", tmp_path / "work")
    assert Dataset.load(tmp_path / "work").fingerprint == first.fingerprint


@pytest.mark.parametrize(("end", "left"), [(signal.SIGKILL, [".part"]), (signal.SIGINT, [])])
def test_an_ended_run_leaves_nothing_that_loads_and_can_be_repeated(
    end: signal.Signals, left: list[str], tmp_path: Path
) -> None:
    lot = table(tmp_path / "lot.csv", rows=400_000)
    work = tmp_path / "work"
    process = run(
        "import sys; from pathlib import Path; from lotgate.ingest import ingest; ingest(*map(Path, sys.argv[1:]))",
        lot,
        work,
    )
    deadline = time.monotonic() + 60
    while not (work / ".part/store.npy").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(end)
    assert process.wait(timeout=60) != 0
    assert [p.name for p in work.iterdir()] == left if left else not work.exists()
    table(lot)
    ingest(lot, work)
    expected = ["dataset.json", "manifest.parquet", "raw.parquet", "store.npy"]
    assert sorted(p.name for p in work.iterdir()) == expected


def test_images_after_a_table_leave_no_raw_table_behind(tmp_path: Path) -> None:
    from PIL import Image

    ingest(table(tmp_path / "lot.csv"), tmp_path / "work")
    (tmp_path / "lot/a").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "lot/a/x.png")
    ingest(tmp_path / "lot", tmp_path / "work")
    assert not (tmp_path / "work/raw.parquet").exists()


def test_a_failure_between_two_files_leaves_nothing_that_loads(tmp_path: Path) -> None:
    ingest(table(tmp_path / "lot.csv"), tmp_path / "work")
    (tmp_path / "work/store.npy").unlink()
    (tmp_path / "work/store.npy/in the way").mkdir(parents=True)  # raw.parquet is replaced, store.npy cannot be
    with pytest.raises(OutputError, match="cannot be written"):
        ingest(table(tmp_path / "lot.csv", rows=60), tmp_path / "work")
    assert not (tmp_path / "work/dataset.json").exists()
