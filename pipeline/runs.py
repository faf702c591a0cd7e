"""Using a trained run: `load_run(run_dir)`, also for a folder that `share` wrote.

A run directory holds the manifest of its dataset, so nothing here needs the dataset itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from orbit.core import plugins
from orbit.core.files.listing import list_folder
from orbit.core.groups import Group, make_group
from orbit.core.groups.words import read_element
from orbit.core.metrics import headlines_of
from orbit.core.printing import say
from orbit.core.store.manifest import FrameSpec, Manifest, read_manifest
from orbit.core.store.reader import PairStore, check_files
from pipeline.arithmetic import exact_float32
from pipeline.data.packing import local_batch_of, places_at_once
from pipeline.measuring import device_of
from pipeline.methods.interface import Task
from pipeline.methods.table import make_task, method_of
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.run_files.checkpoint import MODEL_FILE, Checkpoint, fill
from pipeline.run_files.reading import read_metrics
from pipeline.settings import evaluation_file
from pipeline.training.run_directory import RunDirectory, num_parameters
from pipeline.training.settings import TrainConfig
from pipeline.world_models.world_model import WorldModel

Images = np.ndarray | torch.Tensor
GREY = 255


@dataclass(frozen=True, repr=False)
class Run:
    """A trained model with everything needed to use it.

    `path` is the run directory, or the shared folder; `manifest` describes the dataset.
    """

    path: Path
    model: nn.Module
    group: Group
    config: TrainConfig
    task: Task
    step: int
    checkpoint: Checkpoint
    manifest: Manifest

    @property
    def frames(self) -> FrameSpec:
        """Shape and values of the frames that the model was trained on."""
        return self.manifest.frames

    @property
    def weights_file(self) -> Path:
        """The file of the weights, safetensors."""
        return RunDirectory(self.path).checkpoints.path(self.step) / MODEL_FILE

    def places(self, world_size: int = 1) -> int:
        """The number of records that each of `world_size` ranks processes at a time outside of
        training. It fits into memory because a training step did."""
        num_ranks = self.checkpoint.meta.get("world_size", 1)
        config = self.config
        local_batch = local_batch_of(config.global_batch, config.accumulation, num_ranks)
        return places_at_once(self.frames.shape, local_batch, world_size)

    @exact_float32()
    @torch.no_grad()
    def encode(self, images: Images) -> LatentParts | torch.Tensor:
        """The latents of images.

        `images` (N, C, ...) or one (C, ...): stored values in the dataset's type (such as uint8),
        grey values 0 to 255 as uint8, or floating numbers from 0 to 1. A latent action model gives
        its two parts, `variant` and `invariant`, (N, channels, ...) each; a world model gives z. On
        the CPU. Raises ValueError for images that the model does not accept.
        """
        stored = as_stored(images, self.frames)
        parts = [self._latents(batch) for batch, _ in self._batches(stored)]
        if isinstance(parts[0], LatentParts):
            return LatentParts(*(torch.cat(each) for each in zip(*parts, strict=True)))
        return torch.cat(parts)

    @exact_float32()
    @torch.no_grad()
    def transform(self, images: Images, element: str | float | torch.Tensor) -> torch.Tensor:
        """g x of images, as the model predicts it, (N, C, ...) from 0 to 1, on the CPU.

        `images` as for `encode`. `element` is the name of a group element, such as "90" or "30 z",
        an element (1, ...), or one element for each image. Raises ValueError for models that do not
        make images.
        """
        model = latent_action_model(self)
        g = element if torch.is_tensor(element) else read_element(self.group, str(element))
        stored = as_stored(images, self.frames)
        if len(g) not in (1, len(stored)):
            raise ValueError(f"element: {len(g)} elements for {len(stored)} images")
        g, moved = g.expand(len(stored), *g.shape[1:]), []
        for batch, places in self._batches(stored):
            drawn = model.transform(model.normalise(batch), g[places].to(batch.device))
            moved.append(model.to_unit_range(drawn).float().cpu())
        return torch.cat(moved)

    def metrics(self) -> Any:
        """All metrics: a row for each logged step, validation and evaluation.

        A pandas frame if pandas is installed, otherwise a list of dictionaries. `step`, `epoch` and
        `split` identify a row; `source` is training or evaluation.
        """
        logged = read_metrics(self.path / "metrics.jsonl")
        lines = [{"source": "training", **line} for line in logged]
        for file in list_folder(self.path / "evaluations", "step_*.json"):
            found = RunDirectory(self.path).read_json(f"evaluations/{file.name}")
            if isinstance(found, dict) and isinstance(found.get("metrics"), dict):
                about = {key: found.get(key) for key in ("step", "split")}
                lines.append({"source": "evaluation", **about, **found["metrics"]})
        try:
            import pandas
        except ImportError:
            return lines
        return pandas.DataFrame(lines)

    def __repr__(self) -> str:
        """Five lines: run, dataset, model, latent, quality."""
        return "\n".join(_lines(self))

    def _latents(self, stored: torch.Tensor) -> Any:
        model = self.model
        if isinstance(model, LatentActionModel):
            return LatentParts(*(part.cpu() for part in model.encode(model.normalise(stored))))
        world = getattr(model, "world_model", model)
        if isinstance(world, WorldModel):
            return world.latent(stored).cpu()
        raise ValueError(f"{self.path} is of task.name={self.config.task.name}: it has no encoder")

    def _batches(self, stored: torch.Tensor) -> Iterator[tuple[torch.Tensor, slice]]:
        """Batches that fit into memory, on the model's device, and their positions."""
        num, device = self.places(), device_of(self.model)
        for first in range(0, len(stored), num):
            places = slice(first, first + num)
            yield stored[places].to(device), places


