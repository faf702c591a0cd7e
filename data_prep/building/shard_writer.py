"""Writing one shard, so that a failure of the disk is an ordinary error.

The HDF5 library can crash the process when it cannot write its buffers out. So it never writes to
the disk: it lays out the file in memory, without the arrays, and plain output then writes its bytes
and those of the arrays to their positions.
"""

import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from orbit.core.files.atomic import replacing
from orbit.core.store.manifest import FrameSpec, FrameStatistics
from orbit.core.store.shard import Block, ShardLayout

SHARD_VERSION = 1
"""Version of the content and attributes of a shard; manifests have their own version."""

CHUNK_VALUES = 2**16
"""The sum of this many squares of 8-bit values is below 2**32."""


@dataclass
class FrameSums:
    """Per-channel sums over frames, in stored units, for the split's statistics."""

    total: np.ndarray
    total_squared: np.ndarray
    num_values: int

    @classmethod
    def zero(cls, num_channels: int) -> "FrameSums":
        return cls(np.zeros(num_channels), np.zeros(num_channels), 0)

    def add_frames(self, frames: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add frames (N, C, ...), each as often as its weight (N,) says."""
        for weight in (1,) if weights is None else np.unique(weights[weights > 0]).tolist():
            chosen = frames if weights is None else frames[weights == weight]
            self._add(chosen.reshape(*chosen.shape[:2], math.prod(chosen.shape[2:])), weight)

    def _add(self, frames: np.ndarray, weight: int) -> None:
        """Add frames (N, C, S), each `weight` times."""
        self.num_values += weight * len(frames) * frames.shape[2]
        if frames.dtype == np.uint8:
            for part in _parts(frames):
                values = part.astype(np.uint32)
                self.total += weight * values.sum((0, 2), dtype=np.uint32).astype(np.float64)
                squares = np.einsum("ncs,ncs->c", values, values)
                self.total_squared += weight * squares.astype(np.float64)
            return
        floats = frames.swapaxes(0, 1).reshape(frames.shape[1], -1).astype(np.float64)
        self.total += weight * floats.sum(1)
        self.total_squared += weight * np.einsum("cn,cn->c", floats, floats)

    def statistics(self, frames: FrameSpec) -> FrameStatistics:
        """Mean and standard deviation in loaded units; ValueError if they are not finite."""
        if not self.num_values:
            raise ValueError("there are no frames to average")
        stored_low, stored_high = frames.stored_range
        loaded_low, loaded_high = frames.loaded_range
        scale = (loaded_high - loaded_low) / (stored_high - stored_low)
        mean = self.total / self.num_values
        with np.errstate(invalid="ignore"):
            variance = np.maximum(self.total_squared / self.num_values - mean**2, 0.0)
        loaded_mean = (mean - stored_low) * scale + loaded_low
        deviation = np.sqrt(variance) * scale
        if not (np.isfinite(loaded_mean).all() and np.isfinite(deviation).all()):
            raise ValueError(
                f"the frames' mean {loaded_mean.tolist()} or deviation {deviation.tolist()}"
                " is not a finite number"
            )
        return FrameStatistics(tuple(loaded_mean.tolist()), tuple(deviation.tolist()))


def _parts(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Frames (N, C, S) in parts of at most CHUNK_VALUES, whose sums fit into 32 bits and which stay
    in the cache. Integer sums are exact in any order."""
    num_frames, num_channels, size = frames.shape
    width = min(max(1, size), max(1, CHUNK_VALUES // num_channels))
    step = max(1, CHUNK_VALUES // max(1, num_channels * size)) if width >= size else 1
    for first in range(0, num_frames, step):
        for start in range(0, size, width):
            yield frames[first : first + step, :, start : start + width]


class RecordedWrites(io.RawIOBase):
    """A file in memory that keeps only what was written, in order, and is zero elsewhere."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, bytes]] = []
        self.size = self._place = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = origin + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def write(self, data: Any) -> int:
        written = bytes(data)
        self.writes.append((self._place, written))
        self._place += len(written)
        self.size = max(self.size, self._place)
        return len(written)

    def readinto(self, buffer: Any) -> int:
        first, last = self._place, self._place + len(buffer)
        buffer[:] = bytes(len(buffer))
        for start, data in self.writes:
            low, high = max(first, start), min(last, start + len(data))
            if low < high:
                buffer[low - first : high - first] = data[low - start : high - start]
        self._place = last
        return len(buffer)

    def truncate(self, size: int | None = None) -> int:
        self.size = self._place if size is None else size
        return self.size


def write_shard(
    path: Path, layout: ShardLayout, blocks: Iterable[Block], attributes: Mapping[str, str | int]
) -> FrameSums:
    """Write a shard from its blocks, atomically, and return sums over its frames.

    Raises ValueError if the blocks do not fill the layout or hold non-finite or
    out-of-range values; OSError (disk full, say) leaves nothing behind.
    """
    with replacing(path) as temporary, open(temporary, "wb") as target:
        skeleton = RecordedWrites()
        with h5py.File(skeleton, "w", libver="v110") as file:
            offsets = _lay_out(file, layout, attributes)
            sums = _write_blocks(target, offsets, layout, blocks)
            statistics = sums.statistics(layout.frames)
            file["frames"].attrs["mean"] = statistics.mean
            file["frames"].attrs["std"] = statistics.std
        for offset, data in skeleton.writes:
            target.seek(offset)
            target.write(data)
        target.truncate(skeleton.size)
    return sums


def _lay_out(
    file: h5py.File, layout: ShardLayout, attributes: Mapping[str, str | int]
) -> dict[str, int]:
    """Make all attributes and arrays; returns the offset of each array that is not empty."""
    file.attrs["schema_version"] = SHARD_VERSION
    for key, value in attributes.items():
        file.attrs[key] = value
    placing = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    placing.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    placing.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    for name, (shape, dtype) in layout.arrays().items():
        file.create_dataset(name, shape, dtype, dcpl=placing)
    for name, spec in layout.columns.items():
        file[f"columns/{name}"].attrs["meaning"] = spec.meaning
    file["frames"].attrs["stored_range"] = layout.frames.stored_range
    file["frames"].attrs["loaded_range"] = layout.frames.loaded_range
    return {name: file[name].id.get_offset() for name in layout.arrays() if file[name].size}


def _write_blocks(
    target: BinaryIO, offsets: Mapping[str, int], layout: ShardLayout, blocks: Iterable[Block]
) -> FrameSums:
    sums = FrameSums.zero(layout.frames.shape[0])
    arrays = layout.arrays()
    frame, record = 0, 0
    for block in blocks:
        _check_block(block, layout)
        num_frames, num_records = len(block.frames), len(block.label)
        frame_end, record_end = frame + num_frames, record + num_records
        if frame_end > layout.num_frames or record_end > layout.num_records:
            raise _wrong_count(layout, frame_end, record_end)
        for name, offset in offsets.items():
            (_, *shape), dtype = arrays[name]
            first, num = (frame, num_frames) if name == "frames" else (record, num_records)
            values = _values_of(block, name).astype(
                dtype, order="C", casting="same_kind", copy=False
            )
            if values.shape != (num, *shape):
                raise ValueError(f"{name} has shape {values.shape}, not {(num, *shape)}")
            target.seek(offset + first * (values.nbytes // max(1, num)))
            target.write(values.data)
        sums.add_frames(block.frames, block.weights)
        frame, record = frame_end, record_end
    if (frame, record) != (layout.num_frames, layout.num_records):
        raise _wrong_count(layout, frame, record)
    return sums


def _values_of(block: Block, name: str) -> np.ndarray:
    column = name.removeprefix("columns/")
    values: Any = getattr(block, name) if column == name else block.columns[column]
    return np.asarray(values)


def _wrong_count(layout: ShardLayout, num_frames: int, num_records: int) -> ValueError:
    return ValueError(
        f"a shard of {layout.num_frames} frames and {layout.num_records} records was planned,"
        f" but {num_frames} frames and {num_records} records were made"
    )


def _check_block(block: Block, layout: ShardLayout) -> None:
    if block.frames.dtype != np.dtype(layout.frames.dtype):
        raise ValueError(f"frames are {block.frames.dtype}, not {layout.frames.dtype}")
    if block.frames.shape[1:] != layout.frames.shape:
        raise ValueError(f"frames have shape {block.frames.shape[1:]}, not {layout.frames.shape}")
    if not np.isfinite(block.action).all():
        raise ValueError("an action is not finite")
    if block.frames.dtype != np.uint8:
        low, high = layout.frames.stored_range
        if not ((block.frames >= low) & (block.frames <= high)).all():
            raise ValueError(f"a frame holds values outside [{low}, {high}]")
    if block.weights is not None and block.weights.sum() != len(block.frames):
        raise ValueError(f"weights of {len(block.frames)} frames sum up to {block.weights.sum()}")
    for rows in (block.source, block.target):
        if len(rows) and not 0 <= rows.min() <= rows.max() < layout.num_frames:
            raise ValueError(f"a record points outside the shard's {layout.num_frames} frames")
