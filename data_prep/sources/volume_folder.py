"""Volumes in NIfTI and NPY files; their folders, if any, are their classes."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.settings.sources import VolumeFolderSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.plugins import Kind
from orbit.core.printing import say
from orbit.core.reading import nifti as nifti_file
from orbit.core.reading.files import gathered, list_files
from orbit.core.reading.nifti import Header, remarks_on
from orbit.core.reading.numpy_files import open_npy
from orbit.core.reading.volumes import (
    as_binary,
    largest_extent,
    normalise_percentiles,
    resample,
    to_uint8,
    without_nan,
)

SUFFIXES = (*nifti_file.SUFFIXES, ".npy")


class VolumeFolderSource:
    """All volumes of a folder or of its immediate subfolders, the classes; part `all`.

    Frames are (1, D, H, W): a NIfTI file's axes are those of `orbit.core.reading.nifti`, those of
    an NPY file are unchanged. Shapes are read from the headers at once, voxels on demand. With
    `side` each volume is padded to the cube of its longest side (in mm if the file states sizes)
    and resampled. `binary` volumes take no percentiles: the value inside becomes 255, and mixed
    voxels are rounded. Booleans must be `binary`.

    Raises FileNotFoundError if the folder is missing, ValueError naming the file for one
    that is not a volume or does not fit the settings.
    """

    def __init__(self, config: VolumeFolderSourceConfig) -> None:
        if config.root is None:
            raise ValueError("give source.root=DIR, a folder of .nii, .nii.gz or .npy volumes")
        self._root = Path(config.root)
        self._files, self._labels, classes = list_files(self._root, SUFFIXES)
        self._config = config
        self.is_binary = config.binary
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
        self.label_meaning = f"folder: {listed}" if classes else "always 0: there are no folders"
        headers = [_header(path) for path in self._files]
        relative = [path.relative_to(self._root).as_posix() for path in self._files]
        for line in gathered(remarks_on(relative, headers)):
            say(line, error=True)
        shapes = [header.shape for header in headers]
        side = config.side or _common_side(self._files, shapes)
        self.image_shape = (1, side, side, side)
        self.num_images = {"all": len(self._files)}

    def subjects(self, part: str) -> np.ndarray | None:
        return None

    def names(self, part: str) -> list[str]:
        return [path.relative_to(self._root).as_posix() for path in self._files]

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames = np.empty((len(indices), *self.image_shape), np.uint8)
        for frame, index in zip(frames, indices, strict=True):
            path = self._files[index]
            volume, voxel = _read(path)
            try:
                frame[0] = self._convert(volume, voxel)
            except ValueError as error:
                raise ValueError(f"{path} {error}") from None
        return frames, self._labels[indices]

    def checksums(self) -> dict[str, str]:
        return dict(_checksums(self._root, tuple(self._files)))

    def _convert(self, volume: np.ndarray, voxel: tuple[float, ...]) -> np.ndarray:
        scaled = self._scale(volume)
        if self._config.side is not None:
            scaled = resample(scaled, voxel, largest_extent(volume.shape, voxel), self._config.side)
        return to_uint8(scaled >= 0.5 if self.is_binary else scaled)

    def _scale(self, volume: np.ndarray) -> np.ndarray:
        """Grey values scaled to 0 to 1."""
        if volume.dtype == np.bool_ and not self.is_binary:
            raise ValueError("holds booleans: set source.binary=true")
        if self.is_binary:
            return as_binary(without_nan(volume, self._config.nan)).astype(np.float32)
        if self._config.percentiles is None:
            if volume.dtype != np.uint8:
                raise ValueError(
                    f"holds {volume.dtype}, not uint8: give source.percentiles=[LOW,HIGH]"
                )
            return volume.astype(np.float32) / 255
        return normalise_percentiles(volume, self._config.percentiles, nan=self._config.nan)


def _is_npy(path: Path) -> bool:
    return path.name.lower().endswith(".npy")


def _header(path: Path) -> Header:
    if _is_npy(path):
        return Header(open_npy(path).shape, (1.0, 1.0, 1.0))
    return nifti_file.read_header(path, "volumes")


def _read(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    if _is_npy(path):
        return open_npy(path), (1.0, 1.0, 1.0)
    volume, header = nifti_file.read_volume(path, "volumes")
    return volume, header.voxel_mm


def _common_side(files: list[Path], shapes: Sequence[tuple[int, ...]]) -> int:
    side = shapes[0][0]
    for path, shape in zip(files, shapes, strict=True):
        if shape != (side, side, side):
            wanted = "a cube" if path == files[0] else f"{side} x {side} x {side} as before it"
            raise ValueError(
                f"{path} holds {' x '.join(map(str, shape))} voxels, not {wanted};"
                " source.side=N resamples all files"
            )
    return side


@lru_cache(maxsize=2)
def _checksums(root: Path, files: tuple[Path, ...]) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): sha256_of_file(path) for path in files}


SOURCE = Kind(
    "volumes",
    VolumeFolderSourceConfig,
    lambda config, seed, num_samples: VolumeFolderSource(config),
)
