"""One shard: an HDF5 file of raw contiguous arrays.

    frames            (F, C, H, W) or (F, C, D, H, W), uint8 or float16
    source, target    (N,) int64, rows of `frames`
    action            (N, A) float32
    label             (N,) int64
    columns/NAME      (N, ...) further columns declared in the manifest

Attributes of the file repeat the manifest's description of the dataset; those of `frames` hold its
value ranges and this shard's own mean and standard deviation. Contiguous storage lets a reader map
each array into memory at its offset in the file: about 50 times faster than h5py on random rows,
and without its locks.
"""

import dataclasses
import errno
import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from orbit.core.files.waiting import PASSING_ERRORS
from orbit.core.store.manifest import ColumnSpec, FrameSpec

SAY_NOTHING = PASSING_ERRORS | {errno.EACCES, errno.EPERM}
"""Errors of reading that say nothing about the content of the file."""
HAVE_NO_MAPS = (errno.ENODEV, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Errors of mapping a file if the file system does not support it."""


@dataclass(frozen=True)
class ShardLayout:
    """Sizes of a shard, which are known before its values are made."""

    frames: FrameSpec
    num_action_components: int
    columns: Mapping[str, ColumnSpec]
    num_frames: int
    num_records: int

    def arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Dataset name to (shape, dtype)."""
        records = self.num_records
        layout: dict[str, tuple[tuple[int, ...], str]] = {
            "frames": ((self.num_frames, *self.frames.shape), self.frames.dtype),
            "source": ((records,), "int64"),
            "target": ((records,), "int64"),
            "action": ((records, self.num_action_components), "float32"),
            "label": ((records,), "int64"),
        }
        for name, spec in self.columns.items():
            layout[f"columns/{name}"] = ((records, *spec.shape), spec.dtype)
        return layout

    def num_bytes(self) -> int:
        """Bytes of all arrays, without headers."""
        return sum(
            math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self.arrays().values()
        )


@dataclass(frozen=True)
class Block:
    """Consecutive frames and records of a shard.

    `source` and `target` are rows counted from the first frame of the *shard*. `constant` names the
    user's images among them that have the same value everywhere. `weights` (F,) int64, if given,
    are the weights of frames in the statistics: of frames that are permutations of each other one
    counts for all, and the others have weight 0.
    """

    frames: np.ndarray
    source: np.ndarray
    target: np.ndarray
    action: np.ndarray
    label: np.ndarray
    columns: Mapping[str, np.ndarray]
    constant: tuple[str, ...] = ()
    weights: np.ndarray | None = None

    def moved_by(self, num_frames: int) -> "Block":
        """The same block, moved behind `num_frames` other frames of its shard."""
        return dataclasses.replace(
            self, source=self.source + num_frames, target=self.target + num_frames
        )


class Stamp(NamedTuple):
    """What distinguishes a file from one that replaces it: not its inode, which some network file
    systems change."""

    size: int
    mtime_ns: int


class Place(NamedTuple):
    """The position of an array in its file: raw values from byte `offset` on."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def stamp_of(path: Path) -> Stamp:
    """The stamp of the file that is there now; FileNotFoundError if none is."""
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns)


def map_shard(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a shard, mapped read-only into memory; raises as `open_shard` does."""
    return open_shard(path)[0]


def open_shard(path: Path) -> tuple[dict[str, np.ndarray], Stamp]:
    """All arrays of a shard, mapped read-only into memory, and the stamp of its file.

    Raises FileNotFoundError if the file is missing, ValueError if it is not a shard (truncated,
    chunked, not HDF5) or is on a file system without memory maps, and OSError if it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    with open(path, "rb", buffering=0) as file:
        places, stamp = locate_arrays(file, path)
        mapped = _map_file(file.fileno(), path)
    arrays = {
        name: np.ndarray(place.shape, place.dtype, mapped, place.offset)
        if math.prod(place.shape)
        else np.empty(place.shape, place.dtype)
        for name, place in places.items()
    }
    return arrays, stamp


def locate_arrays(file: FileIO, path: Path) -> tuple[dict[str, Place], Stamp]:
    """The position of each array of a shard, and the file's stamp; raises as `open_shard`."""
    status = os.fstat(file.fileno())
    try:
        with h5py.File(file, "r") as content:
            places = _find_arrays(content, status.st_size)
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in SAY_NOTHING:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        raise ValueError(f"{path} is not a readable shard: {error}") from None
    return places, Stamp(status.st_size, status.st_mtime_ns)


def _find_arrays(file: h5py.File, size: int) -> dict[str, Place]:
    names = ["frames", "source", "target", "action", "label"]
    names += [f"columns/{name}" for name in file.get("columns", {})]
    found = {}
    for name in names:
        dataset = file[name]
        offset = dataset.id.get_offset()
        if dataset.size and (offset is None or offset + dataset.nbytes > size):
            raise ValueError(f"dataset {name} is not stored contiguously or is cut off")
        found[name] = Place(dataset.shape, dataset.dtype, offset or 0)
    return found


def _map_file(descriptor: int, path: Path) -> mmap.mmap:
    """Map the whole file; privately if the file system has no shared maps."""
    try:
        return mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ)
    except OSError as error:
        if error.errno not in HAVE_NO_MAPS:
            raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        return mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
    except OSError as error:
        raise ValueError(
            f"{path}: the file system there cannot map files into memory ({error.strerror}),"
            " as reading a dataset needs: copy it to another disk"
        ) from None
