"""Digits that turn, change their hue and drift, each at a constant pace: the velocities are the
actions.

The track of Miyato, Koyama, Fukumizu, "Unsupervised Learning of Equivariant Structure from
Sequences" (2022): a model sees pictures alone and has to find what moved.

As in `data_prep.worlds.planar_arm`, pictures use only sums, products and roundings of single
numbers, so that they are the same on every machine.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data_prep.settings.sources import NoSourceConfig, SourceConfig
from data_prep.settings.worlds import ColouredDigitsWorldConfig
from data_prep.worlds.draws import DrawKey, uniforms
from data_prep.worlds.interface import KindOfSource
from data_prep.worlds.reacher import MAX_ANGLE, sine_cosine
from orbit.core.actions import ActionComponent
from orbit.core.store.facts import StateAngles, WorldFacts
from orbit.core.store.manifest import SPLITS, FrameSpec

SIDE, DIGIT = 32, 24
"""Pixels a side of a picture and of its digit."""
VAL_PLACE, TEST_PLACE, NUM_PLACES = 9, 8, 10
"""Of ten images in a row, those of splits that the source does not have."""


@dataclass(frozen=True)
class Digits:
    """`images` (N, 24, 24) float32 from 0 to 255; `of_split` the numbers of those that each split
    shows, (n,) int64; `checksums` of the source's files."""

    images: np.ndarray
    of_split: Mapping[str, np.ndarray]
    checksums: dict[str, str]


def read_digits(source: SourceConfig, config: ColouredDigitsWorldConfig) -> Digits:
    """The images of a source that have one of the labels, 24 pixels a side.

    A source's own splits are kept; what it lacks are every tenth of its training images. Raises
    ValueError for a source that has no grey images, or too few, and the source's own errors.
    """
    from data_prep.sources.interface import IMAGES, SOURCES
    from orbit.core.plugins import kind_of

    if isinstance(source, NoSourceConfig):
        raise ValueError(
            "coloured_digits needs images: source=torchvision source.root=DIR, or source=sklearn"
        )
    chosen = getattr(source, "labels", None)
    if chosen is not None:
        raise ValueError(f"source.labels={list(chosen)} has no effect: set dataset.world.labels")
    kind = kind_of("sources", SOURCES[IMAGES], source)
    opened = None if kind is None else kind.make(source, 0, None)
    if opened is None or len(opened.image_shape) != 3 or opened.image_shape[0] != 1:
        raise ValueError(f"source={source.name} has no grey images, which coloured_digits colours")
    parts, images, first = dict[str, np.ndarray](), [], 0
    for part, num in opened.num_images.items():
        found, labels = opened.read(part, np.arange(num))
        kept = found if config.labels is None else found[np.isin(labels, config.labels)]
        parts[part] = first + np.arange(len(kept))
        images.append(resized(kept[:, 0]))
        first += len(kept)
    return Digits(np.concatenate(images), _splits(parts), opened.checksums())


