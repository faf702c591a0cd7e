"""One shard: an HDF5 file of raw contiguous arrays.

    frames            (F, C, H, W) or (F, C, D, H, W), uint8 or float16
    source, target    (N,) int64, rows of `frames`
    action            (N, A) float32
    label             (N,) int64
    columns/NAME      (N, ...) further columns declared in the manifest

Attributes of the file repeat what the manifest says of the dataset; those of
`frames` hold its value ranges and this shard's own mean and standard deviation.
Contiguous storage lets a reader map each array into memory at its offset in the
file: about 50 times faster than h5py on random rows, and without its locks.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from data_prep.store.manifest import ColumnSpec, FrameSpec


@dataclass(frozen=True)
class ShardLayout:
    """Sizes of a shard, known before its first value is made."""

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
        """Bytes of all arrays, headers aside."""
        return sum(
            math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self.arrays().values()
        )


@dataclass(frozen=True)
class Block:
    """Consecutive frames and records of a shard.

    `source` and `target` are rows counted from the first frame of the *shard*.
    """

    frames: np.ndarray
    source: np.ndarray
    target: np.ndarray
    action: np.ndarray
    label: np.ndarray
    columns: Mapping[str, np.ndarray]

    def moved_by(self, num_frames: int) -> "Block":
        """The same block after `num_frames` other frames of its shard."""
        return dataclasses.replace(
            self, source=self.source + num_frames, target=self.target + num_frames
        )


def map_shard(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a shard, mapped read-only into memory.

    Raises FileNotFoundError if the file is missing and ValueError if it is not a
    shard (truncated, chunked, not HDF5).
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r", locking=False) as file:
            names = ["frames", "source", "target", "action", "label"]
            names += [f"columns/{name}" for name in file.get("columns", {})]
            places = {name: (file[name].id.get_offset(), file[name]) for name in names}
            size = path.stat().st_size
            for name, (offset, dataset) in places.items():
                if dataset.size == 0:
                    arrays[name] = np.empty(dataset.shape, dataset.dtype)
                    continue
                if offset is None or offset + dataset.nbytes > size:
                    raise ValueError(f"dataset {name} is not stored contiguously or is cut off")
                mapped = np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
                # A plain view of the map: indexing it skips np.memmap's Python code.
                arrays[name] = mapped.view(np.ndarray)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a readable shard: {error}") from None
    return arrays
