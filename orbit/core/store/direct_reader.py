"""Records of a split read by position from its files, without memory maps.

For data that does not fit into memory, for which a memory map would wait for every page. Here one
`preadv` reads neighbouring frames, bypassing the page cache if each frame is read once an epoch,
and they are copied to their positions in the batch. Several threads may read at once.
"""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from orbit.core.store.manifest import FrameSpec
from orbit.core.store.reader import (
    PairStore,
    Records,
    SplitReader,
    check_shard,
    refuse_other,
)
from orbit.core.store.shard import Place, Stamp, locate_arrays, stamp_of
from orbit.core.store.shard_file import ALIGNMENT, ShardFile, retried, room_for

PIECE_BYTES = 2**22
"""A piece has about this many bytes of frames: at most twice as many, or one record."""
READ_BYTES = 2**20
"""The most bytes of neighbouring frames that are read at once."""
GAP_BYTES = 2**15
"""Gaps between two rows up to this size are read too, which costs less than another call."""
KEPT_BYTES = 2**26
"""Arrays of a split other than frames are read once and kept if they take at most this many
bytes."""
MAX_OPEN = 128


class Piece(NamedTuple):
    """Records of one shard that are read together: their rows, ascending, and their positions.

    `places` are positions counted through all batches of a destination.
    """

    shard: int
    rows: np.ndarray
    places: np.ndarray


class Destination:
    """Batches of equal size that several threads fill in any order.

    Arrays of (num_batches, B, ...) in which each batch is contiguous. A target of shape
    (num_batches, B, 0) receives no frames.
    """

    def __init__(self, batches: Records) -> None:
        self.batch_size = batches.label.shape[1]
        ends = [batches.source, batches.target] if batches.target.size else [batches.source]
        self.frames = [_as_whole_rows(end, 2) for end in ends]
        self.action, self.label = batches.action, batches.label


