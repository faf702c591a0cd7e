"""Generated brains that look like skull-stripped T1 images, with a known class."""

from functools import lru_cache

import numpy as np

from data_prep.drawing.phantom_shapes import Anatomy, brightness, draw_turn, draw_waves
from data_prep.settings.sources import PhantomSourceConfig
from orbit.core.plugins import Kind

PHANTOM_STREAM = 50
NUM_VOLUMES = 600
NUM_CLASSES = 2
MEAN_LOG_VOLUME = (0.0, 0.9)
STD_LOG_VOLUME = 0.25
"""Mean, by class, and standard deviation of the logarithm of the lateral ventricles' volume."""

SURFACE_VOXELS = 1.3
NUM_WAVES = 5
NUM_BIAS_WAVES = 2


class PhantomSource:
    """`num_samples` generated brains (default 600); part `all`.

    Frames are (1, D, H, W) with D from inferior to superior, H from anterior to posterior and W
    from left to right, as those of `orbit.core.reading.nifti`. A brain lies in a ball whose radius
    is one voxel less than that of the inscribed one; outside it is 0. The lateral ventricles of
    class 1 have on average exp(0.9) = 2.5 times the volume of class 0; 4% are closer to the other
    class. All draws of a volume are keyed by (seed, stream, position).
    """

    is_binary = False
    label_meaning = "lateral ventricles: 0 of usual volume, 1 enlarged"

    def __init__(self, config: PhantomSourceConfig, seed: int, num_samples: int | None) -> None:
        self._config, self._seed = config, seed
        self.image_shape = (1, config.side, config.side, config.side)
        num = NUM_VOLUMES if num_samples is None else num_samples
        self.num_images = {"all": num}

    def subjects(self, part: str) -> np.ndarray | None:
        return None

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames = np.empty((len(indices), *self.image_shape), np.uint8)
        for frame, index in zip(frames, indices, strict=True):
            frame[0] = phantom(self._config, self._seed, int(index))
        return frames, indices.astype(np.int64) % NUM_CLASSES

    def checksums(self) -> dict[str, str]:
        return {}


def phantom(config: PhantomSourceConfig, seed: int, index: int) -> np.ndarray:
    """The volume (D, H, W) uint8 at a position; even positions have class 0, odd ones class 1."""
    side = config.side
    rng = np.random.default_rng([seed, PHANTOM_STREAM, index])
    where, points = _ball(side)
    anatomy = _draw_anatomy(rng, index % NUM_CLASSES)
    blur = SURFACE_VOXELS * 2 / (side - 3)
    value, coverage = brightness(_draw_deformed(rng, points), anatomy, blur)
    value *= 1 + config.bias * _draw_bias(rng, points)
    value += config.noise * coverage * rng.standard_normal(len(value), np.float32)
    volume = np.zeros(side**3, np.uint8)
    volume[where] = np.clip(value * (255 / (1 + config.bias)) + 0.5, 0, 255)
    return volume.reshape(side, side, side)


def _draw_anatomy(rng: np.random.Generator, label: int) -> Anatomy:
    deviation = rng.standard_normal()
    width = np.exp((MEAN_LOG_VOLUME[label] + STD_LOG_VOLUME * deviation) / 2)
    left = 1.08 + 0.05 * rng.uniform(-1, 1)
    return Anatomy(width * left, width * (2 - left), rng.uniform(0, 2 * np.pi, 3))


def _draw_deformed(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """The point of the standard brain that each point shows: turned, stretched, shifted and
    bent."""
    turn = draw_turn(rng, np.radians(5))
    size = rng.uniform(1.0, 1.1) * np.exp(rng.uniform(-0.05, 0.05, 3))
    shift = rng.uniform(-0.02, 0.02, 3)
    bent = draw_waves(rng, points, 3, NUM_WAVES, (1.5, 5.0))
    matrix = size[:, None] * turn
    placed: np.ndarray = np.einsum("ij,jn->in", matrix.astype(np.float32), points)
    placed += shift[:, None].astype(np.float32) + np.float32(0.05) * bent
    placed[0] -= np.float32(0.08) * np.abs(placed[0]) * placed[1]
    return placed


def _draw_bias(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """A smooth field between -1 and 1."""
    field: np.ndarray = draw_waves(rng, points, 1, NUM_BIAS_WAVES, (0.5, 2.0))[0]
    return field


@lru_cache(maxsize=4)
def _ball(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Flattened positions of the voxels in the ball and their points (3, n) in the unit ball.

    The radius is one voxel less than that of the ball inscribed in the lattice of voxel centres.
    """
    axis = (np.arange(side) - (side - 1) / 2) / ((side - 3) / 2)
    z, y, x = np.meshgrid(axis, -axis, axis, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()])
    where = np.flatnonzero((points**2).sum(0) <= 1)
    return where, np.ascontiguousarray(points[:, where], dtype=np.float32)


SOURCE = Kind("phantom", PhantomSourceConfig, PhantomSource)
