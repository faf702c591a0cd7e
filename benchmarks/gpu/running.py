"""Whether a run on a device restarts with the same bits, and gets the bytes that were stored."""

import itertools
from pathlib import Path

import torch
from trainer_laps import NEVER, alone, make_trainer

from gpu.found import Found, config_of, read_batch, resident
from gpu.plan import Job, Sizes
from gpu.speed import forget_compiled
from orbit.core.progress import Progress
from orbit.core.signals import StopRequest
from pipeline.arithmetic import deterministic_algorithms
from pipeline.data.batches import TrainBatches
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.data.packing import Batch
from pipeline.training.distributed import World
from pipeline.training.settings import TrainConfig
from pipeline.training.trainer import BatchIterator, Trainer

NUM_STEPS, STOPS = 8, (3, 5)
"""Steps of a run, and those after which the interrupted one begins again."""

NUM_READS = 24
BUSY_SIDE, NUM_BUSY = 4096, 8
"""Products that keep a GPU busy for some milliseconds."""


class StoppingBatches:
    """Batches that ask the trainer to stop with the last of `num_steps`."""

    def __init__(self, batches: BatchIterator, num_steps: int, request: StopRequest) -> None:
        self._batches, self._left, self._request = batches, num_steps, request
        self.wait_s = 0.0

    def __next__(self) -> Batch:
        self._left -= 1
        if self._left <= 0:
            self._request.signal_name = "the end"
        return next(self._batches)


def check_resume(job: Job, folder: Path, device: str, sizes: Sizes) -> Found:
    """Weights after a stop, a checkpoint and a new trainer, twice, are those of a run without.

    Through the loader, on resident tensors where there is no DALI.
    """
    where = alone(device)
    weights, note = [], ""
    with deterministic_algorithms(True):
        for stops in ((NUM_STEPS,), (*STOPS, NUM_STEPS)):
            forget_compiled()
            config = config_of(job, folder, device, run_name=f"{len(stops)}_stops")
            for stop in stops:
                trainer, note = _train_to(config, where, stop)
            weights.append(trainer.task.model.state_dict())
    forget_compiled()
    differing = [name for name, values in weights[0].items() if not _same(values, weights[1][name])]
    wrong = f"{len(differing)} of {len(weights[0])} tensors differ" if differing else ""
    return Found(not differing, {"steps": float(NUM_STEPS)}, "; ".join(filter(None, [wrong, note])))


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.equal(second) and bool(first.isfinite().all())


def _train_to(config: TrainConfig, world: World, step: int) -> tuple[Trainer, str]:
    """A trainer that went on from its newest checkpoint to a step, where it saved; and why not
    through the loader."""
    trainer, batches = make_trainer(config, world)
    kept = trainer.store.steps()
    if kept:
        trainer.restore(trainer.store.load(kept[-1]))
    note = ""
    source: BatchIterator
    try:
        source = Loader(batches, trainer.step, None, world.device, config.loader)
    except ImportError as error:
        source, note = resident(batches, world.device, trainer.step), f"without the loader: {error}"
    request = StopRequest()
    stopping = StoppingBatches(source, step - trainer.step, request)
    trainer.run(stopping, None, request, Progress(NEVER, "steps", "training", enabled=False))
    return trainer, note


def check_loading(job: Job, folder: Path, device: str, sizes: Sizes) -> Found:
    """DALI's batches on the device are the stored bytes, read in process and by a worker.

    Also while the device is behind: each batch is used by work that waits in a long queue, and
    let go of before that work has begun.
    """
    where = alone(device).device
    _, batches = make_trainer(config_of(job, folder, device), alone(device))
    wrong = [
        f"{num_workers} workers, device {'busy' if is_busy else 'idle'}"
        for num_workers, is_busy in itertools.product(sizes.workers, (False, True))
        if not _are_stored(batches, where, num_workers, is_busy)
    ]
    values = {"batches": float(2 * len(sizes.workers) * NUM_READS)}
    return Found(not wrong, values, "; ".join(f"other bytes: {text}" for text in wrong))


def _are_stored(
    batches: TrainBatches, device: torch.device, num_workers: int, is_busy: bool
) -> bool:
    loader = Loader(batches, 0, NUM_READS, device, LoaderConfig(num_workers))
    side = BUSY_SIDE if device.type == "cuda" else 8
    square = torch.ones(side, side, device=device)
    copies = []
    for batch in loader:
        if is_busy:
            for _ in range(NUM_BUSY):
                square = square @ square / side
        copies.append(Batch(*(values.clone() for values in batch)))
        del batch
    if any(values.device.type != device.type for values in copies[0]):
        return False
    return all(
        torch.equal(found.cpu(), wanted)
        for step, copy in enumerate(copies)
        for found, wanted in zip(copy, read_batch(batches, step, torch.device("cpu")), strict=True)
    )
