"""The sweep directory, and the choice of runs to submit.

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
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.jobs.liveness import Liveness
from launch.jobs.run_state import RunState, read_run_state
from launch.jobs.standing import AT_WORK, DONE, INTERRUPTED
from launch.sweeps.expansion import PlannedRun
from orbit import __version__
from orbit.core.config.yaml_files import yaml_text
from orbit.core.files.atomic import write_json, write_text
from orbit.core.user_text import counted

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
