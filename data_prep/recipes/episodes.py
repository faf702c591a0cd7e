"""Episodes of a world: their number, their length, their simulation, and their rotated copies.

Records of a split are sorted by episode, then by group element (the untransformed one first), then
by time. A trajectory of T steps has T + 1 frames, each stored once.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from data_prep.building.recipe import ShardPlan
from data_prep.settings import EpisodeDatasetConfig, PrepareConfig
from data_prep.worlds.interface import World
from orbit.core.groups import Group, make_group
from orbit.core.store import origin
from orbit.core.store.manifest import SPLITS, ColumnSpec
from orbit.core.store.shard import Block, ShardLayout

TRAIN_EPISODES_A_VAL_EPISODE = 20


@dataclass(frozen=True)
class EpisodeSizes:
    """For each split the number of episodes, of steps per episode, and of copies of an episode.

    `num_elements` counts the untransformed episode too.
    """

    num_episodes: dict[str, int]
    episode_length: dict[str, int]
    num_elements: dict[str, int]


def episode_sizes(
    config: PrepareConfig, dataset: EpisodeDatasetConfig, group: Group
) -> EpisodeSizes:
    """The sizes that a configuration requests.

    A null number of validation episodes means a twentieth of the training episodes; a null number
    of test episodes gives as many transitions as training has, up to `max_test_episodes`.
    """
    num_train = config.num_episodes or config.num_samples or dataset.num_episodes
    length = config.episode_length or dataset.episode_length
    test_length = dataset.test_episode_length
    num_val = dataset.num_val_episodes or max(1, num_train // TRAIN_EPISODES_A_VAL_EPISODE)
    num_like_train = max(1, num_train * length // test_length)
    num_test = dataset.num_test_episodes or min(dataset.max_test_episodes, num_like_train)
    counts = (num_train, num_val, num_test)
    return EpisodeSizes(
        dict(zip(SPLITS, counts, strict=True)),
        dict(zip(SPLITS, (length, length, test_length), strict=True)),
        dict(zip(SPLITS, (1, 1, _num_elements(dataset.num_twins, group)), strict=True)),
    )


def _num_elements(num_twins: int | None, group: Group) -> int:
    """The number of elements: the identity and those that make the rotated copies."""
    if num_twins is None:
        if group.num_elements is None:
            raise ValueError(
                f"dataset.num_twins=null takes all elements, and group {group.name} has infinitely"
                " many: give dataset.num_twins=N"
            )
        return group.num_elements
    if group.num_elements is not None and num_twins >= group.num_elements:
        raise ValueError(
            f"dataset.num_twins={num_twins} is more than the {group.num_elements - 1} elements"
            f" that {group.name} has besides the identity"
        )
    return 1 + num_twins


ELEMENT_STREAM = 2
EPISODES_AN_ELEMENT = 2
"""Consecutive episodes with the same drawn elements: only if one element moved two states can one
measure whether it changes their distance."""


class Rollouts(NamedTuple):
    """`states` (E, T + 1, S) and `actions` (E, T, A), float32: E episodes of T steps."""

    states: np.ndarray
    actions: np.ndarray


def roll_out(
    world: World, seed: int, split_number: int, episodes: np.ndarray, length: int, limited: bool
) -> Rollouts:
    """Simulate the episodes of these numbers (E,) int64."""
    first = world.reset(seed, split_number, episodes, limited)
    states = np.empty((len(episodes), length + 1, world.state_size), np.float32)
    actions = np.empty((len(episodes), length, len(world.action_components)), np.float32)
    states[:, 0] = first
    for time in range(length):
        now = states[:, time]
        actions[:, time] = world.draw_actions(seed, split_number, episodes, time, now, limited)
        states[:, time + 1] = world.step(now, actions[:, time])
    return Rollouts(states, actions)


def copy_elements(
    group: Group, seed: int, split_number: int, episodes: np.ndarray, num: int
) -> torch.Tensor:
    """The identity and `num` - 1 further elements for each episode, (E, num, ...).

    The first elements of a finite group, or drawn ones of a continuous group (the same for episodes
    2m and 2m + 1), rounded as action vectors are.
    """
    if group.num_elements is not None:
        listed = group.elements()[:num]
        return listed.expand(len(episodes), *listed.shape)
    rows = []
    for episode in episodes.tolist():
        draw = episode // EPISODES_AN_ELEMENT
        rng = np.random.default_rng([seed, ELEMENT_STREAM, split_number, draw])
        drawn = group.sample(rng, num - 1)
        rows.append(torch.cat([group.identity(1).to(drawn.dtype), drawn]))
    g = torch.stack(rows)
    kept = group.decode(group.encode(g.flatten(0, 1)))
    return kept.view(len(episodes), num, *kept.shape[1:])


def with_copies(world: World, rollouts: Rollouts, g: torch.Tensor) -> Rollouts:
    """Each episode moved by each of its elements `g` (E, K, ...), episodes first: (E * K, ...)."""
    num = g.shape[1]
    if num == 1:
        return rollouts
    flat = g.flatten(0, 1)
    moved = []
    for act, rows in (
        (world.act_on_state, rollouts.states),
        (world.act_on_action, rollouts.actions),
    ):
        each = np.repeat(rows, num, axis=0)
        length = each.shape[1]
        acted = act(each.reshape(-1, each.shape[-1]), flat.repeat_interleave(length, dim=0))
        moved.append(np.asarray(acted, np.float32).reshape(each.shape))
        # The identity changes nothing, not even by rounding.
        moved[-1][::num] = rows
    return Rollouts(*moved)


BLOCK_BYTES = 2**22


class Episodes:
    """Recipe for transitions of a world; see `data_prep.building.recipe.Recipe`.

    An item is an episode. `actions` are those to which training and validation are limited; None
    means all. Draws are keyed by (seed, split, episode, time).
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

    def origin(self) -> origin.Episodes:
        world, sizes = self._world, self._sizes
        return origin.Episodes(
            kind="episodes",
            world=origin.Named(world.name, dict(world.settings())),
            num_episodes=sizes.num_episodes,
            episode_length=sizes.episode_length,
            num_elements=sizes.num_elements,
            shard_mib=self._shard_mib,
            actions=self._actions,
            facts=world.facts,
        )

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
        """The content of one shard. The states of all its episodes are simulated together; their
        frames are drawn in parts."""
        split, number = plan.split, SPLITS.index(plan.split)
        episodes = np.arange(plan.first, plan.last)
        length, num_elements = self._sizes.episode_length[split], self._sizes.num_elements[split]
        limited = self._actions is not None and split != "test"
        rollouts = roll_out(self._world, self.seed, number, episodes, length, limited)
        g = copy_elements(make_group(self.group), self.seed, number, episodes, num_elements)
        rollouts = with_copies(self._world, rollouts, g)
        step = max(1, BLOCK_BYTES // self._frame_bytes)
        for first in range(0, plan.layout.num_frames, step):
            last = min(first + step, plan.layout.num_frames)
            yield self._block(episodes, rollouts, g, np.arange(first, last))

    def _block(
        self, episodes: np.ndarray, rollouts: Rollouts, g: torch.Tensor, frames: np.ndarray
    ) -> Block:
        """These consecutive frames of a shard's rollouts, and the records that start at them."""
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
        """Bytes of an episode's frames and columns, with its rotated copies."""
        columns = sum(
            math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in self.columns.values()
        )
        length = self._sizes.episode_length[split]
        rollout = (length + 1) * self._frame_bytes + length * columns
        return self._sizes.num_elements[split] * rollout
