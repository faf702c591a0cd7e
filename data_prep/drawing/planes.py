"""Generated planes seen from above: proportions, paint, parts in layers, and as sprites.

Lengths are in units of the plane's radius: u runs from tail to nose, v to port, both
within the unit disc. Coverage of a pixel is its centre's distance to the outline.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from orbit.core.groups import make_group

CHUNK_PIXELS = 2**17
"""Pixels processed at a time: arrays of this size stay in the cache."""


class Sprites(NamedTuple):
    """Cut-out objects: `colour` (n, 3, H, W) and `alpha` (n, 1, H, W), uint8, not premultiplied."""

    colour: np.ndarray
    alpha: np.ndarray


def move_sprites(sprites: np.ndarray, group: str, g: torch.Tensor) -> Sprites:
    """Sprites (n, 4, S, S) uint8, red, green, blue, alpha, each moved by its own element of `g`.

    Colours are weighted by alpha during interpolation, so that the colour outside an outline does
    not bleed into it; where alpha is 0, the colours are 0.
    """
    colour = np.empty((len(sprites), 3, *sprites.shape[2:]), np.uint8)
    alpha = np.empty((len(sprites), 1, *sprites.shape[2:]), np.uint8)
    acting = make_group(group)
    for chunk in chunks(len(sprites), sprites.shape[-1]):
        pixels = torch.from_numpy(sprites[chunk]).to(torch.float32)
        pixels[:, :3] *= pixels[:, 3:] / 255
        moved = acting.act_on_image(pixels, g[chunk])
        cover = moved[:, 3:].round().clamp_(0, 255)
        visible = torch.where(cover > 0, 255 / moved[:, 3:], 0)
        colour[chunk] = (moved[:, :3] * visible).round_().clamp_(0, 255).numpy()
        alpha[chunk] = cover.numpy()
    return Sprites(colour, alpha)


def check_moves_pictures(group: str, size: int) -> None:
    """Raise ValueError unless the group acts on pictures of `size` pixels a side."""
    try:
        make_group(group).check_spatial_shape((size, size))
    except ValueError as error:
        raise ValueError(
            f"dataset.group={group} cannot move objects in pictures of {size}x{size} pixels"
            f" ({error}); allowed: groups of the plane, such as c4, d4, so2"
        ) from None


def chunks(num: int, size: int) -> list[slice]:
    """Slices that cover `num` pictures of `size` pixels a side, few enough at a time."""
    step = max(1, CHUNK_PIXELS // size**2)
    return [slice(first, min(first + step, num)) for first in range(0, num, step)]


def uniform_draws(seed: int, stream: int, indices: np.ndarray, num: int) -> np.ndarray:
    """(n, num) float32 numbers within 0..1, each row a function of seed, stream and index alone."""
    rows = [np.random.default_rng([seed, stream, int(i)]).random(num) for i in indices]
    return np.array(rows, np.float32).reshape(len(indices), num)


def hsv_to_rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Colours (n, 3) within 0..1 of three arrays (n,) within 0..1; hue is cyclic."""
    sector = (hue[:, None] * 6 + np.array([5, 3, 1])) % 6
    fall = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    rgb: np.ndarray = value[:, None] * (1 - saturation[:, None] * fall)
    return rgb.astype(np.float32)


CLASS_NAMES = ("airliner", "jet", "propeller plane")
NUM_PARAMETERS = 32
HUES = np.array((0.0, 0.02, 0.07, 0.12, 0.30, 0.42, 0.51, 0.57, 0.61, 0.97), np.float32)

