"""Records of a split read by position from its files, without memory maps.

For data that does not fit into memory, where a map brings in page after page: here the rows
of a piece of neighbouring records come by one `preadv`, each into its own place. Several
threads may read pieces at once. What fails is tried again for some seconds.
"""

import errno
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from data_prep.store.manifest import FrameSpec
from data_prep.store.reader import (
    PairStore,
    Records,
    SplitReader,
    check_shard,
    refuse_other,
)
from data_prep.store.shard import Place, Stamp, locate_arrays, stamp_of
from pipeline.files.hiccups import FILE_SYSTEM_HICCUPS
from pipeline.files.waiting import pause

T = TypeVar("T")

PIECE_BYTES = 2**20
"""Frames of a piece, at most."""
GAP_BYTES = 2**15
"""Bytes between two rows up to which reading on costs less than another call."""
KEPT_BYTES = 2**20
"""Of an open file, arrays other than frames that are read as a whole and kept."""
PAUSES_S = (0.1, 0.5, 2.0, 4.0)
"""Before each new try of a read that failed or met the file's end too early."""
MAX_OPEN = 128
RETRIED = FILE_SYSTEM_HICCUPS | {errno.EINTR, errno.EAGAIN, errno.ENOMEM}


class Piece(NamedTuple):
    """Records of one shard that are read together: their rows, ascending, and where to put them.

    `places` count through all batches of a destination.
    """

    shard: int
    rows: np.ndarray
    places: np.ndarray


class Destination:
    """Batches of equal size whose places are filled in any order, by any thread.

    Arrays of (num_batches, B, ...) whose batches are contiguous, each by itself. A target
    without room, (num_batches, B, 0), is given no frames.
    """

    def __init__(self, batches: Records) -> None:
        self.batch_size = batches.label.shape[1]
        ends = [batches.source, batches.target] if batches.target.size else [batches.source]
        self.frames = [_as_whole_rows(end, 2) for end in ends]
        self.action, self.label = batches.action, batches.label


