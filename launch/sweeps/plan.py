"""What is to be submitted: the runs of a sweep against run directories and live jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launch.jobs.liveness import Liveness
from launch.reports.run_state import RunState, read_run_state
from launch.sweeps.directory import SweepDirectory
from launch.sweeps.resolving import PlannedRun


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
            directory.runs / run.name, liveness.jobs.get(run.name), was_submitted=False
        )
        for run in runs
    }
    left_alone = {"finished", "running", "waiting"} | (set() if retry_failed else {"failed"})
    to_submit = [run for run in runs if states[run.name].state not in left_alone]
    return Plan(tuple(runs), states, tuple(to_submit))


def describe_plan(plan: Plan) -> list[str]:
    """The plan in a few lines."""
    counts = {
        "finished": plan.count("finished"),
        "running": plan.count("running"),
        "waiting": plan.count("waiting"),
        "failed before": plan.count("failed"),
        "stopped, lost or cancelled": plan.count("stopped", "lost", "cancelled"),
        "new": plan.count("missing"),
    }
    shown = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    return [f"{len(plan.runs)} runs: {shown}", f"to submit: {len(plan.to_submit)}"]


def as_values(runs: Sequence[PlannedRun]) -> dict[str, dict[str, object]]:
    """Varied values by run name, as plan.json holds them."""
    return {run.name: dict(run.values) for run in runs}