# Smallest and largest value for each class: airliner, jet, propeller plane.
RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    "nose": ((0.93, 0.98), (0.94, 0.99), (0.58, 0.68)),
    "tail": ((-0.94, -0.88), (-0.80, -0.70), (-0.86, -0.76)),
    "girth": ((0.085, 0.105), (0.085, 0.105), (0.085, 0.110)),
    "taper": ((0.40, 0.50), (0.25, 0.40), (0.75, 0.90)),
    "point": ((0.20, 0.28), (0.80, 1.00), (0.30, 0.40)),
    "span": ((0.86, 0.94), (0.52, 0.62), (0.88, 0.95)),
    "wing_front": ((0.28, 0.38), (0.22, 0.36), (0.30, 0.38)),
    "wing_chord": ((0.36, 0.44), (0.72, 0.84), (0.26, 0.34)),
    "wing_sweep": ((0.52, 0.64), (0.66, 0.80), (0.00, 0.06)),
    "wing_taper": ((0.24, 0.34), (0.10, 0.20), (0.62, 0.90)),
    "tail_span": ((0.30, 0.38), (0.30, 0.38), (0.28, 0.36)),
    "tail_chord": ((0.17, 0.22), (0.20, 0.26), (0.16, 0.21)),
    "tail_sweep": ((0.13, 0.18), (0.16, 0.22), (0.00, 0.04)),
    "engine_place": ((0.30, 0.38), (0.055, 0.065), (0.0, 0.0)),
    "engine_girth": ((0.050, 0.062), (0.050, 0.060), (0.0, 0.0)),
    "glass_start": ((0.80, 0.82), (0.46, 0.54), (0.16, 0.22)),
    "glass_length": ((0.05, 0.06), (0.20, 0.26), (0.14, 0.20)),
    "propeller": ((0.0, 0.0), (0.0, 0.0), (0.24, 0.29)),
}


@dataclass(frozen=True)
class Planes:
    """Parameters of n planes, (n,) each, by name.

    `body`, `wing` and `accent` are colours (n, 3) within 0..1."""

    kind: np.ndarray
    sizes: dict[str, np.ndarray]
    body: np.ndarray
    wing: np.ndarray
    accent: np.ndarray
    num_stripes: np.ndarray


@dataclass(frozen=True)
class Layer:
    """`distance` (n, S, S) to an outline, negative within; `colour` (n, 3); `shade` (n, S, S).

    `opacity` (n,) is 0 where a plane lacks the part.
    """

    distance: np.ndarray
    colour: np.ndarray
    shade: np.ndarray | float
    opacity: np.ndarray | float = 1.0


def make_planes(kind: np.ndarray, uniform: np.ndarray) -> Planes:
    """Planes of these classes (n,) from uniform numbers (n, NUM_PARAMETERS)."""
    ranges = np.array(list(RANGES.values()), np.float32)[:, kind]
    values = ranges[..., 0] + (ranges[..., 1] - ranges[..., 0]) * uniform[:, : len(RANGES)].T
    u = uniform[:, len(RANGES) :].T
    saturation = np.array((0.08, 0.28, 0.75), np.float32)[kind] * u[1]
    dullness = np.array((0.04, 0.40, 0.25), np.float32)[kind] * u[2]
    hues = [HUES[(u[k] * len(HUES)).astype(int)] + 0.02 * u[9] for k in (0, 5)]
    body = hsv_to_rgb(hues[0], saturation, 0.97 - dullness)
    metal = hsv_to_rgb(np.full_like(u[0], 0.6), 0.06 + 0.06 * u[3], 0.66 + 0.2 * u[4])
    share = np.array((0.9, 0.25, 0.15), np.float32)[kind][:, None]
    accent = hsv_to_rgb(hues[1], 0.70 + 0.25 * u[6], 0.62 + 0.33 * u[7])
    return Planes(
        kind,
        dict(zip(RANGES, values, strict=True)),
        body,
        body + share * (metal - body),
        accent,
        np.floor(3 * u[8]),
    )


