"""Rollouts and orbits of a world model as frames, decoded or by the nearest known frame.

A predicted latent is shown decoded, where there is a decoder; else as the test frame whose
latent is nearest to it, which says what the model takes the state for but not how it looks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from orbit.core.pictures import save_figure
from pipeline.measuring import Row, picture_grid
from pipeline.methods.latent_action.pictures.elements import unit_range
from pipeline.methods.world_model.measures.encoding import (
    Episodes,
    MeasuredModel,
    acted,
    encode_latents,
    trajectory_frames,
)
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
    model: MeasuredModel, episodes: Episodes, batch: int, device: torch.device, max_frames: int
) -> Bank:
    """Encode up to `max_frames` frames of untransformed trajectories, all times of each."""
    times = range(episodes.length + 1)
    num = max(1, min(episodes.num_episodes, max_frames // len(times)))
    frames = trajectory_frames(episodes, np.arange(num), 0, batch)
    return Bank(episodes, times, encode_latents(model, frames, batch, device))


Decoder = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Show:
    """How a model's latents become visible: `latents` (N, K, ...) to frames (N, K, C, H, W) on
    [0, 1], and in a word `how`. What is true of the first `num_episodes` can be shown."""

    latents: Callable[[torch.Tensor], np.ndarray]
    how: str
    num_episodes: int


def nearest_frames(
    model: MeasuredModel, episodes: Episodes, batch: int, device: torch.device
) -> Show:
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


def write_rollouts(
    path: Path,
    times: Sequence[int],
    truth: np.ndarray,
    predicted: np.ndarray,
    how: str,
    title: str,
) -> None:
    """Two rows an episode, as a PNG: `truth` and `predicted` (N, K, C, H, W) on [0, 1] at K times.

    `how` says how predictions were made visible.
    """
    rows: list[Row] = []
    for number, (true, shown) in enumerate(zip(truth, predicted, strict=True)):
        captions = [f"step {time}" for time in times] if number == 0 else []
        rows += [("truth", true, captions), (how, shown, [])]
    save_figure(picture_grid(rows, title), path)


MAX_ELEMENTS = 8


@dataclass(frozen=True)
class DecodedOrbits:
    """First states s of N episodes under K elements of these `names`: the twins' frames `truth`,
    of g s, and `decoded`, of rho(g) z for the latent z of s, (N, K, C, H, W) each on [0, 1]."""

    names: list[list[str]]
    truth: np.ndarray
    decoded: np.ndarray


def decoded_orbits(
    model: MeasuredModel, episodes: Episodes, numbers: np.ndarray, show: Show, device: torch.device
) -> DecodedOrbits | None:
    """Under the elements of the twins, the identity first; None without twins, or without an
    action on latents."""
    twins = range(min(episodes.num_twins, MAX_ELEMENTS))
    latents = encode_latents(model, [episodes.frames(numbers, 0, [0])[:, 0]], 1, device)
    elements = [episodes.elements(numbers, twin) for twin in twins]
    moved = [acted(model.act_on_latent, latents, g) for g in elements]
    found = [each for each in moved if each is not None]
    if len(twins) < 2 or not found:
        return None
    truth = [true_frames(episodes, numbers, twin, [0])[:, 0] for twin in twins]
    names = [
        [model.group.names(g[row : row + 1])[0] for g in elements] for row in range(len(numbers))
    ]
    return DecodedOrbits(names, np.stack(truth, 1), show.latents(torch.stack(found, 1)))


def write_decoded_orbits(path: Path, orbits: DecodedOrbits, how: str, title: str) -> None:
    """Two rows a state, truth and what was decoded, as a PNG; `how` names the second."""
    rows: list[Row] = []
    for number, (true, shown) in enumerate(zip(orbits.truth, orbits.decoded, strict=True)):
        # Elements of a continuous group are drawn for each state.
        names = orbits.names[number]
        is_news = number == 0 or names != orbits.names[0]
        captions = [f"g: {name}" for name in names] if is_news else []
        rows += [("frame of g s", true, captions), (how, shown, [])]
    save_figure(picture_grid(rows, title), path)
