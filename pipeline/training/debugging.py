"""The changes of a run by the keys of `debug`: its batches, and profiling."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from orbit.core.printing import say
from orbit.core.store.reader import RecordReader, Records
from pipeline.data.batches import Batches, EvaluationBatches
from pipeline.data.loader import Loader
from pipeline.data.packing import Batch
from pipeline.training.distributed import World
from pipeline.training.settings import DebugConfig

FOLDER = "profile"
NUM_ROWS = 30
MAX_MEMORY_EVENTS = 100_000


@dataclass(frozen=True)
class FirstBatches:
    """The first `num_steps` batches of other batches, repeated."""

    batches: Batches
    num_steps: int

    @property
    def reader(self) -> RecordReader:
        return self.batches.reader

    @property
    def batch_size(self) -> int:
        return self.batches.batch_size

    @property
    def has_targets(self) -> bool:
        return self.batches.has_targets

    def records(self, step: int) -> np.ndarray:
        return self.batches.records(step % self.num_steps)

    def window(self, step: int) -> None:
        return None

    def finish(self, step: int, out: Records, valid: np.ndarray) -> None:
        self._each(self.batches.finish, step, out, valid)

    def read(self, step: int, out: Records, valid: np.ndarray) -> None:
        self._each(self.batches.read, step, out, valid)

    def _each(
        self,
        act: Callable[[int, Records, np.ndarray], None],
        step: int,
        out: Records,
        valid: np.ndarray,
    ) -> None:
        """Call the wrapped batches for one step after the other."""
        for first in range(0, len(valid), self.batch_size):
            places = slice(first, first + self.batch_size)
            part = Records(*(values[places] for values in out))
            act((step + first // self.batch_size) % self.num_steps, part, valid[places])


def shortened(
    config: DebugConfig, training: Batches, validation: EvaluationBatches
) -> tuple[Batches, EvaluationBatches | FirstBatches]:
    """The batches for training and validation: all, or those that `debug` keeps."""
    if config.single_batch:
        one = FirstBatches(training, 1)
        return one, one
    if config.num_evaluation_batches is None:
        return training, validation
    num_steps = min(config.num_evaluation_batches, validation.num_steps)
    return training, FirstBatches(validation, num_steps)


class ProfiledLoader:
    """A loader in which every call starts a step of the profiler."""

    def __init__(self, loader: Loader, profiler: profile) -> None:
        self._loader, self._profiler = loader, profiler
        self._num_calls = 0
        self.wait_s = loader.wait_s

    def __next__(self) -> Batch:
        if self._num_calls:
            self._profiler.step()
        self._num_calls += 1
        with record_function("wait for data"):
            batch = next(self._loader)
        self.wait_s = self._loader.wait_s
        return batch


@contextmanager
def profiled(
    loader: Loader, config: DebugConfig, run_dir: Path, world: World
) -> Iterator[Loader | ProfiledLoader]:
    """The loader; its steps are traced if the configuration says so.

    Writes `profile/trace_rank0.json.gz` (for chrome://tracing or Perfetto) and `summary_rank0.txt`,
    one for each rank, and on a GPU `memory_rank0.pickle` (for pytorch.org/memory_viz).
    """
    if config.profile_steps is None:
        yield loader
        return
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    on_gpu = world.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]

    # The tracing library prints its own messages on standard error.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")

    def write(profiler: profile) -> None:
        profiler.export_chrome_trace(str(folder / f"trace_rank{world.rank}.json.gz"))
        order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=order, row_limit=NUM_ROWS)
        (folder / f"summary_rank{world.rank}.txt").write_text(table, encoding="utf-8")
        if world.is_first:
            say(f"trace and summary: {folder}")

    plan = schedule(wait=config.profile_after - 1, warmup=1, active=config.profile_steps, repeat=1)
    with (
        _gpu_memory_history(folder / f"memory_rank{world.rank}.pickle", on_gpu),
        profile(
            activities=activities, schedule=plan, on_trace_ready=write, record_shapes=True
        ) as p,
    ):
        yield ProfiledLoader(loader, p)


@contextmanager
def _gpu_memory_history(file: Path, is_on: bool) -> Iterator[None]:
    """Record all allocations of GPU memory over the whole run."""
    if not is_on:
        yield
        return
    torch.cuda.memory._record_memory_history(max_entries=MAX_MEMORY_EVENTS)
    try:
        yield
        torch.cuda.memory._dump_snapshot(str(file))
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
