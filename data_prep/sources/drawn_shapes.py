"""Arrows and squares, drawn in one pose each: a group of two angles moves them.

Their shapes are continuous, so that images of two splits differ. Every shape is a function of
(seed, position); even positions have class 0, odd ones class 1. Drawn on a finer lattice and
averaged, or by exact overlaps, so that edges are grey.
"""

import numpy as np

from data_prep.settings.sources import ArrowsSourceConfig, SquaresSourceConfig
from orbit.core.plugins import Kind

ARROW_STREAM, SQUARE_STREAM = 70, 71
NUM_IMAGES = 2000
NUM_CLASSES = 2
FINER = 4
"""Points of a pixel along each axis."""
COLOUR = (1.0, 0.25, 0.25)
"""Red, green and blue of hue 0, (1 + cos(120 degrees times 0, 1, 2)) / 2: no turn of it leaves 0 to
1."""
LENGTH, SHAFT, HEAD = (0.55, 0.85), (0.06, 0.14), (0.2, 0.35)
"""Ranges of lengths along and across an arrow, as shares of the frame's side."""
BREADTH = ((0.1, 0.16), (0.2, 0.28))
"""Half of the head's breadth, by class."""
SQUARE = ((0.125, 0.25), (0.25, 0.375))
"""The side of a square, by class: 8 to 16 and 16 to 24 of 64 pixels."""


class _Drawn:
    """`num_samples` images (default 2000), part `all`; see `data_prep.sources.interface`."""

    is_binary = False

    def __init__(self, size: int, seed: int, num_samples: int | None) -> None:
        self._size, self._seed = size, seed
        self.num_images = {"all": NUM_IMAGES if num_samples is None else num_samples}

    def subjects(self, part: str) -> np.ndarray | None:
        return None

    def checksums(self) -> dict[str, str]:
        return {}


class ArrowsSource(_Drawn):
    """Red arrows to the right before black, (3, S, S), within the inscribed disc."""

    label_meaning = "head of the arrow: 0 narrow, 1 broad"

    def __init__(self, config: ArrowsSourceConfig, seed: int, num_samples: int | None) -> None:
        super().__init__(config.size, seed, num_samples)
        self.image_shape = (3, config.size, config.size)

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        colour = np.array(COLOUR)[:, None, None] * 255
        frames = [colour * arrow(self._size, self._seed, int(index)) for index in indices]
        return _as_frames(frames, self.image_shape), indices.astype(np.int64) % NUM_CLASSES


class SquaresSource(_Drawn):
    """White squares in the middle of black frames, (1, S, S)."""

    label_meaning = "side of the square: 0 below a quarter of the frame, 1 above"

    def __init__(self, config: SquaresSourceConfig, seed: int, num_samples: int | None) -> None:
        super().__init__(config.size, seed, num_samples)
        self.image_shape = (1, config.size, config.size)

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames = [255 * square(self._size, self._seed, int(index))[None] for index in indices]
        return _as_frames(frames, self.image_shape), indices.astype(np.int64) % NUM_CLASSES


def arrow(size: int, seed: int, index: int) -> np.ndarray:
    """How much of each pixel the arrow at a position covers, (S, S) from 0 to 1."""
    rng = np.random.default_rng([seed, ARROW_STREAM, index])
    length, shaft, head = (rng.uniform(*bounds) for bounds in (LENGTH, SHAFT, HEAD))
    breadth = rng.uniform(*BREADTH[index % NUM_CLASSES])
    line = (np.arange(size * FINER) + 0.5) / (size * FINER) - 0.5
    x, y = line[None], np.abs(line)[:, None]
    neck, tip = length / 2 - head, length / 2
    is_shaft = (x >= -length / 2) & (x <= neck) & (y <= shaft / 2)
    is_head = (x >= neck) & (y * head <= breadth * (tip - x))
    fine = (is_shaft | is_head).reshape(size, FINER, size, FINER)
    return np.asarray(fine.mean((1, 3)))


def square(size: int, seed: int, index: int) -> np.ndarray:
    """How much of each pixel the square at a position covers, (S, S) from 0 to 1."""
    rng = np.random.default_rng([seed, SQUARE_STREAM, index])
    half = size * rng.uniform(*SQUARE[index % NUM_CLASSES]) / 2
    left = np.arange(size) - size / 2
    overlap = np.minimum(left + 1, half) - np.maximum(left, -half)
    covered = np.clip(overlap, 0, 1)
    return np.asarray(covered[:, None] * covered)


def _as_frames(frames: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    values: np.ndarray = np.rint(np.array(frames).reshape(-1, *shape)).astype(np.uint8)
    return values


ARROWS = Kind("arrows", ArrowsSourceConfig, ArrowsSource)
SQUARES = Kind("squares", SquaresSourceConfig, SquaresSource)
