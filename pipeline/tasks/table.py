"""From a task's configuration to the task."""

import torch

from data_prep.store.manifest import Manifest
from pipeline.tasks.decoder.settings import DecoderConfig
from pipeline.tasks.decoder.task import DecoderTask
from pipeline.tasks.interface import Task
from pipeline.tasks.latent_action.settings import LatentActionConfig
from pipeline.tasks.latent_action.task import LatentActionTask
from pipeline.tasks.sequence_labelling.settings import SequenceLabellingConfig
from pipeline.tasks.sequence_labelling.task import SequenceLabellingTask
from pipeline.tasks.world_model.settings import WorldModelConfig
from pipeline.tasks.world_model.task import WorldModelTask

TaskConfig = LatentActionConfig | WorldModelConfig | SequenceLabellingConfig | DecoderConfig


def make_task(config: TaskConfig, manifest: Manifest, seed: int, device: torch.device) -> Task:
    """Build a task on a device, its weights drawn from `seed` alone.

    Raises ValueError for a dataset that the configured model cannot be trained on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Weights are drawn on the CPU, so that they do not depend on the device.
        if isinstance(config, WorldModelConfig):
            return WorldModelTask(config, manifest, device)
        if isinstance(config, SequenceLabellingConfig):
            return SequenceLabellingTask(config, manifest, device)
        if isinstance(config, DecoderConfig):
            return DecoderTask(config, manifest, device)
        return LatentActionTask(config, manifest, device)
