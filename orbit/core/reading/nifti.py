"""One NIfTI file as a volume whose axes are those of a frame, by the orientation in its header.

A frame's axes D, H, W run from inferior to superior, from anterior to posterior and from left to
right of the patient. So a slice with fixed D is an axial one, seen from above, with the nose on
top, and the coordinates (x, y, z) of groups are those of RAS. Axes of an oblique volume are
assigned to the nearest ones of RAS, without resampling.

The header's scale, units of length and affine (of its sform code, else of its qform code) are
obeyed. If it leaves something open, an assumption is made and a remark reports it.
"""

import contextlib
import gzip
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orbit.core.files.waiting import raise_passing
from orbit.core.reading.files import import_extra
from orbit.core.reading.numpy_files import check_expansion


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
    """The lattice of a volume of stored shape (3,) as a frame; `axes` as `nearest_axes` returns
    them."""
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


SUFFIXES = (".nii", ".nii.gz")
CHUNK_BYTES = 2**20
START_BYTES = 1024
"""The number of bytes from which nibabel recognises the kind of a file."""
UNIT_BITS = 0b111
UNITS_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
"""NIfTI's codes of units of length, in mm: metre, millimetre, micron."""
SIZE_TOLERANCE = 0.01
NO_ORIENTATION = (
    "has no orientation code: its axes are assumed to run to the right, to the front and up"
)
NO_UNIT = "has no unit of length, but other files have one: millimetres are assumed"


class Header(NamedTuple):
    """Voxels (D, H, W) of a volume and their sizes in mm along these axes.

    `has_unit` says whether the file states its unit of length, `remarks` what was assumed or
    ignored.
    """

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    has_unit: bool = True
    remarks: tuple[str, ...] = ()


def read_header(path: Path, source: str) -> Header:
    """Shape and voxel size from the header alone.

    `source` is the source's name, for the advice to install nibabel. Raises ValueError
    naming the file if it is not NIfTI, holds several volumes or colours, or gives no
    usable voxel sizes.
    """
    return _header(_open(path, source), path, source)[0]


def read_volume(path: Path, source: str) -> tuple[np.ndarray, Header]:
    """The volume (D, H, W) and its header; ValueError naming the file if it is damaged, OSError if
    it cannot be read at the moment.

    Grey values are float32, or uint8 if stored so without a scale. Axes are swapped and
    flipped to the nearest ones of RAS.
    """
    image = _open(path, source)
    header, axes = _header(image, path, source)
    try:
        values = _voxels(image, path, source)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise_passing(error, path)
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be read to its end: {_one_line(error)}") from None
    if values.dtype != np.uint8:
        with np.errstate(over="ignore", invalid="ignore"):  # infinite ones are refused later
            values = values.astype(np.float32)
    return to_frame(values.reshape(values.shape[:3]), axes, source), header


def remarks_on(names: Sequence[str], headers: Sequence[Header]) -> list[tuple[str, str]]:
    """(name, remark) for each assumption about the files of a dataset."""
    found = [
        (name, remark)
        for name, header in zip(names, headers, strict=True)
        for remark in header.remarks
    ]
    if any(header.has_unit for header in headers):
        found += [
            (name, NO_UNIT)
            for name, header in zip(names, headers, strict=True)
            if not header.has_unit
        ]
    return found


def _voxels(image: Any, path: Path, source: str) -> np.ndarray:
    """Voxels as stored and scaled; a gzip stream is read to its end, where its checksum is."""
    if not path.name.lower().endswith(".gz"):
        stored: np.ndarray = np.asanyarray(image.dataobj)
        return stored
    imageglobals = import_extra("nibabel.imageglobals", source, "volumes")
    with gzip.open(path) as stream, _without_log(imageglobals.logger):
        values: np.ndarray = np.asanyarray(type(image).from_stream(stream).dataobj)
        if len(stream.read(CHUNK_BYTES)) == CHUNK_BYTES and stream.read(1):
            raise ValueError("it continues after its voxels")
    return values


def _open(path: Path, source: str) -> Any:
    nibabel = import_extra("nibabel", source, "volumes")
    known = (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError)
    try:
        # nibabel would repair and print some faults of headers; they are checked below.
        with _without_log(nibabel.imageglobals.logger):
            image = _load(nibabel, path)
    except FileNotFoundError as error:
        raise_passing(error, path)
        raise FileNotFoundError(f"{path} is missing") from None
    except (*known, OSError, EOFError, ValueError, zlib.error) as error:
        raise_passing(error, path)
        raise ValueError(f"{path} is not a NIfTI file: {_one_line(error)}") from None
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ValueError(f"{path} is not a NIfTI file but {type(image).__name__}")
    return image


