"""A release starts training: exactly one run of one deployment per version.

With a team's server the run is left to whoever serves the deployment. With no server set up Lotgate registers its own
`train/train` on the embedded server and executes that deployment's run here, in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from prefect import get_run_logger, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.deployments.runner import RunnerDeployment
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled
from prefect.types.entrypoint import EntrypointType
from pydantic import BaseModel

from lotgate.errors import LotgateError, SettingsError
from lotgate.release import RegistrySettings, TrainSettings, release_tag

OWN = "train/train"
SERVED_WITHIN = timedelta(seconds=60)


@task(name="trigger", task_run_name="trigger {training.deployment}")
def trigger(
    dataset: str,
    version: int,
    record_sha256: str,
    registry: RegistrySettings,
    training: TrainSettings,
    trusted: str | None = None,
    seed: int = 0,
) -> str:
    """Starts the training of a release, at most once → what became of it, in words.

    Args:
        dataset, version, record_sha256: the release; the digest tells versions of the same name in two registries
            apart, which may share one server.
        registry, training, trusted, seed: parameters of Lotgate's own deployment.

    Raises:
        SettingsError: the deployment does not exist; the release stays.
        LotgateError: the run was executed here and failed; the release stays.
    """
    tag = release_tag(dataset, version)
    emit_event(
        "lotgate.released",
        resource={"prefect.resource.id": f"lotgate.dataset.{dataset}", "prefect.resource.name": tag},
        payload={"dataset": dataset, "version": version},
    )
    parameters: dict[str, Any] = {"dataset": dataset, "version": version}
    with get_client(sync_client=True) as client:
        here = training.deployment == OWN and not _is_served(client)
        if training.deployment == OWN:
            parameters |= {
                "registry": _absolute(registry, "path"), "training": _absolute(training, "out", "work"),
                "trusted": trusted, "seed": seed,
            }  # fmt: skip
        if here:
            _register()
        run = _start(training.deployment, parameters, f"train:{dataset}:{version}:{record_sha256}", tag)
        logger = get_run_logger()
        logger.info("%s started flow run %s (%s)", tag, run.name, run.id)
        if not here:
            return f"{training.deployment}: run {run.name} handed over"
        if run.state is None or not run.state.is_completed():
            run = _execute(client, run)
    return f"{training.deployment}: run {run.name} completed"


def _absolute(settings: BaseModel, *paths: str) -> dict[str, Any]:
    """Settings as JSON with absolute paths: whoever serves the deployment works in another folder."""
    return {**settings.model_dump(), **{name: str(Path(getattr(settings, name)).resolve()) for name in paths}}


def _start(deployment: str, parameters: dict[str, Any], key: str, tag: str) -> FlowRun:
    try:
        # Typed as "run or coroutine": in a synchronous task it is the run.
        return cast(
            FlowRun,
            run_deployment(
                deployment, parameters=parameters, timeout=0, idempotency_key=key, as_subflow=False, tags=[tag]
            ),
        )
    except ObjectNotFound as error:
        raise SettingsError(
            f"{tag} is released, but the deployment {deployment!r} that it should start does not exist",
            where=f"train.deployment = {deployment}",
            action="deploy it (`prefect deployment ls` shows what there is), or correct the setting, and run again",
        ) from error


def _find(client: SyncPrefectClient) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(OWN)
    except ObjectNotFound:
        return None


def _is_served(client: SyncPrefectClient) -> bool:
    """Whether somebody else runs our deployment: a work pool has it, or a `serve` process asked for work just now."""
    found = _find(client)
    if found is None:
        return False
    polled = found.last_polled
    return found.work_pool_name is not None or (polled is not None and datetime.now(UTC) - polled < SERVED_WITHIN)


def _register() -> None:
    from flows.train import train

    made = cast(
        RunnerDeployment, train.to_deployment("train", entrypoint_type=EntrypointType.MODULE_PATH, tags=["lotgate"])
    )
    made.apply()


def _execute(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """Executes exactly this flow run in a child process and waits; a run that failed or was killed starts anew."""
    if run.state is None or not run.state.is_scheduled():
        client.set_flow_run_state(run.id, Scheduled(message="started again by the release"), force=True)
    env = {**os.environ, "PREFECT_API_URL": str(client.api_url), "PREFECT__FLOW_RUN_ID": str(run.id)}
    code = subprocess.run([sys.executable, "-m", "prefect.engine"], env=env, check=False).returncode
    done = client.read_flow_run(run.id)
    if done.state is None or not done.state.is_completed():
        said = done.state.message if done.state is not None and done.state.message else f"exit code {code}"
        raise LotgateError(
            f"the release stays, but training on it failed: {said}",
            where=f"flow run {done.name} of {OWN}",
            action="mend the cause and run the same command again: the release is not repeated, the training is",
        )
    return done
