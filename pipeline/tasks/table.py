"""From a task's configuration to the task."""

import torch

from data_prep.store.manifest import Manifest
from pipeline.tasks.interface import Task
from pipeline.tasks.latent_action.settings import LatentActionConfig
from pipeline.tasks.latent_action.task import LatentActionTask

TaskConfig = LatentActionConfig


def make_task(config: TaskConfig, manifest: Manifest, seed: int, device: torch.device) -> Task:
    """Build a task on a device, its weights drawn from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Weights are drawn on the CPU, so that they do not depend on the device.
        return LatentActionTask(config, manifest, device)