def _load(nibabel: Any, path: Path) -> Any:
    """`nibabel.load`; it would mistake a file that cannot be read at the moment for another
    kind."""
    start = b""
    with contextlib.suppress(gzip.BadGzipFile, EOFError, zlib.error), _stream(path) as stream:
        start = stream.read(START_BYTES)
    for kind in nibabel.imageclasses.all_image_classes:
        if kind.path_maybe_image(str(path), (start, str(path)))[0]:
            return kind.from_filename(path)
    return nibabel.load(path)  # Names the kind of file that it is instead.


def _stream(path: Path) -> Any:
    return gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb")


def _header(image: Any, path: Path, source: str) -> tuple[Header, np.ndarray]:
    """The header, and the nearest axes of RAS."""
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 3 or math.prod(shape[3:]) != 1 or min(shape) < 1:
        raise ValueError(f"{path} holds an array of shape {shape}, not one volume")
    if dtype.kind not in "biuf":
        raise ValueError(f"{path} holds values of type {dtype}, not grey values")
    stored = _stored_header(image, path)
    if stored["bitpix"] != 8 * dtype.itemsize:
        raise ValueError(f"{path} states {stored['bitpix']} bits a voxel for values of {dtype}")
    _check_length(image, path)
    unit = int(stored["xyzt_units"]) & UNIT_BITS
    remarks = []
    if unit not in (0, *UNITS_MM):
        remarks.append(f"states an unknown unit of length ({unit}): millimetres are assumed")
    try:
        affine, further = _affine(image, stored, source)
        affine[:3] *= UNITS_MM.get(unit, 1.0)
        axes = nearest_axes(affine, source)
    except ValueError as error:
        raise ValueError(f"{path} {_one_line(error)}") from None
    lattice = lattice_of(shape, affine, axes)
    return Header(*lattice, unit in UNITS_MM, (*remarks, *further)), axes


def _check_length(image: Any, path: Path) -> None:
    """Refuse a file that is too short for its voxels, and one that unpacks to far too many."""
    size, voxels = path.stat().st_size, math.prod(image.shape) * image.get_data_dtype().itemsize
    if path.name.lower().endswith(".gz"):
        check_expansion(path, size, voxels, "unpack it yourself")
    elif size < image.dataobj.offset + voxels:
        raise ValueError(
            f"{path} is cut off: it has {size} bytes, but its header says"
            f" {image.dataobj.offset + voxels}"
        )


@contextmanager
def _without_log(logger: logging.Logger) -> Iterator[None]:
    """Silence nibabel's logger, which would print to standard error without a handler."""
    is_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = is_disabled


def _stored_header(image: Any, path: Path) -> Any:
    """The header as it is in the file: nibabel changes some fields of its own copy."""
    size = len(image.header.binaryblock)
    with _stream(path) as stream:
        return type(image.header)(stream.read(size), check=False)


def _affine(image: Any, stored: Any, source: str) -> tuple[np.ndarray, list[str]]:
    """The affine from indices to the file's unit in RAS, and the assumptions made for it."""
    header = image.header
    pixdim = np.asarray(stored["pixdim"][1:4], np.float64)
    has_sform, has_qform = header["sform_code"] > 0, header["qform_code"] > 0
    affine: np.ndarray = np.array(image.affine, np.float64)
    if has_sform:
        return affine, _disagreement(header, pixdim, has_qform, source)
    if not np.isfinite(pixdim).all() or not pixdim.all():
        raise ValueError(f"gives voxel sizes of {pixdim.tolist()} mm")
    if has_qform:
        return affine, []
    return np.diag([*np.abs(pixdim), 1.0]), [NO_ORIENTATION]


def _disagreement(header: Any, pixdim: np.ndarray, has_qform: bool, source: str) -> list[str]:
    """How the affine of the sform code contradicts the header's other geometry, if it does."""
    sform = header.get_sform()
    sizes = voxel_sizes(sform)
    if not np.allclose(sizes, np.abs(pixdim), rtol=SIZE_TOLERANCE, atol=0):
        return ["has other voxel sizes in its sform than in pixdim: those of the sform count"]
    try:
        theirs = nearest_axes(header.get_qform(), source) if has_qform else None
    except ValueError:
        return ["has a qform that cannot be used: its sform counts"]
    if theirs is not None and not np.array_equal(nearest_axes(sform, source), theirs):
        return ["is turned or mirrored by its sform against its qform: the sform counts"]
    return []


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
