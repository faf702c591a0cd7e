"""Painting generated planes: place and heading, layers with smooth outlines, uint8 sprites."""

import numpy as np

from data_prep.drawing.plane_shapes import NUM_PARAMETERS, Planes, layers, make_planes
from data_prep.drawing.sprites import chunks, uniform_draws

MARGIN = 1.0
"""Pixels between a plane and the edge of the inscribed disc."""
SMALLEST, LARGEST = 0.72, 0.98
"""Radius of a plane relative to the room that the margin leaves."""
LARGEST_OFFSET = 3.0
NUM_PLACE = 4
EDGE_DARKNESS = 0.2


def draw_planes(
    seed: int, stream: int, indices: np.ndarray, kind: np.ndarray, size: int
) -> np.ndarray:
    """Sprites (n, 4, S, S) uint8 of planes of classes `kind` (n,).

    Red, green, blue are not premultiplied and 0 where alpha is; a sprite is a function
    of seed, stream, index and class alone, and lies within the inscribed disc.
    """
    sprites = np.empty((len(indices), 4, size, size), np.uint8)
    for chunk in chunks(len(indices), size):
        uniform = uniform_draws(seed, stream, indices[chunk], NUM_PLACE + NUM_PARAMETERS)
        planes = make_planes(kind[chunk], uniform[:, NUM_PLACE:])
        sprites[chunk] = _paint(planes, *_places(uniform[:, :NUM_PLACE], size))
    return sprites


def _places(uniform: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u and v (n, S, S) of every pixel and the planes' radii (n, 1, 1) in pixels."""
    part, heading, direction, distance = (column[:, None, None] for column in uniform.T)
    room = max(size / 2 - MARGIN, 1.0)
    radius = room * (SMALLEST + (LARGEST - SMALLEST) * part)
    offset = np.minimum(room - radius, LARGEST_OFFSET) * distance
    angle, way = 2 * np.pi * heading, 2 * np.pi * direction
    place = np.arange(size, dtype=np.float32) - (size - 1) / 2
    right = (place[None, None, :] - offset * np.cos(way)) / radius
    up = (-place[None, :, None] - offset * np.sin(way)) / radius
    u = right * np.cos(angle) + up * np.sin(angle)
    v = up * np.cos(angle) - right * np.sin(angle)
    return u.astype(np.float32), v.astype(np.float32), radius.astype(np.float32)


def _paint(planes: Planes, u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Layers over each other; colours are premultiplied until the end."""
    colour = np.zeros((3, *u.shape), np.float32)
    alpha = np.zeros(u.shape, np.float32)
    # Edges darken by the width of an outline that grows with the picture.
    rim = np.maximum(1.3, 0.045 * radius)
    for layer in layers(planes, u, v):
        outside = layer.distance * radius
        opacity = np.asarray(layer.opacity, np.float32)
        cover = np.clip(0.5 - outside, 0, 1) * opacity.reshape(-1, 1, 1)
        shade = layer.shade * (1 - EDGE_DARKNESS * np.clip(1 + outside / rim, 0, 1))
        for channel in range(3):
            paint = layer.colour[:, channel, None, None] * shade
            colour[channel] += cover * (paint - colour[channel])
        alpha += cover * (1 - alpha)
    steps = np.round(alpha * 255)
    sprites = np.empty((len(u), 4, *u.shape[1:]), np.uint8)
    visible = (steps > 0) / np.maximum(alpha, 1e-3)
    for channel in range(3):
        sprites[:, channel] = np.clip(np.round(colour[channel] * visible * 255), 0, 255)
    sprites[:, 3] = steps
    return sprites
