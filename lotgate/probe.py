"""The probe: a small network trained once on lot and trusted rows, its feature maps on disk shared by all detectors.

Activation clustering and spectral signatures look at what a model *trained on the suspect lot* made of each sample.
The probe is that model, no larger than it must be. Trusted rows are trained on too: a network places the rows that it
learned from elsewhere than others, and trusted rows must lie where clean rows of the lot do. Its *twin* is the same
network trained on trusted rows only.
One pass without gradients writes penultimate features and logits to float32 memory maps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lotgate.data import Batch, Dataset, FloatArray, Pool
from lotgate.errors import InputError
from lotgate.networks import Network, build_network

PASS_BATCH = 512
MOST_STEPS = 100  # per epoch: batches grow with lots of more rows than this many batches hold
LONGEST = 4  # times `epochs`, however small the lot: more only teaches its rows by heart
MORE = "give more samples that can be read, some of every class"
Say = Callable[[str], None]
Device = Literal["cpu", "cuda"]


class ProbeSettings(BaseModel):
    """Parameters of the probe.

    Attributes:
        model: "auto" (a small CNN for images, an MLP for tables), "resnet18", the path of a TorchScript (`.pt`, `.ts`)
            or `torch.export` (`.pt2`) file whose output serves as features, or `module:factory`, called with the
            sample shape and the number of outputs and returning a `torch.nn.Module`.
        width: features of the penultimate layer (D).
        epochs: passes over the training rows; small lots get more, up to `min_steps` optimiser steps.
        batch_size, learning_rate, weight_decay: of AdamW under a one-cycle schedule; the batches of large lots are
            larger, so that an epoch has at most a hundred.
        moved: share of an image's side by which batches are moved at random, where only what they show may count.
        device: "auto" takes a GPU where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "auto"
    width: Annotated[int, Field(ge=2, le=4096)] = 64
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    min_steps: Annotated[int, Field(ge=0, le=100_000)] = 300
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 5e-4
    moved: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """What a probe made of every row of one store.

    Attributes:
        features: (N, D) float32 memory map, indexed by store row; NaN for rows that were not usable.
        logits: (N, K) float32 memory map: class logits, or the prediction (N, 1) in standardised target units.
    """

    features: FloatArray
    logits: FloatArray


@dataclass(frozen=True, eq=False)
class Probe:
    """A trained network with its feature maps.

    Attributes:
        network: in eval mode.
        maps: feature maps by store path.
        centre, scale: (1,) of the regression target, so that logits·scale + centre is in the lot's units.
    """

    network: Network
    maps: Mapping[Path, FeatureMap] = field(default_factory=dict)
    centre: float = 0.0
    scale: float = 1.0
    device: Device = "cpu"

    def features(self, batch: Batch) -> FloatArray:
        """(B, D) penultimate features, read from the map where the batch comes from a mapped store."""
        return self._outputs(batch)[0]

    def logits(self, batch: Batch) -> FloatArray:
        """(B, K) class logits, or (B, 1) predictions in standardised target units."""
        return self._outputs(batch)[1]

    def feature_matrix(self, dataset: Dataset) -> FloatArray:
        """(N, D) features of a mapped dataset, in manifest order."""
        return np.asarray(self.maps[dataset.store].features[dataset.rows])

    def logit_matrix(self, dataset: Dataset) -> FloatArray:
        """(N, K) logits of a mapped dataset, in manifest order."""
        return np.asarray(self.maps[dataset.store].logits[dataset.rows])

    def _outputs(self, batch: Batch) -> tuple[FloatArray, FloatArray]:
        mapped = None if batch.store is None else self.maps.get(batch.store)
        if mapped is not None:
            return np.asarray(mapped.features[batch.rows]), np.asarray(mapped.logits[batch.rows])
        return forward(self.network, batch.x, self.device)


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[torch.Generator]:
    """A torch generator drawn from `rng`; inside, torch's global state is seeded too, and restored afterwards.

    Layers and dropout read torch's global state, which a caller must find as it was left.
    """
    seed = int(rng.integers(2**63 - 1))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def pick_device(wish: Literal["auto", "cpu", "cuda"]) -> Device:
    """ "cuda" where it is asked for or there is one, else "cpu"."""
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wish


def forward(network: Network, x: FloatArray, device: str) -> tuple[FloatArray, FloatArray]:
    """Features (B, D) and outputs (B, K) of a batch, without gradients."""
    with torch.inference_mode():
        features, logits = network(torch.from_numpy(np.ascontiguousarray(x)).to(device))
    return features.float().cpu().numpy(), logits.float().cpu().numpy()


def n_outputs(dataset: Dataset | Pool) -> int:
    """K: one logit per class, or one prediction."""
    return len(dataset.classes) if dataset.task == "classification" else 1


