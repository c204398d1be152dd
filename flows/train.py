"""The training flow: runs on a release and on nothing else."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from lotgate.release import RegistrySettings, TrainSettings
from tasks.train import checkout_version, fit_model, verify_version


@flow(name="train", flow_run_name="train {dataset}@v{version}", log_prints=False)
def train(
    dataset: str,
    version: int,
    registry: RegistrySettings | None = None,
    training: TrainSettings | None = None,
    trusted: str | None = None,
    seed: int = 0,
) -> str:
    """Trains a model on a released version.

    Args:
        dataset, version: the release `<dataset>/v<version>`.
        registry: where it is.
        training: how to train.
        trusted: trusted set to measure on; without it some of the released rows are held out.
        seed: of the training.

    Returns:
        Path of the model's card, `model.json`.

    Raises:
        RegistryError: the version was not released.
        IntegrityError: it is not what was released.
    """
    registry, training = registry or RegistrySettings(), training or TrainSettings()
    room = Path(training.work).resolve() / dataset / f"v{version}"
    folder = checkout_version(dataset, version, registry, room)
    record_sha256 = verify_version(folder)
    card = fit_model(folder, record_sha256, training, trusted, seed, room)
    return str(card)
