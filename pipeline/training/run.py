"""`train(config)`: one run, from a run directory in any state to its end."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from orbit import __version__
from orbit.core.config.compose import TASK_RUN
from orbit.core.config.program import EXIT_NON_FINITE, EXIT_STOPPED, ExitWithCode
from orbit.core.files.atomic import make_directory
from orbit.core.files.lock import DirectoryLock
from orbit.core.files.waiting import StoppedWaiting
from orbit.core.printing import say
from orbit.core.progress import Progress
from orbit.core.signals import StopRequest
from orbit.core.store.direct_reader import open_directly
from orbit.core.store.manifest import MANIFEST_NAME, Manifest, read_manifest
from orbit.core.store.reader import PairStore, RecordReader, check_files
from pipeline.arithmetic import deterministic_algorithms, exact_float32, native_formats, use_threads
from pipeline.data.batches import (
    Batches,
    EvaluationBatches,
    FreshTargets,
    TrainBatches,
    check_pairs,
    make_train_order,
)
from pipeline.data.loader import Loader
from pipeline.data.order import SampleOrder, rank_slice
from pipeline.data.packing import Batch, global_places, local_batch_of, places_at_once
from pipeline.loggers import check_loggers
from pipeline.methods.table import make_task, method_of
from pipeline.run_files.checkpoint import fill
from pipeline.run_files.shared import keep_copy
from pipeline.training.data_order import (
    DataOrder,
    as_plain,
    choose_order,
    fits_in_memory,
    note_order,
    split_bytes,
    training_bytes,
)
from pipeline.training.debugging import FirstBatches, profiled, shortened
from pipeline.training.distributed import World, join_world
from pipeline.training.lifecycle import (
    Start,
    check_compiler,
    check_precision,
    check_shared_memory,
    note_collapse,
    noting_the_end,
    prepare_start,
    result_where_nothing_can_be_written,
    write_result,
)
from pipeline.training.metrics_log import MetricsLog, NonFiniteLossError, send_rest
from pipeline.training.previews import Previews
from pipeline.training.run_directory import (
    MODEL_FILE,
    Heartbeat,
    RunDirectory,
    flatten,
    parameters,
)
from pipeline.training.settings import (
    Precision,
    TrainConfig,
    as_decided,
    decide_precision,
    with_plugins,
)
from pipeline.training.trainer import CollapseError, Plan, Trainer

INITIALISATION_STREAM = 20


def train(
    config: TrainConfig, request: StopRequest | None = None, data_copy: Path | None = None
) -> dict[str, Any]:
    """Train, or continue training, in `config.run_dir`; returns the content of result.json.

    `data_copy` is the path from which the dataset is read instead of `config.data`; both must have
    the same fingerprint, if `config.data` exists. Raises ValueError or FileNotFoundError for
    mistakes that the user can correct, ExitWithCode if the run stops before its end (stop signal,
    collapse, non-finite loss).
    """
    request = request or StopRequest()
    request.install()
    use_threads(config.num_threads)
    try:
        with exact_float32(), deterministic_algorithms(config.deterministic):
            return _train(config, request, data_copy)
    except StoppedWaiting as error:
        raise ExitWithCode(f"{error}; the same command continues", EXIT_STOPPED) from None


def _train(config: TrainConfig, request: StopRequest, data_copy: Path | None) -> dict[str, Any]:
    config = with_plugins(config)
    store = open_dataset(Path(config.data), data_copy)
    check_pairs(store.manifest, config.pairs)
    run = RunDirectory(Path(config.run_dir))
    run.check_trainable()
    check_loggers(config.logger)
    with join_world(config.device, request.is_made) as world:
        data_order, line = world.first_decides(lambda: choose_order(run, config, store.manifest))
        # Open everything now: a dataset that is replaced later does not affect this run.
        readers = open_readers(store, data_order, training_bytes(config, store.manifest))
        order = make_train_order(
            readers["train"],
            config.pairs,
            config.seed,
            config.global_batch,
            config.tail,
            config.num_train_items,
            data_order.block_sizes,
        )
        check_patience(config, make_plan(config, order))
        world.first_decides(lambda: _check_share(config, data_order, world))
        if world.is_first and line is not None:
            say(line)
        config = _decided(config, run, world)
        warning = check_precision(config.precision, world.device)
        if world.is_first and warning:
            say(f"warning: {warning}")
        group = store.manifest.group if config.pairs == "fresh" else None
        batches, validation = _make_batches(config, readers, order, world, group)
        if run.read_json("result.json") is None:
            # A finished run only prints its result, on any machine.
            check_shared_memory(config.loader, [batches, validation])
            check_compiler(config, world.device)
        told = world.first_decides(lambda: result_where_nothing_can_be_written(run, config))
        if told is not None:
            return told
        lock = DirectoryLock(run.path, "trainers", should_stop=request.is_made)

        def take_directory() -> None:
            make_directory(run.path)
            lock.acquire()

        world.first_decides(take_directory)
        try:
            parts = _Parts(
                run, store.manifest, data_order, order, batches, validation, lock, world, request
            )
            with noting_the_end(run, world, request):
                return _train_until_done(config, parts)
        finally:
            if world.is_first:
                lock.release()


def open_dataset(data: Path, copy: Path | None) -> PairStore:
    """The dataset at `data`, or its `copy` elsewhere; ValueError if that is another dataset."""
    store = PairStore(copy or data)
    if copy is not None and (data / MANIFEST_NAME).exists():
        expected, found = read_manifest(data).fingerprint, store.manifest.fingerprint
        if found != expected:
            raise ValueError(
                f"data_copy={copy} is of another dataset (fingerprint {found[:12]}) than"
                f" data={data} ({expected[:12]})"
            )
    check_files(store.root, store.manifest)
    return store


def open_readers(
    store: PairStore, data_order: DataOrder, num_bytes: int
) -> Mapping[str, RecordReader]:
    """Readers of the training and validation records: through memory maps if both fit into memory,
    by position otherwise. Training reads `num_bytes`."""
    splits = ("train", "val")
    num_bytes += split_bytes(store.manifest, "val")
    if data_order.order == "uniform" and fits_in_memory(num_bytes):
        return store.open_all(splits)
    # By blocks a frame is read once an epoch, and leaves the page cache before the next.
    return open_directly(store, splits, ("train",) if data_order.order == "blocks" else ())


def make_plan(config: TrainConfig, order: SampleOrder) -> Plan:
    """The steps of a run and its boundaries; an epoch is one pass of the order."""
    return Plan(
        num_steps=config.debug.num_steps or order.num_steps(config.epochs),
        is_epoch_end=order.is_epoch_end,
        epochs_done=order.epochs_done,
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
        log_every=config.log_every,
    )


def check_patience(config: TrainConfig, plan: Plan) -> None:
    """ValueError for a patience that is never at an end before the run is.

    The first validation is the best so far, and after the last one the run ends anyway.
    """
    most = plan.num_validations - 2
    if config.patience is None or config.patience <= most or config.debug.num_steps is not None:
        return
    allowed = f"1 to {most}, or null" if most > 0 else "null"
    raise ValueError(
        f"patience={config.patience} has no effect on a run that validates"
        f" {plan.num_validations} {'time' if plan.num_validations == 1 else 'times'};"
        f" allowed: {allowed}"
    )


@dataclass(frozen=True)
class _Parts:
    """The parts that all attempts use."""

    run: RunDirectory
    manifest: Manifest
    data_order: DataOrder
    order: SampleOrder
    batches: Batches
    validation: EvaluationBatches | FirstBatches
    lock: DirectoryLock
    world: World
    request: StopRequest


def _decided(config: TrainConfig, run: RunDirectory, world: World) -> TrainConfig:
    """The configuration without `auto` in keys that are decided once: as recorded, or by this
    machine."""
    if config.precision != "auto":
        return config
    has_bf16 = torch.tensor(["bf16" in native_formats(world.device)])
    everywhere = bool(world.all_gather(has_bf16).all())

    def decide() -> Precision:
        known = as_decided(config, run.recorded_config())
        decided = decide_precision(known, everywhere)
        if known.precision == "auto":
            say(f"precision=auto: {decided.precision}, kept when the run is continued")
        return decided.precision

    return dataclasses.replace(config, precision=world.first_decides(decide))


def _check_share(config: TrainConfig, data_order: DataOrder, world: World) -> None:
    rank_slice(config.global_batch // config.accumulation, world.rank, world.world_size)
    if data_order.block_sizes is None:
        return
    lanes = data_order.block_sizes.num_lanes
    if lanes % world.world_size:
        allowed = [number for number in range(1, lanes + 1) if lanes % number == 0]
        raise ValueError(
            f"blocks.num_lanes={lanes} cannot be divided among {world.world_size} ranks;"
            f" allowed: {', '.join(map(str, allowed))} ranks"
        )
    if config.loader.num_workers:
        raise ValueError(
            f"loader.num_workers={config.loader.num_workers} cannot go with the order by blocks"
            " of this run, which reads by threads: set loader.num_workers=0"
        )


def _make_batches(
    config: TrainConfig,
    readers: Mapping[str, RecordReader],
    order: SampleOrder,
    world: World,
    group: str | None,
) -> tuple[Batches, EvaluationBatches | FirstBatches]:
    val, size = readers["val"], world.world_size
    return shortened(
        config.debug,
        TrainBatches(readers["train"], order, config.pairs, world.rank, world.world_size, group),
        EvaluationBatches(
            val,
            global_places(val.num_records, _validation_places(config, val, size), size),
            world.rank,
            size,
        ),
    )


def _validation_places(config: TrainConfig, reader: RecordReader, world_size: int) -> int:
    """The most records that each rank validates at a time."""
    if config.validation_batch is not None:
        return -(-config.validation_batch // world_size)
    local_batch = local_batch_of(config.global_batch, config.accumulation, world_size)
    return places_at_once(reader.frames.shape, local_batch, world_size)


def _train_until_done(config: TrainConfig, parts: _Parts) -> dict[str, Any]:
    """One attempt after another until one does not collapse."""
    run, world = parts.run, parts.world
    while True:
        start = world.first_decides(lambda: _prepare(run, config, parts))
        if start.result is not None:
            if world.is_first:
                settings = flatten(dataclasses.asdict(config))
                send_rest(run.path, config.logger, settings, start.attempt)
            return start.result
        try:
            return _run_attempt(config, parts, start)
        except CollapseError as error:
            message = str(error)

        def note(text: str = message) -> None:
            parts.lock.check_owned()
            note_collapse(run, config, text)

        world.first_decides(note)


def _prepare(run: RunDirectory, config: TrainConfig, parts: _Parts) -> Start:
    start = prepare_start(run, config, parts.manifest, parts.world)
    if start.result is None:
        learned_from = getattr(config.task, "run", None)
        if learned_from is not None:
            # All that the run needs wherever it goes; see `with_found_paths`.
            checkpoint = str(getattr(config.task, "checkpoint", "best"))
            keep_copy(Path(learned_from), checkpoint, run.path / TASK_RUN)
        note_order(run, parts.data_order)
    return start


def _start_from_run(model: nn.Module, run_dir: Path) -> None:
    """Load the best weights of another run; ValueError if they do not fit the model."""
    run = RunDirectory(run_dir)
    run.read_config()
    fill(model, run.checkpoints.load(run.checkpoints.resolve("best")), run_dir)


def _run_attempt(config: TrainConfig, parts: _Parts, start: Start) -> dict[str, Any]:
    run, manifest, world, request = parts.run, parts.manifest, parts.world, parts.request
    batches, validation = parts.batches, parts.validation
    seed = np.random.SeedSequence([config.seed, INITIALISATION_STREAM, start.attempt])
    task = make_task(config.task, manifest, int(seed.generate_state(1)[0]), world.device)
    plan = make_plan(config, parts.order)
    meta = {
        "orbit": __version__,
        "dataset": manifest.fingerprint,
        "attempt": start.attempt,
        "world_size": world.world_size,
        **({"plugins": list(config.plugins)} if config.plugins else {}),
        "num_threads": config.num_threads,
        "code": list(start.code),
        **({} if parts.data_order.sizes is None else {"order": as_plain(parts.data_order)}),
    }
    fresh = FreshTargets(task.objective, manifest) if config.pairs == "fresh" else None
    validation_loader = Loader(validation, 0, None, world.device, config.loader)

    def validation_batches() -> Iterator[Batch]:
        batches = islice(validation_loader, validation.num_steps)
        # Stored pairs, unless debugging validates on its training batch.
        return batches if validation.has_targets or fresh is None else map(fresh.completed, batches)

    previews = Previews(run.path, method_of(config.task), validation.reader, plan.num_steps)

    def begin() -> None:
        run.write_json(MODEL_FILE, {"parameters": parameters(task.model)})
        previews.go_on_from(start.step or 0)

    world.first_decides(begin)

    trainer = Trainer(
        task,
        config,
        plan,
        world,
        run.checkpoints,
        meta,
        validation_batches,
        parts.lock.check_owned,
        fresh,
        previews.draw,
    )
    if start.step is not None:
        trainer.restore(run.checkpoints.load(start.step))
        if world.is_first:
            say(f"continuing from step {start.step} of {plan.num_steps}")
    elif config.init_from is not None:
        _start_from_run(task.model, Path(config.init_from))
    loader = Loader(batches, trainer.step, plan.num_steps, world.device, config.loader)
    log = None
    if world.is_first:
        settings = flatten(dataclasses.asdict(config))
        log = MetricsLog(run.path, trainer.step, config.logger, settings, start.attempt)

    def position() -> dict[str, Any]:
        latest = log.latest if log is not None else {}
        speed = latest.get("speed/samples_per_second")
        return {
            "step": trainer.step,
            "num_steps": plan.num_steps,
            "loss": latest.get("loss/total"),
            "samples_per_second": speed,
            "seconds_per_step": config.global_batch / speed if speed else None,
        }

    try:
        with (
            Progress(plan.num_steps, "steps", "training", trainer.step, world.is_first) as progress,
            Heartbeat(run.path, position) if world.is_first else nullcontext(),
            profiled(loader, config.debug, run.path, world) as watched,
        ):
            is_finished = trainer.run(watched, log, request, progress)
        if log is not None:
            log.is_finished = is_finished
    except NonFiniteLossError as error:
        kept = run.checkpoints.steps()
        last = f"the checkpoint of step {kept[-1]} is kept" if kept else "no checkpoint yet"
        raise ExitWithCode(f"{error}; {last}", EXIT_NON_FINITE) from None
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

    def finish() -> dict[str, Any]:
        parts.lock.check_owned()
        return write_result(run, plan, trainer.step, trainer.best, method_of(config.task).metrics)

    try:
        return world.first_decides(finish)
    finally:
        if log is not None:
            log.close_loggers()
