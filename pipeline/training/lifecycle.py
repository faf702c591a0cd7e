"""How a run begins, starts over and ends on disk. All of this runs on the first rank only."""

import os
from dataclasses import dataclass
from typing import Any

from data_prep.store.manifest import Manifest
from pipeline.config.program import EXIT_COLLAPSED, EXIT_NON_FINITE, ExitWithCode
from pipeline.printing import say
from pipeline.training.choices import as_decided
from pipeline.training.distributed import World
from pipeline.training.environment import describe_environment, differences_that_matter
from pipeline.training.metrics_log import read_metrics
from pipeline.training.run_directory import RunDirectory, differing_keys
from pipeline.training.settings import TrainConfig
from pipeline.training.trainer import Best, Plan

DEFAULT_MAX_RESTARTS = 3
RESTARTS = "restarts.json"


@dataclass(frozen=True)
class Start:
    """Where to go on from (None: from new weights), at which attempt, or the final result."""

    step: int | None
    attempt: int
    result: dict[str, Any] | None = None


def prepare_start(
    run: RunDirectory, config: TrainConfig, manifest: Manifest, world: World
) -> Start:
    """Check the run directory against the configuration and write what is new.

    Raises ValueError if the directory holds a run that this one may not continue.
    """
    environment = describe_environment(world.device, world.world_size, config.num_threads)
    before = run.read_json("environment.json")
    is_new = before is None and not run.checkpoints.steps()
    if config.resume == "never" and not is_new:
        raise ValueError(f"{run.path} already holds a run and resume=never: choose another run_dir")
    differing = _differing_keys(run, config)
    if differing and not config.allow_changes:
        raise ValueError(
            f"{run.path} holds a run with another configuration ({'; '.join(differing)}):"
            " choose another run_dir, or say allow_changes=true"
        )
    if is_new:
        run.write_environment(environment)
        run.write_config(config)
        return Start(None, 0)
    attempt = len(run.read_json(RESTARTS) or [])
    run.clear_leftovers()
    checkpoint, complaints = run.checkpoints.newest_valid()
    for complaint in complaints:
        say(f"warning: {complaint}; going on from the one before")
    if checkpoint is not None and checkpoint.meta["attempt"] > attempt:
        raise ValueError(
            f"{run.path / RESTARTS} tells of {attempt} restarts, but the checkpoint of step"
            f" {checkpoint.step} was made after {checkpoint.meta['attempt']}: put the file back,"
            " or choose another run_dir"
        )
    if checkpoint is not None and checkpoint.meta["attempt"] < attempt:
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
        run.checkpoints.restore_pointers(checkpoint)
        # Killed before those that it makes needless were deleted, or before that reached the disk.
        run.checkpoints.prune(config.retention, checkpoint.state.get("best_step"))
    result = run.read_json("result.json")
    if result is not None and not differing:
        return Start(None, attempt, result)
    (run.path / "result.json").unlink(missing_ok=True)
    for line in differences_that_matter(before or {}, environment):
        say(f"warning: continuing is not bit-exact, for this changed: {line}")
    run.write_environment(environment)
    run.write_config(config)
    return Start(checkpoint.step if checkpoint else None, attempt)


def result_where_nothing_can_be_written(
    run: RunDirectory, config: TrainConfig
) -> dict[str, Any] | None:
    """The result of a run that is finished and lies in a read-only directory, else None."""
    if not run.path.is_dir() or os.access(run.path, os.W_OK):
        return None
    result: dict[str, Any] | None = run.read_json("result.json")
    is_same = result is not None and not differing_keys(run.read_config(), config)
    return result if is_same else None


def write_result(run: RunDirectory, plan: Plan, best: Best) -> dict[str, Any]:
    """Write result.json, which marks the run as finished, and return its content.

    Raises ExitWithCode if no validation was finite, ValueError if metrics.jsonl lacks the best.
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
        "step": plan.num_steps,
        "epoch": plan.epochs_done(plan.num_steps),
        "best_step": best.step,
        "split": "val",
        "metrics": _metrics_of(best_line),
        "last_metrics": _metrics_of(lines[-1]),
        "collapses": run.read_json(RESTARTS) or [],
    }
    run.write_json("result.json", result)
    return result


def note_collapse(run: RunDirectory, config: TrainConfig, message: str) -> None:
    """Clear the way for another attempt, or raise ExitWithCode if there shall be none."""
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
    # A launcher may have written down what nobody has decided yet.
    return [] if recorded is None else differing_keys(as_decided(recorded, config), config)


def _metrics_of(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("step", "epoch", "split")}
