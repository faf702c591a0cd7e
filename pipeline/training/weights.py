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
    """Load a checkpoint's weights.

    Raises ValueError naming the run if they do not fit the model, or are not finite.
    """
    own = model.state_dict()
    try:
        for name, values in checkpoint.weights.items():
            if name in own and values.dtype != own[name].dtype:
                raise RuntimeError(f"{name} is of {values.dtype}, not {own[name].dtype}")
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the weights of {run_dir} do not fit this model: {reason}") from None
    guilty = non_finite_names(model)
    if guilty:
        raise ValueError(
            f"the weights of {run_dir}, step {checkpoint.step}, are not finite ({guilty[0]}):"
            " that run diverged; an earlier step may be of use"
        )


def non_finite_names(model: nn.Module) -> list[str]:
    """Names of a model's weights that hold NaN or infinity."""
    return [name for name, values in model.named_parameters() if not bool(values.isfinite().all())]