class DirectReader:
    """The records of a split, as `SplitReader` numbers them.

    Shards are opened when they are needed. After `open`, only the files that were there then are
    read. With `past_cache` frames bypass the page cache on file systems that can do this.
    """

    def __init__(self, reader: SplitReader, past_cache: bool = False) -> None:
        self.root, self.frames = reader.root, reader.frames
        self.num_action_components = reader.num_action_components
        self.num_records = reader.num_records
        self.records_per_source = reader.records_per_source
        self._past_cache = past_cache
        self._infos, self._starts, self._ends = reader.infos, reader.starts, reader.ends
        self._stamps: list[Stamp] | None = None
        self._places: dict[int, dict[str, Place]] = {}
        self._files: OrderedDict[int, ShardFile] = OrderedDict()
        self._lock, self._rooms = threading.Lock(), threading.local()
        record_bytes = 3 * np.dtype(np.int64).itemsize + 4 * self.num_action_components
        self._keeps_columns = self.num_records * record_bytes <= KEPT_BYTES
        self._columns: dict[tuple[int, str], np.ndarray] = {}

    @property
    def num_sources(self) -> int:
        """Number of source frames, if records come in runs that share one."""
        if self.records_per_source is None:
            raise ValueError("the records of this dataset are not grouped by source frame")
        return self.num_records // self.records_per_source

    def open(self) -> None:
        """Remember the files that are there now; FileNotFoundError if one is missing."""
        if self._stamps is None:
            self._stamps = [stamp_of(self.root / info.file) for info in self._infos]

    def check_unchanged(self) -> None:
        """Raise ValueError if the files have been replaced since this was opened."""
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
        """These records (B,) int64 in pieces, in the order on disk.

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
            rows, at = ordered[first:last] - self._starts[shard], places[first:last]
            for start, end in parts_of(rows, most):
                found.append(Piece(shard, rows[start:end], at[start:end]))
            first = last
        return found

    def read_piece(self, piece: Piece, out: Destination) -> None:
        """Read a piece's records into their positions.

        Raises OSError if the file stays unreadable, and ValueError for a shard that differs from
        the manifest or was replaced.
        """
        file = self._file(piece.shard)
        places = np.divmod(piece.places, out.batch_size)
        for name, to in (("action", out.action), ("label", out.label)):
            to[places] = self._column(file, piece, name)
        ends = ("source", "target")[: len(out.frames)]
        wanted = [self._column(file, piece, name) for name in ends]
        unique = np.unique(np.concatenate(wanted))
        if not 0 <= unique[0] <= unique[-1] < file.places["frames"].shape[0]:
            raise ValueError(f"{file.path} has a record that points outside its frames")
        firsts, lasts = _runs(unique, file.places["frames"].row_bytes, READ_BYTES)
        copies = [
            _Copies(to, places, rows, firsts, lasts)
            for to, rows in zip(out.frames, wanted, strict=True)
        ]
        for run, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
            frames = self._read_frames(file, first, last)
            for copy in copies:
                copy.of_run(run, frames, self._room)

    def _column(self, file: ShardFile, piece: Piece, name: str) -> np.ndarray:
        """A piece's rows of an array other than frames."""
        place, kept = file.places[name], self._columns.get((piece.shard, name))
        if kept is None and self._keeps_columns:
            # A few bytes of each record, spread over the file: reading all at once waits for the
            # disk once.
            kept = np.empty(place.shape, place.dtype)
            _read_rows(file, place, 0, kept)
            self._columns[piece.shard, name] = kept
        if kept is not None:
            return np.asarray(kept[piece.rows])
        firsts, lasts = _runs(piece.rows, place.row_bytes)
        offsets = np.cumsum(lasts - firsts) - (lasts - firsts)
        values = np.empty((int((lasts - firsts).sum()), *place.shape[1:]), place.dtype)
        for first, last, offset in zip(
            firsts.tolist(), lasts.tolist(), offsets.tolist(), strict=True
        ):
            _read_rows(file, place, first, values[offset : offset + last - first])
        run = np.searchsorted(firsts, piece.rows, side="right") - 1
        return np.asarray(values[piece.rows - (firsts - offsets)[run]])

    def _read_frames(self, file: ShardFile, first: int, last: int) -> np.ndarray:
        """These rows of the frames, as whole rows; valid until this thread reads others."""
        place = file.places["frames"]
        num_bytes = (last - first) * place.row_bytes
        room = self._room("read", room_for(num_bytes))
        read = file.read_past_cache(place.offset + first * place.row_bytes, room, num_bytes)
        return read.view(f"V{place.row_bytes}")

    def _room(self, name: str, num_bytes: int) -> np.ndarray:
        """Page-aligned memory of this thread, which is reused."""
        kept: dict[str, np.ndarray] = self._rooms.__dict__
        if name not in kept or len(kept[name]) < num_bytes:
            memory = np.empty(num_bytes + ALIGNMENT, np.uint8)
            kept[name] = memory[-memory.ctypes.data % ALIGNMENT :][:num_bytes]
        return kept[name]

    def _file(self, index: int) -> ShardFile:
        with self._lock:
            if index in self._files:
                self._files.move_to_end(index)
                return self._files[index]
        opened = retried(lambda: self._open_file(index), self.root / self._infos[index].file)
        with self._lock:
            self._files[index] = opened
            while len(self._files) > MAX_OPEN:
                # A thread that reads from it keeps it open until it is done.
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
            # Read-ahead is useless for random rows.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            opened = ShardFile(path, os.dup(file.fileno()), stamp, self._places[index])
        if self._past_cache:
            opened.go_past_cache()
        return opened

    def __getstate__(self) -> dict[str, Any]:
        own: dict[str, Any] = {
            "_files": OrderedDict(),
            "_columns": {},
            "_lock": None,
            "_rooms": None,
        }
        return {**self.__dict__, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._rooms = threading.Lock(), threading.local()


class _Copies:
    """The copies from frames that were read, run after run, to one end of a piece's records."""

    def __init__(
        self,
        to: np.ndarray,
        places: tuple[np.ndarray, np.ndarray],
        rows: np.ndarray,
        firsts: np.ndarray,
        lasts: np.ndarray,
    ) -> None:
        order = np.argsort(rows, kind="stable")
        self._to, self._rows = to, rows[order]
        self._batches, self._places = places[0][order], places[1][order]
        self._firsts = firsts
        self._edges = np.searchsorted(self._rows, np.stack([firsts, lasts])).tolist()

    def of_run(self, run: int, frames: np.ndarray, room: Callable[[str, int], np.ndarray]) -> None:
        """Copy the frames of a run; the target may be in other memory than the frames."""
        size = frames.itemsize
        most = max(1, READ_BYTES // size)
        for first in range(self._edges[0][run], self._edges[1][run], most):
            part = slice(first, min(first + most, self._edges[1][run]))
            rows = self._rows[part] - self._firsts[run]
            if rows[-1] - rows[0] + 1 == len(rows) and (rows[1:] != rows[:-1]).all():
                chosen = frames[rows[0] : rows[-1] + 1]
            else:
                # Processors copy slowly if the target lies just behind the source in its page.
                start = (frames.ctypes.data + ALIGNMENT // 2) % ALIGNMENT
                free = room("chosen", ALIGNMENT + len(rows) * size)[start:]
                chosen = free[: len(rows) * size].view(frames.dtype)
                frames.take(rows, axis=0, out=chosen, mode="clip")
            self._to[self._batches[part], self._places[part]] = chosen


def open_directly(
    store: PairStore, splits: Sequence[str], past_cache: Sequence[str] = ()
) -> dict[str, DirectReader]:
    """Readers of these splits, whose files are those of the current manifest.

    Splits named in `past_cache` read frames without the page cache.

    Raises as `PairStore.open_all`.
    """
    readers = {name: DirectReader(store.split(name), name in past_cache) for name in splits}
    for reader in readers.values():
        reader.open()
    store.check_same()
    for reader in readers.values():
        reader.check_unchanged()
    return readers


def _read_rows(file: ShardFile, place: Place, first: int, out: np.ndarray) -> None:
    """Fill `out` with the rows of an array from `first` on."""
    if out.size:
        file.read_fully(place.offset + first * place.row_bytes, out.data.cast("B"))


def parts_of(rows: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Start and end of parts of these ascending rows, each of less than twice `most` rows.

    Neighbouring rows, which are read at once, stay together unless they are more than `most`.
    """
    ends = np.append(np.flatnonzero(np.diff(rows) > 1) + 1, len(rows)).tolist()
    parts, first, begin = [], 0, 0
    for end in ends:
        if end - begin > most:
            if begin > first:
                parts.append((first, begin))
            parts += [(start, min(start + most, end)) for start in range(begin, end, most)]
            first = end
        elif end - first >= most:
            parts.append((first, end))
            first = end
        begin = end
    return [*parts, (first, len(rows))] if first < len(rows) else parts


def _runs(
    rows: np.ndarray, row_bytes: int, most_bytes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """First row and end of each run of ascending rows that is read at once.

    Rows that lie close together are read with what is between them; runs of more than
    `most_bytes` are cut.
    """
    cuts = rows[1:] - rows[:-1] - 1
    edges = np.flatnonzero(cuts * row_bytes > GAP_BYTES) + 1
    firsts = rows[np.concatenate([[0], edges])]
    lasts = rows[np.concatenate([edges - 1, [-1]])] + 1
    if most_bytes is None:
        return firsts, lasts
    most = max(1, most_bytes // row_bytes)
    num_parts = -(-(lasts - firsts) // most)
    within = np.arange(num_parts.sum()) - np.repeat(np.cumsum(num_parts) - num_parts, num_parts)
    starts = np.repeat(firsts, num_parts) + within * most
    return starts, np.minimum(starts + most, np.repeat(lasts, num_parts))


def _as_whole_rows(frames: np.ndarray, num_axes: int) -> np.ndarray:
    """Frames as single values of as many bytes, over the first `num_axes` axes."""
    num_values = math.prod(frames.shape[num_axes:])
    flat = frames.reshape(*frames.shape[:num_axes], num_values)
    return np.asarray(flat.view(f"V{num_values * frames.itemsize}")[..., 0])


def _frame_bytes(frames: FrameSpec) -> int:
    return math.prod(frames.shape) * np.dtype(frames.dtype).itemsize
