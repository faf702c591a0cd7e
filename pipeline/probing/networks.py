"""The frozen model of a run, and the one it started from."""

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from pipeline.models.latent_action import LatentActionModel
from pipeline.runs import Run
from pipeline.tasks.table import make_task
from pipeline.training.run import INITIALISATION_STREAM

Networks = tuple[LatentActionModel, LatentActionModel]
"""The trained model, and the same with the weights that the run drew at its start."""


def load_networks(run: Run, manifest: Manifest, device: torch.device) -> Networks:
    """Both models in evaluation mode on the device.

    The untrained one has the weights drawn for the attempt that made the checkpoint,
    also where `init_from` then put others in their place.
    """
    key = [run.config.seed, INITIALISATION_STREAM, run.checkpoint.meta["attempt"]]
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    untrained = make_task(run.config.task, manifest, seed, device).model.eval()
    assert isinstance(run.model, LatentActionModel)
    assert isinstance(untrained, LatentActionModel)
    return run.model, untrained
