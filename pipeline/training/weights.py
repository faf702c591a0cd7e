"""Putting a checkpoint's weights into a model."""

from pathlib import Path

from torch import nn

from pipeline.training.checkpoint import Checkpoint
from pipeline.training.run_directory import RunDirectory


def start_from_run(model: nn.Module, run_dir: Path) -> None:
    """Load the best weights of another run; ValueError if they do not fit the model."""
    run = RunDirectory(run_dir)
    run.read_config()
    fill(model, run.checkpoints.load(run.checkpoints.resolve("best")), run_dir)


def fill(model: nn.Module, checkpoint: Checkpoint, run_dir: Path) -> None:
    """Load a checkpoint's weights; ValueError naming the run if they do not fit the model."""
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the weights of {run_dir} do not fit this model: {reason}") from None
