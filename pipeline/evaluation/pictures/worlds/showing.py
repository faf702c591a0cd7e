"""Frames and latents of a world model as pictures, decoded or by the nearest known frame."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.analysis.worlds.episodes import Episodes
from pipeline.analysis.worlds.face import WorldModel
from pipeline.evaluation.pictures.prediction import unit_range
from pipeline.evaluation.pictures.worlds.nearest import MAX_FRAMES, make_bank

Decoder = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Show:
    """How a model's latents become visible: `latents` (N, K, ...) to frames (N, K, C, H, W) on
    [0, 1], and in a word `how`. What is true of the first `num_episodes` can be shown."""

    latents: Callable[[torch.Tensor], np.ndarray]
    how: str
    num_episodes: int


def nearest_frames(model: WorldModel, episodes: Episodes, batch: int, device: torch.device) -> Show:
    """By the untransformed test frame whose latent is nearest."""
    bank = make_bank(model, episodes, batch, device, MAX_FRAMES)
    return Show(
        lambda latents: visible(bank.nearest(latents)), "nearest\nknown frame", bank.num_episodes
    )


def decoded_frames(decode: Decoder, episodes: Episodes, batch: int) -> Show:
    """By a decoder, which gives frames (B, C, H, W) in loaded units, of `batch` at a time."""
    low, high = episodes.reader.frames.loaded_range

    @torch.no_grad()
    def show(latents: torch.Tensor) -> np.ndarray:
        shown = []
        for part in latents.flatten(0, 1).split(batch):
            scaled = ((decode(part).float() - low) / (high - low)).clamp(0, 1)
            shown.append(visible(scaled.cpu().numpy()))
        frames = np.concatenate(shown)
        return frames.reshape(*latents.shape[:2], *frames.shape[1:])

    return Show(show, "decoded", episodes.num_episodes)


def true_frames(episodes: Episodes, numbers: np.ndarray, twin: int, times: list[int]) -> np.ndarray:
    """Stored frames (N, K, C, H, W) on [0, 1]."""
    frames = episodes.frames(numbers, twin, times)
    return visible(unit_range(frames, episodes.reader.frames))


def visible(frames: np.ndarray) -> np.ndarray:
    """Of frames (..., C, H, W) that show two moments in colour, the later one."""
    return frames[..., -3:, :, :] if frames.shape[-3] == 6 else frames