def layers(planes: Planes, u: np.ndarray, v: np.ndarray) -> Iterator[Layer]:
    """The parts of planes from the lowest to the topmost at positions (n, S, S)."""
    s = {name: value[:, None, None] for name, value in planes.sizes.items()}
    is_jet = planes.kind == 1
    side = np.abs(v)
    has_engine = planes.sizes["engine_girth"] > 0
    tail_front = s["tail"] + s["tail_chord"] + 0.04
    yield Layer(
        _wing(u, side, tail_front, s["tail_chord"], s["tail_sweep"], s["tail_span"], 0.5),
        planes.wing,
        0.92,
    )
    engine_front = np.where(
        is_jet[:, None, None],
        s["tail"] + 0.05,
        s["wing_front"] - s["wing_sweep"] * s["engine_place"] + 0.10,
    )
    engine = _capsule(u, side - s["engine_place"], engine_front - 0.16, engine_front)
    yield Layer(
        engine - s["engine_girth"],
        0.55 * planes.wing + 0.1 * planes.accent,
        1.1 - 6 * np.abs(side - s["engine_place"]),
        has_engine,
    )
    along = (s["wing_front"] - s["wing_sweep"] * side - u) / s["wing_chord"]
    wing = _wing(
        u, side, s["wing_front"], s["wing_chord"], s["wing_sweep"], s["span"], s["wing_taper"]
    )
    # Light falls from port and ahead; the body shades the roots.
    shade = 1.02 - 0.22 * along + 0.06 * np.sign(v) - 0.25 * np.clip(1.6 - side / s["girth"], 0, 1)
    yield Layer(wing, planes.wing, shade)
    band = np.abs(v - 0.72 * s["span"]) - 0.07 * (planes.num_stripes > 0)[:, None, None]
    yield Layer(np.maximum(wing, band), planes.accent, shade)
    yield Layer(np.maximum(wing, 0.9 * s["span"] - side), planes.accent, shade)
    girth = _girth(s, u)
    body = np.maximum((side - girth) * 0.96, np.maximum(u - s["nose"], s["tail"] - u))
    round_shade = 1.04 - 0.34 * np.square((v - 0.25 * s["girth"]) / s["girth"])
    yield Layer(body, planes.body, np.clip(round_shade, 0.5, 1.08))
    stripe = np.abs(side - 0.55 * s["girth"] * (planes.num_stripes > 1)[:, None, None])
    stripe = np.maximum(stripe - 0.2 * s["girth"], body + 0.012)
    yield Layer(stripe, planes.accent, np.clip(round_shade, 0.5, 1.08), planes.num_stripes > 0)
    fin_length = 0.30 + 0.1 * is_jet[:, None, None]
    fin_place = np.where(is_jet[:, None, None], 0.9 * s["girth"], 0.0)
    fin = _capsule(u, side - fin_place, s["tail"] - 0.01, s["tail"] + fin_length)
    reach = np.clip((s["tail"] + fin_length - u) / fin_length, 0.15, 1)
    yield Layer(fin - 0.034 * reach, planes.accent, 0.82 + 0.12 * np.sign(v))
    glass = s["glass_start"] + 0.5 * s["glass_length"]
    inside = np.square((u - glass) / s["glass_length"]) + np.square(v / (0.62 * s["girth"]))
    window = (np.sqrt(inside) - 1) * 0.6 * s["girth"]
    dark = np.broadcast_to(np.array((0.10, 0.14, 0.22), np.float32), planes.body.shape)
    yield Layer(window, dark, 1.0 + 1.6 * np.clip(v / s["girth"], -0.3, 1))
    blade = np.square((u - s["nose"] - 0.02) / 0.05)
    disc = np.sqrt(blade + np.square(v / (s["propeller"] + 1e-3))) - 1
    grey = np.broadcast_to(np.array((0.85, 0.87, 0.90), np.float32), planes.body.shape)
    yield Layer(disc * 0.05, grey, 1.0, 0.55 * (planes.kind == 2))
    spinner = np.sqrt(np.square((u - s["nose"]) / 1.6) + v * v) - 0.045
    yield Layer(spinner, planes.accent, 0.9, planes.kind == 2)


def _girth(s: dict[str, np.ndarray], u: np.ndarray) -> np.ndarray:
    """Half the body's width at u: a rounded or pointed nose, a tapering rear."""
    ahead = np.clip((s["nose"] - u) / s["point"], 0, 1)
    behind = np.clip((u - s["tail"]) / s["taper"], 0, 1)
    front = np.sqrt(ahead * (2 - ahead))
    girth: np.ndarray = s["girth"] * front * (0.28 + 0.72 * behind * (2 - behind))
    return girth


def _wing(
    u: np.ndarray,
    side: np.ndarray,
    front: np.ndarray,
    chord: np.ndarray,
    sweep: np.ndarray,
    span: np.ndarray,
    taper: np.ndarray | float,
) -> np.ndarray:
    """Distance to both wings: `sweep` is the front edge's slope, `taper` tip to root chord."""
    edge = (u - front + sweep * side) / np.sqrt(1 + sweep * sweep)
    rear_slope = sweep - chord * (1 - taper) / span
    rear = (front - chord - rear_slope * side - u) / np.sqrt(1 + rear_slope * rear_slope)
    distance: np.ndarray = np.maximum(np.maximum(edge, rear), side - span)
    return distance


def _capsule(u: np.ndarray, v: np.ndarray, rear: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Distance to the segment from `rear` to `front` along u."""
    beyond = u - np.clip(u, rear, front)
    distance: np.ndarray = np.sqrt(beyond * beyond + v * v)
    return distance


MARGIN = 1.0
"""Pixels between a plane and the edge of the inscribed disc."""
SMALLEST, LARGEST = 0.72, 0.98
"""Radius of a plane relative to the largest radius that the margin allows."""
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
