"""Tasks of the training flow: fetch what was released, check it, train on it."""

from __future__ import annotations

import shutil
from pathlib import Path

from prefect import get_run_logger, task

from lotgate.release import RegistrySettings, TrainSettings


@task(name="checkout", task_run_name="checkout {dataset}@v{version}")
def checkout_version(dataset: str, version: int, registry: RegistrySettings, room: Path) -> Path:
    """Fetches the tagged version from the DVC remote into `room/version`, every file compared with the record."""
    from tasks.registry import checkout

    room.mkdir(parents=True, exist_ok=True)
    found = checkout(registry, dataset, version, room / "version")
    get_run_logger().info("%s: commit %s, %d files", found.tag, found.commit[:12], len(found.record.files))
    return room / "version"


@task(name="verify")
def verify_version(folder: Path) -> str:
    """Compares every file with the release record once more, right before training → SHA-256 of the record."""
    from lotgate.release import parse_record, sha256_file, verify_files

    path = folder / "release.json"
    verify_files(folder / "data", parse_record(path.read_bytes(), path).files)
    return sha256_file(path)


@task(name="fit")
def fit_model(
    folder: Path, record_sha256: str, training: TrainSettings, trusted: str | None, seed: int, room: Path
) -> Path:
    """Trains on the verified version and writes the model with its card → path of the card."""
    import numpy as np

    from lotgate.errors import IntegrityError
    from lotgate.ingest import IngestSettings
    from lotgate.pair import read_pair
    from lotgate.release import parse_record, sha256_file
    from lotgate.training import train_model, write_model

    path = folder / "release.json"
    if sha256_file(path) != record_sha256:
        raise IntegrityError("the release record changed after it was verified", where=path, action="train again")
    record = parse_record(path.read_bytes(), path)
    how = IngestSettings.model_validate(record.settings.get("ingest", {}))
    shutil.rmtree(room / "ingested", ignore_errors=True)
    released, vetted = read_pair(
        room / "ingested", folder / "data" / record.entry, None if trusted is None else Path(trusted),
        record.target, record.task, how,
    )  # fmt: skip
    model = train_model(released, vetted, training, np.random.default_rng(seed), get_run_logger().info)
    origin = {
        "dataset": record.dataset, "version": record.version, "tag": record.tag, "release_record_sha256": record_sha256,
        "lot_fingerprint": record.lot_fingerprint, "seed": seed, "training": training.model_dump(),
    }  # fmt: skip
    return write_model(model, origin, Path(training.out) / record.dataset / f"v{record.version}")
