"""Generated brains that look like skull-stripped T1 images, with a known class.

A brain is depths below surfaces: deformed ellipsoids in the unit ball, grey as in T1 images.

Points (3, n) are float32 with x to the right, y to the front and z to the top; the brain is about
as long as the ball. A depth (n,) is a distance below a surface, negative outside, and near the
surface in units of the ball's radius. `aside` is |x|: shapes made from it lie on both sides.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data_prep.settings.sources import PhantomSourceConfig
from orbit.core.plugins import Kind

WHITE, GREY, FLUID, NUCLEUS, STEM = 1.0, 0.64, 0.2, 0.74, 0.9
"""Brightness of white and grey matter, fluid, deep nuclei and brain stem."""

FOLD_FREQUENCY = 14.0
FOLD_DEPTH = 0.15
CORTEX_THICKNESS = 0.085


class Anatomy(NamedTuple):
    """The differences between brains besides size, pose and the deformation of space.

    The lateral ventricles are wider by these factors on the left and on the right; the phases (3,)
    of the cortex's folds are in radians.
    """

    left_ventricle: float
    right_ventricle: float
    fold_phases: np.ndarray


def brightness(points: np.ndarray, anatomy: Anatomy, blur: float) -> tuple[np.ndarray, np.ndarray]:
    """Brightness of the tissue at each point and the share that lies in the brain, both 0 to 1.

    Surfaces are soft over a width of `blur`.
    """
    x, y, z = points
    aside = np.abs(x)
    cerebrum = _cerebrum(aside, y, z)
    cerebellum = np.minimum(
        _ellipsoid(aside, y, z, (0.17, -0.5, -0.47), (0.34, 0.29, 0.23)), -0.03 - cerebrum
    )
    stem = _stem(aside, y, z)
    between = _ellipsoid(0.0, y, z, (0.0, -0.03, -0.04), (1.0, 0.46, 0.34))
    cortex = np.minimum(cerebrum, aside - 0.015 + 2 * np.maximum(between, 0))
    ridge = _ridge(points, anatomy.fold_phases)
    # A sulcus that is too narrow for voxels is drawn wider and shallower.
    widening = max(1.0, 2 * FOLD_FREQUENCY * blur)
    folds = FOLD_DEPTH / widening * np.clip(1 - ridge / (0.4 * widening), 0, 1)
    groove = np.maximum(folds, _lateral_sulcus(aside, y, z))

    coverage = _inside(np.maximum(np.maximum(cerebrum, cerebellum), stem) + 0.02, blur)
    value = FLUID * coverage
    _paint(value, GREY, cortex - groove, blur)
    white_below = CORTEX_THICKNESS + FOLD_DEPTH * np.clip(1.1 - ridge, 0, 1)
    _paint(value, WHITE, cortex - white_below, blur)
    for centre, axes in (
        ((0.11, -0.1, -0.04), (0.085, 0.15, 0.1)),
        ((0.15, 0.2, 0.02), (0.05, 0.12, 0.09)),
        ((0.28, 0.08, -0.06), (0.065, 0.19, 0.1)),
    ):
        _paint(value, NUCLEUS, _ellipsoid(aside, y, z, centre, axes), blur)
    _paint(value, GREY, cerebellum, blur)
    _paint(value, STEM, cerebellum - 0.09 - 0.05 * np.sin(30 * z + 12 * y), blur)
    _paint(value, STEM, stem, blur)
    width = np.where(x < 0, anatomy.left_ventricle, anatomy.right_ventricle).astype(np.float32)
    _paint(value, FLUID, _lateral_ventricle(aside, y, z, width), blur)
    _paint(value, FLUID, _ellipsoid(aside, y, z, (0.0, -0.08, -0.1), (0.03, 0.13, 0.11)), blur)
    _paint(value, FLUID, _ellipsoid(aside, y, z, (0.0, -0.37, -0.46), (0.07, 0.05, 0.1)), blur)
    return value, coverage


def _cerebrum(aside: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Depth in the cerebrum: an egg, wider behind and flat below, and the temporal lobes."""
    above = z - 0.04
    height = np.where(above > 0, np.float32(1 / 0.6), np.float32(1 / 0.36))
    radius = np.sqrt((aside / (0.62 - 0.13 * y)) ** 2 + (y / 0.86) ** 2 + (above * height) ** 2)
    temporal = _ellipsoid(aside, y, z, (0.39, 0.06, -0.28), (0.22, 0.42, 0.2))
    depth: np.ndarray = np.maximum(0.6 * (1 - radius), temporal)
    return depth


