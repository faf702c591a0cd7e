"""A user's file as a frame of the model: a picture, or a volume in NIfTI or NPY."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.reading import nifti_file
from data_prep.reading.npy_file import open_npy
from data_prep.reading.pictures import SUFFIXES as PICTURE_SUFFIXES
from data_prep.reading.pictures import fit_square, read_header, read_picture
from data_prep.reading.remarks import gathered
from data_prep.reading.volumes import (
    as_binary,
    normalise_percentiles,
    resample,
    to_uint8,
    without_nan,
)
from data_prep.scenes.plain import inscribed
from pipeline.application.preparation import Preparation

VOLUME_SUFFIXES = (*nifti_file.SUFFIXES, ".npy")
SOURCE = "volumes"
"""What messages about a missing library call the reader."""
HALF, WHITE = 128, 255


class Frame(NamedTuple):
    """`values` (C, ...) uint8 at the model's size; a NIfTI file's voxel sizes in mm."""

    values: np.ndarray
    voxel_mm: tuple[float, ...] | None = None


def suffixes(preparation: Preparation) -> tuple[str, ...]:
    """Endings of the files that the model takes."""
    return VOLUME_SUFFIXES if preparation.is_volume else PICTURE_SUFFIXES


def check_file(path: Path, preparation: Preparation) -> None:
    """What a header tells: ValueError or FileNotFoundError if the file does not suit the model."""
    if preparation.is_volume:
        shape = (
            open_npy(path).shape if _is_npy(path) else nifti_file.read_header(path, SOURCE).shape
        )
        _check_size(path, shape, preparation)
        return
    header = read_header(path, preparation.limit)
    is_grey = preparation.frames.shape[0] == 1
    if is_grey and not header.is_grey and not preparation.to_grey:
        raise ValueError(f"{path} has colours and this model is grey: to_grey=true makes it grey")
    _check_size(path, (header.height, header.width), preparation)


def remarks(paths: list[Path], preparation: Preparation) -> list[str]:
    """Lines on what the headers of files leave open, and what is assumed of them."""
    if not preparation.is_volume:
        return []
    volumes = [path for path in paths if not _is_npy(path)]
    headers = [nifti_file.read_header(path, SOURCE) for path in volumes]
    return gathered(nifti_file.remarks_on([str(path) for path in volumes], headers))


def read_frame(path: Path, preparation: Preparation) -> Frame:
    """One file at the model's size, as the preparation says.

    Raises FileNotFoundError or ValueError naming the file if `check_file` does, if it is
    damaged, or holds values that the model does not know.
    """
    check_file(path, preparation)
    read = _read_volume if preparation.is_volume else _read_picture
    frame = read(path, preparation)
    values = frame.values
    if preparation.is_binary:
        values = np.where(values >= HALF, WHITE, 0).astype(np.uint8)
    if preparation.margin is not None:
        values = values * inscribed(values.shape[1:], preparation.margin)
    return frame._replace(values=values)


def _read_picture(path: Path, preparation: Preparation) -> Frame:
    is_grey = preparation.frames.shape[0] == 1
    size = None if preparation.resize == "none" else preparation.side
    is_padded = preparation.resize == "pad"
    if preparation.is_binary:
        values = _shape_of(path, read_picture(path, is_grey, None, limit=preparation.limit))
        values = values if size is None else _fit(values, size, is_padded)
    else:
        values = read_picture(path, is_grey, size, is_padded, preparation.limit)
    if values.shape != preparation.frames.shape:
        raise ValueError(f"{path} is not of the size that its header states")
    return Frame(values)


def _shape_of(path: Path, pixels: np.ndarray) -> np.ndarray:
    """A mask's pixels as 0 and 255."""
    try:
        return as_binary(pixels) * np.uint8(WHITE)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def _fit(pixels: np.ndarray, size: int, is_padded: bool) -> np.ndarray:
    from PIL import Image

    bands = [fit_square(Image.fromarray(band), size, is_padded) for band in pixels]
    return np.stack([np.asarray(band) for band in bands])


def _read_volume(path: Path, preparation: Preparation) -> Frame:
    voxel: tuple[float, ...] = (1.0, 1.0, 1.0)
    if _is_npy(path):
        volume = open_npy(path)
    else:
        volume, header = nifti_file.read_volume(path, SOURCE)
        voxel = header.voxel_mm
    try:
        scaled = _scale(volume, preparation)
        if preparation.resize != "none":
            extent = _extent(volume.shape, voxel, preparation)
            scaled = resample(scaled, voxel, extent, preparation.side)
            voxel = (extent / preparation.side,) * 3
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    return Frame(to_uint8(scaled)[None], None if _is_npy(path) else voxel)


def _is_npy(path: Path) -> bool:
    return path.name.lower().endswith(".npy")


def _scale(volume: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Values 0 to 1; ValueError, without naming the file, for values unknown to the model."""
    if preparation.is_binary:
        return as_binary(without_nan(volume, preparation.nan)).astype(np.float32)
    if volume.dtype == np.uint8 and preparation.percentiles is None:
        return volume.astype(np.float32) / 255
    if preparation.percentiles is None:
        raise ValueError(f"holds {volume.dtype}, not uint8: give percentiles=[LOW,HIGH]")
    background = 0.0 if preparation.zero_is_background else None
    return normalise_percentiles(volume, preparation.percentiles, background, preparation.nan)


def _extent(shape: tuple[int, ...], voxel: tuple[float, ...], preparation: Preparation) -> float:
    if preparation.extent_mm is not None:
        return preparation.extent_mm
    sides = [num * size for num, size in zip(shape, voxel, strict=True)]
    return max(sides) if preparation.resize == "pad" else min(sides)


def _check_size(path: Path, shape: tuple[int, ...], preparation: Preparation) -> None:
    wanted = preparation.frames.shape[1:]
    if preparation.resize == "none" and shape != wanted:
        given, needed = (" x ".join(map(str, reversed(sides))) for sides in (shape, wanted))
        raise ValueError(
            f"{path} measures {given} and this model takes {needed}:"
            " resize=crop cuts and resizes, resize=pad pads and resizes"
        )