def train_probe(dataset: Dataset | Pool, settings: ProbeSettings, rng: np.random.Generator, say: Say) -> Probe:
    """Trains a fresh network on every row of the dataset, or of several pooled ones.

    Args:
        dataset: usable rows only.
        rng: source of initial weights and of the order of batches.
        say: told the mean loss once per epoch.

    Raises:
        InputError: there is no row, or a single one that the network cannot normalise.
    """
    device = pick_device(settings.device)
    rows = dataset if isinstance(dataset, Pool) else Pool((dataset,))
    if not len(rows):
        raise InputError("there is no sample to train a model on", where=rows.parts[0].root, action=MORE)
    y = rows.y
    centre, scale = (float(y.mean()), float(y.std()) or 1.0) if rows.task == "regression" else (0.0, 1.0)
    with seeded(rng) as generator:
        network = build_network(settings.model, settings.width, rows.shape, n_outputs(rows)).to(device).train()
        trainable = [p for p in network.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trainable, settings.learning_rate, weight_decay=settings.weight_decay)
        batch_size = max(settings.batch_size, len(rows) // MOST_STEPS)
        steps = max(1, len(rows) // batch_size)
        epochs = max(settings.epochs, -(-settings.min_steps // steps)) if settings.min_steps else settings.epochs
        epochs = min(epochs, LONGEST * settings.epochs)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=epochs * steps)
        for epoch in range(epochs):
            total = 0.0
            for index in epoch_batches(len(rows), batch_size, generator):
                x, y = rows.take(index)
                x = moved(x, settings.moved, generator)
                loss = task_loss(_answered(network, torch.from_numpy(x).to(device)), y, centre, scale)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                total += loss.item()
            say(f"epoch {epoch + 1}/{epochs}: loss {total / steps:.4f}")
    return Probe(network.eval(), {}, centre, scale, device)


def _answered(network: Network, x: Tensor) -> Tensor:
    """(B, K) outputs in training; a single row is a batch of its own only where there are no others."""
    try:
        return network(x)[1]  # type: ignore[no-any-return]
    except ValueError as error:  # batch normalisation finds one value per channel
        if len(x) > 1:
            raise
        raise InputError(f"a single sample is too little: {error}", where=tuple(x.shape), action=MORE) from error


def moved(x: FloatArray, share: float, generator: torch.Generator) -> FloatArray:
    """Images (B, C, H, W) moved together by up to that share of their side, edges repeated; table rows as they are."""
    if share == 0 or x.ndim != 4:
        return x
    found = x
    for axis in (2, 3):
        most = int(share * x.shape[axis])
        step = int(torch.randint(-most, most + 1, (), generator=generator))
        places = np.clip(np.arange(x.shape[axis]) - step, 0, x.shape[axis] - 1)
        found = np.take(found, places, axis=axis)
    return found


def epoch_batches(n: int, size: int, generator: torch.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Shuffled index batches; the ragged rest is left to the next epoch, unless it is all there is."""
    order = torch.randperm(n, generator=generator).numpy()
    for start in range(0, max(n - size, 0) + 1, size):
        yield order[start : start + size]


def task_loss(outputs: Tensor, y: npt.NDArray[Any], centre: float, scale: float) -> Tensor:
    """Cross-entropy for classes, mean squared error on the standardised target for regression."""
    if y.dtype == np.int64:
        return nn.functional.cross_entropy(outputs, torch.from_numpy(y).to(outputs.device))
    target = ((y - centre) / scale).astype(np.float32)  # single precision only now: an offset would blind it
    return nn.functional.mse_loss(outputs[:, 0], torch.from_numpy(target).to(outputs.device))


def map_features(probe: Probe, datasets: Mapping[str, Dataset], folder: Path) -> Probe:
    """One pass without gradients over each dataset → the probe with feature maps under `folder`.

    Args:
        datasets: usable rows, by a name for the files (`<name>.features.npy`, `<name>.logits.npy`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {dataset.store: _write_map(probe, dataset, folder, name) for name, dataset in datasets.items()}
    save_probe(probe, folder)
    return replace(probe, maps={**probe.maps, **found})


def _write_map(probe: Probe, dataset: Dataset, folder: Path, name: str) -> FeatureMap:
    n = int(np.load(dataset.store, mmap_mode="r", allow_pickle=False).shape[0])
    width, outputs = probe.network.head.in_features, probe.network.head.out_features
    files = {
        "features": np.lib.format.open_memmap(folder / f"{name}.features.npy", "w+", np.float32, (n, width)),
        "logits": np.lib.format.open_memmap(folder / f"{name}.logits.npy", "w+", np.float32, (n, outputs)),
    }
    for array in files.values():
        array[:] = np.nan
    for batch in dataset.batches(PASS_BATCH):
        files["features"][batch.rows], files["logits"][batch.rows] = forward(probe.network, batch.x, probe.device)
    for array in files.values():
        array.flush()
    return _open_map(folder, name)


def _open_map(folder: Path, name: str) -> FeatureMap:
    return FeatureMap(
        np.load(folder / f"{name}.features.npy", mmap_mode="r", allow_pickle=False),
        np.load(folder / f"{name}.logits.npy", mmap_mode="r", allow_pickle=False),
    )


def save_probe(probe: Probe, folder: Path) -> None:
    """Weights as safetensors, the rest as JSON."""
    save_file({k: v.contiguous() for k, v in probe.network.state_dict().items()}, folder / "weights.safetensors")
    (folder / "probe.json").write_text(json.dumps({"centre": probe.centre, "scale": probe.scale}, indent=1))


def load_probe(
    folder: Path, settings: ProbeSettings, shape: tuple[int, ...], outputs: int, stores: Mapping[str, Path]
) -> Probe:
    """The probe that `map_features` wrote under `folder`.

    Args:
        stores: where the mapped stores are now, by the names given to `map_features`.
    """
    maps = {store: _open_map(folder, name) for name, store in stores.items()}
    return replace(load_network(folder, settings, shape, outputs), maps=maps)


def load_network(folder: Path, settings: ProbeSettings, shape: tuple[int, ...], outputs: int) -> Probe:
    """The probe that `save_probe` wrote under `folder`, without maps."""
    record = json.loads((folder / "probe.json").read_text())
    device = pick_device(settings.device)
    network = build_network(settings.model, settings.width, shape, outputs)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return Probe(network.to(device).eval(), {}, record["centre"], record["scale"], device)
