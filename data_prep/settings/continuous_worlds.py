"""Worlds whose actions are numbers: arms under torques, an object that turns in space."""

import math
from dataclasses import dataclass
from typing import Literal

MIN_SIZE, MAX_SIZE = 16, 400
"""Pixels a side."""


def _check_size(size: int) -> None:
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size={size} must lie between {MIN_SIZE} and {MAX_SIZE}")


@dataclass(frozen=True)
class ReacherPlanarWorldConfig:
    """An arm of two links seen from straight above, `size` pixels a side, simulated here."""

    name: Literal["reacher_planar"]
    size: int = 129

    def __post_init__(self) -> None:
        _check_size(self.size)


@dataclass(frozen=True)
class ReacherWorldConfig:
    """MuJoCo's Reacher through gymnasium, seen at an angle, `size` pixels a side."""

    name: Literal["reacher"]
    size: int = 129

    def __post_init__(self) -> None:
        _check_size(self.size)


@dataclass(frozen=True)
class HeldOutConfig:
    """Orientations that training and validation never show, neither before nor after an action.

    Those that turn the object's `axis` to within `degrees` of `towards`; x is to the right, y
    up and z to the viewer, in the object's own frame as in the picture. Lengths do not matter.
    """

    degrees: float
    axis: tuple[float, float, float] = (0.0, 1.0, 0.0)
    towards: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 < self.degrees <= 150:
            raise ValueError(f"degrees={self.degrees} must lie above 0 and up to 150")
        for name in ("axis", "towards"):
            vector = getattr(self, name)
            if not math.hypot(*vector) > 0:
                raise ValueError(f"{name}={list(vector)} has no direction")


@dataclass(frozen=True)
class TeapotWorldConfig:
    """A grey object that actions turn in space, `size` pixels a side.

    `turns` are the actions of all splits: `haar`, any rotation, or `small`, one of the six
    by 12 degrees about x, y or z.
    """

    name: Literal["teapot"]
    size: int = 64
    turns: Literal["haar", "small"] = "haar"
    held_out: HeldOutConfig | None = None

    def __post_init__(self) -> None:
        _check_size(self.size)