class ShardFile:
    """A shard opened for reading by position; closed when nobody refers to it any more."""

    def __init__(self, path: Path, descriptor: int, stamp: Stamp, places: dict[str, Place]) -> None:
        self.path, self.descriptor, self.stamp, self.places = path, descriptor, stamp, places
        self.kept: dict[str, np.ndarray] = {}

    def open_again(self) -> None:
        """Follow a network file system that has given the file another handle."""
        with open(self.path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            refuse_other(self.path, Stamp(status.st_size, status.st_mtime_ns), self.stamp)
            os.dup2(file.fileno(), self.descriptor, inheritable=False)

    def __del__(self) -> None:
        os.close(self.descriptor)


class DirectReader:
    """The records of a split, as `SplitReader` numbers them.

    Shards are opened when they are needed. From `open` on these files are read and no others.
    """

    def __init__(self, reader: SplitReader) -> None:
        self.root, self.frames = reader.root, reader.frames
        self.num_action_components = reader.num_action_components
        self.num_records = reader.num_records
        self.records_per_source = reader.records_per_source
        self._infos, self._starts, self._ends = reader.infos, reader.starts, reader.ends
        self._stamps: list[Stamp] | None = None
        self._places: dict[int, dict[str, Place]] = {}
        self._files: OrderedDict[int, ShardFile] = OrderedDict()
        self._lock, self._kept = threading.Lock(), threading.local()

    @property
    def num_sources(self) -> int:
        """Number of source frames, where records come in runs that share one."""
        if self.records_per_source is None:
            raise ValueError("the records of this dataset are not grouped by source frame")
        return self.num_records // self.records_per_source

    def open(self) -> None:
        """Note which files lie there now; FileNotFoundError if one is missing."""
        if self._stamps is None:
            self._stamps = [stamp_of(self.root / info.file) for info in self._infos]

    def check_unchanged(self) -> None:
        """Raise ValueError if other files lie there than when this was opened."""
        for info, stamp in zip(self._infos, self._stamps or [], strict=False):
            path = self.root / info.file
            refuse_other(path, stamp_of(path), stamp)

    def read(self, records: np.ndarray, out: Records | None = None) -> Records:
        """As `SplitReader.read`, piece after piece."""
        if out is None:
            shape, dtype = (len(records), *self.frames.shape), self.frames.dtype
            out = Records(
                np.empty(shape, dtype),
                np.empty(shape, dtype),
                np.empty((len(records), self.num_action_components), np.float32),
                np.empty(len(records), np.int64),
            )
        destination = Destination(Records(*(values[None] for values in out)))
        for piece in self.pieces(records):
            self.read_piece(piece, destination)
        return out

    def pieces(self, records: np.ndarray) -> list[Piece]:
        """These records (B,) int64 in pieces, as they lie on disk.

        Raises IndexError for a number beyond the last record.
        """
        places = np.argsort(records, kind="stable")
        ordered = records[places]
        if len(ordered) and not 0 <= ordered[0] <= ordered[-1] < self.num_records:
            raise IndexError(f"record {ordered[-1]} of a split of {self.num_records}")
        most = max(1, PIECE_BYTES // (2 * _frame_bytes(self.frames)))
        ends = np.searchsorted(ordered, self._ends, side="left")
        found, first = [], 0
        for shard in np.unique(np.searchsorted(self._ends, ordered, side="right")).tolist():
            last = int(ends[shard])
            for start in range(first, last, most):
                part = slice(start, min(start + most, last))
                rows = ordered[part] - self._starts[shard]
                found.append(Piece(shard, rows, places[part]))
            first = last
        return found

    def read_piece(self, piece: Piece, out: Destination) -> None:
        """Read a piece's records to their places.

        Raises OSError for what stays unreadable, and ValueError for a shard that is not as
        the manifest says or was replaced.
        """
        file = self._file(piece.shard)
        places = np.divmod(piece.places, out.batch_size)
        for name, to in (("action", out.action), ("label", out.label)):
            values, rows = self._read_rows(file, name, piece.rows)
            to[places] = values[rows]
        ends = ("source", "target")[: len(out.frames)]
        wanted = np.empty((len(ends), len(piece.rows)), np.int64)
        for end, name in enumerate(ends):
            values, rows = self._read_rows(file, name, piece.rows)
            wanted[end] = values[rows]
        unique, where = np.unique(wanted, return_inverse=True)
        if not 0 <= unique[0] <= unique[-1] < file.places["frames"].shape[0]:
            raise ValueError(f"{file.path} has a record that points outside its frames")
        values, rows = self._read_rows(file, "frames", unique)
        frames = _as_whole_rows(values, 1)
        for to, chosen in zip(out.frames, rows[where.reshape(wanted.shape)], strict=True):
            to[places] = frames[chosen]

    def _read_rows(
        self, file: ShardFile, name: str, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Some rows of an array, with these (ascending) among them, and where these are there.

        They are good until the thread reads others of that name.
        """
        place = file.places[name]
        if name != "frames" and place.row_bytes * place.shape[0] <= KEPT_BYTES:
            # A few bytes of each record, all over the file: a wait of the disk for each, or one.
            if name not in file.kept:
                values = np.empty(place.shape, place.dtype)
                if values.size:
                    read_fully(file, place.offset, values.data.cast("B"))
                file.kept[name] = values
            return file.kept[name], rows
        starts, lengths, offsets = _runs(rows, place.row_bytes)
        values = self._scratch(name, place, int(lengths.sum()))
        size = place.row_bytes
        if size:
            view = values.data.cast("B")
            runs = zip(starts.tolist(), lengths.tolist(), offsets.tolist(), strict=True)
            for start, length, offset in runs:
                part = view[offset * size : (offset + length) * size]
                read_fully(file, place.offset + start * size, part)
        run = np.searchsorted(starts, rows, side="right") - 1 if len(starts) > 1 else 0
        return values, rows - (starts - offsets)[run]

    def _scratch(self, name: str, place: Place, num_rows: int) -> np.ndarray:
        """Room for so many rows, which the thread uses again and again."""
        kept: dict[str, np.ndarray] = self._kept.__dict__
        if name not in kept or len(kept[name]) < num_rows:
            kept[name] = np.empty((num_rows, *place.shape[1:]), place.dtype)
        return kept[name][:num_rows]

    def _file(self, index: int) -> ShardFile:
        with self._lock:
            if index in self._files:
                self._files.move_to_end(index)
                return self._files[index]
        opened = retried(lambda: self._open_file(index), self.root / self._infos[index].file)
        with self._lock:
            self._files[index] = opened
            while len(self._files) > MAX_OPEN:
                # Whoever reads from it now keeps it open until then.
                self._files.popitem(last=False)
        return opened

    def _open_file(self, index: int) -> ShardFile:
        info = self._infos[index]
        path = self.root / info.file
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
        with open(path, "rb", buffering=0) as file:
            if index in self._places:
                status = os.fstat(file.fileno())
                stamp = Stamp(status.st_size, status.st_mtime_ns)
            else:
                places, stamp = locate_arrays(file, path)
                num_records = places["label"].shape[0]
                check_shard(path, stamp, places["frames"], num_records, info, self.frames)
                self._places[index] = places
            if self._stamps is not None:
                refuse_other(path, stamp, self._stamps[index])
            # What is read ahead of a random row is thrown away again.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            return ShardFile(path, os.dup(file.fileno()), stamp, self._places[index])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict(), "_lock": None, "_kept": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._kept = threading.Lock(), threading.local()


def open_directly(store: PairStore, splits: Sequence[str]) -> dict[str, DirectReader]:
    """Readers of these splits, whose files are those that the manifest speaks of now.

    Raises as `PairStore.open_all`.
    """
    readers = {name: DirectReader(store.split(name)) for name in splits}
    for reader in readers.values():
        reader.open()
    store.check_same()
    for reader in readers.values():
        reader.check_unchanged()
    return readers


def read_fully(file: ShardFile, offset: int, view: memoryview) -> None:
    """Fill the view with the bytes from `offset` on.

    A read that is short goes on where it ended. One that fails for a reason that may pass, or
    meets the end of the file, is tried again after pauses; then OSError naming the file.
    """

    def read() -> int:
        try:
            num = os.preadv(file.descriptor, [view], offset)
        except OSError as error:
            if error.errno == errno.ESTALE:
                file.open_again()
            raise
        if num == 0:
            raise OSError(errno.EIO, "ends before what its manifest says")
        return num

    while view:
        num = retried(read, file.path)
        view, offset = view[num:], offset + num


def retried(action: Callable[[], T], path: Path) -> T:
    """What `action` returns, tried again after pauses where it fails for what may pass.

    The last error names the file.
    """
    pauses = iter(PAUSES_S)
    while True:
        try:
            return action()
        except OSError as error:
            pause_s = next(pauses, None) if error.errno in RETRIED else None
            if pause_s is None:
                if error.errno is None or error.filename is not None:
                    raise
                raise OSError(error.errno, error.strerror, str(path)) from None
        pause(pause_s, f"{path}, which cannot be read just now")


def _runs(rows: np.ndarray, row_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start, length and offset of each run of ascending rows that is read at once.

    Rows that lie close together are read with what is between them.
    """
    cuts = rows[1:] - rows[:-1] - 1 if len(rows) > 1 else rows[:0]
    edges = np.flatnonzero(cuts * row_bytes > GAP_BYTES) + 1
    starts = rows[np.concatenate([[0], edges])]
    lengths = rows[np.concatenate([edges - 1, [-1]])] + 1 - starts
    return starts, lengths, np.cumsum(lengths) - lengths


def _as_whole_rows(frames: np.ndarray, num_axes: int) -> np.ndarray:
    """Frames as single values of as many bytes, over the first `num_axes` axes."""
    num_values = math.prod(frames.shape[num_axes:])
    flat = frames.reshape(*frames.shape[:num_axes], num_values)
    return np.asarray(flat.view(f"V{num_values * frames.itemsize}")[..., 0])


def _frame_bytes(frames: FrameSpec) -> int:
    return math.prod(frames.shape) * np.dtype(frames.dtype).itemsize
