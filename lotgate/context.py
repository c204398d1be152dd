"""Context: earlier releases that are judged together with a lot, so that poison cannot hide by coming slowly.

    lot + releases ─read_context→ union (work/union) ─gather … decide→ its verdicts ─part→ the lot's | the others'
    lot ───────────────────────────────────────────── gather … decide→ its verdicts ─heard_twice→ ↑

Every detector sees the union as one dataset and cannot tell who is who; only the verdicts are parted again. A sample
that the lot (or a release named before) delivers again, content and label alike, is judged once, there: a copy in
another fold would vouch for its own label. Where the contract quarantined the lot's copy no model judges that, and what
it holds against a lot is nothing against a release: the release's own copy is on trial.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lotgate.data import MANIFEST_COLUMNS, Dataset
from lotgate.errors import ContextError
from lotgate.files import write_text
from lotgate.findings import VERDICTS_COLUMNS, Check, ContextSummary
from lotgate.ingest import IngestSettings, ingest
from lotgate.ingest.store import new_store
from lotgate.release import release_name

LOT = "lot"
UNION = Path("work/union/dataset.json")
WITH_EARLIER = "with earlier lots: "  # before the reason of what the lot alone does not show
CHUNK = 1024  # samples copied at once
ACTION = "give a version of the same dataset as the lot, whole and untouched, or leave this one out"
CONTENT = ["content_sha256", "label"]
PLACE = "place"  # of every sample of the union in its store, also of those that are judged elsewhere
VERDICTS = ("context", "sample_id", "label", "suspect", "score", "reasons")


@dataclass(frozen=True)
class Context:
    """One earlier release, fetched and checked by the caller.

    Attributes:
        dataset, version: its name.
        path: what to ingest: the released folder, manifest or table.
        target: label column of `path`; None as for a lot.
    """

    dataset: str
    version: int
    path: Path
    target: str | None = None

    @property
    def name(self) -> str:
        return release_name(self.dataset, self.version)


def read_context(
    lot: Dataset, like: Dataset, context: Sequence[Context], work: Path, settings: IngestSettings
) -> Dataset | None:
    """Reads earlier releases and unites them with the lot → `work/union`, `work/context.json`.

    Args:
        lot: as ingested. like: the trusted set, or the lot itself where there is none: gives classes and encoding.
        context: in the order in which repeated samples are looked for.

    Returns:
        The union; None without context.

    Raises:
        ContextError: a release cannot be read, or is of another kind than the lot.
    """
    shutil.rmtree(work / "union", ignore_errors=True)
    (work / "context.json").unlink(missing_ok=True)
    if not context:
        return None
    parts = [(each.name, _read(each, like, work / "context" / str(i), settings)) for i, each in enumerate(context)]
    union = _unite(lot, parts, work / "union")
    repeated = union.manifest.loc[union.manifest["twin"] != "", "origin"].value_counts()
    records = [
        ContextSummary(
            name=name, fingerprint=part.fingerprint, n_samples=len(part), n_repeated=int(repeated.get(name, 0)),
            n_suspect=None,
        ).model_dump()
        for name, part in parts
    ]  # fmt: skip
    write_text(work / "context.json", json.dumps(records, indent=1))
    shutil.rmtree(work / "context")  # the union holds every sample
    return union


def has_union(run: Path) -> bool:
    """Whether earlier releases are judged with this lot."""
    return (run / UNION).exists()


def load_union(run: Path, excluded: Collection[str]) -> Dataset | None:
    """The union of a run; None for a lot that is judged alone. Its manifest has `origin`, LOT or the release's name,
    and `twin`, the id under which a repeated sample is judged, else "".

    Args:
        excluded: samples of the lot that the contract quarantined, so that nobody is judged under their ids.
    """
    if not has_union(run):
        return None
    union = Dataset.load((run / UNION).parent)
    if PLACE not in union.manifest:  # of an earlier version, which did not note it
        return union
    return replace(union, manifest=_without_orphans(union.manifest, excluded))


def _without_orphans(manifest: pd.DataFrame, excluded: Collection[str]) -> pd.DataFrame:
    """The union's manifest with new twins for repeated samples whose twin is excluded: another copy in the lot, else
    the first of themselves, which takes its own place."""
    out = manifest["sample_id"].isin(set(excluded))
    orphaned = manifest["twin"].isin(set(excluded))
    orphans = manifest[orphaned]
    others = manifest[(manifest["origin"] == LOT) & (manifest["row"] >= 0) & ~out]
    twins = orphans[CONTENT].merge(_first_of_each(pd.concat([others, orphans])), on=CONTENT, how="left")["twin"]
    first = twins.to_numpy(dtype=object) == orphans["sample_id"].to_numpy(dtype=object)
    alone = manifest["sample_id"].isin(orphans.loc[first, "sample_id"])
    found = manifest.copy()
    found.loc[orphaned, "twin"] = twins.to_numpy(dtype=object)
    found.loc[alone, "twin"] = ""
    found.loc[alone, "row"] = found.loc[alone, PLACE]
    found.loc[alone, "defect"] = None
    return found


def heard_twice(judged: pd.DataFrame, alone: pd.DataFrame) -> pd.DataFrame:
    """Verdicts of the union in which a sample of the lot is quarantined where either sitting quarantines it.

    Args:
        judged: verdicts of every row of the union's manifest. alone: of the lot by itself.

    Returns:
        `judged`, with the reasons of the lot alone where it has any, and the higher of both scores.
    """
    found, mine = judged.set_index("sample_id"), alone.set_index("sample_id")
    theirs = found.loc[mine.index]
    reasons = theirs["reasons"].where(theirs["reasons"] == "", WITH_EARLIER + theirs["reasons"])
    quarantined = mine["action"] == "quarantine"
    found.loc[mine.index, "action"] = mine["action"].where(quarantined, theirs["action"])
    found.loc[mine.index, "score"] = np.maximum(mine["score"], theirs["score"])
    found.loc[mine.index, "reasons"] = mine["reasons"].where(quarantined, reasons)
    return found.reset_index()


def part_verdicts(judged: pd.DataFrame, lot: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Verdicts of the union → those of the lot, and those of the releases.

    Args:
        judged: verdicts of every row of the union's manifest, with its columns `origin` and `twin`.
        lot: the lot's own manifest, whose extra columns go back to its verdicts.

    Returns:
        Verdicts of the lot, in the order of its manifest, as `decide` makes them; and one row per sample of the
        releases: context, sample_id (as in that release), label, suspect, score, reasons. A repeated sample is as
        suspect as the one that was judged for it.
    """
    judged = judged.set_index("sample_id")
    extras = [name for name in lot.columns if name not in MANIFEST_COLUMNS or name == "source"]
    mine = judged.loc[lot["sample_id"]].reset_index()[list(VERDICTS_COLUMNS)]
    mine = pd.concat([mine, lot[extras].reset_index(drop=True)], axis=1)
    others = judged[judged["origin"] != LOT]
    repeated = (others["twin"] != "").to_numpy()
    at = np.where(repeated, others["twin"].to_numpy(dtype=object), others.index.to_numpy(dtype=object))
    found = judged.loc[at]
    told = [
        f"the same sample as {twin}: {reason}" if twin and reason else reason
        for twin, reason in zip(others["twin"], found["reasons"], strict=True)
    ]
    earlier = pd.DataFrame(
        {
            "context": others["origin"].to_numpy(),
            "sample_id": [i[len(origin) + 1 :] for i, origin in zip(others.index, others["origin"], strict=True)],
            "label": others["label"].to_numpy(),
            "suspect": (found["action"] == "quarantine").to_numpy(),
            "score": found["score"].to_numpy(),
            "reasons": pd.Series(told, dtype="str"),
        },
        columns=list(VERDICTS),
    )
    return mine, earlier


