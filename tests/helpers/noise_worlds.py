"""Records as worlds leave them, but of noise: for tests that need shapes and no dynamics."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_prep.building.recipe import ShardPlan
from orbit.core.groups import ActionComponent, make_group
from orbit.core.store.manifest import ColumnSpec, FrameSpec
from orbit.core.store.origin import Episodes, Named
from orbit.core.store.shard import Block, ShardLayout

SPLITS = {"train": 0, "val": 1, "test": 2}
LENGTH = 5

OBJECT = ActionComponent("object", "the object that moves", "1", 0.0, 4.0)
DIRECTION = ActionComponent("direction", "up, right, down, left", "1", 0.0, 3.0)
TORQUES = tuple(
    ActionComponent(f"torque_{joint}", f"torque on joint {joint}", "1", -1.0, 1.0)
    for joint in (0, 1)
)
WORLDS = {
    # group, frames, actions
    "grid": ("c4", FrameSpec((3, 10, 10), "uint8", (0.0, 255.0), (0.0, 1.0)), (OBJECT, DIRECTION)),
    "reacher": ("d4", FrameSpec((6, 33, 33), "uint8", (0.0, 255.0), (0.0, 1.0)), TORQUES),
    "teapot": (
        "so3",
        FrameSpec((1, 16, 16), "uint8", (0.0, 255.0), (0.0, 1.0)),
        make_group("so3").action_components,
    ),
}


@dataclass(frozen=True)
class NoiseWorld:
    """Episodes of `LENGTH` steps through frames of noise that differ in brightness."""

    world: str
    num_train: int = 16
    num_held_out: int = 5
    seed: int = 0
    label_meaning: str = "none"
    target_is_action_on_source: bool = False

    @property
    def name(self) -> str:
        return f"noise_{self.world}"

    @property
    def group(self) -> str:
        return WORLDS[self.world][0]

    @property
    def frames(self) -> FrameSpec:
        return WORLDS[self.world][1]

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        return WORLDS[self.world][2]

    @property
    def columns(self) -> dict[str, ColumnSpec]:
        return {"episode": ColumnSpec("int64", (), "number of the episode in its split")}

    def origin(self) -> Episodes:
        return Episodes(
            kind="episodes",
            world=Named(self.name),
            num_episodes={
                split: self.num_train if split == "train" else self.num_held_out for split in SPLITS
            },
            episode_length=dict.fromkeys(SPLITS, LENGTH),
            num_elements=dict.fromkeys(SPLITS, 1),
            shard_mib=1.0,
        )

    def source_checksums(self) -> dict[str, str]:
        return {}

    def plans(self) -> tuple[ShardPlan, ...]:
        plans = []
        for split in SPLITS:
            num = self.num_train if split == "train" else self.num_held_out
            layout = ShardLayout(
                self.frames,
                len(self.action_components),
                self.columns,
                num * (LENGTH + 1),
                num * LENGTH,
            )
            plans.append(ShardPlan(split, 0, 0, num, layout, None))
        return tuple(plans)

    def blocks(self, plan: ShardPlan) -> Iterator[Block]:
        for episode in range(plan.first, plan.last):
            rng = np.random.default_rng([self.seed, SPLITS[plan.split], episode])
            frame = episode * (LENGTH + 1) + np.arange(LENGTH + 1)
            brightness = rng.integers(1, 256, (LENGTH + 1, 1, 1, 1))
            noise = rng.random((LENGTH + 1, *self.frames.shape)) * brightness
            yield Block(
                noise.astype(np.uint8),
                frame[:-1],
                frame[1:],
                self._actions(rng),
                np.zeros(LENGTH, np.int64),
                {"episode": np.full(LENGTH, episode)},
            )

    def _actions(self, rng: np.random.Generator) -> np.ndarray:
        if self.world == "grid":
            return np.stack((rng.integers(0, 5, LENGTH), rng.integers(0, 4, LENGTH)), 1).astype(
                np.float32
            )
        if self.world == "reacher":
            return rng.uniform(-1, 1, (LENGTH, 2)).astype(np.float32)
        group = make_group("so3")
        return group.encode(group.sample(rng, LENGTH)).numpy()
