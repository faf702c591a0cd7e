"""Episodes of a world, stored as transitions (state, action, next state) with their pictures.

Records of a split come episode by episode; of an episode by group element, the untransformed
one first; of these by time. A trajectory of T steps has T + 1 frames, each stored once.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from data_prep.recipes.episode_sizes import EpisodeSizes
from data_prep.recipes.rollouts import Rollouts, roll_out, twin_elements, with_twins
from data_prep.store.manifest import SPLITS, ColumnSpec
from data_prep.store.recipe import ShardPlan
from data_prep.store.shard import Block, ShardLayout
from data_prep.worlds.interface import World
from pipeline.groups import make_group

BLOCK_BYTES = 2**22


class Episodes:
    """Recipe for transitions of a world; see `data_prep.store.recipe.Recipe`.

    An item is an episode. `actions` are those that training and validation are limited to,
    as the world was told; None are all. Draws are keyed by (seed, split, episode, time).
    """

    label_meaning = "number of the episode in its split"
    target_is_action_on_source = False

    def __init__(
        self,
        name: str,
        world: World,
        sizes: EpisodeSizes,
        actions: tuple[str, ...] | None,
        shard_mib: float,
        seed: int,
    ) -> None:
        self.name, self.group, self.seed = name, world.group, seed
        self.action_components, self.frames = world.action_components, world.frames
        self._world, self._sizes, self._actions = world, sizes, actions
        self._shard_mib = shard_mib

    @property
    def columns(self) -> Mapping[str, ColumnSpec]:
        world, group = self._world, make_group(self.group)
        state = (world.state_size,)
        element = (len(group.action_components),)
        return {
            "episode": ColumnSpec("int64", (), self.label_meaning),
            "time": ColumnSpec("int64", (), "number of the step in the episode"),
            "element": ColumnSpec(
                "int64", (), "number of the twin; 0 is the untransformed episode"
            ),
            "group_element": ColumnSpec(
                "float32", element, f"element of {self.group} that made the twin"
            ),
            "state": ColumnSpec("float32", state, f"before the action: {world.state_meaning}"),
            "next_state": ColumnSpec("float32", state, "the same after the action"),
            "original": ColumnSpec("int64", (), "row of the untransformed record in this shard"),
        }

    def generator(self) -> dict[str, Any]:
        sizes = self._sizes
        return {
            "world": self._world.name,
            "settings": dict(self._world.settings()),
            "actions": None if self._actions is None else list(self._actions),
            "num_episodes": sizes.num_episodes,
            "episode_length": sizes.episode_length,
            "num_elements": sizes.num_elements,
            "shard_mib": self._shard_mib,
        }

    def source_checksums(self) -> dict[str, str]:
        return dict(self._world.checksums())

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        for split in SPLITS:
            num = self._sizes.num_episodes[split]
            num_elements, length = (
                self._sizes.num_elements[split],
                self._sizes.episode_length[split],
            )
            in_shard = max(1, int(self._shard_mib * 2**20 / self._bytes_per_episode(split)))
            num_shards = -(-num // in_shard)
            for index in range(num_shards):
                first, last = num * index // num_shards, num * (index + 1) // num_shards
                num_rollouts = (last - first) * num_elements
                layout = ShardLayout(
                    self.frames,
                    len(self.action_components),
                    self.columns,
                    num_rollouts * (length + 1),
                    num_rollouts * length,
                )
                plans.append(ShardPlan(split, index, first, last, layout, None))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        """States of all episodes are simulated together; their pictures come a part at a time."""
        split, number = plan.split, SPLITS.index(plan.split)
        episodes = np.arange(plan.first, plan.last)
        length, num_elements = self._sizes.episode_length[split], self._sizes.num_elements[split]
        limited = self._actions is not None and split != "test"
        rollouts = roll_out(self._world, self.seed, number, episodes, length, limited)
        g = twin_elements(make_group(self.group), self.seed, number, episodes, num_elements)
        rollouts = with_twins(self._world, rollouts, g)
        step = max(1, BLOCK_BYTES // self._frame_bytes)
        for first in range(0, plan.layout.num_frames, step):
            last = min(first + step, plan.layout.num_frames)
            yield self._block(episodes, rollouts, g, np.arange(first, last))

    def _block(
        self, episodes: np.ndarray, rollouts: Rollouts, g: torch.Tensor, frames: np.ndarray
    ) -> Block:
        """These consecutive frames of a shard's rollouts, and the records that begin at them."""
        num_elements, length = g.shape[1], rollouts.actions.shape[1]
        rollout, time = np.divmod(frames, length + 1)
        pictures = self._world.render(rollouts.states[rollout, time])
        begins = time < length
        rollout, time = rollout[begins], time[begins]
        source = rollout * (length + 1) + time
        place, element = np.divmod(rollout, num_elements)
        codes = make_group(self.group).encode(g.flatten(0, 1)).numpy()
        return Block(
            pictures,
            source,
            source + 1,
            rollouts.actions[rollout, time],
            episodes[place],
            {
                "episode": episodes[place],
                "time": time,
                "element": element,
                "group_element": codes[rollout],
                "state": rollouts.states[rollout, time],
                "next_state": rollouts.states[rollout, time + 1],
                "original": place * num_elements * length + time,
            },
        )

    @property
    def _frame_bytes(self) -> int:
        return math.prod(self.frames.shape) * np.dtype(self.frames.dtype).itemsize

    def _bytes_per_episode(self, split: str) -> int:
        """Bytes of an episode's frames and columns, twins among them."""
        columns = sum(
            math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in self.columns.values()
        )
        length = self._sizes.episode_length[split]
        rollout = (length + 1) * self._frame_bytes + length * columns
        return self._sizes.num_elements[split] * rollout
