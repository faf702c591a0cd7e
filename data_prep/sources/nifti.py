"""Skull-stripped brains in NIfTI files, brought to one orientation, extent and number of voxels."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.settings.sources import NiftiSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.plugins import Kind
from orbit.core.printing import say
from orbit.core.reading.files import find_all, gathered
from orbit.core.reading.nifti import SUFFIXES, read_header, read_volume, remarks_on
from orbit.core.reading.volumes import (
    largest_extent,
    normalise_percentiles,
    read_table,
    resample,
    to_uint8,
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
def _checksums(root: Path, files: tuple[Path, ...], table: Path | None) -> dict[str, str]:
    sums = {path.relative_to(root).as_posix(): sha256_of_file(path) for path in files}
    return sums if table is None else {**sums, table.name: sha256_of_file(table)}


SOURCE = Kind("nifti", NiftiSourceConfig, lambda config, *_: NiftiSource(config))
