"""From a run directory to a start and to a result; checks before a run starts; and how it ended.

Every rank makes these checks, because another node may lack what the first one has.

A run says in ended.json how its process ended, for those who look from outside: who ran it by hand
has no launcher that watches it. A process that is killed says nothing; what is left of it then is a
heartbeat that has stopped.
"""

import json
import os
import platform
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from orbit import __version__
from orbit.core.code import CODE_FILE, code_of, differing_packages, used_in_training, went_on
from orbit.core.config.compose import TASK_RUN
from orbit.core.config.program import (
    EXIT_COLLAPSED,
    EXIT_NON_FINITE,
    EXIT_STOPPED,
    ExitWithCode,
    describe_error,
)
from orbit.core.files.atomic import create_exclusively
from orbit.core.files.lock import LostLockError
from orbit.core.files.waiting import StoppedWaiting
from orbit.core.metrics import Metric, statements_for
from orbit.core.printing import metrics_table, rank_of_environment, say
from orbit.core.signals import StopRequest
from orbit.core.store.manifest import Manifest
from orbit.core.user_text import counted
from pipeline.arithmetic import complaint
from pipeline.data.batches import Batches
from pipeline.data.loader import LoaderConfig, shared_bytes
from pipeline.run_files.checkpoint import Checkpoint
from pipeline.run_files.reading import read_metrics
from pipeline.run_files.shared import is_shared
from pipeline.training.distributed import FirstRankFailedError, World, is_cluster_fault
from pipeline.training.environment import describe_environment, differences_that_matter
from pipeline.training.run_directory import ENDED_FILE, RunDirectory, differing_keys
from pipeline.training.settings import NEEDS_A_GPU, TrainConfig, as_decided
from pipeline.training.trainer import Best, Plan, should_compile

SHARED_MEMORY = "/dev/shm"
FIRST_GPUS_WITH_TF32 = (8, 0)
"""Compute capability, as torch gives it: Ampere."""


def check_precision(precision: str, device: torch.device) -> str | None:
    """A warning about a number format that is slow on a device; None if there is none.

    Raises ValueError for a format that has no effect there.
    """
    if precision == "tf32":
        if device.type == "cpu":
            raise ValueError("precision=tf32 has no effect on a CPU; allowed: fp32, bf16, fp16")
        if torch.cuda.get_device_capability(device) < FIRST_GPUS_WITH_TF32:
            name = torch.cuda.get_device_name(device)
            raise ValueError(f"precision=tf32 has no effect on {name}; allowed: fp32, fp16")
    return complaint(precision, device)


def check_compiler(config: TrainConfig, device: torch.device) -> None:
    """Compile one line, if the model is to be compiled; ValueError if that fails.

    It also refuses CUDA graphs on a CPU, where torch would silently compile without them.
    """
    if config.compile == "cuda_graphs" and device.type == "cpu":
        raise ValueError(NEEDS_A_GPU)
    if not should_compile(config, device):
        return
    try:
        torch.compile(_one_line)(torch.ones(8, device=device))
    except Exception as error:
        cause = getattr(error, "inner_exception", None) or error
        line = " ".join(str(cause).split("\n\n")[0].split())[:300]
        raise ValueError(
            f"compile={str(config.compile).lower()} cannot work on this machine: {line}."
            " Install what is missing (a C++ compiler, for one), or set compile=false"
        ) from error


def check_shared_memory(config: LoaderConfig, loaded: Sequence[Batches]) -> None:
    """Compare the shared memory that the workers of these loaders need with the free shared memory.

    Raises ValueError naming the key to change.
    """
    if config.num_workers == 0:
        return
    needed = sum(shared_bytes(batches, config) for batches in loaded)
    try:
        status = os.statvfs(SHARED_MEMORY)
    except FileNotFoundError:
        raise ValueError(
            f"loader.num_workers={config.num_workers} needs {SHARED_MEMORY}, which is not here:"
            " say loader.num_workers=0"
        ) from None
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise ValueError(
            f"loader.num_workers={config.num_workers} keeps {_mib(needed)} in {SHARED_MEMORY},"
            f" where {_mib(free)} are free: make it larger (docker run --shm-size=...), or say"
            " loader.num_workers=0 or a smaller loader.prefetch"
        )


def _one_line(values: torch.Tensor) -> torch.Tensor:
    return values.sin() + 1


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"


DEFAULT_MAX_RESTARTS = 3
RESTARTS = "restarts.json"


@dataclass(frozen=True)
class Start:
    """Where to go on from (None: from new weights), at which attempt, or the final result.

    `code` are the spans of `orbit.core.code`: the code that made the run so far, and the current
    code.
    """

    step: int | None
    attempt: int
    result: dict[str, Any] | None = None
    code: tuple[dict[str, Any], ...] = ()


