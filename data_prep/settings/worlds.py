"""Settings of simulated worlds: boards, arms under torques, an object that turns in space."""

from dataclasses import dataclass
from typing import Annotated, Literal

from data_prep.settings.sources import Labels
from orbit.core.config.limits import Count, LargeCount, NotNegativeInt, Positive, between, limited
from orbit.core.plugins import Open
from orbit.core.store.facts import HeldOut

MIN_SIZE, MAX_SIZE = 16, 400
"""Pixels a side."""
Size = Annotated[int, between(MIN_SIZE, MAX_SIZE)]


NUM_WARM_UP_STEPS = 50
"""Actions of a reacher before an episode, which its first frame can show."""


@dataclass(frozen=True)
@limited
class ReacherPlanarWorldConfig:
    """An arm of two links seen from straight above, `size` pixels a side, simulated here.

    A frame stacks `num_frames` pictures that are `frame_gap` actions apart. More or further ones
    show velocities on fewer pixels.
    """

    name: Literal["reacher_planar"]
    size: Size = 129
    num_frames: Annotated[int, between(2, 9)] = 2
    frame_gap: Annotated[int, between(1, 25)] = 1

    def __post_init__(self) -> None:
        check_stack(self.num_frames, self.frame_gap)


@dataclass(frozen=True)
@limited
class ReacherWorldConfig:
    """MuJoCo's Reacher through gymnasium, seen at an angle, `size` pixels a side.

    A frame stacks `num_frames` pictures that are `frame_gap` actions apart. More or further ones
    show velocities on fewer pixels.
    """

    name: Literal["reacher"]
    size: Size = 129
    num_frames: Annotated[int, between(2, 9)] = 2
    frame_gap: Annotated[int, between(1, 25)] = 1

    def __post_init__(self) -> None:
        check_stack(self.num_frames, self.frame_gap)


def check_stack(num_frames: int, frame_gap: int) -> None:
    """Raise ValueError if a frame would look back further than an episode's warm-up."""
    if (num_frames - 1) * frame_gap > NUM_WARM_UP_STEPS:
        raise ValueError(
            f"num_frames={num_frames} pictures {frame_gap} actions apart (frame_gap) look back"
            f" further than the {NUM_WARM_UP_STEPS} actions before an episode"
        )


@dataclass(frozen=True)
@limited
class TeapotWorldConfig:
    """A grey object that actions turn in space, `size` pixels a side.

    `turns` are the actions of all splits: `haar`, any rotation, or `small`, one of the six
    by 12 degrees about x, y or z.
    """

    name: Literal["teapot"]
    size: Size = 64
    turns: Literal["haar", "small"] = "haar"
    held_out: HeldOut | None = None


Shape = Literal["circle", "triangle", "square", "diamond"]


@dataclass(frozen=True)
class Shapes2dWorldConfig:
    """Five shapes on a 5x5 board, seen from above, each cell 10x10 pixels.

    `shapes` are assigned to the objects in turn. Without triangles, turning a picture is the same
    as drawing the turned board. With `num_backdrops` of 2 or more, one of as many dim patterns is
    behind the board; no action and no group element changes it.
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


@dataclass(frozen=True)
@limited
class ColouredDigitsWorldConfig:
    """Digits of a source, 24 of 32 pixels, that turn, change their hue and drift at a constant
    pace.

    `labels` takes only these digits, null all. `num_sharing` test episodes in a row have the same
    velocities, so that what one moved by can be tried on the next.
    """

    name: Literal["coloured_digits"]
    labels: Labels | None = (4,)
    num_sharing: Count = 32


WorldConfig = (
    Shapes2dWorldConfig
    | Blocks3dWorldConfig
    | RushHourWorldConfig
    | ReacherPlanarWorldConfig
    | ReacherWorldConfig
    | TeapotWorldConfig
    | ColouredDigitsWorldConfig
)


@dataclass(frozen=True)
@limited
class EpisodeDatasetConfig:
    """Episodes of a world under a random policy.

    `num_episodes` of `episode_length` steps are for training; `num_val_episodes` of the same length
    have the same distribution. `num_test_episodes` of `test_episode_length` steps use all actions;
    `actions`, if given, are one or more names to which the other two splits are limited. On boards
    a name is a direction, for all objects, or an object's number and a direction, as in `0 up`.
    Test episodes come with their rotated copies under the group: by every element of a finite
    group, or by `num_twins` elements besides the identity (drawn ones of a continuous group). A
    null number of episodes follows from the others; see `data_prep.recipes.episodes`.
    `max_test_episodes` is the upper limit of a number that follows so, by default the number of
    episodes that the paper ranks.
    """

    kind: Literal["episodes"]
    name: str
    world: Annotated[WorldConfig, Open("worlds")]
    num_episodes: LargeCount
    episode_length: LargeCount
    num_val_episodes: LargeCount | None
    num_test_episodes: LargeCount | None
    test_episode_length: LargeCount
    num_twins: NotNegativeInt | None
    shard_mib: Positive
    actions: tuple[str, ...] | str | None = None
    max_test_episodes: LargeCount = 10_000

    @property
    def limited_actions(self) -> tuple[str, ...] | None:
        """`actions` as a tuple of names, also if a single name is given."""
        return (self.actions,) if isinstance(self.actions, str) else self.actions
