"""Training: started by a release and nothing else, and refused on anything that is not what was released."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from flows.train import train
from flows.trigger import OWN, trigger
from lotgate.errors import IntegrityError, LotgateError, RegistryError, SettingsError
from lotgate.release import RegistrySettings, TrainSettings, sha256_file
from tasks.registry import publish, verify
from tasks.registry.commands import git
from tests.flows.conftest import Make, edit_json

WHO = {f"GIT_{role}_{part}": "t" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


@pytest.fixture
def training(tmp_path: Path) -> TrainSettings:
    return TrainSettings(epochs=2, width=8, out=str(tmp_path / "models"), work=str(tmp_path / "work"))


def remote_objects(settings: RegistrySettings) -> list[Path]:
    files = sorted(Path(f"{settings.path}-remote").rglob("*"))
    return [path for path in files if path.is_file() and path.suffix != ".dir"]


def runs_of(tag: str) -> list[Any]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[tag])))


@pytest.mark.usefixtures("prefect_server")
def test_a_release_is_trained_on_once_through_its_deployment(
    released: RegistrySettings, training: TrainSettings, tmp_path: Path
) -> None:
    record = next(Path(released.path).glob("datasets/parts/*/release.json"))
    digest = sha256_file(record)
    victim = remote_objects(released)[0]
    content = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(content[::-1])
    with pytest.raises(LotgateError, match=r"the release stays, but training on it failed: .*cannot be fetched whole"):
        trigger("parts", 1, digest, released, training)
    assert not (tmp_path / "models").exists()
    victim.write_bytes(content)

    told = trigger("parts", 1, digest, released, training)
    assert told.startswith(OWN) and told.endswith("completed")
    folder = tmp_path / "models" / "parts" / "v1"
    card = json.loads((folder / "model.json").read_text())
    assert card["model_sha256"] == sha256_file(folder / "model.safetensors")
    assert card["release_record_sha256"] == digest
    assert (card["tag"], card["n_train"] + card["n_test"], card["measured_on"]) == ("parts/v1", 11, "holdout")
    assert 0.0 <= card["accuracy"] <= 1.0

    written = (folder / "model.json").stat().st_mtime_ns
    trigger("parts", 1, digest, released, training)
    assert (folder / "model.json").stat().st_mtime_ns == written
    runs = runs_of("parts/v1")
    assert len(runs) == 1
    assert runs[0].deployment_id is not None and runs[0].state.is_completed()
    assert runs[0].parameters["dataset"] == "parts"


@pytest.mark.usefixtures("prefect_server")
def test_a_downstream_deployment_of_the_user_is_started_instead(
    released: RegistrySettings, training: TrainSettings, downstream: str
) -> None:
    with pytest.raises(SettingsError, match=r"parts/v1 is released, but the deployment 'no/such'"):
        trigger("parts", 1, "0" * 64, released, training.model_copy(update={"deployment": "no/such"}))
    assert verify(released, "parts", 1).version == 1
    told = trigger("parts", 1, "0" * 64, released, training.model_copy(update={"deployment": downstream}))
    assert told.endswith("handed over")
    run = next(run for run in runs_of("parts/v1") if run.parameters == {"dataset": "parts", "version": 1})
    assert run.state.is_scheduled()


@pytest.fixture
def downstream(prefect_server: None) -> Iterator[str]:
    """A deployment that is not Lotgate's."""
    from prefect import flow

    @flow(name="plant")
    def plant(dataset: str, version: int) -> None:
        raise NotImplementedError

    made = plant.to_deployment("retrain", entrypoint_type=None)
    made.entrypoint = "elsewhere.py:plant"
    made.apply()
    yield "plant/retrain"


@pytest.mark.usefixtures("prefect_server")
def test_training_measures_on_the_trusted_set_and_refuses_what_was_not_released(
    released: RegistrySettings, training: TrainSettings, landing: Path, tmp_path: Path
) -> None:
    def refused(kind: type[LotgateError], match: str, version: int = 1) -> None:
        with pytest.raises(kind, match=match):
            train("parts", version, released, training)
        assert not (tmp_path / "models").exists()

    root = Path(released.path)
    refused(RegistryError, "parts/v2 was not released", version=2)
    git(root, "tag", "-a", "-m", "by hand", "parts/v2", "HEAD", env=WHO)
    refused(IntegrityError, "not made by a release", version=2)

    record = next(root.glob("datasets/parts/*/release.json"))
    original = record.read_bytes()
    edit_json(record, seed=8)
    refused(IntegrityError, "working tree was edited")
    git(root, "commit", "--quiet", "-am", "Edited", env=WHO)
    message = git(root, "tag", "--list", "--format=%(contents)", "parts/v1")
    git(root, "tag", "--force", "-a", "-m", message, "parts/v1", "HEAD", env=WHO)
    refused(IntegrityError, r"release\.json is not the record|not point to the commit")
    git(root, "reset", "--quiet", "--hard", "HEAD^")
    refused(IntegrityError, "on no branch")
    git(root, "tag", "--force", "-a", "-m", message, "parts/v1", "HEAD", env=WHO)
    assert record.read_bytes() == original

    victim = remote_objects(released)[-1]
    content = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(content + b"\0")
    refused(IntegrityError, "cannot be fetched whole")
    victim.unlink()
    refused(IntegrityError, "cannot be fetched whole")
    victim.write_bytes(content)

    card = json.loads(Path(train("parts", 1, released, training, str(landing))).read_text())
    assert (card["measured_on"], card["n_train"], card["n_test"]) == ("trusted", 11, 12)


def test_files_that_change_between_checkout_and_training_are_noticed(
    released: RegistrySettings, tmp_path: Path
) -> None:
    from tasks.registry import checkout
    from tasks.train import verify_version

    checkout(released, "parts", 1, tmp_path / "version")
    assert verify_version.fn(tmp_path / "version")
    victim = next((tmp_path / "version" / "data").rglob("*.png"))
    victim.chmod(0o644)
    victim.write_bytes(b"other")
    with pytest.raises(IntegrityError, match="1 changed"):
        verify_version.fn(tmp_path / "version")


def test_s3(make_run: Make, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A registry whose DVC remote is S3: release, verification, and an object that was overwritten there."""
    import boto3
    from moto.server import ThreadedMotoServer

    from tasks.registry import open_or_create

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        s3 = boto3.client("s3", endpoint_url=url)
        s3.create_bucket(Bucket="lots")
        root = open_or_create(settings).root
        with (root / ".dvc" / "config").open("a") as config:
            config.write(f"['remote \"cloud\"']\nurl = s3://lots/registry\nendpointurl = {url}\n")
        git(root, "commit", "--quiet", "-am", "S3", env=WHO)
        cloud = settings.model_copy(update={"remote": "cloud"})
        release = publish(make_run(), "parts", "lot", cloud)
        assert verify(cloud, "parts", 1).lot == release.lot
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket="lots")["Contents"]]
        victim = next(key for key in keys if not key.endswith(".dir"))
        s3.put_object(Bucket="lots", Key=victim, Body=b"tampered")
        with pytest.raises(IntegrityError, match="cannot be fetched whole"):
            verify(cloud, "parts", 1)
    finally:
        server.stop()
