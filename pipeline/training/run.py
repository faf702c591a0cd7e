"""`train(config)`: one run, from a run directory in any state to its end."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from data_prep.store.reader import PairStore, check_files
from pipeline.config.program import (
    EXIT_COLLAPSED,
    EXIT_NON_FINITE,
    EXIT_STOPPED,
    ExitWithCode,
)
from pipeline.data.batches import EvaluationBatches, TrainBatches, make_train_order
from pipeline.data.loader import Loader
from pipeline.data.order import SampleOrder, rank_slice
from pipeline.data.packing import Batch
from pipeline.files.lock import DirectoryLock
from pipeline.progress import Progress
from pipeline.runs import load_weights
from pipeline.tasks.interface import Task
from pipeline.tasks.table import make_task
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.distributed import World, join_world
from pipeline.training.environment import describe_environment, differences_that_matter
from pipeline.training.interval import NonFiniteLossError
from pipeline.training.metrics_log import MetricsLog
from pipeline.training.optimisation import set_float32_precision
from pipeline.training.run_directory import RunDirectory, differing_keys
from pipeline.training.settings import TrainConfig
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import CollapseError, Plan, Trainer

INITIALISATION_STREAM = 20
DEFAULT_MAX_RESTARTS = 3


@dataclass(frozen=True)
class Start:
    """What the first rank found in the run directory: where to go on from, or the final result."""

    step: int | None
    attempt: int
    result: dict[str, Any] | None = None


def train(config: TrainConfig, request: StopRequest | None = None) -> dict[str, Any]:
    """Train, or continue training, in `config.run_dir`; returns the content of result.json.

    Raises ValueError or FileNotFoundError for what the user can mend, ExitWithCode
    when the run stopped before its end (asked to, collapsed, non-finite loss).
    """
    request = request or StopRequest()
    request.install()
    torch.set_num_threads(config.num_threads)
    set_float32_precision(config.precision)
    store = PairStore(Path(config.data))
    check_files(store.root, store.manifest)
    reader = store.split("train")
    order = make_train_order(reader, config.pairs, config.seed, config.global_batch, config.tail)
    run = RunDirectory(Path(config.run_dir))
    with join_world(config.device) as world:
        rank_slice(config.global_batch // config.accumulation, world.rank, world.world_size)
        if world.device.type == "cpu" and config.precision == "tf32":
            raise ValueError("precision=tf32 has no effect on a CPU; allowed: fp32, bf16, fp16")
        lock = DirectoryLock(run.path, "trainers")
        world.first_decides(lambda: lock.__enter__() and None)
        try:
            while True:
                start = world.first_decides(lambda: _prepare(run, config, store.manifest, world))
                if start.result is not None:
                    return start.result
                try:
                    return _run_attempt(config, run, store, order, world, start, request)
                except CollapseError as error:
                    world.first_decides(lambda e=error: _restart_or_stop(run, config, start, e))
        finally:
            if world.is_first:
                lock.__exit__(None, None, None)


def make_plan(config: TrainConfig, order: SampleOrder) -> Plan:
    """The steps of a run and its boundaries; an epoch is one pass of the order."""
    return Plan(
        num_steps=order.num_steps(config.epochs),
        is_epoch_end=order.is_epoch_end,
        epochs_done=order.epochs_done,
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
        log_every=config.log_every,
    )


def _prepare(run: RunDirectory, config: TrainConfig, manifest: Manifest, world: World) -> Start:
    """First rank only: check the run directory against the configuration, write what is new."""
    environment = describe_environment(world.device, world.world_size, config.num_threads)
    if not (run.path / "config.yaml").exists():
        run.path.mkdir(parents=True, exist_ok=True)
        run.write_environment(environment)
        run.write_config(config)
        return Start(None, 0)
    if config.resume == "never":
        raise ValueError(
            f"{run.path} already holds a run and resume=never: choose another run_dir"
        )
    differing = differing_keys(run.read_config(), config)
    if differing and not config.allow_changes:
        raise ValueError(
            f"{run.path} holds a run with another configuration ({'; '.join(differing)}):"
            " choose another run_dir, or say allow_changes=true"
        )
    attempt = len(run.read_json("restarts.json") or [])
    run.checkpoints.clear_leftovers()
    checkpoint, complaints = run.checkpoints.newest_valid()
    for complaint in complaints:
        print(f"warning: {complaint}; going on from the one before", flush=True)
    if checkpoint is not None and checkpoint.meta["attempt"] != attempt:
        # Killed between noting a restart and deleting what came before it.
        run.checkpoints.clear()
        checkpoint = None
    if checkpoint is not None:
        trained_on = checkpoint.meta["dataset"]
        if trained_on != manifest.fingerprint and not config.allow_changes:
            raise ValueError(
                f"{run.path} was trained on another dataset (fingerprint {trained_on[:12]},"
                f" data={config.data} has {manifest.fingerprint[:12]}):"
                " choose another run_dir, or say allow_changes=true"
            )
    result = run.read_json("result.json")
    if result is not None and not differing:
        return Start(None, attempt, result)
    (run.path / "result.json").unlink(missing_ok=True)
    for line in differences_that_matter(run.read_json("environment.json") or {}, environment):
        print(f"warning: continuing is not bit-exact, for this changed: {line}", flush=True)
    run.write_environment(environment)
    run.write_config(config)
    return Start(checkpoint.step if checkpoint else None, attempt)


def _run_attempt(
    config: TrainConfig,
    run: RunDirectory,
    store: PairStore,
    order: SampleOrder,
    world: World,
    start: Start,
    request: StopRequest,
) -> dict[str, Any]:
    seed = np.random.SeedSequence([config.seed, INITIALISATION_STREAM, start.attempt])
    manifest = store.manifest
    task = make_task(config.task, manifest, int(seed.generate_state(1)[0]), world.device)
    plan = make_plan(config, order)
    meta = {
        "dataset": manifest.fingerprint,
        "attempt": start.attempt,
        "world_size": world.world_size,
        "num_threads": config.num_threads,
    }

    def validation_batches() -> Iterator[Batch]:
        share = -(-config.validation_batch // world.world_size) * world.world_size
        batches = EvaluationBatches(store.split("val"), share, world.rank, world.world_size)
        return iter(Loader(batches, 0, batches.num_steps, world.device, config.loader))

    trainer = Trainer(task, config, plan, world, run.checkpoints, meta, validation_batches)
    if start.step is not None:
        trainer.restore(run.checkpoints.load(start.step))
        if world.is_first:
            print(f"continuing from step {start.step} of {plan.num_steps}", flush=True)
    elif config.init_from is not None:
        load_weights(task.model, Path(config.init_from))
    batches = TrainBatches(store.split("train"), order, config.pairs, world.rank, world.world_size)
    loader = Loader(batches, trainer.step, plan.num_steps, world.device, config.loader)
    log = MetricsLog(run.path, trainer.step) if world.is_first else None
    try:
        with Progress(plan.num_steps, "steps", "training", trainer.step, world.is_first) as progress:
            is_finished = trainer.run(loader, log, request, progress)
    except NonFiniteLossError as error:
        kept = max(run.checkpoints.steps(), default=None)
        raise ExitWithCode(f"{error}; the checkpoint of step {kept} is kept", EXIT_NON_FINITE) from None
    finally:
        if log is not None:
            log.__exit__()
    if not is_finished:
        asked = f" ({request.signal_name})" if request.signal_name else ""
        raise ExitWithCode(
            f"asked to stop{asked}: saved step {trainer.step} of {plan.num_steps};"
            " the same command continues",
            EXIT_STOPPED,
        )
    result = world.first_decides(lambda: _finish(run, trainer, start))
    world.barrier()
    return result


def _finish(run: RunDirectory, trainer: Trainer, start: Start) -> dict[str, Any]:
    from pipeline.training.metrics_log import read_metrics

    best_step = trainer.best.step
    lines = [line for line in read_metrics(run.path / "metrics.jsonl") if line["split"] == "val"]
    best = next(line for line in lines if line["step"] == best_step)
    result = {
        "state": "finished",
        "step": trainer.step,
        "epoch": trainer.plan.epochs_done(trainer.step),
        "best_step": best_step,
        "split": "val",
        "metrics": {k: v for k, v in best.items() if k not in ("step", "epoch", "split")},
        "last_metrics": {k: v for k, v in lines[-1].items() if k not in ("step", "epoch", "split")},
        "collapses": run.read_json("restarts.json") or [],
    }
    run.write_json("result.json", result)
    return result


def _restart_or_stop(
    run: RunDirectory, config: TrainConfig, start: Start, error: CollapseError
) -> None:
    """First rank only: note the collapse and clear the way for a new attempt, or give up."""
    restarts = run.read_json("restarts.json") or []
    limit = config.collapse.max_restarts or DEFAULT_MAX_RESTARTS
    if config.collapse.action == "stop" or len(restarts) >= limit:
        raise ExitWithCode(
            f"{error}. Try another seed, or collapse.action=restart", EXIT_COLLAPSED
        ) from None
    print(f"{error}; restarting with another initialisation", flush=True)
    run.write_json("restarts.json", [*restarts, str(error)])
    run.checkpoints.clear()