def _splits(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The numbers of the images of each split, from those of each part of a source."""
    splits = {split: parts[split] for split in ("val", "test") if split in parts}
    rest = parts["train"] if "train" in parts else parts["all"]
    place = np.arange(len(rest)) % NUM_PLACES
    lacking = {"val": VAL_PLACE, "test": TEST_PLACE}
    lacking = {split: chosen for split, chosen in lacking.items() if split not in parts}
    splits |= {split: rest[place == chosen] for split, chosen in lacking.items()}
    splits["train"] = rest[~np.isin(place, list(lacking.values()))]
    for split, numbers in splits.items():
        if not len(numbers):
            raise ValueError(f"the {split} split would have no image: see dataset.world.labels")
    return splits


def resized(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W) as (N, 24, 24) float32, by linear interpolation between pixel centres."""
    for axis in (1, 2):
        side = images.shape[axis]
        at = np.clip((np.arange(DIGIT) + 0.5) * side / DIGIT - 0.5, 0, side - 1)
        low = np.minimum(at.astype(np.int64), side - 2)
        share = (at - low).reshape(-1, *(1,) * (2 - axis))
        below, above = (images.take(low + step, axis).astype(np.float64) for step in (0, 1))
        images = below * (1 - share) + above * share
    return images.astype(np.float32)


IMAGE, DIRECTION, HUE, PLACE, VELOCITIES = 0, slice(1, 3), 3, slice(4, 6), slice(6, 10)
STATE_MEANING = (
    "number of the digit's image; cosine and sine of its angle; hue, 0 to 1; its centre, pixels to"
    " the right and up from the picture's; then the velocities, as an action has them"
)
MAX_TURN, MAX_HUE, MAX_PLACE = math.pi / 2, 0.25, 10.0
"""Velocities and places are uniform between plus and minus these, in radians, cycles, pixels."""
NUM_SHIFTS = {"train": 8, "val": 8, "test": 9}
"""In so many steps a digit goes from one drawn place to another."""
MAX_SHIFT = 2 * MAX_PLACE / min(NUM_SHIFTS.values())
START_STREAM, VELOCITY_STREAM = 0, 1


class ColouredDigits:
    """Digits at a constant pace; see `data_prep.worlds.interface.World`.

    A frame stacks two pictures, one action apart, the current one last: a record holds three. An
    episode's actions are all the same, those that its state holds; a state after other actions
    holds these. SO(2) turns the digit about its own centre and leaves actions alone. Without
    `digits` nothing can be drawn.
    """

    name, group = "coloured_digits", "so2"
    action_components = (
        ActionComponent("turn", "counter-clockwise turn", "radian", -MAX_TURN, MAX_TURN),
        ActionComponent("hue", "change of the hue", "cycle", -MAX_HUE, MAX_HUE),
        ActionComponent("right", "shift to the right", "pixel", -MAX_SHIFT, MAX_SHIFT),
        ActionComponent("up", "shift upwards", "pixel", -MAX_SHIFT, MAX_SHIFT),
    )
    frames = FrameSpec((6, SIDE, SIDE), "uint8", (0.0, 255.0), (0.0, 1.0))
    state_size = VELOCITIES.stop
    state_meaning = STATE_MEANING
    tolerance = 1e-6
    facts = WorldFacts(angles=StateAngles("digit", (DIRECTION.start,), (DIRECTION.start + 1,)))

    def __init__(
        self,
        config: ColouredDigitsWorldConfig,
        actions: tuple[str, ...] | None,
        digits: Digits | None,
    ) -> None:
        if actions is not None:
            raise ValueError(
                f"dataset.actions=[{','.join(actions)}] is not allowed; allowed: null, because"
                " actions are the velocities of a state"
            )
        self._config, self._digits = config, digits

    @property
    def can_render(self) -> bool:
        return self._digits is not None

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        """First states: the earlier of their two pictures shows the start that is drawn.

        Test episodes have the velocities of their run of `num_sharing`; those of other splits go
        to an end within the same range as the start.
        """
        split = SPLITS[split_number]
        start = uniforms(DrawKey(seed, split_number, START_STREAM), episodes, 4)
        places = MAX_PLACE * (2 * start[:, 2:] - 1)
        of = episodes // self._config.num_sharing if split == "test" else episodes
        paces = 2 * uniforms(DrawKey(seed, split_number, VELOCITY_STREAM), of, 6) - 1
        begin = MAX_PLACE * paces[:, 4:] if split == "test" else places
        numbers = self._known.of_split[split]
        states = np.empty((len(episodes), self.state_size), np.float32)
        states[:, IMAGE] = numbers[episodes % len(numbers)]
        states[:, 2], states[:, 1] = sine_cosine(2 * math.pi * start[:, 0])
        states[:, HUE], states[:, PLACE] = start[:, 1], places
        states[:, 6], states[:, 7] = MAX_TURN * paces[:, 0], MAX_HUE * paces[:, 1]
        states[:, 8:10] = (MAX_PLACE * paces[:, 2:4] - begin) / NUM_SHIFTS[split]
        return self.step(states, states[:, VELOCITIES])

    def draw_actions(
        self,
        seed: int,
        split_number: int,
        episodes: np.ndarray,
        time: int,
        states: np.ndarray,
        limited: bool,
    ) -> np.ndarray:
        return states[:, VELOCITIES].copy()

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        after = moved(states, actions)
        after[:, VELOCITIES] = actions
        return after.astype(states.dtype)

    def render(self, states: np.ndarray) -> np.ndarray:
        """The picture before the last action, which the velocities tell, and the current one."""
        images = self._known.images
        shown = (moved(states, -states[:, VELOCITIES].astype(np.float64)), states)
        pictures = [paint(images[of[:, IMAGE].astype(np.int64)], of) for of in shown]
        return np.concatenate(pictures, 1)

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        after = states.astype(np.float64)
        after[:, DIRECTION] = turned(after[:, DIRECTION], g.numpy())
        return after.astype(states.dtype)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return actions.copy()

    def action_names(self, actions: np.ndarray) -> list[str]:
        return [
            f"{math.degrees(turn):+.0f} {hue:+.2f}\n{right:+.1f} {up:+.1f}"
            for turn, hue, right, up in actions.tolist()
        ]

    def checksums(self) -> dict[str, str]:
        return {} if self._digits is None else self._digits.checksums

    def settings(self) -> dict[str, Any]:
        labels = self._config.labels
        return {
            "labels": None if labels is None else list(labels),
            "num_sharing": self._config.num_sharing,
        }

    @property
    def _known(self) -> Digits:
        if self._digits is None:
            raise ValueError("the digits of this dataset are not here: only its source has them")
        return self._digits


def moved(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """States (N, S) after actions (N, 4), float64; their velocities stay."""
    after = states.astype(np.float64)
    turn, hue, *_ = actions.astype(np.float64).T
    after[:, DIRECTION] = turned(after[:, DIRECTION], turn)
    after[:, HUE] = (after[:, HUE] + hue) % 1
    after[:, PLACE] += actions[:, 2:]
    return after


def turned(direction: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 2) float64 turned by angles (N,) in radians, of unit length again."""
    sine, cosine = sine_cosine(np.clip(angle, -MAX_ANGLE, MAX_ANGLE))
    x, y = direction.T
    x, y = x * cosine - y * sine, y * cosine + x * sine
    return np.asarray(np.stack([x, y], -1) / np.sqrt(x * x + y * y)[:, None])


def paint(images: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Pictures (N, 3, 32, 32) uint8 of digits (N, 24, 24): turned about their centres, then
    shifted, by linear interpolation; black outside."""
    states = states.astype(np.float64)
    cosine, sine = (number[:, None, None] for number in states[:, DIRECTION].T)
    to_right, up = (number[:, None, None] for number in states[:, PLACE].T)
    place = np.arange(SIDE) - (SIDE - 1) / 2
    x, y = place - to_right, -place[:, None] - up
    # A ring of black around the digit, and one more for the further neighbours of the last pixels.
    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 2), (1, 2)))
    middle = (DIGIT - 1) / 2 + 1
    column = np.clip(middle + x * cosine + y * sine, 0, DIGIT + 1)
    row = np.clip(middle + x * sine - y * cosine, 0, DIGIT + 1)
    left, top = column.astype(np.int64), row.astype(np.int64)
    across, down = column - left, row - top
    at, width = (top * padded.shape[2] + left).reshape(len(images), -1), padded.shape[2]
    flat = padded.reshape(len(images), -1)
    corners = [
        np.take_along_axis(flat, at + step, 1).reshape(row.shape)
        for step in (0, 1, width, width + 1)
    ]
    upper = corners[0] * (1 - across) + corners[1] * across
    lower = corners[2] * (1 - across) + corners[3] * across
    grey = upper * (1 - down) + lower * down
    coloured = grey[:, None] * colours(states[:, HUE])[:, :, None, None]
    return np.asarray(np.rint(coloured), np.uint8)


def colours(hue: np.ndarray) -> np.ndarray:
    """Red, green and blue (N, 3) from 0 to 1 of full, bright hues (N,), 0 to 1: HSV (hue, 1, 1)."""
    sixth = 6 * hue
    parts = (np.abs(sixth - 3) - 1, 2 - np.abs(sixth - 2), 2 - np.abs(sixth - 4))
    return np.asarray(np.clip(np.stack(parts, -1), 0, 1))


WORLD = KindOfSource(
    "coloured_digits",
    ColouredDigitsWorldConfig,
    ColouredDigits,
    read_digits,
    lambda facts: None,
)
