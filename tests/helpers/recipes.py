"""Recipes of tiny synthetic datasets; a module of its own so that workers can unpickle them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.building.recipe import ShardPlan
from orbit.core.groups import ActionComponent, make_group
from orbit.core.store.manifest import ColumnSpec, FrameSpec
from orbit.core.store.origin import Named, Orbits, Origin
from orbit.core.store.shard import Block, ShardLayout

SPLIT_NUMBER = {"train": 0, "val": 1, "test": 2}


def made_here(**settings: Any) -> Origin:
    """The origin of records that a recipe of the tests makes."""
    return Orbits(kind="orbits", source=Named("tests", settings), pairs={}, shard_mib=1.0)


@dataclass(frozen=True)
class VolumeRecipe:
    """Random 1x8x8x8 float16 volumes with their whole C4 orbits; an item is a source volume."""

    num_train: int = 9
    num_held_out: int = 3
    items_per_shard: int = 3
    seed: int = 0
    name: str = "noise_volumes"
    group: str = "c4"
    label_meaning: str = "number of the volume"
    target_is_action_on_source: bool = True
    frames: FrameSpec = FrameSpec((1, 8, 8, 8), "float16", (-2.0, 2.0), (-1.0, 1.0))
    columns: dict[str, ColumnSpec] = field(default_factory=dict)

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        return make_group(self.group).action_components

    def origin(self) -> Origin:
        return made_here(num_train=self.num_train, items_per_shard=self.items_per_shard)

    def source_checksums(self) -> dict[str, str]:
        return {}

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        for split in SPLIT_NUMBER:
            num = self.num_train if split == "train" else self.num_held_out
            for index, first in enumerate(range(0, num, self.items_per_shard)):
                last = min(first + self.items_per_shard, num)
                count = 4 * (last - first)
                layout = ShardLayout(self.frames, 1, self.columns, count, count)
                plans.append(ShardPlan(split, index, first, last, layout, 4))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        group = make_group(self.group)
        turns = group.elements()
        for item in range(plan.first, plan.last):
            rng = np.random.default_rng([self.seed, SPLIT_NUMBER[plan.split], item])
            volume = torch.from_numpy(rng.uniform(-2, 2, self.frames.shape).astype(np.float16))
            first = 4 * (item - plan.first)
            yield Block(
                group.act_on_image(volume.expand(4, *volume.shape), turns).numpy(),
                np.full(4, first),
                first + np.arange(4),
                group.encode(turns).numpy(),
                np.full(4, item),
                {},
            )


@dataclass(frozen=True)
class PausingRecipe(VolumeRecipe):
    """The same volumes, but the first process to reach a shard's middle stops there for ever.

    It makes `pause_file` when it does; where that file exists, nothing stops.
    """

    pause_file: str = ""
    pause_split: str = "train"
    pause_index: int = 1

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        for number, block in enumerate(super().blocks(plan)):
            yield block
            here = (plan.split, plan.index) == (self.pause_split, self.pause_index)
            if here and number == 0 and not Path(self.pause_file).exists():
                Path(self.pause_file).touch()
                time.sleep(600)


NUM_STEPS = 10
SIDE = 8


@dataclass(frozen=True)
class EpisodeRecipe:
    """A dot pushed about an 8x8 picture for 10 steps, and the same rollout turned.

    An item is an episode: 11 frames and 10 records, then the 11 and 10 of its twin,
    whose pictures and pushes are turned by a drawn number of quarter turns.
    """

    num_train: int = 6
    num_held_out: int = 2
    items_per_shard: int = 2
    seed: int = 0
    name: str = "pushed_dot"
    group: str = "c4"
    label_meaning: str = "quarter turns of the twin"
    target_is_action_on_source: bool = False
    frames: FrameSpec = FrameSpec((1, SIDE, SIDE), "uint8", (0.0, 255.0), (0.0, 1.0))

    @property
    def columns(self) -> dict[str, ColumnSpec]:
        return {
            "episode": ColumnSpec("int64", (), "number of the rollout in its split"),
            "time": ColumnSpec("int64", (), "step in the rollout"),
            "state": ColumnSpec("float32", (2,), "row and column of the dot before the push"),
            "twin": ColumnSpec("int64", (), "row of the turned record in this shard"),
        }

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        return tuple(
            ActionComponent(name, f"push along the {name}s", "pixel", -1.0, 1.0)
            for name in ("row", "column")
        )

    def origin(self) -> Origin:
        return made_here(num_train=self.num_train, num_steps=NUM_STEPS)

    def source_checksums(self) -> dict[str, str]:
        return {}

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        for split in SPLIT_NUMBER:
            num = self.num_train if split == "train" else self.num_held_out
            for index, first in enumerate(range(0, num, self.items_per_shard)):
                last = min(first + self.items_per_shard, num)
                rollouts = 2 * (last - first)
                layout = ShardLayout(
                    self.frames, 2, self.columns, rollouts * (NUM_STEPS + 1), rollouts * NUM_STEPS
                )
                plans.append(ShardPlan(split, index, first, last, layout, None))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        for item in range(plan.first, plan.last):
            rng = np.random.default_rng([self.seed, SPLIT_NUMBER[plan.split], item])
            pushes = rng.integers(-1, 2, (NUM_STEPS, 2))
            states = [rng.integers(0, SIDE, 2)]
            for push in pushes:
                states.append(np.clip(states[-1] + push, 0, SIDE - 1))
            turns = int(rng.integers(0, 4))
            for is_twin in (False, True):
                rollout = 2 * (item - plan.first) + is_twin
                record = rollout * NUM_STEPS + np.arange(NUM_STEPS)
                frame = rollout * (NUM_STEPS + 1) + np.arange(NUM_STEPS + 1)
                turn = turns if is_twin else 0
                seen = np.array([turned_place(state, turn) for state in states])
                pictures = np.zeros((NUM_STEPS + 1, *self.frames.shape), np.uint8)
                pictures[np.arange(NUM_STEPS + 1), 0, seen[:, 0], seen[:, 1]] = 255
                yield Block(
                    pictures,
                    frame[:-1],
                    frame[1:],
                    np.array([turned_push(push, turn) for push in pushes], np.float32),
                    np.full(NUM_STEPS, turns),
                    {
                        "episode": np.full(NUM_STEPS, 2 * item + is_twin),
                        "time": np.arange(NUM_STEPS),
                        "state": seen[:-1].astype(np.float32),
                        "twin": record + (-NUM_STEPS if is_twin else NUM_STEPS),
                    },
                )


def turned_push(push: np.ndarray, turns: int) -> np.ndarray:
    """A (row, column) direction after counter-clockwise quarter turns of the picture."""
    for _ in range(turns):
        push = np.array([-push[1], push[0]])
    return push


def turned_place(place: np.ndarray, turns: int) -> np.ndarray:
    """A (row, column) place after counter-clockwise quarter turns of the picture."""
    for _ in range(turns):
        place = np.array([SIDE - 1 - place[1], place[0]])
    return place
