"""Worlds, and how many episodes of them are written."""

from dataclasses import dataclass
from typing import Literal

from data_prep.settings.continuous_worlds import (
    ReacherPlanarWorldConfig,
    ReacherWorldConfig,
    TeapotWorldConfig,
)

Shape = Literal["circle", "triangle", "square", "diamond"]


@dataclass(frozen=True)
class Shapes2dWorldConfig:
    """Five shapes on a 5x5 board, seen from above, each cell 10x10 pixels.

    `shapes` are dealt to the objects in turn. Without triangles, turning a picture is the
    same as drawing the turned board. `num_backdrops` of 2 or more put one of as many dim
    patterns behind the board, which no action moves and no group element turns.
    """

    name: Literal["shapes_2d"]
    shapes: tuple[Shape, ...] = ("circle", "triangle", "square")
    num_backdrops: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.shapes) <= 5:
            raise ValueError(f"shapes={list(self.shapes)} must be one to five shapes")
        if self.num_backdrops == 1 or self.num_backdrops < 0:
            raise ValueError(f"num_backdrops={self.num_backdrops} must be 0, or 2 or more")


@dataclass(frozen=True)
class Blocks3dWorldConfig:
    """Five cubes on a 5x5 floor, seen at an angle."""

    name: Literal["blocks_3d"]


@dataclass(frozen=True)
class RushHourWorldConfig:
    """Five arrows on a 5x5 board, each moving relative to where it points."""

    name: Literal["rush_hour"]


WorldConfig = (
    Shapes2dWorldConfig
    | Blocks3dWorldConfig
    | RushHourWorldConfig
    | ReacherPlanarWorldConfig
    | ReacherWorldConfig
    | TeapotWorldConfig
)


@dataclass(frozen=True)
class EpisodeDatasetConfig:
    """Episodes of a world under a random policy.

    `num_episodes` of `episode_length` steps are for training; `num_val_episodes` of the
    same length are drawn alike. `num_test_episodes` of `test_episode_length` steps know
    all actions; `actions`, if given, are those that the other two splits are limited to: a
    name or several. On boards a name is that of a direction, for all objects, or has an object's
    number before it, as in `0 up`.
    Test episodes come with their transforms under the group: by every element of a
    finite group, or by `num_twins` elements beside the identity (drawn ones of a continuous
    group). A number of episodes that is null follows from the others; see
    `data_prep.recipes.episode_sizes`. `max_test_episodes` bounds a number of test episodes that
    does, by default to what the paper ranks among each other.
    """

    kind: Literal["episodes"]
    name: str
    world: WorldConfig
    num_episodes: int
    episode_length: int
    num_val_episodes: int | None
    num_test_episodes: int | None
    test_episode_length: int
    num_twins: int | None
    shard_mib: float
    actions: tuple[str, ...] | str | None = None
    max_test_episodes: int = 10_000

    def __post_init__(self) -> None:
        for name in (
            "num_episodes",
            "episode_length",
            "num_val_episodes",
            "num_test_episodes",
            "test_episode_length",
            "max_test_episodes",
        ):
            value = getattr(self, name)
            if value is not None and not 1 <= value < 2**32:
                raise ValueError(f"{name}={value} must be at least 1, and below 2^32")
        if self.num_twins is not None and self.num_twins < 0:
            raise ValueError(f"num_twins={self.num_twins} must not be negative")
        if self.shard_mib <= 0:
            raise ValueError(f"shard_mib={self.shard_mib} must be positive")

    @property
    def limited_actions(self) -> tuple[str, ...] | None:
        """`actions` as names, of which there may be one."""
        return (self.actions,) if isinstance(self.actions, str) else self.actions
