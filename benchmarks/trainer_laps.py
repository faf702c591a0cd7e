"""The real trainer with a real loader, run a lap of steps at a time."""

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch

from orbit.core.config.compose import compose
from orbit.core.config.schema import build
from orbit.core.progress import Progress
from orbit.core.signals import StopRequest
from orbit.core.store.reader import PairStore
from pipeline.data.batches import FreshTargets, TrainBatches, make_train_order
from pipeline.data.loader import Loader
from pipeline.data.packing import Batch
from pipeline.methods.table import make_task
from pipeline.run_files.checkpoint import CheckpointStore
from pipeline.training.distributed import World
from pipeline.training.metrics_log import MetricsLog
from pipeline.training.settings import TrainConfig
from pipeline.training.trainer import BatchIterator, Plan, Trainer

NEVER = 10**9


class LapBatches:
    """A loader that times a lap of steps and then asks the trainer to stop.

    The lap lasts from handing out its first batch to handing out the one after its last; at
    both ends `synchronise` waits for the device.
    """

    def __init__(
        self,
        loader: BatchIterator,
        num_steps: int,
        request: StopRequest,
        synchronise: Callable[[], None],
    ) -> None:
        self._loader, self._num_steps, self._request = loader, num_steps, request
        self._synchronise = synchronise
        self._num_given = 0
        self.wait_s = loader.wait_s
        self.elapsed_s = self.lap_wait_s = 0.0

    def __next__(self) -> Batch:
        if self._num_given == 0:
            self._synchronise()
            self._started, self._wait = time.perf_counter(), self.wait_s
        batch = next(self._loader)
        self.wait_s = self._loader.wait_s
        if self._num_given == self._num_steps:
            self._synchronise()
            self.elapsed_s = time.perf_counter() - self._started
            self.lap_wait_s = self.wait_s - self._wait
            self._request.signal_name = "end of lap"
        self._num_given += 1
        return batch


class TrainerLaps:
    """A trainer as `pipeline/train.py` would run it, without validation.

    `words` are configuration words; `run_dir` must be a new directory. Call it for
    the rate of a lap of `num_steps` steps; `wait_shares` and `step_seconds` keep
    the share of waiting for data and the time of a step of each lap.
    """

    def __init__(
        self, data: Path, run_dir: Path, words: Sequence[str], world: World, num_steps: int
    ) -> None:
        self.config = make_config(data, run_dir, words)
        self.trainer, self.batches = make_trainer(self.config, world)
        self.num_steps = num_steps
        self._world = world
        run_dir.mkdir(parents=True, exist_ok=True)
        self._log = MetricsLog(run_dir, 0) if world.is_first else None
        self.wait_shares: list[float] = []
        self.step_seconds: list[float] = []

    @cached_property
    def loader(self) -> Loader:
        """The loader of the configuration, from step 0 on."""
        return Loader(self.batches, 0, None, self._world.device, self.config.loader)

    def __call__(self) -> float:
        return self.lap(self.loader)

    def lap(self, batches: BatchIterator) -> float:
        """The rate of a lap on these batches, in records a second."""
        request = StopRequest()
        lap = LapBatches(batches, self.num_steps, request, self._synchronise)
        progress = Progress(NEVER, "steps", "training", enabled=False)
        with contextlib.redirect_stdout(io.StringIO()):
            self.trainer.run(lap, self._log, request, progress)
        self.wait_shares.append(lap.lap_wait_s / lap.elapsed_s)
        self.step_seconds.append(lap.elapsed_s / self.num_steps)
        return self.num_steps * self.config.global_batch / lap.elapsed_s

    def _synchronise(self) -> None:
        if self._world.device.type == "cuda":
            torch.cuda.synchronize(self._world.device)


def make_config(data: Path, run_dir: Path, words: Sequence[str]) -> TrainConfig:
    """The configuration of a run; of rotated MNIST, in float32, where the words name no other."""
    if not any(word.startswith("experiment=") for word in words):
        # The losses of the paper, which the loops beside it have too.
        words = ["experiment=rotated_mnist", "control=paper_losses", *words]
    if not any(word.startswith("precision=") for word in words):
        # The loops beside it compute in float32, whatever this machine could do.
        words = [*words, "precision=fp32"]
    all_words = [*words, f"data={data}", f"run_dir={run_dir}"]
    return build(TrainConfig, compose("train", all_words, frozenset({"data", "run_dir"})))


def make_trainer(config: TrainConfig, world: World) -> tuple[Trainer, TrainBatches]:
    """A trainer without an end, weights of seed 0, and what it reads."""
    store = PairStore(Path(config.data))
    reader = store.split("train")
    order = make_train_order(reader, config.pairs, config.seed, config.global_batch, "drop")
    plan = Plan(NEVER, order.is_epoch_end, order.epochs_done, NEVER, NEVER, config.log_every)
    task = make_task(config.task, store.manifest, 0, world.device)
    checkpoints = CheckpointStore(Path(config.run_dir) / "checkpoints")
    fresh = FreshTargets(task.objective, store.manifest) if config.pairs == "fresh" else None
    trainer = Trainer(task, config, plan, world, checkpoints, {}, lambda: iter(()), objective=fresh)
    group = store.manifest.group if fresh is not None else None
    batches = TrainBatches(reader, order, config.pairs, world.rank, world.world_size, group)
    return trainer, batches


def alone(device: str = "cpu") -> World:
    """A world of one process on the CPU, or on the first GPU."""
    return World(0, 1, torch.device(device, 0) if device == "cuda" else torch.device(device))
