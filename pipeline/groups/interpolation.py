"""Linear interpolation of square images and cubic volumes under rigid motions.

Positions are in pixels from the centre of the lattice, (x, y) or (x, y, z) with y
upwards. Halves are computed in float32 and given back as they came; uint8 is rounded.
Positions are worked out elementwise, as a matrix product in mixed precision would
misplace pixels.
"""

import torch
from torch.nn.functional import grid_sample


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
    """Turn each frame, then shift it; what comes into view repeats the border.

    Shapes as in `rotate_inscribed`, with `shift` (N, k) in pixels of the image.
    """
    values = _as_float(image)
    offsets = [t.view(-1, *(1,) * matrix.shape[1]) for t in shift.to(values.dtype).unbind(1)]
    points = [p - t for p, t in zip(_lattice_points(values), offsets, strict=True)]
    return _as_before(_sample(values, points, matrix.to(values.dtype)), image.dtype)


def _as_float(image: torch.Tensor) -> torch.Tensor:
    if not image.is_floating_point() and image.dtype != torch.uint8:
        raise ValueError(f"interpolation acts on floating or uint8 images, not on {image.dtype}")
    return image if image.dtype == torch.float64 else image.to(torch.float32)


def _as_before(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.uint8:
        values = values.round().clamp(0, 255)
    return values.to(dtype)


def _lattice_points(values: torch.Tensor) -> list[torch.Tensor]:
    """The coordinates of all lattice points, x first, each (1, S, 1, 1) and the like."""
    num_axes, side = values.ndim - 2, values.shape[-1]
    line = torch.arange(side, device=values.device, dtype=values.dtype) - (side - 1) / 2
    before = [(1,) * (num_axes - axis) for axis in range(num_axes)]
    points = [line.view(*before[axis], -1, *(1,) * axis) for axis in range(num_axes)]
    points[1] = -points[1]
    return points


def _sample(values: torch.Tensor, points: list[torch.Tensor], matrix: torch.Tensor) -> torch.Tensor:
    """The values at R^-1 p for each point p, beyond the border those of the border."""
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
