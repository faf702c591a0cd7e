"""One NIfTI file as a volume whose axes are those of a frame.

A frame's axes D, H, W run from inferior to superior, from anterior to posterior and from
left to right of the patient. A slice of fixed D is thus an axial one, seen from above,
with the nose on top, and the coordinates (x, y, z) of groups are those of RAS. Axes of an
oblique volume are taken for the nearest ones of RAS; nothing is resampled along those.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.reading.extras import import_extra

SUFFIXES = (".nii", ".nii.gz")
CHUNK_BYTES = 2**20


class Header(NamedTuple):
    """Voxels (D, H, W) of a volume and their sizes in mm along these axes."""

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]


def read_header(path: Path, source: str) -> Header:
    """Shape and voxel size from the header alone.

    `source` is the source's name, for the advice to install nibabel. Raises ValueError
    naming the file if it is not NIfTI, holds several volumes or colours, or gives no
    usable voxel sizes.
    """
    return _header(_open(path, source), path, source)


def read_volume(path: Path, source: str) -> tuple[np.ndarray, Header]:
    """The volume (D, H, W) and its header; ValueError naming the file if it is damaged.

    Grey values are float32, or uint8 if stored so without a scale. Axes are swapped and
    flipped to the nearest ones of RAS.
    """
    image = _open(path, source)
    header = _header(image, path, source)
    orientations = import_extra("nibabel.orientations", source, "volumes")
    try:
        values = _voxels(image, path)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read to its end: {_one_line(error)}") from None
    if values.dtype != np.uint8:
        with np.errstate(over="ignore", invalid="ignore"):  # infinite ones are refused later
            values = values.astype(np.float32)
    values = values.reshape(values.shape[:3])
    ras = orientations.apply_orientation(values, orientations.io_orientation(image.affine))
    return np.ascontiguousarray(ras.transpose(2, 1, 0)[:, ::-1]), header


def _voxels(image: Any, path: Path) -> np.ndarray:
    """Voxels as stored and scaled; a gzip stream is read to its end, where its checksum is."""
    if not path.name.lower().endswith(".gz"):
        stored: np.ndarray = np.asanyarray(image.dataobj)
        return stored
    with gzip.open(path) as stream:
        values: np.ndarray = np.asanyarray(type(image).from_stream(stream).dataobj)
        while stream.read(CHUNK_BYTES):
            pass
    return values


def _open(path: Path, source: str) -> Any:
    nibabel = import_extra("nibabel", source, "volumes")
    known = (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError)
    try:
        image = nibabel.load(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except (*known, OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is not a NIfTI file: {_one_line(error)}") from None
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ValueError(f"{path} is not a NIfTI file but {type(image).__name__}")
    return image


def _header(image: Any, path: Path, source: str) -> Header:
    orientations = import_extra("nibabel.orientations", source, "volumes")
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 3 or math.prod(shape[3:]) != 1 or min(shape) < 1:
        raise ValueError(f"{path} holds an array of shape {shape}, not one volume")
    if dtype.kind not in "biuf":
        raise ValueError(f"{path} holds values of type {dtype}, not grey values")
    voxel_mm = np.sqrt((image.affine[:3, :3].astype(np.float64) ** 2).sum(0))
    if not np.isfinite(image.affine).all() or not (voxel_mm > 0).all():
        raise ValueError(f"{path} gives voxel sizes of {voxel_mm.tolist()} mm")
    try:
        axes = orientations.io_orientation(image.affine)[:, 0]
    except (ValueError, np.linalg.LinAlgError) as error:
        raise ValueError(f"{path} has no usable orientation: {_one_line(error)}") from None
    if not np.isfinite(axes).all():
        raise ValueError(f"{path} has no usable orientation: its affine is singular")
    order = [int(np.flatnonzero(axes == axis)[0]) for axis in (2, 1, 0)]
    depth, height, width = (shape[axis] for axis in order)
    depth_mm, height_mm, width_mm = (float(voxel_mm[axis]) for axis in order)
    return Header((depth, height, width), (depth_mm, height_mm, width_mm))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
