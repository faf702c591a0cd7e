"""The training loop.

It counts steps, not epochs; a step is one global batch. Between logging steps nothing waits for the
device. At a boundary the order is always: log, validate, checkpoint. So a checkpoint of step s
comes after every line of step s.
"""

import contextlib
import math
import resource
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from orbit.core.progress import Progress
from orbit.core.signals import StopRequest
from pipeline.arithmetic import compile_in_place, exact_float32, float32_arithmetic
from pipeline.data.packing import Batch
from pipeline.methods.interface import Task
from pipeline.run_files.checkpoint import Checkpoint, CheckpointStore, non_finite_names
from pipeline.training.distributed import StopAgreement, World, evaluate
from pipeline.training.metrics_log import IntervalMeans, MetricsLog, NonFiniteLossError
from pipeline.training.optimisation import Optimisation, make_average
from pipeline.training.settings import TrainConfig


class CollapseError(Exception):
    """The model has collapsed; the message gives the symptom."""


class BatchIterator(Protocol):
    """A loader: batches in step order, and the seconds spent waiting for them."""

    wait_s: float

    def __next__(self) -> Batch: ...


@dataclass(frozen=True)
class Plan:
    """Length and boundaries of a run, in steps."""

    num_steps: int
    is_epoch_end: Callable[[int], bool]
    epochs_done: Callable[[int], int]
    validate_every: int | None
    checkpoint_every: int | None
    log_every: int

    def is_log_step(self, step: int) -> bool:
        return step % self.log_every == 0 or self.is_epoch_end(step) or step == self.num_steps

    def is_validation_step(self, step: int) -> bool:
        return self._is_due(self.validate_every, step)

    def is_checkpoint_step(self, step: int) -> bool:
        return self._is_due(self.checkpoint_every, step)

    @property
    def num_validations(self) -> int:
        """How often a run of full length validates."""
        if self.validate_every is not None:
            return -(-self.num_steps // self.validate_every)
        return self.epochs_done(self.num_steps) + (not self.is_epoch_end(self.num_steps))

    def _is_due(self, every: int | None, step: int) -> bool:
        due = self.is_epoch_end(step) if every is None else step % every == 0
        return due or step == self.num_steps


@dataclass
class Best:
    """The best validation so far, and how many there were since then."""

    step: int | None = None
    value: float = float("inf")
    num_since: int = 0


class Trainer:
    """Runs a task's optimisation from its current step to the plan's end, or until `patience`
    validations in a row were no better than the best.

    All its parts are injected. `run` returns whether the plan's end was reached; False means that a
    stop was requested and the state saved. `check_owned` raises if another process has taken over
    the run directory; it is called before anything is saved. `objective` wraps the task's own and
    is called instead of it. `preview` is called on the first rank after validations, with the
    evaluated model. Raises ValueError for gradient accumulation if the task does not allow it.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        plan: Plan,
        world: World,
        store: CheckpointStore,
        meta: dict[str, Any],
        validation_batches: Callable[[], Iterable[Batch]],
        check_owned: Callable[[], None] = lambda: None,
        objective: nn.Module | None = None,
        preview: Callable[[int, nn.Module], None] | None = None,
    ) -> None:
        if task.mixes_batch and config.accumulation > 1:
            raise ValueError(
                f"accumulation={config.accumulation} would change the loss of"
                f" task.name={config.task.name}, which compares the records of a batch;"
                " allowed: 1"
            )
        self.task, self.config, self.plan, self.world = task, config, plan, world
        self.store, self.meta, self._validation_batches = store, meta, validation_batches
        self._check_owned, self._preview = check_owned, preview
        self.step = 0
        self.best = Best()
        self.optimisation = Optimisation(config, task.model, world.device, plan.num_steps)
        self.average = make_average(task.model, config.ema_decay)
        self.interval = IntervalMeans(task.term_names, world)
        self._saved_step = -1
        objective = objective or task.objective
        if should_compile(config, world.device):
            compile_in_place(objective, compile_mode(config))
        self._objective: nn.Module = objective
        if world.world_size > 1:
            with warnings.catch_warnings():
                # Older versions of torch do not know the newer name of `broadcast_buffers`.
                warnings.simplefilter("ignore", FutureWarning)
                self._objective = DistributedDataParallel(
                    objective,
                    device_ids=[world.device] if world.device.type == "cuda" else None,
                    broadcast_buffers=False,
                    gradient_as_bucket_view=True,
                )

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do: it is part of what a checkpoint says."""
        return self.step >= self.plan.num_steps or self.is_out_of_patience

    @property
    def is_out_of_patience(self) -> bool:
        """Whether as many validations in a row were no better as the configuration bears."""
        patience = self.config.patience
        return patience is not None and self.best.num_since >= patience

    @property
    def evaluated_model(self) -> nn.Module:
        """The model with the weights for validation and checkpoints: the average, if there is
        one."""
        return self.average.module if self.average is not None else self.task.model

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint."""
        state = checkpoint.state
        self.evaluated_model.load_state_dict(checkpoint.weights)
        if self.average is not None:
            self.task.model.load_state_dict(state["raw_weights"])
            self.average.n_averaged.copy_(state["num_averaged"])
        self.optimisation.load_state_dict(state["optimisation"])
        self.task.load_state_dict(state["task"])
        self.interval.load_state(state["interval"])
        # Checkpoints of before there was a patience do not count.
        self.best = Best(state["best_step"], state["best_value"], state.get("num_since_best", 0))
        self.step = self._saved_step = checkpoint.step

    def run(
        self,
        batches: BatchIterator,
        log: MetricsLog | None,
        request: StopRequest,
        progress: Progress,
    ) -> bool:
        agreement = StopAgreement(request, self.world)
        clock = _Clock(batches, self.config.global_batch)
        while not self.is_done:
            batch = next(batches)
            with float32_arithmetic(self.config.precision):
                self._train_step(batch)
            self.step += 1
            progress.advance()
            must_stop = agreement.poll()
            if self.plan.is_log_step(self.step):
                self._log_training(log, clock, progress)
            is_validation_step = self.plan.is_validation_step(self.step)
            if is_validation_step:
                with clock.paused():
                    self._validate(log, progress)
            if is_validation_step or must_stop or self.plan.is_checkpoint_step(self.step):
                with clock.paused():
                    self._save(log)
            if must_stop and not self.is_done:
                return False
        agreement.finish()
        return True

    def _train_step(self, batch: Batch) -> None:
        parts = batch.parts(self.config.accumulation)
        terms = None
        for index, part in enumerate(parts):
            is_last = index == len(parts) - 1
            with self._without_gradient_exchange(is_last):
                with self.optimisation.autocast():
                    loss, part_terms = self._objective(*part)
                self.optimisation.backward(loss / len(parts) if len(parts) > 1 else loss)
            terms = part_terms if terms is None else terms + part_terms
        assert terms is not None
        self.optimisation.step(self.step)
        self.task.after_step()
        if self.average is not None:
            self.average.update_parameters(self.task.model)
        self.interval.add(terms / len(parts) if len(parts) > 1 else terms, self.step + 1)

    def _without_gradient_exchange(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        if is_last or not isinstance(self._objective, DistributedDataParallel):
            return contextlib.nullcontext()
        no_sync: contextlib.AbstractContextManager[Any] = self._objective.no_sync()
        return no_sync

    def _log_training(self, log: MetricsLog | None, clock: "_Clock", progress: Progress) -> None:
        self.interval.check_finite()
        means = self.interval.means()
        rate = self.optimisation.optimizer.param_groups[0]["lr"]
        values = {**means, **self.task.statistics(), "learning_rate": rate, **clock.read(self.step)}
        if log is not None:
            log.write(self.step, self.plan.epochs_done(self.step), "train", values)
        progress.note(
            f"loss {means['loss/total']:.4g}, {values['speed/samples_per_second']:,.0f} samples/s"
        )
        self.interval.reset()
        if self.plan.is_epoch_end(self.step):
            self.task.end_epoch()
        if self.step >= self.config.collapse.after_steps:
            message = self.task.collapse_message(means)
            if message is not None:
                message = f"step {self.step}: {message}"
                if self.config.collapse.action != "warn":
                    raise CollapseError(message)
                progress.say(f"warning: {message}")

    def _validate(self, log: MetricsLog | None, progress: Progress) -> None:
        self.interval.check_finite()
        self.evaluated_model.eval()
        evaluation = self.task.evaluation(self.evaluated_model)
        with progress.showing("validating"):
            metrics = evaluate(evaluation, self._validation_batches(), self.world)
        self._draw()
        self.evaluated_model.train()
        if log is not None:
            log.write(self.step, self.plan.epochs_done(self.step), "val", metrics)
        value = metrics[self.task.selection_metric]
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"{self.task.selection_metric} of the validation is not finite in step {self.step}"
            )
        if value < self.best.value:
            self.best = Best(self.step, value)
        else:
            self.best.num_since += 1
        shown = f"{self.task.selection_metric} {value:.4g}"
        shown += f", psnr {metrics['psnr']:.2f} dB" if "psnr" in metrics else ""
        shown += ", best so far" if self.best.step == self.step else ""
        epoch = self.plan.epochs_done(self.step)
        progress.say(f"step {self.step} (epoch {epoch}): validation {shown}")

    @exact_float32()
    def _draw(self) -> None:
        preview = self._preview
        if preview is not None:
            self.world.first_decides(lambda: preview(self.step, self.evaluated_model))

    def _save(self, log: MetricsLog | None) -> None:
        if self._saved_step == self.step:
            return
        self.interval.check_finite()
        self._check_weights()
        interval = self.interval.state()
        self.world.first_decides(lambda: self._write(log, interval))
        self._saved_step = self.step

    def _write(self, log: MetricsLog | None, interval: dict[str, torch.Tensor]) -> None:
        """Save on the first rank. Lines of the log are flushed before the checkpoint that follows
        them, and the checkpoint before its pointers."""
        self._check_owned()
        state = {
            "optimisation": self.optimisation.state_dict(),
            "task": self.task.state_dict(),
            "interval": interval,
            "best_step": self.best.step,
            "best_value": self.best.value,
            "num_since_best": self.best.num_since,
        }
        if self.average is not None:
            state["raw_weights"] = self.task.model.state_dict()
            state["num_averaged"] = self.average.n_averaged
        if log is not None:
            log.sync()
        self.store.save(self.step, self.evaluated_model.state_dict(), state, self.meta)
        if self.best.step is not None:
            self.store.point("best", self.best.step)
        retention = self.config.retention
        self.store.prune(retention.keep_last, retention.keep_every, self.best.step)

    def _check_weights(self) -> None:
        """Raise NonFiniteLossError, on all ranks, if weights are not finite."""
        guilty = non_finite_names(self.task.model)
        if self.average is not None:
            guilty = guilty or non_finite_names(self.average.module)
        num_guilty = self.world.all_gather(torch.tensor([len(guilty)]))
        if int(num_guilty.sum()):
            named = f" ({guilty[0]})" if guilty else ""
            raise NonFiniteLossError(f"weights are not finite{named} after step {self.step}")


def should_compile(config: TrainConfig, device: torch.device) -> bool:
    """Whether to compile: `auto` compiles on a GPU only; on a CPU the benefit depends on model and
    processor."""
    return device.type == "cuda" if config.compile == "auto" else bool(config.compile)


def compile_mode(config: TrainConfig) -> str | None:
    """torch's name for the mode of compilation; None is its default."""
    return "reduce-overhead" if config.compile == "cuda_graphs" else None


class _Clock:
    """The speed since the last reading, without validation and checkpoints."""

    def __init__(self, batches: BatchIterator, global_batch: int) -> None:
        self._batches, self._global_batch = batches, global_batch
        self._first_step: int | None = None
        self._restart()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._excluded += time.perf_counter() - started

    def read(self, step: int) -> dict[str, float]:
        elapsed = max(1e-9, time.perf_counter() - self._started - self._excluded)
        steps = step - self._first_step if self._first_step is not None else 0
        values = {
            "speed/samples_per_second": steps * self._global_batch / elapsed,
            "speed/data_wait_share": (self._batches.wait_s - self._wait) / elapsed,
            "memory/resident_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "time/unix": time.time(),
        }
        if torch.cuda.is_available():
            values["memory/gpu_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        self._first_step = step
        self._restart()
        return values

    def _restart(self) -> None:
        self._started, self._excluded = time.perf_counter(), 0.0
        self._wait = self._batches.wait_s
