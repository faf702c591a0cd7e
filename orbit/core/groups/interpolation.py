"""Linear interpolation of square images and cubic volumes under rigid motions, and their shapes.

Positions are in pixels from the centre of the lattice, (x, y) or (x, y, z) with y upwards. float16
is computed in float32 and converted back; uint8 is rounded. Positions are computed elementwise,
because a matrix product in mixed precision would misplace pixels.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.functional import grid_sample

from orbit.core.groups.interface import MIN_INTERPOLATED_LATENT_SIDE


def rotate_inscribed(image: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Turn the disc or ball of radius (S - 1) / 2 within each image; the rest stays as it is.

    `image` (N, C, S, S) or (N, C, S, S, S), floating or uint8; `matrix` (N, k, k) acts on
    columns (x, y) or (x, y, z). Raises ValueError for another dtype.
    """
    values = _as_float(image)
    points = _lattice_points(values)
    squares = [p.square() for p in points]
    is_inside = sum(squares[1:], squares[0]) <= ((image.shape[-1] - 1) / 2) ** 2
    turned = _sample(values, points, matrix.to(values.dtype))
    return _as_before(torch.where(is_inside, turned, values), image.dtype)


def move_frame(image: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Turn each frame, then shift it; areas that come into view repeat the border.

    Shapes as in `rotate_inscribed`, with `shift` (N, k) in pixels of the image.
    """
    values = _as_float(image)
    offsets = [t.view(-1, *(1,) * matrix.shape[1]) for t in shift.to(values.dtype).unbind(1)]
    points = [p - t for p, t in zip(_lattice_points(values), offsets, strict=True)]
    return _as_before(_sample(values, points, matrix.to(values.dtype)), image.dtype)


def shift_round(image: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Shift each image (N, C, S, S) round its edges by `shift` (N, 2) pixels, to the right and up.

    Exact for whole pixels; otherwise linear between the two nearest places of each axis.
    """
    values, side = _as_float(image), image.shape[-1]
    right, up = shift.unbind(1)
    for axis, amount in ((3, right), (2, -up)):
        whole = amount.floor()
        place = torch.arange(side, device=image.device) - whole[:, None].to(torch.int64)
        shape = [len(image), 1, 1, 1]
        share = (amount - whole).to(values.dtype).view(shape)
        shape[axis] = side
        near, far = (
            values.gather(axis, (place - step).remainder(side).view(shape).expand_as(values))
            for step in (0, 1)
        )
        values = near + share * (far - near)
    return _as_before(values, image.dtype)


def transform_channels(
    image: torch.Tensor, matrix: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Images (N, C, ...), each pixel's channels multiplied by `matrix` (N, C, C), of `dtype`."""
    values = _as_float(image)
    rows = []
    for row in matrix.to(values.dtype).unbind(1):
        factors = [factor.view(-1, *(1,) * (values.ndim - 2)) for factor in row.unbind(1)]
        terms = [f * channel for f, channel in zip(factors, values.unbind(1), strict=True)]
        rows.append(sum(terms[1:], terms[0]))
    return _as_before(torch.stack(rows, 1), dtype)


def _as_float(image: torch.Tensor) -> torch.Tensor:
    if not image.is_floating_point() and image.dtype != torch.uint8:
        raise ValueError(f"interpolation acts on floating or uint8 images, not on {image.dtype}")
    return image if image.dtype == torch.float64 else image.to(torch.float32)


def _as_before(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.uint8:
        values = values.round().clamp(0, 255)
    return values.to(dtype)


def _lattice_points(values: torch.Tensor) -> list[torch.Tensor]:
    """The coordinates of all lattice points, x first, each of a shape like (1, S, 1, 1)."""
    num_axes, side = values.ndim - 2, values.shape[-1]
    line = torch.arange(side, device=values.device, dtype=values.dtype) - (side - 1) / 2
    before = [(1,) * (num_axes - axis) for axis in range(num_axes)]
    points = [line.view(*before[axis], -1, *(1,) * axis) for axis in range(num_axes)]
    points[1] = -points[1]
    return points


def _sample(values: torch.Tensor, points: list[torch.Tensor], matrix: torch.Tensor) -> torch.Tensor:
    """The values at R^-1 p for each point p; beyond the border the values of the border."""
    num_axes, side = len(points), values.shape[-1]
    # `grid_sample` counts from -1 to 1 between the outermost lattice points, y downwards.
    scale = 2 / max(side - 1, 1)
    scales = [scale, -scale, scale][:num_axes]
    columns = [matrix[:, :, b] * scales[b] for b in range(num_axes)]
    grid = []
    for column in columns:
        factors = [factor.view(-1, *(1,) * num_axes) for factor in column.unbind(1)]
        terms = [factor * point for factor, point in zip(factors, points, strict=True)]
        grid.append(sum(terms[1:], terms[0]))
    return grid_sample(
        values,
        torch.stack(grid, -1),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )


LATTICE_NAMES = {
    1: "the rows of images (two spatial axes)",
    2: "square images (two spatial axes)",
    3: "cubic volumes (three spatial axes)",
}


def check_lattice(name: str, spatial_shape: tuple[int, ...], num_axes: int) -> None:
    """Raise ValueError unless there are `num_axes` axes, all of one length.

    One axis means the rows of an image; their number does not matter.
    """
    fits = len(spatial_shape) == max(2, num_axes)
    if not fits or (num_axes > 1 and len(set(spatial_shape)) != 1):
        raise ValueError(
            f"group {name} acts on {LATTICE_NAMES[num_axes]}; the spatial shape here is "
            f"{tuple(spatial_shape)}"
        )


def check_volume(name: str, spatial_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless this is a cubic volume; for an image it names the alternative."""
    if len(spatial_shape) == 2:
        raise ValueError(
            f"group {name} does not act on the pixels of images: for images of 3D objects use "
            "an action on latent channels (representation or learned)"
        )
    check_lattice(name, spatial_shape, 3)


def check_period(name: str, spatial_shape: tuple[int, ...], num_axes: int, period: int) -> None:
    """Raise ValueError unless there are `num_axes` axes of length `period`, or rows of it."""
    check_lattice(name, spatial_shape, num_axes)
    if spatial_shape[-1] != period:
        raise ValueError(
            f"group {name} acts on frames of side {period}; the side here is {spatial_shape[-1]}"
        )


def check_interpolated_latent(name: str, spatial_shape: tuple[int, ...]) -> None:
    """Raise ValueError if a latent has too few cells a side to be interpolated."""
    if min(spatial_shape) < MIN_INTERPOLATED_LATENT_SIDE:
        raise ValueError(
            f"group {name} interpolates, which needs latents of at least "
            f"{MIN_INTERPOLATED_LATENT_SIDE} cells a side; the spatial shape here is "
            f"{tuple(spatial_shape)}"
        )


def no_irreps(name: str) -> ValueError:
    """The error of a group that offers no representations."""
    return ValueError(
        f"group {name} offers no representations; use the spatial or the learned action with it"
    )


def no_elements(name: str) -> ValueError:
    """The error if a list of elements is requested from a continuous group."""
    return ValueError(f"group {name} is continuous: its elements cannot be listed or numbered")


def shift_name(shift: Iterable[float]) -> str:
    """A shift in pixels as (x, y) or (x, y, z), with at most one decimal."""
    return f"({', '.join(f'{round(value, 1) + 0.0:g}' for value in shift)})"


def inscribed(shape: tuple[int, ...], margin: float = 0.0) -> np.ndarray:
    """1 within the disc or ball inscribed in a lattice less a margin in pixels, 0 outside,
    uint8 of `shape`."""
    axes = [np.arange(size) - (size - 1) / 2 for size in shape]
    squared = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
    inside: np.ndarray = squared <= ((min(shape) - 1) / 2 - margin) ** 2
    return inside.astype(np.uint8)
