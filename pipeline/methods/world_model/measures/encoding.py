"""Episodes of a split, and the embeddings and latents of their frames.

Each episode has several copies: copy 0 is the trajectory itself, the others are rotated copies,
moved by a group element. If elements are drawn, two consecutive episodes have the same ones
(`data_prep.recipes.episodes`). Records are sorted by episode, then by copy, then by step.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch

from orbit.core.groups import Group
from orbit.core.store import origin as origins
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import SplitReader
from pipeline.data.packing import slices


class MeasuredModel(Protocol):
    """S: frames -> y (embedding), E: y -> z (latent), T: (z, action) -> the next z.

    `act_on_embedding` and `act_on_latent` are rho_Y and rho_Z, the assumed actions of the group,
    one element per row. Either raises ValueError if the model has no such action.
    """

    @property
    def group(self) -> Group: ...

    def normalise(self, frames: torch.Tensor) -> torch.Tensor: ...

    def embed(self, images: torch.Tensor) -> torch.Tensor: ...

    def encode(self, embedding: torch.Tensor) -> torch.Tensor: ...

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor: ...

    def act_on_embedding(self, embedding: torch.Tensor, g: torch.Tensor) -> torch.Tensor: ...

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor: ...

    def parameters(self) -> object: ...


def acted(
    action: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    values: torch.Tensor,
    g: torch.Tensor,
) -> torch.Tensor | None:
    """Elements g (N, ...) applied to embeddings or latents (N, ...).

    None if the model has no such action and raises ValueError.
    """
    try:
        return action(values, g.to(values.device)).float()
    except ValueError:
        return None


def partners(elements: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of s and of s' (M,) among episodes with elements (N, ...); the number of the first
    episode is even. Pairs that different elements moved are left out, and so is an unpaired last
    episode."""
    first = torch.arange(len(elements) // 2 * 2, device=elements.device)
    second = first ^ 1
    rows = elements.view(len(elements), -1)
    is_shared = (rows[first] == rows[second]).all(1)
    return first[is_shared], second[is_shared]


@torch.no_grad()
def encode_frames(
    model: MeasuredModel, frames: np.ndarray, batch: int, device: torch.device
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
    model: MeasuredModel, frames: Iterable[np.ndarray], batch: int, device: torch.device
) -> torch.Tensor:
    """Latents (N, ...) of frames that come as arrays (M, C, ...) as stored; embeddings are not kept
    because they are large."""
    latents = []
    for stored in frames:
        for part in slices(len(stored), batch):
            images = torch.from_numpy(stored[part]).to(device)
            latents.append(model.encode(model.embed(model.normalise(images)).float()).float())
    return torch.cat(latents)


@torch.no_grad()
def roll_out(
    model: MeasuredModel, latent: torch.Tensor, actions: torch.Tensor, steps: Sequence[int]
) -> torch.Tensor:
    """Predictions (N, K, ...) after these numbers of steps, from latents (N, ...).

    Each step starts from the previous prediction: T(... T(T(z, a_1), a_2) ..., a_h). `actions` (N,
    H, A) with H at least the largest of `steps`; step 0 is the latent itself.
    """
    actions = actions.to(latent.device)
    found = {0: latent}
    for step in range(max(steps, default=0)):
        latent = model.predict(latent, actions[:, step]).float()
        if step + 1 in steps:
            found[step + 1] = latent
    return torch.stack([found[step] for step in steps], 1)


@dataclass(frozen=True)
class Episodes:
    """The first `num_episodes` episodes of a split, each in `num_copies` copies (copy 0 is the
    trajectory itself) of `length` steps, which have `length + 1` frames."""

    reader: SplitReader
    group: Group
    num_episodes: int
    num_copies: int
    length: int

    def records(self, episodes: np.ndarray, copy: int, times: Sequence[int]) -> np.ndarray:
        """Record numbers (N, K) of the steps that start at `times` in these episodes."""
        trajectories = np.asarray(episodes) * self.num_copies + copy
        return np.asarray(trajectories[:, None] * self.length + np.asarray(times))

    def frames(self, episodes: np.ndarray, copy: int, times: Sequence[int]) -> np.ndarray:
        """Frames (N, K, C, ...) as stored, at times from 0 to `length`."""
        if not times:
            return np.empty((len(episodes), 0, *self.reader.frames.shape))
        # The last frame is not the source of any step.
        read: dict[int, np.ndarray] = {}
        inner = [time for time in times if time < self.length]
        last = [time for time in times if time == self.length]
        if inner:
            found = self._ends("source", episodes, copy, inner)
            read.update(zip(inner, found.swapaxes(0, 1), strict=True))
        if last:
            read[self.length] = self._ends("target", episodes, copy, [self.length - 1])[:, 0]
        return np.stack([read[time] for time in times], 1)

    def _ends(
        self,
        end: Literal["source", "target"],
        episodes: np.ndarray,
        copy: int,
        times: Sequence[int],
    ) -> np.ndarray:
        records = self.records(episodes, copy, times)
        found = self.reader.read_frames(end, records.reshape(-1))
        return found.reshape(*records.shape, *found.shape[1:])

    def column(self, name: str, episodes: np.ndarray, copy: int, num_steps: int) -> np.ndarray:
        """A column of the first steps, (N, num_steps, ...)."""
        records = self.records(episodes, copy, range(num_steps))
        values = self.reader.read_column(name, records.reshape(-1))
        return values.reshape(*records.shape, *values.shape[1:])

    def actions(self, episodes: np.ndarray, copy: int, num_steps: int) -> torch.Tensor:
        """Action vectors of the first steps, (N, num_steps, A) float32."""
        return torch.from_numpy(self.column("action", episodes, copy, num_steps))

    def elements(self, episodes: np.ndarray, copy: int) -> torch.Tensor:
        """The group elements that move the trajectories to this copy, (N, ...)."""
        encoded = self.column("group_element", episodes, copy, 1)[:, 0]
        return self.group.decode(torch.from_numpy(encoded))

    def blocks(self, num: int) -> Iterator[np.ndarray]:
        """Episode numbers, `num` at a time."""
        for first in range(0, self.num_episodes, num):
            yield np.arange(first, min(first + num, self.num_episodes))


def trajectory_frames(
    episodes: Episodes, numbers: np.ndarray, copy: int, batch: int
) -> Iterator[np.ndarray]:
    """All frames of trajectories, one trajectory after the other: arrays (M, C, ...) of up to
    `batch` frames as stored."""
    for number in numbers:
        times = range(episodes.length + 1)
        for part in slices(len(times), batch):
            yield episodes.frames(np.array([number]), copy, times[part])[0]


def read_episodes(
    manifest: Manifest, reader: SplitReader, split: str, group: Group, max_episodes: int | None
) -> Episodes:
    """The episodes of a split; ValueError for a dataset that holds none."""
    origin = manifest.origin
    if not isinstance(origin, origins.Episodes) or split not in origin.num_episodes:
        raise ValueError(
            f"dataset {manifest.name} holds no episodes of a world, which its evaluation needs"
        )
    num, copies = origin.num_episodes[split], origin.num_elements[split]
    length = origin.episode_length[split]
    if num * copies * length != reader.num_records:
        raise ValueError(
            f"{num} episodes x {copies} copies x {length} steps are not the"
            f" {reader.num_records} records of split {split}"
        )
    return Episodes(reader, group, min(num, max_episodes or num), copies, length)
