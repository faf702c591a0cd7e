"""The sweep directory, the choice of runs to submit, and how long they will take.

sweep_dir/
  sweep.yaml       the overrides and the resolved sweep and cluster of the last call
  plan.json        the runs of the sweep: varied values by name
  runs/<name>/     run directories, with launch.json and attempts/ of the launcher
  jobs/            submitted jobs, one file for each array
  logs/            output of the jobs, by job
  code/            snapshots of the code that was submitted
  optuna.journal   trials of an Optuna search, with search_order.json and, at its end, search.json
"""

import dataclasses
import itertools
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.cluster.settings import ClusterConfig, InlineConfig
from launch.jobs.liveness import Liveness
from launch.jobs.run_state import RunState, read_run_state
from launch.jobs.standing import AT_WORK, DONE, INTERRUPTED
from launch.sweeps.expansion import PlannedRun
from orbit import __version__
from orbit.core.config.yaml_files import yaml_text
from orbit.core.files.atomic import read_json_object, write_json, write_text
from orbit.core.printing import say
from orbit.core.user_text import counted
from pipeline.run_files.reading import CONFIG_FILE, read_config_values, read_metrics

PLAN_FILE = "plan.json"


class SweepDirectory:
    """Paths and small files of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.runs = self.path / "runs"
        self.code = self.path / "code"

    def exists(self) -> bool:
        """Whether a sweep was planned here."""
        return (self.path / PLAN_FILE).exists()

    def write_request(self, overrides: Sequence[str], sweep: Any, cluster: Any) -> None:
        """Write sweep.yaml."""
        values = {
            "orbit": __version__,
            "words": list(overrides),
            "sweep": dataclasses.asdict(sweep),
            "cluster": dataclasses.asdict(cluster),
        }
        plain = json.loads(json.dumps(values))
        write_text(self.path / "sweep.yaml", yaml_text(plain))

    def write_plan(self, values_by_run: dict[str, dict[str, Any]]) -> None:
        """Write plan.json."""
        write_json(self.path / PLAN_FILE, {"runs": values_by_run})

    def read_plan(self) -> dict[str, dict[str, Any]]:
        """Varied values by run name; FileNotFoundError if there is no sweep here."""
        try:
            plan = json.loads((self.path / PLAN_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"no sweep at {self.path}: {PLAN_FILE} is missing") from None
        except ValueError:
            raise ValueError(f"{self.path / PLAN_FILE} cannot be read") from None
        runs: dict[str, dict[str, Any]] = plan["runs"]
        return runs


@dataclass(frozen=True)
class Plan:
    """Every run with its state, and the runs to submit, in the order of the sweep."""

    runs: tuple[PlannedRun, ...]
    states: Mapping[str, RunState]
    to_submit: tuple[PlannedRun, ...]

    def count(self, *states: str) -> int:
        """Number of runs in one of these states."""
        return sum(self.states[run.name].state in states for run in self.runs)


def make_plan(
    directory: SweepDirectory,
    runs: Sequence[PlannedRun],
    liveness: Liveness,
    retry_failed: bool = True,
) -> Plan:
    """Leave finished, running and waiting runs alone; submit the others.

    With `retry_failed=False` failed runs are left alone too.
    """
    states = {
        run.name: read_run_state(
            directory.runs / run.name,
            liveness.jobs.get(run.name),
            was_submitted=False,
            ended_as=liveness.ended.get(run.name),
        )
        for run in runs
    }
    left_alone = {*DONE, *AT_WORK}
    to_submit = [
        run
        for run in runs
        if states[run.name].state not in left_alone
        and (retry_failed or not states[run.name].has_failed)
    ]
    return Plan(tuple(runs), states, tuple(to_submit))


def describe_plan(plan: Plan) -> list[str]:
    """The plan in a few lines."""
    counts = {
        "finished": plan.count(*DONE),
        "running": plan.count("running", "starting"),
        "waiting": plan.count("waiting"),
        "failed before": plan.count("failed", "collapsed"),
        "stopped, lost or cancelled": plan.count(*INTERRUPTED),
        "new": plan.count("planned"),
    }
    shown = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    return [f"{counted(len(plan.runs), 'run')}: {shown}", f"to submit: {len(plan.to_submit)}"]


def as_values(runs: Sequence[PlannedRun]) -> dict[str, dict[str, object]]:
    """Varied values by run name, as plan.json holds them."""
    return {run.name: dict(run.values) for run in runs}


SPEED, TIME = "speed/samples_per_second", "time/unix"


@dataclass(frozen=True)
class Pace:
    """Hours of an epoch, and whose: validation and checkpoints count, waiting does not."""

    hours_per_epoch: float
    origin: str


def pace_of(run_dir: Path) -> Pace | None:
    """The pace of a run that has logged some steps; None for one that tells nothing.

    Raises FileNotFoundError or ValueError where this is no run, or cannot be read.
    """
    config = read_config_values(run_dir)
    train = [line for line in read_metrics(run_dir / "metrics.jsonl") if line["split"] == "train"]
    pairs = itertools.pairwise(train)
    # The first line of each process says a speed of 0: what lies before it was no training.
    usual = [(a, b) for a, b in pairs if b.get(SPEED) and a.get(TIME) and b.get(TIME)]
    steps = sum(b["step"] - a["step"] for a, b in usual)
    seconds = sum(b[TIME] - a[TIME] for a, b in usual)
    num_steps = (read_json_object(run_dir / "heartbeat.json") or {}).get("num_steps")
    is_real = not (config.get("debug") or {}).get("num_steps")
    if not steps or seconds <= 0 or not num_steps or not is_real:
        return None
    epoch = seconds / steps * num_steps / config["epochs"]
    return Pace(epoch / 3600, str(run_dir))


def read_like(run_dir: str | None) -> Pace | None:
    """The pace of the run that a dry run names; says so if it tells nothing."""
    if run_dir is None:
        return None
    pace = pace_of(Path(run_dir))
    if pace is None:
        say(f"{run_dir} has not logged enough steps to tell its pace")
    return pace


def mean_pace(run_dirs: Iterable[Path]) -> Pace | None:
    """The mean of those runs of a sweep that tell their pace; None if none does."""
    begun = (path for path in run_dirs if (path / CONFIG_FILE).is_file())
    paces = [pace for pace in map(pace_of, begun) if pace is not None]
    if not paces:
        return None
    return Pace(statistics.fmean(each.hours_per_epoch for each in paces), "runs of this sweep")


def hours_of(
    runs: Sequence[PlannedRun], own: Mapping[str, Pace], like: Pace | None
) -> list[float | None]:
    """Expected hours of each run: at the pace of a run of the same settings that is measured,
    else at the mean pace of all that are, else at that of `like`; None where nothing tells.

    `own` are the paces of the sweep's runs by name.
    """
    by_point: dict[str, list[float]] = {}
    names = {run.name: run for run in runs}
    for name, pace in own.items():
        if name in names:
            by_point.setdefault(_point(names[name].values), []).append(pace.hours_per_epoch)
    everything = [hours for found in by_point.values() for hours in found]
    fallback = everything or ([like.hours_per_epoch] if like is not None else [])
    expected: list[float | None] = []
    for run in runs:
        known = by_point.get(_point(run.values), fallback)
        expected.append(statistics.fmean(known) * run.config.epochs if known else None)
    return expected


def describe_hours(
    runs: Sequence[PlannedRun], own: Mapping[str, Pace], like: Pace | None, cluster: ClusterConfig
) -> str:
    """Expected hours in one line; what would tell them, where nothing does."""
    hours = hours_of(runs, own, like)
    known = [each for each in hours if each is not None]
    if not runs:
        return "expected hours: none"
    if len(known) < len(runs):
        return (
            "expected hours: not known before a run was measured; name one of the same dataset"
            " with like=RUN_DIR"
        )
    most = 1 if isinstance(cluster, InlineConfig) else cluster.max_running
    parallel = min(len(runs), most) if most is not None else len(runs)
    whose = "runs of this sweep" if own else like.origin if like is not None else ""
    return (
        f"expected hours: {amount(sum(known))} in all, {amount(sum(known) / len(runs))} a run,"
        f" {amount(sum(known) / parallel)} with {parallel} at a time (at the pace of {whose};"
        " models of other sizes take longer or shorter)"
    )


def describe_points(runs: Sequence[PlannedRun]) -> str:
    """How many settings with which seeds."""
    seeds = sorted({run.values.get("seed", run.config.seed) for run in runs})
    points = {_point(run.values) for run in runs}
    named = ", ".join(map(str, seeds[:8])) + (", ..." if len(seeds) > 8 else "")
    return f"{counted(len(points), 'setting')} with {counted(len(seeds), 'seed')} ({named})"


def amount(hours: float) -> str:
    """Hours with two digits that count, `0.015 h`, `1.5 h`, `150 h`."""
    return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.2g} h"


def _point(values: Mapping[str, Any]) -> str:
    return repr(sorted((key, str(value)) for key, value in values.items() if key != "seed"))
