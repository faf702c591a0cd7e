"""Generated backgrounds: skies with sun and clouds, sums of waves."""

from functools import lru_cache

import numpy as np

from data_prep.drawing.planes import chunks, hsv_to_rgb

OCTAVES = ((4, 2, 1.0), (8, 4, 0.6), (16, 9, 0.36), (32, 20, 0.2))
"""Numbers of noise cells down and across a picture, and their weight; flat cells make flat
clouds."""
SPLINE_MARGIN = 3
NUM_UNIFORM = 14


def draw_skies(seed: int, stream: int, indices: np.ndarray, size: int) -> np.ndarray:
    """Skies (n, 3, S, S) uint8, each a function of seed, stream and its index alone."""
    skies = np.empty((len(indices), 3, size, size), np.uint8)
    for chunk in chunks(len(indices), size):
        skies[chunk] = _draw(seed, stream, indices[chunk], size)
    return skies


def _draw(seed: int, stream: int, indices: np.ndarray, size: int) -> np.ndarray:
    uniform = np.empty((len(indices), NUM_UNIFORM), np.float32)
    lattices = [
        np.empty((len(indices), down + SPLINE_MARGIN, across + SPLINE_MARGIN), np.float32)
        for down, across, _ in OCTAVES
    ]
    for row, index in enumerate(indices):
        rng = np.random.default_rng([seed, stream, int(index)])
        uniform[row] = rng.random(NUM_UNIFORM)
        for lattice in lattices:
            lattice[row] = rng.standard_normal(lattice.shape[1:], np.float32)
    noise = np.zeros((len(indices), size, size), np.float32)
    for lattice, (down, across, weight) in zip(lattices, OCTAVES, strict=True):
        noise += weight * (_spline(down, size) @ lattice @ _spline(across, size).T)
    return _paint(uniform, noise, size)


def _paint(uniform: np.ndarray, noise: np.ndarray, size: int) -> np.ndarray:
    u = uniform.T
    warmth = np.clip(u[0] * 2 - 1, 0, 1)
    zenith = hsv_to_rgb(
        0.575 + 0.05 * u[1] + 0.08 * warmth, 0.55 + 0.3 * u[2], 0.85 - 0.45 * warmth - 0.2 * u[3]
    )
    day = hsv_to_rgb(0.54 + 0.04 * u[4], 0.18 + 0.15 * u[5], 0.93 + 0.05 * u[6])
    dusk = hsv_to_rgb(0.03 + 0.09 * u[4], 0.45 + 0.3 * u[5], 0.95 + 0.05 * u[6])
    horizon = day + warmth[:, None] * (dusk - day)
    across, down = np.meshgrid(*[(np.arange(size, dtype=np.float32) + 0.5) / size] * 2)
    ascent = (1 - down) ** (0.7 + 0.6 * u[7])[:, None, None]
    sun_x, sun_y = (u[k][:, None, None] for k in (8, 9))
    sun_y = 0.1 + 0.7 * sun_y
    distance = np.sqrt((across - sun_x) ** 2 + (down - sun_y) ** 2)
    glow = np.exp(distance * -(3.5 + 2 * u[10])[:, None, None]) * 0.75
    sunlight = hsv_to_rgb(0.12 - 0.06 * warmth, 0.12 + 0.45 * warmth, np.ones_like(warmth))
    # The steeper noise falls downwards, the more a cloud's edge faces the sky.
    relief = np.clip(np.gradient(noise, axis=1) * (size / 24), -1, 1) if size > 1 else noise
    cover = (1.2 - 1.6 * u[11])[:, None, None]
    cloud = np.clip((noise - cover) / (0.6 + 0.9 * u[12])[:, None, None], 0, 1)
    cloud = cloud * cloud * (3 - 2 * cloud) * (0.65 + 0.3 * u[13])[:, None, None]
    lit = np.clip(0.88 + 0.12 * relief + 0.3 * glow, 0, 1)
    picture = np.empty((len(uniform), 3, size, size), np.float32)
    for channel in range(3):
        low, high, sun = (c[:, channel, None, None] for c in (horizon, zenith, sunlight))
        sky = low + ascent * (high - low)
        sky += glow * (sun - sky)
        white = lit * (0.25 * low + 0.75 * sun)
        picture[:, channel] = sky + cloud * (white - sky)
    return (picture * 255).round().clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _spline(num_cells: int, size: int) -> np.ndarray:
    """Cubic B-spline weights (S, cells + margin) that spread a lattice over `size` pixels."""
    at = (np.arange(size) + 0.5) / size * num_cells
    cell = np.minimum(np.floor(at).astype(int), num_cells - 1)
    t = at - cell
    weights = np.zeros((size, num_cells + SPLINE_MARGIN), np.float32)
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, part in enumerate(parts):
        weights[np.arange(size), cell + offset] = part / 6
    # Averaging reduces the spread of values: bring it back to about 1.
    return weights * np.float32(1.45)


def sinusoids(
    amplitude: np.ndarray, phase: np.ndarray, num_points: int, num_periods: int
) -> np.ndarray:
    """amplitude * sin(t + phase) at evenly spaced t, float64 (N, num_points).

    The sequence is cyclic: shifting it by one point shifts its phase.
    """
    turns = np.arange(num_points) * num_periods / num_points
    angle = 2 * np.pi * turns + np.asarray(phase, np.float64)[:, None]
    values: np.ndarray = np.asarray(amplitude, np.float64)[:, None] * np.sin(angle)
    return values


def first_maximum(phase: np.ndarray, num_points: int, num_periods: int) -> np.ndarray:
    """The point nearest to the first maximum, int64 (N,) within the first period."""
    period = num_points // num_periods
    place = (0.25 - np.asarray(phase, np.float64) / (2 * np.pi)) * period
    return np.floor(place + 0.5).astype(np.int64) % period


def labels_of_maxima(first: np.ndarray, num_points: int, num_periods: int) -> np.ndarray:
    """1 at the maxima, one per period, and 0 elsewhere, float64 (N, num_points)."""
    period = num_points // num_periods
    return np.asarray(np.arange(num_points) % period == first[:, None], np.float64)


TOP, BOTTOM = 224, 144
"""Grey levels."""


@lru_cache(maxsize=8)
def plain_backdrop(size: int) -> np.ndarray:
    """A grey that darkens downwards, (3, S, S) uint8; read-only."""
    levels = np.rint(np.linspace(TOP, BOTTOM, size)).astype(np.uint8)
    backdrop = np.broadcast_to(levels[:, None], (3, size, size)).copy()
    backdrop.flags.writeable = False
    return backdrop
