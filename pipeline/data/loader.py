"""DALI feeds the batches: in process by default, from spawned workers by config. Only batches that
threads have read ahead on a CPU need no DALI: they are used where they lie.

Frames are sent to the device as they are stored (uint8); the model converts and normalises them
there. DALI calls an endless source with a step number and needs no end of an epoch, so the loader's
only state is the next step.

A run of DALI has a fixed cost, several times that of reading a small batch. So if batches are
small, one run reads those of several consecutive steps.
"""

import signal
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from orbit.core.dali_build import check_dali
from orbit.core.signals import STOP_SIGNALS
from orbit.core.store.direct_reader import DirectReader
from pipeline.data.ahead import AheadSource
from pipeline.data.batches import Batches
from pipeline.data.packing import Batch, BatchLayout
from pipeline.data.settings import LoaderConfig

READ_BYTES = 2**20
"""A read takes as many whole steps as fit in this many bytes, at least one."""

QUEUE_BYTES = 2**16
"""The most bytes of the messages between DALI and its workers."""

LOST_WORKER = "Worker data receiving interrupted"


class StepSource:
    """The callable that DALI polls; module-level so that it can be spawned.

    Each call reads as many steps as the layout has room for. With `keeps_buffer` it reuses one
    buffer, for a caller that copies at once.
    """

    def __init__(
        self, batches: Batches, layout: BatchLayout, start_step: int, keeps_buffer: bool
    ) -> None:
        self.batches, self.layout, self.start_step = batches, layout, start_step
        self.steps_per_read = layout.num_places // batches.batch_size
        self._buffer = self._new_buffer() if keeps_buffer else None

    def __call__(self, info: Any) -> list[np.ndarray]:
        buffer = self._new_buffer() if self._buffer is None else self._buffer
        records, valid = self.layout.as_records(buffer)
        self.batches.read(self.start_step + info.iteration * self.steps_per_read, records, valid)
        return [buffer]

    def _new_buffer(self) -> np.ndarray:
        return np.empty(self.layout.num_bytes, np.uint8)


class Loader:
    """Iterator over the batches of steps `start_step` to `end_step` (exclusive; None: endless).

    A batch's tensors are views of memory that the loader uses again: use them before the next call
    and do not write into them. `wait_s` is the total time spent waiting for data. Raises
    ValueError on a GPU if DALI was built for another CUDA version than torch.
    """

    def __init__(
        self,
        batches: Batches,
        start_step: int,
        end_step: int | None,
        device: torch.device,
        config: LoaderConfig,
    ) -> None:
        if device.type == "cuda":
            check_dali()
        self.wait_s = 0.0
        self._step, self._end_step = start_step, end_step
        self._device = device
        num_steps = steps_per_read(batches, None if end_step is None else end_step - start_step)
        self._steps_per_read = num_steps
        self._layout = batches_layout(batches, num_steps)
        self._waiting: list[Batch] = []
        self._ahead: AheadSource | None = None
        self._pipeline: Any = None
        self._num_reads = 0
        # In process, DALI copies its input before it requests more.
        source: StepSource | AheadSource
        if config.num_workers == 0 and isinstance(batches.reader, DirectReader):
            num_readers = config.num_readers or _num_readers(batches, start_step)
            source = AheadSource(batches, self._layout, start_step, end_step, num_readers)
            # DALI may keep its source for longer.
            weakref.finalize(self, source.stop)
            if device.type == "cpu":
                # The batches already are in memory where they are used.
                self._ahead = source
                return
        else:
            source = StepSource(batches, self._layout, start_step, config.num_workers == 0)
        self._pipeline = _build_pipeline(source, device, config)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._end_step is not None and self._step >= self._end_step:
            raise StopIteration
        started = time.perf_counter()
        if not self._waiting:
            self._waiting = self._read()
        batch = self._waiting.pop()
        self._step += 1
        self.wait_s += time.perf_counter() - started
        return batch

    def _read(self) -> list[Batch]:
        """The next steps' batches, last step first."""
        buffer = self._run_pipeline() if self._ahead is None else self._read_ahead(self._ahead)
        return self._layout.as_batch(buffer).parts(self._steps_per_read)[::-1]

    def _read_ahead(self, source: AheadSource) -> torch.Tensor:
        self._num_reads += 1
        return torch.from_numpy(source.read(self._num_reads - 1))

    def _run_pipeline(self) -> torch.Tensor:
        on_gpu = self._device.type == "cuda"
        stream = torch.cuda.current_stream(self._device) if on_gpu else None
        try:
            (output,) = self._pipeline.run(stream) if on_gpu else self._pipeline.run()
        except RuntimeError as error:
            if LOST_WORKER not in str(error):
                raise
            raise RuntimeError(
                "a worker of the loader was lost: too little memory, or /dev/shm is full;"
                " loader.num_workers=0 works without them"
            ) from error
        buffer: torch.Tensor = torch.from_dlpack(output.as_tensor())[0]
        return buffer


def _num_readers(batches: Batches, step: int) -> int:
    """Threads that read by default: long reads of blocks wait for the disk, short ones compute."""
    return 8 if batches.window(step) is not None else 4


def steps_per_read(batches: Batches, num_steps_left: int | None = None) -> int:
    """How many steps one run of DALI reads; no more than are left."""
    num_bytes = batches_layout(batches, 1).num_bytes
    num_steps = READ_BYTES // num_bytes
    return max(1, num_steps if num_steps_left is None else min(num_steps, num_steps_left))


def shared_bytes(batches: Batches, config: LoaderConfig) -> int:
    """Shared memory that DALI's workers use: one read more than the prefetch, as measured."""
    if config.num_workers == 0:
        return 0
    num_bytes = batches_layout(batches, steps_per_read(batches)).num_bytes
    return (config.prefetch + 1) * num_bytes + QUEUE_BYTES


def batches_layout(batches: Batches, num_steps: int) -> BatchLayout:
    """The buffer that holds a rank's batches of `num_steps` steps."""
    reader = batches.reader
    return BatchLayout(
        reader.frames,
        reader.num_action_components,
        num_steps * batches.batch_size,
        batches.has_targets,
    )


def _build_pipeline(
    source: "StepSource | AheadSource", device: torch.device, config: LoaderConfig
) -> Any:
    from nvidia.dali import Pipeline, fn

    # In process on a CPU nothing runs in parallel with the consumer: more buffers only cost cache.
    depth = config.prefetch if config.num_workers or device.type == "cuda" else 1
    pipeline = Pipeline(
        batch_size=1,
        num_threads=1,
        device_id=device.index if device.type == "cuda" else None,
        prefetch_queue_depth=depth,
        exec_dynamic=True,
        py_num_workers=max(1, config.num_workers),
        py_start_method="spawn",
    )
    feeding: dict[str, Any] = {"parallel": True} if config.num_workers else {"no_copy": False}
    with pipeline:
        output = fn.external_source(source=source, batch=True, batch_info=True, **feeding)
        pipeline.set_outputs(output.gpu() if device.type == "cuda" else output)
    # Workers inherit the mask: a signal sent to the whole job step must reach only
    # the trainer, which stops at a step boundary; killed workers would crash it.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        pipeline.start_py_workers()
        pipeline.build()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    return pipeline
