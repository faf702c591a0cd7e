"""Random access to the records of a complete dataset, through memory maps.

A `SplitReader` opens its shards at first use, or all at once in `PairStore.open_all`, and again
after unpickling, so it can be sent to spawned processes. It holds no locks; processes share what
they read through the page cache.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from orbit.core.memory import make_room_for_files
from orbit.core.store.manifest import (
    SPLITS,
    FrameSpec,
    Manifest,
    ShardInfo,
    SplitInfo,
    read_manifest,
)
from orbit.core.store.shard import Place, Stamp, open_shard, stamp_of

SMALL_FRAME_BYTES = 4096


class Records(NamedTuple):
    """A batch of records in the requested order.

    `source`, `target` (B, C, H, W) or (B, C, D, H, W) as stored; `action` (B, A)
    float32; `label` (B,) int64.
    """

    source: np.ndarray
    target: np.ndarray
    action: np.ndarray
    label: np.ndarray


class RecordReader(Protocol):
    """Reads the records of one split by their numbers."""

    frames: FrameSpec
    num_action_components: int
    num_records: int
    records_per_source: int | None

    @property
    def num_sources(self) -> int:
        """Number of source frames, if records come in runs that share one."""

    def read(self, records: np.ndarray, out: Records | None = None) -> Records:
        """The records at these numbers (B,) int64, in this order, into `out` if given."""


class SplitReader:
    """The records of one split, numbered through its shards in manifest order."""

    def __init__(
        self, root: Path, split: SplitInfo, frames: FrameSpec, num_action_components: int
    ) -> None:
        self.root, self.frames = root, frames
        self.num_action_components = num_action_components
        self.num_records = split.num_records
        self.records_per_source = split.records_per_source
        self.infos = split.shards
        self._stamps: list[Stamp] | None = None
        self.ends = np.cumsum([shard.num_records for shard in split.shards])
        self.starts = self.ends - [shard.num_records for shard in split.shards]
        self._shards: list[dict[str, np.ndarray]] | None = None

    @property
    def num_sources(self) -> int:
        """Number of source frames, if records come in runs that share one."""
        if self.records_per_source is None:
            raise ValueError("the records of this dataset are not grouped by source frame")
        return self.num_records // self.records_per_source

    def empty(self, num: int) -> Records:
        """Arrays that hold a batch of `num` records."""
        shape, dtype = (num, *self.frames.shape), self.frames.dtype
        return Records(
            np.empty(shape, dtype),
            np.empty(shape, dtype),
            np.empty((num, self.num_action_components), np.float32),
            np.empty(num, np.int64),
        )

    def read(self, records: np.ndarray, out: Records | None = None) -> Records:
        """The records at these numbers (B,) int64, in this order, into `out` if given.

        An `out` with a target of shape (B, 0) receives no targets. Raises IndexError for a number
        beyond the last record.
        """
        out = self.empty(len(records)) if out is None else out
        for shard, places, rows in self._by_shard(records):
            _take(shard["frames"], shard["source"][rows], out.source, places)
            if out.target.size:
                _take(shard["frames"], shard["target"][rows], out.target, places)
            out.action[places] = shard["action"][rows]
            out.label[places] = shard["label"][rows]
        return out

    def read_frames(self, end: Literal["source", "target"], records: np.ndarray) -> np.ndarray:
        """The frames at one end of these records, (B, C, ...) as stored."""
        frames = np.empty((len(records), *self.frames.shape), self.frames.dtype)
        for shard, places, rows in self._by_shard(records):
            _take(shard["frames"], shard[end][rows], frames, places)
        return frames

    def read_column(self, name: str, records: np.ndarray) -> np.ndarray:
        """Values of a named column, or of source, target, action or label, at these records."""
        shards = self._open()
        key = name if name in shards[0] else f"columns/{name}"
        if key not in shards[0]:
            known = [column.removeprefix("columns/") for column in shards[0] if column != "frames"]
            raise ValueError(f"no column {name!r} in this dataset; known: {', '.join(known)}")
        first = shards[0][key]
        values = np.empty((len(records), *first.shape[1:]), first.dtype)
        for shard, places, rows in self._by_shard(records):
            values[places] = shard[key][rows]
        return values

    def open(self) -> None:
        """Map all shards now, not at the first read.

        From then on this reader, even in another process, reads only these files and refuses files
        that have replaced them. Raises FileNotFoundError or ValueError naming a shard that differs
        from the manifest, and ValueError if there are more shards than the system allows open
        files.
        """
        self._open()

    def check_unchanged(self) -> None:
        """Raise ValueError if other files have replaced those that are mapped."""
        for shard, stamp in zip(self.infos, self._stamps or [], strict=False):
            refuse_other(self.root / shard.file, stamp_of(self.root / shard.file), stamp)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": None}

    def _open(self) -> list[dict[str, np.ndarray]]:
        if self._shards is None:
            # A map keeps its file open.
            make_room_for_files(len(self.infos), self.root)
            opened = [self._open_shard(shard) for shard in self.infos]
            shards, stamps = [arrays for arrays, _ in opened], [stamp for _, stamp in opened]
            for shard, found, known in zip(self.infos, stamps, self._stamps or [], strict=False):
                refuse_other(self.root / shard.file, found, known)
            self._shards, self._stamps = shards, stamps
        return self._shards

    def _open_shard(self, shard: ShardInfo) -> tuple[dict[str, np.ndarray], Stamp]:
        path = self.root / shard.file
        arrays, stamp = open_shard(path)
        check_shard(path, stamp, arrays["frames"], len(arrays["label"]), shard, self.frames)
        return arrays, stamp

    def _by_shard(
        self, records: np.ndarray
    ) -> Iterator[tuple[dict[str, np.ndarray], Any, np.ndarray]]:
        """Split record numbers into (shard, positions in the batch, rows in the shard)."""
        shards = self._open()
        if len(shards) == 1:
            # A full slice avoids a second copy if there is a single shard.
            yield shards[0], slice(None), records
            return
        shard_of = np.searchsorted(self.ends, records, side="right")
        by_shard = np.argsort(shard_of, kind="stable")
        ends = np.searchsorted(shard_of[by_shard], np.arange(len(shards)), side="right")
        if ends[-1] < len(records):
            raise IndexError(f"record {records.max()} of a split of {self.num_records}")
        first = 0
        for index, last in enumerate(ends.tolist()):
            if last > first:
                places = by_shard[first:last]
                yield shards[index], places, records[places] - self.starts[index]
            first = last


class PairStore:
    """A complete dataset on disk: its manifest and a reader for each split."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.manifest: Manifest = read_manifest(self.root)

    def split(self, name: str) -> SplitReader:
        """A reader of one split; ValueError for an unknown name."""
        manifest = self.manifest
        return SplitReader(self.root, manifest.split(name), manifest.frames, len(manifest.action))

    def open_all(self, splits: Sequence[str] = SPLITS) -> dict[str, SplitReader]:
        """Readers of these splits with all their shards mapped; see `SplitReader.open`.

        They read the files that the manifest describes, whatever happens to the directory later.
        Raises ValueError or FileNotFoundError if a shard differs from the manifest or the dataset
        is being replaced.
        """
        readers = {name: self.split(name) for name in splits}
        for reader in readers.values():
            reader.open()
        self.check_same()
        for reader in readers.values():
            reader.check_unchanged()
        return readers

    def check_same(self) -> None:
        """Raise ValueError if another dataset has replaced this one."""
        # When a dataset is replaced, its manifest is removed first and written last.
        if read_manifest(self.root).fingerprint != self.manifest.fingerprint:
            raise ValueError(f"{self.root} was replaced while it was opened: start again")