def summarise(run: Path, earlier: pd.DataFrame | None) -> tuple[ContextSummary, ...]:
    """What was read as context, with the samples that are suspect; `earlier` is None where nothing was judged."""
    path = run / "work/context.json"
    records = json.loads(path.read_text()) if path.exists() else []
    read = tuple(ContextSummary.model_validate(record) for record in records)
    if earlier is None:
        return read
    suspect = earlier.loc[earlier["suspect"], "context"].value_counts()
    return tuple(each.model_copy(update={"n_suspect": int(suspect.get(each.name, 0))}) for each in read)


def context_check(context: Sequence[ContextSummary]) -> Check:
    """Whether earlier releases still look clean. Not critical: it says nothing against the lot."""
    name = "context: earlier samples that are now suspect"
    if any(each.n_suspect is None for each in context):
        words = "not judged: the lot was stopped before any model"
        return Check(name=name, passed=False, observed=None, limit=0, critical=False, detail=words)
    found = [each for each in context if each.n_suspect]
    words = "; ".join(f"{each.name}: {each.n_suspect:,} of {each.n_samples:,}" for each in found)
    observed = sum(each.n_suspect or 0 for each in found)
    return Check(name=name, passed=not found, observed=observed, limit=0, critical=False, detail=words)


def context_words(context: Sequence[ContextSummary]) -> str:
    """One sentence for the headline; "" where no earlier sample is suspect."""
    found = [each for each in context if each.n_suspect]
    if not found:
        return ""
    count = sum(each.n_suspect or 0 for each in found)
    named = ", ".join(each.name for each in found)
    return f"{count:,} earlier samples are now suspect too: recall {named} and screen again."


