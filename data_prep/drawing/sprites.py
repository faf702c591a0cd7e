"""Objects cut out of pictures, and how a group of the plane moves them."""

from typing import NamedTuple

import numpy as np
import torch

from pipeline.groups import make_group

CHUNK_PIXELS = 2**17
"""Pixels worked on at a time: arrays of this size stay in the cache."""


class Sprites(NamedTuple):
    """Objects cut out: `colour` (n, 3, H, W) and `alpha` (n, 1, H, W), uint8, not premultiplied."""

    colour: np.ndarray
    alpha: np.ndarray


def move_sprites(sprites: np.ndarray, group: str, g: torch.Tensor) -> Sprites:
    """Sprites (n, 4, S, S) uint8, red, green, blue, alpha, each moved by its own element of `g`.

    Colours are weighted by alpha while they are interpolated, so that what lies behind
    an outline does not bleed into it; where alpha is 0 so are the colours.
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