def load_run(
    run_dir: str | Path,
    checkpoint: str = "best",
    data: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Run:
    """Load a run's model from checkpoint `best`, `last` or a step number.

    `run_dir` is a run directory or a folder that `share` wrote. `data` is a dataset to use instead
    of the run's own. Raises FileNotFoundError or ValueError if run, checkpoint or dataset cannot be
    read.
    """
    run = RunDirectory(Path(run_dir))
    config = run.read_config()
    manifest = run.read_manifest() if data is None else read_manifest(Path(data))
    loaded = run.checkpoints.load(run.checkpoints.resolve(str(checkpoint)))
    if not isinstance(loaded.meta.get("dataset"), str):
        raise ValueError(
            f"checkpoint {run.checkpoints.path(loaded.step)} does not say what it was trained on"
        )
    task = make_task(config.task, manifest, 0, torch.device(device))
    fill(task.model, loaded, run.path)
    task.model.eval()
    for line in plugins.differing_versions((*config.plugins, *manifest.plugins)):
        say(f"warning: {run.path}: {line}", error=True)
    group = make_group(manifest.group)
    return Run(run.path, task.model, group, config, task, loaded.step, loaded, manifest)


def open_data(run: RunDirectory, data: str | Path | None) -> PairStore:
    """The dataset at `data`, or the run's own at its recorded path, with all files present.

    Raises FileNotFoundError, naming the key `data` if the dataset was moved, or ValueError.
    """
    place = Path(data if data is not None else run.read_config().data)
    try:
        store = PairStore(place)
        check_files(store.root, store.manifest)
    except FileNotFoundError as error:
        if data is not None:
            raise
        raise FileNotFoundError(f"{error}; set data=DIR if the dataset has moved") from None
    return store


def evaluation_of(run: Run, split: str) -> dict[str, Any] | None:
    """The evaluation of a run's weights on a split of the dataset that they were trained on, None
    if there is none: a checkpoint of the same step may have had other weights."""
    meta = run.checkpoint.meta
    found = RunDirectory(run.path).read_json(f"evaluations/{evaluation_file(run.step, split)}")
    if not isinstance(found, dict) or not isinstance(found.get("metrics"), dict):
        return None
    is_own = found.get("dataset") == meta["dataset"]
    return found if is_own and found.get("weights") == meta["files"][MODEL_FILE]["sha256"] else None


def latent_action_model(run: Run) -> LatentActionModel:
    """The model of a latent action run; ValueError for a run of another task."""
    if not isinstance(run.model, LatentActionModel):
        raise ValueError(
            f"{run.path} has task.name={run.config.task.name}: this is for latent_action"
        )
    return run.model


def as_stored(images: Images, frames: FrameSpec) -> torch.Tensor:
    """Images in the form in which a dataset stores such frames, (N, C, ...).

    `Run.encode` lists the accepted forms. Raises ValueError naming a shape, type or value that is
    not accepted.
    """
    values = torch.as_tensor(images)
    shape = tuple(frames.shape)
    if values.shape == shape:
        values = values[None]
    if values.shape[1:] != shape or not len(values):
        wanted = ", ".join(map(str, shape))
        raise ValueError(
            f"images of shape {tuple(values.shape)}: this model takes (N, {wanted}) or ({wanted})"
        )
    low, high = frames.stored_range
    stored = getattr(torch, frames.dtype)
    if values.dtype == stored:
        _check_range(values, low, high)
        return values
    if values.dtype == torch.uint8:
        return (low + values / GREY * (high - low)).to(stored)
    if not values.is_floating_point():
        raise ValueError(f"images of {values.dtype}: give {frames.dtype}, or numbers from 0 to 1")
    _check_range(values, 0, 1)
    return low + values.float() * (high - low)


def _check_range(values: torch.Tensor, low: float, high: float) -> None:
    if not bool(((values >= low) & (values <= high)).all()):
        raise ValueError(
            f"images have values from {float(values.min()):g} to {float(values.max()):g};"
            f" allowed: {low:g} to {high:g}"
        )


MAX_SHOWN = 3


def _lines(run: Run) -> Iterator[str]:
    """A short description of the run, one fact per line."""
    config, manifest, model = run.config, run.manifest, run.model
    yield f"Run {run.path}: task {config.task.name}, step {run.step:,}"
    frame = " x ".join(map(str, manifest.frames.shape))
    yield f"dataset  {manifest.name}, frames of {frame}, group {manifest.group}"
    yield f"model    {num_parameters(model):,} parameters, trained in {config.precision}"
    if isinstance(model, LatentActionModel):
        is_variant = model.mask.is_variant()
        latent = " x ".join(map(str, model.latent_shape))
        split = f"the group acts on {int(is_variant.sum())} of {len(is_variant)} channels"
        yield f"latent   {latent}, {split}"
    else:
        parts = ", ".join(name for name, _ in model.named_children())
        yield f"parts    {parts}"
    yield f"quality  {_quality(run)}"


def _quality(run: Run) -> str:
    """The headline metrics, of the test split if this step was evaluated, otherwise of its
    validation."""
    test = evaluation_of(run, "test")
    if test is not None:
        split, metrics = "test", test["metrics"]
    else:
        found = read_metrics(run.path / "metrics.jsonl")
        own = [each for each in found if each["split"] == "val" and each["step"] == run.step]
        if not own:
            return "not measured yet"
        split, metrics = "val", own[-1]
    stated = headlines_of(method_of(run.config.task).metrics)
    chosen = [name for name in stated if name in metrics]
    shown = ", ".join(f"{name} {float(metrics[name]):.4g}" for name in chosen[:MAX_SHOWN])
    return f"{split}: {shown}"
