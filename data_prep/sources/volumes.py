"""Volumes, brought to one orientation, extent and number of voxels.

Kinds: skull-stripped brains in NIfTI files, DICOM series, and folders of NIfTI and NPY files whose
folders, if any, are their classes.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.settings.sources import (
    DicomSourceConfig,
    NiftiSourceConfig,
    VolumeFolderSourceConfig,
)
from orbit.core.files.atomic import sha256_of_file
from orbit.core.files.listing import Found
from orbit.core.plugins import Kind
from orbit.core.printing import say
from orbit.core.reading.dicom import Series, find_series, read_series
from orbit.core.reading.files import find_all, gathered, list_files
from orbit.core.reading.nifti import SUFFIXES, Header, read_header, read_volume, remarks_on
from orbit.core.reading.numpy_files import open_npy
from orbit.core.reading.volumes import (
    as_binary,
    largest_extent,
    normalise_percentiles,
    read_table,
    resample,
    to_uint8,
    without_nan,
)


class NiftiSource:
    """All NIfTI files below a folder, in the order of their relative paths; part `all`.

    Frames are (1, D, H, W) with the axes of `orbit.core.reading.nifti`. Headers are read at once,
    voxels on demand. Without a table every label is 0 and every file is its own subject.

    Assumptions about what a header leaves open are reported. Raises FileNotFoundError if the folder
    or the table is missing, ValueError naming the file for one that is not a single volume, and for
    a table that does not list every file once.
    """

    is_binary = False

    def __init__(self, config: NiftiSourceConfig) -> None:
        if config.root is None:
            raise ValueError("give source.root=DIR, a folder of skull-stripped NIfTI files")
        self._root = root = Path(config.root)
        self._files = sorted(
            find_all(root, SUFFIXES, "source.root"),
            key=lambda path: path.relative_to(root).as_posix(),
        )
        self._table = None if config.table is None else Path(config.table)
        self._side, self._percentiles, self._nan = config.side, config.percentiles, config.nan
        self.image_shape = (1, config.side, config.side, config.side)
        self.num_images = {"all": len(self._files)}
        self._labels = np.zeros(len(self._files), np.int64)
        self._subjects: np.ndarray | None = None
        self.label_meaning = "always 0: there is no table of labels"
        names = [path.relative_to(root).as_posix() for path in self._files]
        if self._table is not None:
            self._labels, classes, self._subjects = read_table(self._table, names)
            listed = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
            self.label_meaning = f"label of the table: {listed}" if listed else "label of the table"
        headers = [read_header(path, config.name) for path in self._files]
        for line in gathered(remarks_on(names, headers)):
            say(line, error=True)
        self._extent_mm = config.extent_mm or max(
            largest_extent(header.shape, header.voxel_mm) for header in headers
        )

    def subjects(self, part: str) -> np.ndarray | None:
        return self._subjects

    def names(self, part: str) -> list[str]:
        return [path.relative_to(self._root).as_posix() for path in self._files]

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames = np.empty((len(indices), *self.image_shape), np.uint8)
        for frame, index in zip(frames, indices, strict=True):
            frame[0] = self._read_file(self._files[index])
        return frames, self._labels[indices]

    def checksums(self) -> dict[str, str]:
        return dict(_checksums(self._root, tuple(self._files), self._table))

    def _read_file(self, path: Path) -> np.ndarray:
        volume, header = read_volume(path, "nifti")
        try:
            scaled = normalise_percentiles(volume, self._percentiles, 0, self._nan)
            return to_uint8(resample(scaled, header.voxel_mm, self._extent_mm, self._side))
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None


@lru_cache(maxsize=2)
def _checksums(root: Path, files: tuple[Path, ...], table: Path | None = None) -> dict[str, str]:
    sums = {path.relative_to(root).as_posix(): sha256_of_file(path) for path in files}
    return sums if table is None else {**sums, table.name: sha256_of_file(table)}


NIFTI = Kind("nifti", NiftiSourceConfig, lambda config, *_: NiftiSource(config))


class DicomSource:
    """All series below a folder, in the order of their SeriesInstanceUID; part `all`.

    Frames are (1, D, H, W) with the axes of `orbit.core.reading.nifti`. Tags are read at once,
    pixels on demand. Without a table every label is 0; a table's column `file` names series by
    their UID. Series of one PatientID are one subject, unless the table says otherwise.

    Raises FileNotFoundError if the folder or the table is missing, ValueError naming the
    file or series for one that is not a volume, and for a table that does not list every
    series once.
    """

    is_binary = False

    def __init__(self, config: DicomSourceConfig) -> None:
        if config.root is None:
            raise ValueError("give source.root=DIR, a folder of DICOM series")
        root = Path(config.root)
        self._series, passed_over = find_series(root, "source.root")
        if remark := Found(root, [], passed_over).remark():
            say(remark, error=True)
        self._table = None if config.table is None else Path(config.table)
        self._side, self._percentiles = config.side, config.percentiles
        self.image_shape = (1, config.side, config.side, config.side)
        self.num_images = {"all": len(self._series)}
        self._labels = np.zeros(len(self._series), np.int64)
        self.label_meaning = "always 0: there is no table of labels"
        subjects = None
        if self._table is not None:
            names = [series.uid for series in self._series]
            self._labels, classes, subjects = read_table(self._table, names)
            listed = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
            self.label_meaning = f"label of the table: {listed}" if listed else "label of the table"
        self._subjects = _patients(self._series) if subjects is None else subjects
        self._extent_mm = config.extent_mm or max(
            largest_extent(*series.lattice) for series in self._series
        )
        self._checksums: dict[str, str] | None = None

    def subjects(self, part: str) -> np.ndarray | None:
        return self._subjects

    def names(self, part: str) -> list[str]:
        return [f"series {series.uid}" for series in self._series]

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames = np.empty((len(indices), *self.image_shape), np.uint8)
        for frame, index in zip(frames, indices, strict=True):
            frame[0] = self._read_series(self._series[index])
        return frames, self._labels[indices]

    def checksums(self) -> dict[str, str]:
        """By UID, one sha256 for each series, over the checksums of its slices in order."""
        if self._checksums is None:
            sums = {series.uid: _checksum(series) for series in self._series}
            if self._table is not None:
                sums[self._table.name] = sha256_of_file(self._table)
            self._checksums = sums
        return dict(self._checksums)

    def _read_series(self, series: Series) -> np.ndarray:
        volume = read_series(series)
        try:
            scaled = normalise_percentiles(volume, self._percentiles, nan="background")
            return to_uint8(resample(scaled, series.lattice.voxel_mm, self._extent_mm, self._side))
        except ValueError as error:
            raise ValueError(f"series {series.uid} ({series.paths[0]}) {error}") from None


def _patients(series: list[Series]) -> np.ndarray:
    """A number for each patient; a series without a PatientID counts as its own patient."""
    names = [f"patient {each.patient}" if each.patient else each.uid for each in series]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _checksum(series: Series) -> str:
    text = "\n".join(sha256_of_file(path) for path in series.paths)
    return hashlib.sha256(text.encode()).hexdigest()


DICOM = Kind("dicom", DicomSourceConfig, lambda config, *_: DicomSource(config))


VOLUME_SUFFIXES = (*SUFFIXES, ".npy")


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
        self._files, self._labels, classes = list_files(self._root, VOLUME_SUFFIXES)
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
    return read_header(path, "volumes")


def _read(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    if _is_npy(path):
        return open_npy(path), (1.0, 1.0, 1.0)
    volume, header = read_volume(path, "volumes")
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


VOLUMES = Kind(
    "volumes",
    VolumeFolderSourceConfig,
    lambda config, seed, num_samples: VolumeFolderSource(config),
)
