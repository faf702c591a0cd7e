"""Transformed frames as files of the kind that they came from."""

import gzip
from pathlib import Path

import numpy as np

from data_prep.reading.extras import import_extra
from pipeline.application.reading import HALF, WHITE
from pipeline.files.atomic import replacing


def to_file_values(images: np.ndarray, is_binary: bool) -> np.ndarray:
    """Model outputs (N, C, ...) on [0, 1] as uint8, shapes cut at one half."""
    values: np.ndarray = np.clip(np.rint(images * WHITE), 0, WHITE).astype(np.uint8)
    return np.where(values >= HALF, WHITE, 0).astype(np.uint8) if is_binary else values


def write_picture(path: Path, frame: np.ndarray) -> None:
    """A frame (1 or 3, H, W) uint8 as a PNG."""
    from PIL import Image

    pixels = frame[0] if frame.shape[0] == 1 else np.moveaxis(frame, 0, -1)
    with replacing(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG")


def write_npy(path: Path, volume: np.ndarray) -> None:
    """A volume (D, H, W) uint8 as NPY."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, volume, allow_pickle=False)


def write_nifti(path: Path, volume: np.ndarray, voxel_mm: tuple[float, ...]) -> None:
    """A volume (D, H, W) uint8 with the axes of `data_prep.reading.orientation` as .nii.gz.

    In the file its axes are RAS and its centre is the origin.
    """
    nibabel = import_extra("nibabel", "volumes", "volumes")
    ras = np.ascontiguousarray(volume[:, ::-1].transpose(2, 1, 0))
    sizes = np.array(voxel_mm[::-1])
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = -sizes * (np.array(ras.shape) - 1) / 2
    image = nibabel.Nifti1Image(ras, affine)
    image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
