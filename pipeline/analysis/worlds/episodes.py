"""Episodes of a world's split, each with its twins, as arrays over (episode, twin, time).

A twin is the whole trajectory moved by a group element; twin 0 is the trajectory itself.
Records come episode by episode, in each twin by twin, in each step by step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.data.places import slices
from pipeline.groups import Group


@dataclass(frozen=True)
class Episodes:
    """`length` steps, so that a trajectory has `length + 1` frames. Only the first
    `num_episodes` of the split are meant."""

    reader: SplitReader
    group: Group
    num_episodes: int
    num_twins: int
    length: int

    def records(self, episodes: np.ndarray, twin: int, times: Sequence[int]) -> np.ndarray:
        """Record numbers (N, K) of the steps that start at `times` in these episodes."""
        trajectories = np.asarray(episodes) * self.num_twins + twin
        return np.asarray(trajectories[:, None] * self.length + np.asarray(times))

    def frames(self, episodes: np.ndarray, twin: int, times: Sequence[int]) -> np.ndarray:
        """Frames (N, K, C, ...) as stored, at times from 0 to `length`."""
        if not times:
            return np.empty((len(episodes), 0, *self.reader.frames.shape))
        # The last frame is the source of no step.
        read: dict[int, np.ndarray] = {}
        inner = [time for time in times if time < self.length]
        last = [time for time in times if time == self.length]
        if inner:
            found = self._ends("source", episodes, twin, inner)
            read.update(zip(inner, found.swapaxes(0, 1), strict=True))
        if last:
            read[self.length] = self._ends("target", episodes, twin, [self.length - 1])[:, 0]
        return np.stack([read[time] for time in times], 1)

    def _ends(
        self,
        end: Literal["source", "target"],
        episodes: np.ndarray,
        twin: int,
        times: Sequence[int],
    ) -> np.ndarray:
        records = self.records(episodes, twin, times)
        found = self.reader.read_frames(end, records.reshape(-1))
        return found.reshape(*records.shape, *found.shape[1:])

    def column(self, name: str, episodes: np.ndarray, twin: int, num_steps: int) -> np.ndarray:
        """A column of the first steps, (N, num_steps, ...)."""
        records = self.records(episodes, twin, range(num_steps))
        values = self.reader.read_column(name, records.reshape(-1))
        return values.reshape(*records.shape, *values.shape[1:])

    def actions(self, episodes: np.ndarray, twin: int, num_steps: int) -> torch.Tensor:
        """Action vectors of the first steps, (N, num_steps, A) float32."""
        return torch.from_numpy(self.column("action", episodes, twin, num_steps))

    def elements(self, episodes: np.ndarray, twin: int) -> torch.Tensor:
        """By which group element the twin differs from the trajectory itself, (N, ...)."""
        encoded = self.column("group_element", episodes, twin, 1)[:, 0]
        return self.group.decode(torch.from_numpy(encoded))

    def blocks(self, num: int) -> Iterator[np.ndarray]:
        """Episode numbers, `num` at a time."""
        for first in range(0, self.num_episodes, num):
            yield np.arange(first, min(first + num, self.num_episodes))


def trajectory_frames(
    episodes: Episodes, numbers: np.ndarray, twin: int, batch: int
) -> Iterator[np.ndarray]:
    """All frames of whole trajectories, one trajectory after the other: arrays (M, C, ...) of up
    to `batch` frames as stored."""
    for number in numbers:
        times = range(episodes.length + 1)
        for part in slices(len(times), batch):
            yield episodes.frames(np.array([number]), twin, times[part])[0]


def read_episodes(
    manifest: Manifest, reader: SplitReader, split: str, group: Group, max_episodes: int | None
) -> Episodes:
    """The episodes of a split; ValueError for a dataset that holds none."""
    generator = manifest.generator
    try:
        num, twins, length = (
            int(generator[key][split]) for key in ("num_episodes", "num_elements", "episode_length")
        )
    except (KeyError, TypeError):
        raise ValueError(
            f"dataset {manifest.name} holds no episodes of a world, which its evaluation needs"
        ) from None
    if num * twins * length != reader.num_records:
        raise ValueError(
            f"{num} episodes x {twins} twins x {length} steps are not the"
            f" {reader.num_records} records of split {split}"
        )
    return Episodes(reader, group, min(num, max_episodes or num), twins, length)
