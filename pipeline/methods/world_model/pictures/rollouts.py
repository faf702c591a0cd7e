"""Rollouts and orbits of a world model as frames, decoded or by the nearest known frame.

A predicted latent is shown decoded if there is a decoder. Otherwise the test frame with the nearest
latent is shown, which identifies the predicted state but does not show decoding errors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from orbit.core.pictures import save_figure
from orbit.core.store.manifest import FrameSpec
from orbit.core.store.reader import Records
from pipeline.measuring import Row, device_of, picture_grid
from pipeline.methods.latent_action.pictures.elements import (
    MAX_PREVIEW_PIXELS,
    shrunk,
    unit_range,
)
from pipeline.methods.world_model.measures.encoding import (
    Episodes,
    MeasuredModel,
    acted,
    encode_latents,
    trajectory_frames,
)
from pipeline.metrics.ranking import squared_distances
from pipeline.world_models.world_model import WorldModel

MAX_FRAMES = 4000


@dataclass(frozen=True)
class Bank:
    """Latents (M, ...) of frames at `times` of the first episodes, episode by episode."""

    episodes: Episodes
    times: Sequence[int]
    latents: torch.Tensor

    @property
    def num_episodes(self) -> int:
        """The number of encoded episodes."""
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
    """Encode up to `max_frames` frames of untransformed trajectories, whole trajectories only."""
    times = range(episodes.length + 1)
    num = max(1, min(episodes.num_episodes, max_frames // len(times)))
    frames = trajectory_frames(episodes, np.arange(num), 0, batch)
    return Bank(episodes, times, encode_latents(model, frames, batch, device))


Decoder = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Show:
    """A way to make latents visible: `latents` (N, K, ...) to frames (N, K, C, H, W) on [0, 1];
    `how` names it. It works for the first `num_episodes` episodes."""

    latents: Callable[[torch.Tensor], np.ndarray]
    how: str
    num_episodes: int


def nearest_frames(
    model: MeasuredModel, episodes: Episodes, batch: int, device: torch.device
) -> Show:
    """Show latents by the untransformed test frame with the nearest latent."""
    bank = make_bank(model, episodes, batch, device, MAX_FRAMES)
    return Show(
        lambda latents: visible(bank.nearest(latents)), "nearest\nknown frame", bank.num_episodes
    )


def decoded_frames(decode: Decoder, episodes: Episodes, batch: int) -> Show:
    """Show latents by a decoder, which returns frames (B, C, H, W) in loaded units, `batch` at a
    time."""
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


def true_frames(episodes: Episodes, numbers: np.ndarray, copy: int, times: list[int]) -> np.ndarray:
    """Stored frames (N, K, C, H, W) on [0, 1]."""
    frames = episodes.frames(numbers, copy, times)
    return visible(unit_range(frames, episodes.reader.frames))


def visible(frames: np.ndarray) -> np.ndarray:
    """The frames (..., C, H, W); of frames that show several moments in colour, the latest."""
    return frames[..., -3:, :, :] if frames.shape[-3] % 3 == 0 else frames


@torch.no_grad()
def preview_rows(model: WorldModel, records: Records, spec: FrameSpec) -> dict[str, np.ndarray]:
    """Sources, predictions and truths, (N, C, h, w) each on [0, 1]; large frames are shrunk.

    A prediction is shown by that of the 2 N frames whose latent is nearest to it: a source stands
    for "no change", the truth of another record for a confusion.
    """
    device = device_of(model)
    source, target, action = (
        torch.from_numpy(each).to(device)
        for each in (records.source, records.target, records.action)
    )
    images = model.normalise(torch.cat([target, source]))
    latents = model.encode(model.embed(images)).float()
    predicted = model.predict(latents[len(target) :], action).float()
    components = latents.flatten(1).double().T.contiguous()
    nearest = squared_distances(predicted.flatten(1).double(), components).argmin(1).cpu().numpy()
    frames = {
        "source": records.source,
        "nearest to prediction": np.concatenate([records.target, records.source])[nearest],
        "truth": records.target,
    }
    return {
        name: shrunk(visible(unit_range(each, spec)), MAX_PREVIEW_PIXELS)
        for name, each in frames.items()
    }


def write_rollouts(
    path: Path,
    times: Sequence[int],
    truth: np.ndarray,
    predicted: np.ndarray,
    how: str,
    title: str,
) -> None:
    """Write two rows for each episode, as a PNG: `truth` and `predicted` (N, K, C, H, W) on [0, 1]
    at K times.

    `how` names the way in which predictions are shown.
    """
    rows: list[Row] = []
    for number, (true, shown) in enumerate(zip(truth, predicted, strict=True)):
        captions = [f"step {time}" for time in times] if number == 0 else []
        rows += [("truth", true, captions), (how, shown, [])]
    save_figure(picture_grid(rows, title), path)


MAX_ELEMENTS = 8


@dataclass(frozen=True)
class DecodedOrbits:
    """First states s of N episodes under K elements of these `names`: frames `truth` of g s, from
    the rotated copies, and `decoded` from rho(g) z for the latent z of s, (N, K, C, H, W) each on
    [0, 1]."""

    names: list[list[str]]
    truth: np.ndarray
    decoded: np.ndarray


def decoded_orbits(
    model: MeasuredModel, episodes: Episodes, numbers: np.ndarray, show: Show, device: torch.device
) -> DecodedOrbits | None:
    """Decoded orbits under the elements of the rotated copies, the identity first; None if there
    are no rotated copies or no action on latents."""
    copies = range(min(episodes.num_copies, MAX_ELEMENTS))
    latents = encode_latents(model, [episodes.frames(numbers, 0, [0])[:, 0]], 1, device)
    elements = [episodes.elements(numbers, copy) for copy in copies]
    moved = [acted(model.act_on_latent, latents, g) for g in elements]
    found = [each for each in moved if each is not None]
    if len(copies) < 2 or not found:
        return None
    truth = [true_frames(episodes, numbers, copy, [0])[:, 0] for copy in copies]
    names = [
        [model.group.names(g[row : row + 1])[0] for g in elements] for row in range(len(numbers))
    ]
    return DecodedOrbits(names, np.stack(truth, 1), show.latents(torch.stack(found, 1)))


def write_decoded_orbits(path: Path, orbits: DecodedOrbits, how: str, title: str) -> None:
    """Write two rows for each state, truth and decoded frames, as a PNG; `how` names the second."""
    rows: list[Row] = []
    for number, (true, shown) in enumerate(zip(orbits.truth, orbits.decoded, strict=True)):
        # Elements of a continuous group are drawn for each state.
        names = orbits.names[number]
        is_news = number == 0 or names != orbits.names[0]
        captions = [f"g: {name}" for name in names] if is_news else []
        rows += [("frame of g s", true, captions), (how, shown, [])]
    save_figure(picture_grid(rows, title), path)
