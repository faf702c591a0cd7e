"""The hand-written loop: data in memory as float32, the same model and losses, nothing else."""

import numpy as np
import torch
from measuring import Lap, counted
from torch.nn.functional import mse_loss

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from pipeline.models.latent_action import LatentActionModel, LatentParts
from pipeline.models.settings import AutoencoderConfig


def make_model(manifest: Manifest) -> LatentActionModel:
    """The paper's model, with weights of seed 0."""
    torch.manual_seed(0)
    group = make_group(manifest.group)
    return LatentActionModel(AutoencoderConfig(), 0.5, manifest.frames, group)


def hand_lap(
    manifest: Manifest, sources: np.ndarray, batch: int, compiled: bool, num_steps: int
) -> Lap:
    """A lap of `num_steps` training steps on source images (F, C, H, W) as stored."""
    model = make_model(manifest)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    images = model.normalise(torch.from_numpy(sources))
    losses = torch.compile(losses_of) if compiled else losses_of

    def step() -> int:
        chosen = torch.randint(0, len(images), (batch,))
        g = torch.randint(0, 4, (batch,))
        loss = losses(model, images[chosen], g)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return batch

    return counted(step, num_steps)


def losses_of(model: LatentActionModel, source: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Sum of the paper's three losses for normalised images and group elements."""
    target = model.group.act_on_image(source, g)
    parts = model.encode(source)
    moved = model.group.act_on_latent(parts.variant, g)
    output = model.decode(LatentParts(moved, parts.invariant))
    with torch.no_grad():
        wanted = model.encode(target)
    return (
        mse_loss(output, target)
        + mse_loss(parts.invariant, wanted.invariant)
        + mse_loss(moved, wanted.variant)
    )
