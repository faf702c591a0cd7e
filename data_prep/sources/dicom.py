"""DICOM series as volumes, brought to one orientation, extent and number of voxels."""

import hashlib
from pathlib import Path

import numpy as np

from data_prep.settings.sources import DicomSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.files.listing import Found
from orbit.core.plugins import Kind
from orbit.core.printing import say
from orbit.core.reading.dicom import Series, find_series, read_series
from orbit.core.reading.volumes import (
    largest_extent,
    normalise_percentiles,
    read_table,
    resample,
    to_uint8,
)


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


SOURCE = Kind("dicom", DicomSourceConfig, lambda config, *_: DicomSource(config))
