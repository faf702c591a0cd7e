"""Using a trained run: `load_run(run_dir)` returns model, group and configuration."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from orbit.core import plugins
from orbit.core.groups import Group, make_group
from orbit.core.printing import say
from orbit.core.store.manifest import FrameSpec, Manifest, read_manifest
from pipeline.data.places import local_batch_of, places_at_once
from pipeline.methods.interface import Task
from pipeline.methods.table import make_task
from pipeline.models.latent_action import LatentActionModel
from pipeline.run_files.checkpoint import Checkpoint, fill
from pipeline.training.run_directory import RunDirectory
from pipeline.training.settings import TrainConfig


@dataclass(frozen=True)
class Run:
    """A trained model with everything needed to use it."""

    model: nn.Module
    group: Group
    config: TrainConfig
    task: Task
    step: int
    checkpoint: Checkpoint
    frames: FrameSpec

    def places(self, world_size: int = 1) -> int:
        """How many records each of `world_size` ranks processes at a time outside of training; this
        fits into memory because a training step did."""
        num_ranks = self.checkpoint.meta.get("world_size", 1)
        config = self.config
        local_batch = local_batch_of(config.global_batch, config.accumulation, num_ranks)
        return places_at_once(self.frames.shape, local_batch, world_size)


def load_run(
    run_dir: str | Path,
    checkpoint: str = "best",
    data: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> Run:
    """Load a run's model from checkpoint `best`, `last` or a step number.

    `data` is the dataset's current path, if it has moved since training. Raises FileNotFoundError
    or ValueError if run, checkpoint or dataset cannot be read.
    """
    run = RunDirectory(Path(run_dir))
    config = run.read_config()
    manifest: Manifest = read_manifest(Path(data if data is not None else config.data))
    loaded = run.checkpoints.load(run.checkpoints.resolve(checkpoint))
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
    return Run(task.model, group, config, task, loaded.step, loaded, manifest.frames)


def latent_action_model(run: Run) -> LatentActionModel:
    """The model of a latent action run; ValueError for a run of another task."""
    if not isinstance(run.model, LatentActionModel):
        raise ValueError(
            f"{run.config.run_dir} has task.name={run.config.task.name}: this is for latent_action"
        )
    return run.model
