"""Frames to latents, and latents on from there by the model's own steps."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from pipeline.analysis.worlds.face import WorldModel
from pipeline.data.places import slices


@torch.no_grad()
def encode_frames(
    model: WorldModel, frames: np.ndarray, batch: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and latents (N, K, ...) of frames (N, K, C, ...) as stored, `batch` at a time."""
    flat = frames.reshape(-1, *frames.shape[2:])
    pairs = []
    for first in range(0, len(flat), batch):
        images = torch.from_numpy(flat[first : first + batch]).to(device)
        embedding = model.embed(model.normalise(images)).float()
        pairs.append((embedding, model.encode(embedding).float()))
    embeddings, latents = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    shape = frames.shape[:2]
    return embeddings.unflatten(0, shape), latents.unflatten(0, shape)


@torch.no_grad()
def encode_latents(
    model: WorldModel, frames: Iterable[np.ndarray], batch: int, device: torch.device
) -> torch.Tensor:
    """Latents (N, ...) of frames that come as arrays (M, C, ...) as stored; embeddings, which are
    large, are not kept."""
    latents = []
    for stored in frames:
        for part in slices(len(stored), batch):
            images = torch.from_numpy(stored[part]).to(device)
            latents.append(model.encode(model.embed(model.normalise(images)).float()).float())
    return torch.cat(latents)


@torch.no_grad()
def roll_out(
    model: WorldModel, latent: torch.Tensor, actions: torch.Tensor, steps: Sequence[int]
) -> torch.Tensor:
    """Predictions (N, K, ...) after these numbers of steps, from latents (N, ...).

    Each step starts from the prediction before: T(... T(T(z, a_1), a_2) ..., a_h). `actions`
    (N, H, A) with H at least the largest of `steps`; step 0 is the latent itself.
    """
    actions = actions.to(latent.device)
    found = {0: latent}
    for step in range(max(steps, default=0)):
        latent = model.predict(latent, actions[:, step]).float()
        if step + 1 in steps:
            found[step + 1] = latent
    return torch.stack([found[step] for step in steps], 1)
