"""Making latents visible without a decoder: the known frame whose latent is nearest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.analysis.worlds.encoding import encode_latents
from pipeline.analysis.worlds.episodes import Episodes, trajectory_frames
from pipeline.analysis.worlds.face import WorldModel
from pipeline.evaluation.pictures.prediction import unit_range
from pipeline.metrics.ranking import squared_distances

MAX_FRAMES = 4000


@dataclass(frozen=True)
class Bank:
    """Latents (M, ...) of frames at `times` of the first episodes, episode by episode."""

    episodes: Episodes
    times: Sequence[int]
    latents: torch.Tensor

    @property
    def num_episodes(self) -> int:
        """How many episodes are known."""
        return len(self.latents) // len(self.times)

    def nearest(self, latents: torch.Tensor) -> np.ndarray:
        """The frames whose latents are nearest to (N, K, ...), on [0, 1]: (N, K, C, H, W)."""
        components = self.latents.flatten(1).double().T.contiguous()
        distance = squared_distances(latents.flatten(0, 1).flatten(1).double(), components)
        episode, time = np.divmod(distance.argmin(1).cpu().numpy(), len(self.times))
        found = [
            self.episodes.frames(np.array([e]), 0, [self.times[t]])[0, 0]
            for e, t in zip(episode, time, strict=True)
        ]
        frames = np.stack(found).reshape(*latents.shape[:2], *found[0].shape)
        return unit_range(frames, self.episodes.reader.frames)


def make_bank(
    model: WorldModel, episodes: Episodes, batch: int, device: torch.device, max_frames: int
) -> Bank:
    """Encode up to `max_frames` frames of untransformed trajectories, all times of each."""
    times = range(episodes.length + 1)
    num = max(1, min(episodes.num_episodes, max_frames // len(times)))
    frames = trajectory_frames(episodes, np.arange(num), 0, batch)
    return Bank(episodes, times, encode_latents(model, frames, batch, device))