def _read(context: Context, like: Dataset, work: Path, settings: IngestSettings) -> Dataset:
    """One release in the trusted set's terms. Everything released was readable once, so all of it must be."""
    try:
        part = ingest(
            context.path, work, role="context", target=context.target, task=like.task, like=like, settings=settings
        )
    except ContextError as error:
        raise ContextError(f"{context.name}: {error.what}", where="--context", action=ACTION) from error
    usable = set(part.usable().ids)
    broken = part.manifest[~part.manifest["sample_id"].isin(usable)]
    if len(broken):
        first = broken.iloc[0]
        why = first["defect"] or f"label {first['label']!r} is unknown to the trusted set"
        raise ContextError(
            f"{context.name}: {len(broken):,} of its samples cannot be used ({first['sample_id']}: {why})",
            where="--context", action=ACTION,
        )  # fmt: skip
    return part


def _unite(lot: Dataset, parts: Sequence[tuple[str, Dataset]], folder: Path) -> Dataset:
    """One store with the rows of all, and one manifest."""
    seen = _first_of_each(lot.manifest[lot.rows >= 0])
    manifests = [lot.manifest[list(MANIFEST_COLUMNS)].assign(origin=LOT, twin="", **{PLACE: lot.rows})]
    start = _length(lot)
    for name, part in parts:
        rows = part.manifest[list(MANIFEST_COLUMNS)].merge(seen, on=CONTENT, how="left")
        again, place = rows["twin"].notna().to_numpy(), rows["row"].to_numpy() + start
        rows = rows.assign(
            origin=name,
            sample_id=[f"{name}/{i}" for i in rows["sample_id"]],
            row=np.where(again, -1, place),
            defect=pd.array(["delivered again" if twice else None for twice in again], dtype=object),
            twin=rows["twin"].fillna(""),
            **{PLACE: place},
        )
        seen = pd.concat([seen, _first_of_each(rows[~again])])
        manifests.append(rows)
        start += _length(part)
    manifest = pd.concat(manifests, ignore_index=True).sort_values("sample_id", ignore_index=True)
    twice = manifest["sample_id"][manifest["sample_id"].duplicated()]
    if len(twice):
        raise ContextError(
            f"the lot and its context both have a sample named {twice.iloc[0]!r}", where="--context",
            action="rename the class folder of the lot that is named like a release",
        )  # fmt: skip
    folder.mkdir(parents=True)
    _copy_stores([lot, *(part for _, part in parts)], folder / "store.npy")
    union = replace(lot, manifest=manifest, store=folder / "store.npy", raw=None)
    union.save(folder)
    return union


def _first_of_each(rows: pd.DataFrame) -> pd.DataFrame:
    """Content, label and id of the first row of each content and label."""
    firsts = rows.drop_duplicates(CONTENT)[[*CONTENT, "sample_id"]]
    return firsts.rename(columns={"sample_id": "twin"})


def _length(dataset: Dataset) -> int:
    return len(_stored(dataset))


def _stored(dataset: Dataset) -> np.ndarray:
    return np.load(dataset.store, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def _copy_stores(datasets: Sequence[Dataset], path: Path) -> None:
    """The stores, one after the other; 8-bit pixels beside 16-bit ones are widened: no value in [0, 1] changes."""
    stores = [_stored(dataset) for dataset in datasets]
    dtype = np.result_type(*(store.dtype for store in stores))
    start = 0
    with new_store(path, (sum(map(len, stores)), *stores[0].shape[1:]), dtype) as written:
        for store in stores:
            factor = 257 if store.dtype == np.uint8 and dtype == np.uint16 else 1
            for i in range(0, len(store), CHUNK):
                piece = store[i : i + CHUNK]
                written.write(start + i, piece.astype(dtype) * factor if factor > 1 else piece)
            start += len(store)
