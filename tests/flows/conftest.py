"""A judged run, made by hand: what a finished scan leaves behind, small enough to release in a second."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lotgate.data import Dataset
from lotgate.findings import Check, Decision, GateResult, findings_frame
from lotgate.release import RegistrySettings
from tasks.registry import open_or_create, publish

Make = Callable[..., Path]

# Before Prefect is imported anywhere: its settings are read once.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
import flows  # noqa: E402, F401


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One real Prefect server for all tests of flows."""
    from prefect.testing.utilities import prefect_test_harness

    from flows.environment import quiet_heartbeat

    with prefect_test_harness(server_startup_timeout=120), quiet_heartbeat():
        yield


def write_images(folder: Path, rng: np.random.Generator, per_class: int = 6) -> list[Path]:
    """Two classes of 8×8 grey images that differ in brightness."""
    from PIL import Image

    files = []
    for label, level in (("dark", 40), ("light", 200)):
        (folder / label).mkdir(parents=True)
        for i in range(per_class):
            path = folder / label / f"part {i} ü.png"
            Image.fromarray((level + rng.integers(0, 30, (8, 8))).astype(np.uint8)).save(path)
            files.append(path)
    return files


def image_lot(root: Path, files: list[Path], work: Path, extras: dict[str, str] | None = None) -> Dataset:
    """The lot as ingest would hand it over."""
    from PIL import Image

    order = sorted(files, key=lambda path: path.relative_to(root).as_posix())
    names = [path.relative_to(root).as_posix() for path in order]
    work.mkdir(parents=True)
    np.save(work / "store.npy", np.stack([np.asarray(Image.open(path))[None] for path in order]))
    manifest = pd.DataFrame(
        {
            "sample_id": names,
            "uri": names,
            "label": [name.split("/")[0] for name in names],
            "source": None,
            "sha256": [hashlib.sha256(path.read_bytes()).hexdigest() for path in order],
            "content_sha256": [hashlib.sha256(np.asarray(Image.open(path)).tobytes()).hexdigest() for path in order],
            "row": range(len(names)),
            "defect": None,
            **(extras or {}),
        }
    )
    return Dataset("image", "classification", manifest, root, work / "store.npy", classes=("dark", "light"))


def table_lot(path: Path, work: Path, rng: np.random.Generator) -> Dataset:
    """A regression table of 12 rows with its columns kept."""
    work.mkdir(parents=True)
    frame = pd.DataFrame({"temp": rng.normal(size=12), "grade": list("abc") * 4, "wear": rng.normal(size=12)})
    frame.to_parquet(work / "raw.parquet", index=False)
    np.save(work / "store.npy", frame[["temp"]].to_numpy(np.float32))
    ids = [f"{path.name}#{i}" for i in range(12)]
    manifest = pd.DataFrame(
        {
            "sample_id": ids, "uri": path.name, "label": frame["wear"], "source": None,
            "sha256": [hashlib.sha256(repr(row).encode()).hexdigest() for row in frame.itertuples()],
            "row": range(12), "defect": None,
        }
    ).sort_values("sample_id", ignore_index=True)  # fmt: skip
    return Dataset("table", "regression", manifest, path.parent, work / "store.npy", features=("temp",),
                   raw=work / "raw.parquet")  # fmt: skip


def write_run(run: Path, lot: Dataset, quarantined: set[str], decision: str | None = None) -> Path:
    """The files of a finished scan around a lot."""
    ids = lot.ids
    flagged = np.array([i in quarantined for i in ids])
    lot.save(run / "work" / "lot")
    lot.manifest.to_parquet(run / "manifest.parquet")
    pd.DataFrame(
        {
            "sample_id": ids, "label": lot.manifest["label"], "action": np.where(flagged, "quarantine", "keep"),
            "score": flagged.astype(float), "reasons": np.where(flagged, "spectral_signatures: p = 0.0001", ""),
        }
    ).to_parquet(run / "verdicts.parquet")  # fmt: skip
    findings_frame(ids, "spectral_signatures", flagged.astype(float), 1.0 - flagged, flagged).to_parquet(
        run / "findings.parquet"
    )
    check = Check(name="verdicts: complete", passed=decision != "reject", observed=len(ids), limit=len(ids))
    for name in ("contract.json", "gate.json"):
        (run / name).write_text(GateResult(checks=(check,)).model_dump_json())
    outcome = decision or ("accept_with_quarantine" if quarantined else "accept")
    made = Decision(
        decision=outcome, reasons=("as planned",), lot_fingerprint=lot.fingerprint, trusted_fingerprint="f" * 64,
        trusted=True, task=lot.task, modality=lot.modality, n_samples=len(ids), n_quarantined=int(flagged.sum()),
        voters=("spectral_signatures",), thresholds={"spectral_signatures": 0.5}, checks=(check,), seconds={},
        versions={"lotgate": "0.1.0"}, seed=7, settings={"seed": 7},
    )  # fmt: skip
    (run / "decision.json").write_text(made.model_dump_json())
    return run


def judged_run(base: Path, name: str, quarantined: int, decision: str | None, seed: int) -> Path:
    """A finished scan of a new image lot, `<base>/landing/<name>` → `<base>/runs/<name>`."""
    root = base / "landing" / name
    files = write_images(root, np.random.default_rng(seed))
    run = base / "runs" / name
    lot = image_lot(root, files, run / "ingested")
    return write_run(run, lot, set(lot.ids[:quarantined]), decision)


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Makes a run over a new image lot: `make_run(name, quarantined=1, decision=None)`."""

    def make(name: str = "lot", quarantined: int = 1, decision: str | None = None, seed: int = 0) -> Path:
        return judged_run(tmp_path, name, quarantined, decision, seed)

    return make


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded registry as Lotgate makes it on first use; copied, never changed."""
    base = tmp_path_factory.mktemp("empty")
    open_or_create(RegistrySettings(path=str(base / "registry")))
    return base


@pytest.fixture
def settings(tmp_path: Path, empty_registry: Path) -> RegistrySettings:
    """A registry with no release in it."""
    shutil.copytree(empty_registry / "registry", tmp_path / "registry")
    return RegistrySettings(path=str(tmp_path / "registry"), lock_timeout=1)


@pytest.fixture(scope="session")
def one_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with parts/v1 and the landing lot it came from; copied, never changed."""
    base = tmp_path_factory.mktemp("one")
    publish(judged_run(base, "lot", 1, None, 0), "parts", "lot", RegistrySettings(path=str(base / "registry")))
    return base


@pytest.fixture
def released(tmp_path: Path, one_release: Path) -> RegistrySettings:
    """A registry with parts/v1."""
    for name in ("registry", "registry-remote"):
        shutil.copytree(one_release / name, tmp_path / name)
    return RegistrySettings(path=str(tmp_path / "registry"), lock_timeout=1)


@pytest.fixture
def landing(one_release: Path) -> Path:
    """The lot that parts/v1 came from."""
    return one_release / "landing" / "lot"


def snapshot(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder, by path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def edit_json(path: Path, **changes: object) -> None:
    """Changes keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
