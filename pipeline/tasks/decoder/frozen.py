"""The world model of a finished run, frozen, with the decoder that learns from it."""

from pathlib import Path

import torch
from torch import nn

from data_prep.store.manifest import Manifest
from pipeline.tasks.decoder.networks import make_decoder
from pipeline.tasks.decoder.settings import DecoderConfig
from pipeline.world_models.building import make_world_model
from pipeline.world_models.world_model import WorldModel


class FrozenModelWithDecoder(nn.Module):
    """`world_model` never changes and is always in evaluation mode; `decoder` learns."""

    def __init__(self, world_model: WorldModel, decoder: nn.Module) -> None:
        super().__init__()
        self.world_model, self.decoder = world_model.requires_grad_(False), decoder
        self.train()

    def train(self, mode: bool = True) -> "FrozenModelWithDecoder":
        super().train(mode)
        self.world_model.eval()
        return self

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) of latents, in loaded units."""
        images: torch.Tensor = self.decoder(latent)
        return images


def make_model(config: DecoderConfig, manifest: Manifest) -> FrozenModelWithDecoder:
    """Read the run that the configuration names; ValueError unless it is of a world model."""
    # The run's configuration may name any task, this one too.
    from pipeline.tasks.world_model.settings import WorldModelConfig
    from pipeline.training.run_directory import RunDirectory
    from pipeline.training.weights import fill

    run = RunDirectory(Path(config.run))
    task = run.read_config().task
    if not isinstance(task, WorldModelConfig):
        raise ValueError(f"task.run={config.run} is a run of task.name={task.name}, no world model")
    world_model = make_world_model(task.model, manifest)
    fill(
        world_model, run.checkpoints.load(run.checkpoints.resolve(str(config.checkpoint))), run.path
    )
    world_model.eval()
    with torch.no_grad():
        frames = torch.zeros(1, *manifest.frames.shape)
        latent_shape = world_model.latent(frames).shape[1:]
    decoder = make_decoder(config.model, tuple(latent_shape), manifest.frames)
    return FrozenModelWithDecoder(world_model, decoder)
