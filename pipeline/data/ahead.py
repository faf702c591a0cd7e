"""Batches that threads of this process fill ahead of the step, for data beyond memory.

Steps are read in groups: the steps of a window of the order, or as many as fill some megabytes.
While one group is used, the records of the next are read in the order on disk, each into its
position in its batch's buffer. So two groups are in memory at any time.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from orbit.core.store.direct_reader import Destination, DirectReader
from pipeline.data.batches import Batches
from pipeline.data.packing import BatchLayout

GROUP_BYTES = 2**25
"""Bytes of a group if the order has no windows."""


class AheadSource:
    """The same batches as `StepSource`'s, read by threads; also the callable that DALI polls.

    A buffer is valid until the next read. Nothing is read before the first one. Reads after
    `end_step`, which DALI requests ahead of a GPU, return zeros that nobody uses. `stop` releases
    threads and buffers.
    """

    def __init__(
        self,
        batches: Batches,
        layout: BatchLayout,
        start_step: int,
        end_step: int | None,
        num_threads: int,
    ) -> None:
        self._team = _Team(num_threads)
        self._plan = _Plan(batches, layout, start_step, end_step, self._team.put)
        self._groups: list[_Group] = []

    def stop(self) -> None:
        """End the threads; no more batches can be read."""
        self._team.stop()
        self._groups.clear()
        self._plan.forget()

    def __call__(self, info: Any) -> list[np.ndarray]:
        return [self.read(info.iteration)]

    def read(self, read: int) -> np.ndarray:
        """The buffer (bytes,) of this read, counted from 0 and requested in ascending order."""
        while self._groups and read >= self._groups[0].first + len(self._groups[0].buffers):
            self._plan.reuse(self._groups.pop(0).buffers)
        while len(self._groups) < 2 and (group := self._plan.next_group()) is not None:
            self._groups.append(group)
        if not self._groups:
            return self._plan.nothing()
        group = self._groups[0]
        group.wait()
        buffer: np.ndarray = group.buffers[read - group.first]
        return buffer


class _Group:
    """Consecutive reads that are filled together, from read number `first` on.

    `buffers` (reads, bytes) hold their data.
    """

    def __init__(self, first: int, buffers: np.ndarray) -> None:
        self.first, self.buffers = first, buffers
        self.num_left = 1
        self.error: BaseException | None = None
        self._is_ready, self._lock = threading.Event(), threading.Lock()

    def wait(self) -> None:
        """Wait until all is read; raises the error of a failed read."""
        self._is_ready.wait()
        if self.error is not None:
            raise self.error

    def expect(self, num: int) -> None:
        """Announce `num` more parts of the work."""
        with self._lock:
            self.num_left += num

    def done(self, finish: Callable[[], None]) -> None:
        """Mark one part of the work as done; after the last one `finish` is called."""
        with self._lock:
            self.num_left -= 1
            is_last = self.num_left == 0
        if is_last:
            if self.error is None:
                finish()
            self._is_ready.set()

    def fail(self, error: BaseException) -> None:
        """Let the consumer raise this error."""
        self.error = error
        self._is_ready.set()


class _Plan:
    """The plan of groups: which reads form the next group, and the work to fill it."""

    def __init__(
        self,
        batches: Batches,
        layout: BatchLayout,
        start_step: int,
        end_step: int | None,
        put: Callable[[Callable[[], None]], None],
    ) -> None:
        self._batches, self._layout, self._put = batches, layout, put
        self._start_step, self._end_step = start_step, end_step
        self._steps_per_read = layout.num_places // batches.batch_size
        self._next_read = 0
        self._free: list[np.ndarray] = []

    def reuse(self, buffers: np.ndarray) -> None:
        """Take back buffers that are no longer needed."""
        self._free.append(buffers if buffers.base is None else buffers.base)

    def forget(self) -> None:
        """Release the buffers that wait for reuse."""
        self._free.clear()

    def nothing(self) -> np.ndarray:
        """A buffer of zeros."""
        return np.zeros(self._layout.num_bytes, np.uint8)

    def next_group(self) -> _Group | None:
        """Start to fill the next group; None after the last step."""
        first = self._start_step + self._next_read * self._steps_per_read
        if self._end_step is not None and first >= self._end_step:
            return None
        num_steps = self._num_steps_together(first)
        if self._end_step is not None:
            num_steps = min(num_steps, self._end_step - first)
        num_reads = -(-num_steps // self._steps_per_read)
        group = _Group(self._next_read, self._buffers(num_reads))
        self._next_read += num_reads
        self._put(guarded(group, lambda: self._begin(group, first)))
        return group

    def _num_steps_together(self, step: int) -> int:
        window = self._batches.window(step)
        if window is not None:
            return window[1] - step
        return max(1, GROUP_BYTES // self._layout.num_bytes) * self._steps_per_read

    def _buffers(self, num_reads: int) -> np.ndarray:
        kept = self._free.pop() if self._free else None
        if kept is None or len(kept) < num_reads:
            kept = np.empty((num_reads, self._layout.num_bytes), np.uint8)
        return kept[:num_reads]

    def _begin(self, group: _Group, first: int) -> None:
        """Put the reading of a group's pieces on the list of the threads."""
        reader = self._batches.reader
        assert isinstance(reader, DirectReader)
        steps = range(first, first + len(group.buffers) * self._steps_per_read)
        records = np.concatenate([self._batches.records(step) for step in steps])
        destination = Destination(self._layout.as_records(group.buffers)[0])

        def finish() -> None:
            for index, buffer in enumerate(group.buffers):
                step = first + index * self._steps_per_read
                self._batches.finish(step, *self._layout.as_records(buffer))

        pieces = reader.pieces(records)
        group.expect(len(pieces))
        for piece in pieces:

            def read(piece: Any = piece) -> None:
                reader.read_piece(piece, destination)
                group.done(finish)

            self._put(guarded(group, read))
        group.done(finish)


def guarded(group: _Group, work: Callable[[], None]) -> Callable[[], None]:
    """`work`, whose error is passed to the group's consumer."""

    def attempt() -> None:
        if group.error is not None:
            return
        try:
            work()
        except BaseException as error:
            group.fail(error)

    return attempt


class _Team:
    """Threads that take work from one list, in order; they start with the first piece."""

    def __init__(self, num_threads: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._num_threads, self._is_started, self._is_stopped = num_threads, False, False

    def put(self, work: Callable[[], None]) -> None:
        if not self._is_started:
            self._is_started = True
            for _ in range(self._num_threads):
                # A file system that hangs must not keep the process from ending.
                threading.Thread(target=self._run, daemon=True).start()
        self._work.put(work)

    def stop(self) -> None:
        self._is_stopped = True
        for _ in range(self._num_threads):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            if not self._is_stopped:
                work()