def _stem(aside: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Depth in the brain stem: a rod that leans forward, thickest at the pons."""
    bulge = np.exp(-(((z + 0.4) / 0.12) ** 2))
    forward = y + 0.18 - 0.22 * (z + 0.3) - 0.05 * bulge
    radius = np.sqrt(aside**2 + forward**2)
    depth: np.ndarray = np.minimum(0.085 + 0.075 * bulge - radius, np.minimum(-0.14 - z, z + 0.77))
    return depth


def _lateral_sulcus(aside: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Depth of the groove between frontal and temporal lobe."""
    across = (z + 0.1 + 0.25 * y) / 0.035
    reach = np.clip((aside - 0.3) * 6, 0, 1) * np.clip((y + 0.35) * 5, 0, 1)
    groove: np.ndarray = 0.14 * reach * np.clip(1 - across**2, 0, 1)
    return groove


def _lateral_ventricle(
    aside: np.ndarray, y: np.ndarray, z: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """Depth in a ventricle: the curved body with its front horn, and the hind horn that goes
    outwards and down."""
    middle = 0.04 + 0.045 * width + 0.35 * (y - 0.02) ** 2
    level = 0.12 - 0.4 * (y + 0.02) ** 2
    body = ((aside - middle) / (0.05 * width)) ** 2 + ((z - level) / (0.085 * width)) ** 2
    body += ((y - 0.0) / 0.36) ** 2
    horn = ((aside - 0.23) / (0.055 * width)) ** 2 + ((z + 0.02) / (0.09 * width)) ** 2
    horn += ((y + 0.3) / 0.17) ** 2
    depth: np.ndarray = 0.07 * width * (1 - np.sqrt(np.minimum(body, horn)))
    return depth


def _ridge(points: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Distance from a gyroid, 0 on it and about 1 half way to the next sheet."""
    angles = np.float32(FOLD_FREQUENCY) * points + phases[:, None].astype(np.float32)
    sine, cosine = np.sin(angles), np.cos(angles)
    sheet: np.ndarray = np.abs((sine * np.roll(cosine, -1, 0)).sum(0))
    return sheet


def _ellipsoid(
    x: np.ndarray | float,
    y: np.ndarray,
    z: np.ndarray,
    centre: tuple[float, float, float],
    axes: tuple[float, float, float],
) -> np.ndarray:
    square = ((y - centre[1]) * (1 / axes[1])) ** 2
    square += ((z - centre[2]) * (1 / axes[2])) ** 2
    if axes[0] < 1:
        square += ((x - centre[0]) * (1 / axes[0])) ** 2
    depth: np.ndarray = min(axes) * (1 - np.sqrt(square))
    return depth


def _inside(depth: np.ndarray, blur: float) -> np.ndarray:
    share: np.ndarray = np.clip(depth * np.float32(1 / blur) + np.float32(0.5), 0, 1)
    return share


def _paint(value: np.ndarray, level: float, depth: np.ndarray, blur: float) -> None:
    value += _inside(depth, blur) * (np.float32(level) - value)


def draw_waves(
    rng: np.random.Generator,
    points: np.ndarray,
    num_fields: int,
    num_waves: int,
    frequencies: tuple[float, float],
) -> np.ndarray:
    """Sums of plane waves at points (3, n): fields (f, n) between -1 and 1, of the points' type.

    Directions are uniform, frequencies uniform in this range, in radians per unit. The values at a
    point do not depend on the other points.
    """
    directions = rng.standard_normal((num_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= rng.uniform(*frequencies, (num_waves, 1))
    phases = rng.uniform(0, 2 * np.pi, (num_waves, 1))
    amplitudes = rng.uniform(-1, 1, (num_fields, num_waves)) / num_waves
    directions, phases, amplitudes = (
        array.astype(points.dtype) for array in (directions, phases, amplitudes)
    )
    waves = np.sin(np.einsum("kj,jn->kn", directions, points) + phases)
    fields: np.ndarray = np.einsum("fk,kn->fn", amplitudes, waves)
    return fields


def draw_turn(rng: np.random.Generator, std: float) -> np.ndarray:
    """A rotation matrix (3, 3) about a uniform axis; its rotation vector has this std in radians.

    The vector's components are cut at two standard deviations.
    """
    vector = std * np.clip(rng.standard_normal(3), -2, 2)
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turn


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