def prepare_start(
    run: RunDirectory, config: TrainConfig, manifest: Manifest, world: World
) -> Start:
    """Check the run directory against the configuration and write what is new.

    Raises ValueError if the directory holds a run that this one may not continue.
    """
    environment = describe_environment(world.device, world.world_size, config.num_threads)
    before = run.read_json("environment.json")
    is_new = not run.checkpoints.steps() and (before is None or run.is_untrained())
    if config.resume == "never" and not is_new:
        raise ValueError(f"{run.path} already holds a run and resume=never: choose another run_dir")
    differing = _differing_keys(run, config)
    if differing and is_new and before is not None:
        say(f"nothing was trained in {run.path} yet: it takes the new configuration")
        if is_shared(run.path / TASK_RUN):
            shutil.rmtree(run.path / TASK_RUN)
    elif differing and not config.allow_changes:
        raise ValueError(
            f"{run.path} holds a run with another configuration ({'; '.join(differing)}):"
            " choose another run_dir, or set allow_changes=true"
        )
    if is_new:
        run.clear_leftovers()
        run.write_environment(environment)
        run.write_config(config)
        run.write_manifest(manifest)
        return Start(None, 0, code=_note_code(run, config, manifest, None, environment))
    attempt = len(run.read_json(RESTARTS) or [])
    run.clear_leftovers()
    checkpoint, complaints = run.checkpoints.newest_valid()
    for trouble in complaints:
        say(f"warning: {trouble}; continuing from the one before")
    if checkpoint is not None and checkpoint.meta["attempt"] > attempt:
        raise ValueError(
            f"{run.path / RESTARTS} records {attempt} restarts, but the checkpoint of step"
            f" {checkpoint.step} was made after {checkpoint.meta['attempt']}: put the file back,"
            " or choose another run_dir"
        )
    if checkpoint is not None and checkpoint.meta["attempt"] < attempt:
        # Killed between recording a restart and deleting earlier files.
        run.checkpoints.clear()
        checkpoint = None
    if checkpoint is not None:
        trained_on = checkpoint.meta["dataset"]
        if trained_on != manifest.fingerprint and not config.allow_changes:
            raise ValueError(
                f"{run.path} was trained on another dataset (fingerprint {trained_on[:12]},"
                f" data={config.data} has {manifest.fingerprint[:12]}):"
                " choose another run_dir, or set allow_changes=true"
            )
        run.checkpoints.restore_pointers(checkpoint)
        # Killed before superfluous checkpoints were deleted, or before that reached the disk.
        retention, best = config.retention, checkpoint.state.get("best_step")
        run.checkpoints.prune(retention.keep_last, retention.keep_every, best)
    result = run.read_json("result.json")
    if result is not None and not differing:
        return Start(None, attempt, result)
    (run.path / "result.json").unlink(missing_ok=True)
    for line in differences_that_matter(before or {}, environment):
        say(f"warning: continuing is not bit-exact, for this changed: {line}")
    run.write_environment(environment)
    run.write_config(config)
    run.write_manifest(manifest)
    code = _note_code(run, config, manifest, checkpoint, environment)
    return Start(checkpoint.step if checkpoint else None, attempt, code=code)


def _note_code(
    run: RunDirectory,
    config: TrainConfig,
    manifest: Manifest,
    checkpoint: Checkpoint | None,
    environment: dict[str, Any],
) -> tuple[dict[str, Any], ...]:
    """Write code.json: the code that made the run up to a checkpoint, and the code from there
    on."""
    code = code_of(used_in_training(config.plugins, manifest.plugins))
    before = checkpoint.meta.get("code") if checkpoint is not None else None
    step = checkpoint.step if checkpoint is not None else 0
    spans = went_on(before, step, code, environment["git"])
    if before is not None and len(spans) > len(before):
        changed = ", ".join(differing_packages(before[-1], spans[-1]))
        say(
            f"warning: the code is not that of the checkpoint of step {step} ({changed} changed):"
            " from here on this run is a mix of both"
        )
    run.write_json(CODE_FILE, {"spans": spans})
    return tuple(spans)


def result_where_nothing_can_be_written(
    run: RunDirectory, config: TrainConfig
) -> dict[str, Any] | None:
    """The result of a finished run in a read-only directory; None for any other run."""
    if not run.path.is_dir() or os.access(run.path, os.W_OK):
        return None
    result: dict[str, Any] | None = run.read_json("result.json")
    is_same = result is not None and not differing_keys(run.read_config(), config)
    return result if is_same else None


