"""The main job: a lot comes in, is judged, and only what passes is versioned and trained on."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.trigger import trigger
from lotgate.errors import InputError
from lotgate.release import ACCEPTED
from lotgate.run_folder import abandon_run, close_run, open_run
from lotgate.settings import Settings, load_settings
from lotgate.stages import detectors_for
from tasks.registry import context_room
from tasks.release import publish_lot, write_artifacts
from tasks.screen import conclude, contract, decide, detect, fetch, gate, gather, ingest, report, shown_in_prefect


@flow(name="screen", flow_run_name="screen {dataset}")
def screen(
    lot: str,
    trusted: str | None,
    dataset: str,
    run: str,
    settings_path: str | None = None,
    target: str | None = None,
    task: str = "auto",
    seed: int | None = None,
    context: list[str] | None = None,
) -> str:
    """Screens a lot; an accepted one becomes the next version of the dataset and is trained on.

    Args:
        lot, trusted: as delivered; the trusted set in the same form.
        dataset: name in the registry.
        run: folder for the results; `decision.json` in it says how it ended.
        settings_path: params.yaml.
        target, task, seed: see `lotgate run --help`.
        context: earlier releases, as `dataset@v3`, to be judged with the lot; None for those of the settings.

    Returns:
        The decision.
    """
    settings = load_settings(None if settings_path is None else Path(settings_path), seed=seed, context=context)
    folder, vetted = Path(run), None if trusted is None else Path(trusted)
    made = open_run(folder)
    try:
        with shown_in_prefect():
            with context_room(settings.context, settings.registry) as room:
                earlier = fetch(settings.context, settings.registry, room) if settings.context else ()
                ingest(folder, Path(lot), vetted, target, task, settings, earlier)
            if contract(folder, settings).passed:
                gather(folder, settings)
                for detector in detectors_for(folder, settings):
                    detect(folder, detector, settings, return_state=True)
                decide(folder, settings)
                gate(folder, settings)
            else:
                decide(folder, settings)
            decision = conclude(folder, settings, dataset, Path(lot).name)
            page = report(folder)
    except (InputError, OSError):
        abandon_run(folder, made)
        raise
    close_run(folder)
    write_artifacts(folder, decision, page)
    if decision.decision in ACCEPTED:
        _release(folder, dataset, lot, target, trusted, settings)
    return decision.decision


def _release(folder: Path, dataset: str, lot: str, target: str | None, trusted: str | None, settings: Settings) -> None:
    release = publish_lot(folder, dataset, lot, target, settings.registry)
    if settings.train.enabled:
        vetted = None if trusted is None else str(Path(trusted).resolve())
        trigger(
            dataset, release.version, release.record_sha256, settings.registry, settings.train, vetted, settings.seed
        )
