"""Iso-surfaces of volumes, seen along rays: trilinear samples, lit by the volume's gradient."""

import numpy as np
import torch
from torch.nn.functional import grid_sample, normalize

from data_prep.rendering.rasteriser import AMBIENT, LIGHT

REACH = 1.75
"""Rays start and end beyond the corners of the cube [-1, 1]^3."""

STEPS_PER_VOXEL = 2
COLOUR = (0.93, 0.80, 0.66)


def content_radius(volumes: np.ndarray, level: float = 0.5) -> float:
    """Distance from the centre of the farthest voxel inside any of (N, D, H, W), whose cubes
    are [-1, 1]^3; 1 if there is none."""
    axes = [(2 * np.arange(num) + 1) / num - 1 for num in volumes.shape[1:]]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside = (volumes >= level).any(0)
    return float(np.sqrt(x**2 + y**2 + z**2)[inside].max()) if inside.any() else 1.0


def surface_picture(
    volume: np.ndarray, view: np.ndarray, size: int, radius: float, level: float = 0.5
) -> np.ndarray:
    """An orthographic picture (size, size, 3) on [0, 1], white where there is no surface.

    `volume` (D, H, W), the cube [-1, 1]^3, has x along W, y up along H, z along D; values
    from `level` on are inside. `view` (3, 3) rotates it about its centre; the camera looks
    along -z and sees as far as `radius` to either side.
    """
    blank = torch.ones(size, size, 3)
    field = torch.from_numpy(np.ascontiguousarray(volume)).float()
    if not (field >= level).any():
        return np.asarray(blank.numpy())
    side = torch.linspace(-radius, radius, size)
    depth = torch.linspace(REACH, -REACH, round(REACH * STEPS_PER_VOXEL * max(field.shape)))
    y, x = torch.meshgrid(-side, side, indexing="ij")
    # Points are rows: times `view` from the right, they turn by its inverse.
    to_volume = torch.from_numpy(np.asarray(view, np.float32))
    places = torch.stack([x, y, torch.zeros_like(x)], -1) @ to_volume
    values = torch.stack([_sample(field, places + z * to_volume[2]) for z in depth])
    inside = values >= level
    hit = inside.any(0)
    after = inside.to(torch.uint8).argmax(0).clamp_min(1)
    v1 = values.gather(0, after[None])[0]
    v0 = values.gather(0, after[None] - 1)[0]
    share = ((level - v0) / (v1 - v0).clamp_min(1e-6)).clamp(0, 1)
    z = depth[after - 1] + share * (depth[after] - depth[after - 1])
    surface = places + z[..., None] * to_volume[2]
    normal = _outward(field, surface) @ to_volume.T
    lit = (normal @ torch.from_numpy(LIGHT)).clamp_min(0)
    shade = AMBIENT + (1 - AMBIENT) * lit
    colour = shade[..., None] * torch.tensor(COLOUR)
    return np.asarray(torch.where(hit[..., None], colour, blank).numpy())


def _sample(field: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Trilinear values at points (..., 3) as x, y up, z; 0 outside the cube."""
    grid = points * torch.tensor([1.0, -1.0, 1.0])
    shape = grid.shape[:-1]
    places = grid.reshape(1, 1, 1, -1, 3)
    values: torch.Tensor = grid_sample(field[None, None], places, align_corners=False)
    return values.reshape(shape)


def _outward(field: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Unit normals that point to lower values, by differences a voxel and a half apart."""
    steps = 3.0 / torch.tensor([field.shape[2], field.shape[1], field.shape[0]])
    slope = [
        _sample(field, places - step) - _sample(field, places + step) for step in torch.diag(steps)
    ]
    return normalize(torch.stack(slope, -1) / steps, dim=-1, eps=1e-6)
