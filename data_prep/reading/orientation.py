"""From the axes of a file to those of a frame.

A frame's axes D, H, W run from inferior to superior, from anterior to posterior and from
left to right of the patient. A slice of fixed D is thus an axial one, seen from above,
with the nose on top, and the coordinates (x, y, z) of groups are those of RAS. Axes of an
oblique volume are taken for the nearest ones of RAS; nothing is resampled along those.
"""

from typing import NamedTuple

import numpy as np

from data_prep.reading.extras import import_extra

IN_RAS = np.array([(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)])


class Lattice(NamedTuple):
    """Voxels (D, H, W) of a volume and their sizes in mm along these axes."""

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]


def nearest_axes(affine: np.ndarray, source: str, extra: str = "volumes") -> np.ndarray:
    """The axis of RAS nearest to each of three stored axes, and its direction, (3, 2) float64.

    `affine` (4, 4) leads from indices to mm in RAS. Raises ValueError, without naming the
    file, for an affine that is singular or not finite.
    """
    orientations = import_extra("nibabel.orientations", source, extra)
    sizes = voxel_sizes(affine)
    if not np.isfinite(affine).all() or not (sizes > 0).all():
        raise ValueError(f"gives voxel sizes of {sizes.tolist()} mm")
    try:
        axes: np.ndarray = orientations.io_orientation(affine)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise ValueError(f"has no usable orientation: {error}") from None
    if not np.isfinite(axes[:, 0]).all():
        raise ValueError("has no usable orientation: its affine is singular")
    return axes


def voxel_sizes(affine: np.ndarray) -> np.ndarray:
    """Voxel sizes (3,) in mm along the stored axes."""
    sizes: np.ndarray = np.sqrt((affine[:3, :3].astype(np.float64) ** 2).sum(0))
    return sizes


def lattice_of(shape: tuple[int, ...], affine: np.ndarray, axes: np.ndarray) -> Lattice:
    """What a volume of stored shape (3,) is as a frame; `axes` as `nearest_axes` gives them."""
    sizes = voxel_sizes(affine)
    order = [int(np.flatnonzero(axes[:, 0] == axis)[0]) for axis in (2, 1, 0)]
    depth, height, width = (shape[axis] for axis in order)
    depth_mm, height_mm, width_mm = (float(sizes[axis]) for axis in order)
    return Lattice((depth, height, width), (depth_mm, height_mm, width_mm))


def to_frame(values: np.ndarray, axes: np.ndarray, source: str) -> np.ndarray:
    """Stored voxels as (D, H, W), in an array of its own."""
    orientations = import_extra("nibabel.orientations", source, "volumes")
    ras = orientations.apply_orientation(values, axes)
    return np.ascontiguousarray(ras.transpose(2, 1, 0)[:, ::-1])