def check_files(root: Path, manifest: Manifest) -> None:
    """Compare the shards' sizes with the manifest; raises an error naming the first that
    differs."""
    for split in manifest.splits.values():
        for shard in split.shards:
            path = root / shard.file
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing")
            _check_size(path, path.stat().st_size, shard)


def check_shard(
    path: Path,
    stamp: Stamp,
    frames: np.ndarray | Place,
    num_records: int,
    shard: ShardInfo,
    spec: FrameSpec,
) -> None:
    """Raise ValueError if an opened shard differs from the manifest."""
    _check_size(path, stamp.size, shard)
    expected = ((shard.num_frames, *spec.shape), np.dtype(spec.dtype))
    if (frames.shape, frames.dtype) != expected or num_records != shard.num_records:
        raise ValueError(
            f"{path} holds {num_records} records and frames {frames.shape} {frames.dtype} where"
            f" the manifest says {shard.num_records} and {expected[0]} {expected[1]}"
        )


def refuse_other(path: Path, found: Stamp, known: Stamp) -> None:
    """Raise ValueError if a file is not the one that is in use."""
    if found != known:
        raise ValueError(f"{path} was replaced while it was in use: start again")


def _check_size(path: Path, size: int, shard: ShardInfo) -> None:
    if size != shard.size:
        raise ValueError(f"{path} has {size} bytes, but the manifest says {shard.size}")


def _take(frames: np.ndarray, rows: np.ndarray, out: np.ndarray, places: Any) -> None:
    """out[places] = frames[rows] without a needless copy of large frames."""
    if isinstance(places, slice):
        frames.take(rows, axis=0, out=out, mode="clip")
    elif out[0].nbytes <= SMALL_FRAME_BYTES:
        out[places] = frames.take(rows, axis=0, mode="clip")
    else:
        # As bytes: slicing a memoryview costs less than indexing an array.
        size = out[0].nbytes
        bytes_in, bytes_out = frames.data.cast("B"), out.data.cast("B")
        for to, start in zip((places * size).tolist(), (rows * size).tolist(), strict=True):
            bytes_out[to : to + size] = bytes_in[start : start + size]