def write_result(
    run: RunDirectory, plan: Plan, step: int, best: Best, stated: Sequence[Metric]
) -> dict[str, Any]:
    """Write result.json, which marks the run as finished, and return its content.

    `step` is the last step of training; `ended_early` is the reason for an early end. `stated` are
    the method's statements about its metrics. Raises ExitWithCode if no validation was finite,
    ValueError if metrics.jsonl lacks the best.
    """
    if best.step is None:
        raise ExitWithCode("no validation of this run gave a finite number", EXIT_NON_FINITE)
    file = run.path / "metrics.jsonl"
    lines = [line for line in read_metrics(file) if line["split"] == "val"]
    best_line = next((line for line in lines if line["step"] == best.step), None)
    if best_line is None:
        raise ValueError(f"{file} lacks the validation of step {best.step}: was it altered?")
    result = {
        "state": "finished",
        "orbit": __version__,
        "step": step,
        "epoch": plan.epochs_done(step),
        "best_step": best.step,
        "split": "val",
        "metrics": _metrics_of(best_line),
        "last_metrics": _metrics_of(lines[-1]),
        "collapses": run.read_json(RESTARTS) or [],
        "meanings": statements_for(_metrics_of(best_line), stated),
    }
    if step < plan.num_steps:
        result["ended_early"] = (
            f"{counted(best.num_since, 'validation')} in a row"
            f" {'was' if best.num_since == 1 else 'were'} no better than that of step {best.step};"
            f" {plan.num_steps} steps were planned"
        )
    run.write_json("result.json", result)
    return result


def say_result(result: dict[str, Any], run_dir: str) -> None:
    """Print how a run ended, on the first rank."""
    if rank_of_environment() == 0:
        early = f" ({result['ended_early']})" if "ended_early" in result else ""
        say(
            f"finished after step {result['step']}{early};"
            f" best validation at step {result['best_step']}:"
        )
        say(metrics_table(result["metrics"]))
        say(f"run directory: {run_dir}")


def note_collapse(run: RunDirectory, config: TrainConfig, message: str) -> None:
    """Prepare a restart with new weights, or raise ExitWithCode if no restart is allowed."""
    restarts = run.read_json(RESTARTS) or []
    limit = config.collapse.max_restarts or DEFAULT_MAX_RESTARTS
    if config.collapse.action == "stop" or len(restarts) >= limit:
        raise ExitWithCode(
            f"{message}. Try another seed, or collapse.action=restart", EXIT_COLLAPSED
        )
    say(f"{message}; restarting with another initialisation")
    run.write_json(RESTARTS, [*restarts, message])
    run.checkpoints.clear()


def _differing_keys(run: RunDirectory, config: TrainConfig) -> list[str]:
    recorded = run.recorded_config()
    # A launcher may have recorded a precision that has not been decided yet.
    return [] if recorded is None else differing_keys(as_decided(recorded, config), config)


def _metrics_of(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("step", "epoch", "split")}


NUM_LAST_LINES = 8
KINDS = {EXIT_STOPPED: "stopped", EXIT_COLLAPSED: "collapsed", EXIT_NON_FINITE: "non_finite"}


@contextmanager
def noting_the_end(run: RunDirectory, world: World, request: StopRequest) -> Iterator[None]:
    """Leave ended.json where what is done inside ends early; the first rank to fail writes it.

    Only for the owner of the run directory: a process that has lost it writes nothing. What an
    earlier start left is removed.
    """
    file = run.path / ENDED_FILE
    world.first_decides(lambda: file.unlink(missing_ok=True))
    try:
        yield
    except (FirstRankFailedError, LostLockError):
        raise
    except BaseException as error:
        words = _describe(error, request)
        if words["kind"] != "stopped" or world.is_first:
            where = {"rank": world.rank, "host": platform.node(), "pid": os.getpid()}
            with suppress(OSError):  # the disk may be what failed
                steps = run.checkpoints.steps()
                words |= {"step": steps[-1] if steps else None, "time": time.time(), **where}
                create_exclusively(file, json.dumps(words))
        raise


def _describe(error: BaseException, request: StopRequest) -> dict[str, Any]:
    """Kind, message and last lines of what ended a run."""
    if isinstance(error, KeyboardInterrupt):
        return {"kind": "stopped", "message": "", "signal": "SIGINT"}
    message = describe_error(error)
    if isinstance(error, ExitWithCode | StoppedWaiting):
        code = error.code if isinstance(error, ExitWithCode) else EXIT_STOPPED
        kind = KINDS.get(code, "failed")
        return {
            "kind": kind,
            "message": message,
            "signal": request.signal_name if kind == "stopped" else None,
        }
    if is_cluster_fault(error):
        return {"kind": "cluster_fault", "message": message}
    if isinstance(error, ValueError | OSError):
        return {"kind": "mistake", "message": message}
    text = "".join(traceback.format_exception(error)).splitlines()
    lines = [line for line in text if line.strip()][-NUM_LAST_LINES:]
    return {"kind": "crash", "message": f"{type(error).__name__}: {message}", "lines": lines}
