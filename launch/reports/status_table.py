"""The states of many runs, the command that helps for each, and a table of them.

Also how the controller of an Optuna search stands, which proposes the trials. Between two trials no
run waits or runs: only the controller tells whether there will be others.
"""

import os
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from launch.cluster.accounting import accounting
from launch.cluster.submission import JobRecord, read_records
from launch.jobs.codes import counts, read_spans
from launch.jobs.liveness import Liveness, find_live
from launch.jobs.run_state import CANCELLED_FILE, RunState, read_run_state
from launch.jobs.standing import INTERRUPTED, REASONS, STAYS
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.search import ORDER_FILE, SUMMARY_FILE
from launch.sweeps.search_command import FAILURE_FILE, TASK
from orbit.core.config.program import command_for
from orbit.core.config.yaml_files import read_yaml
from orbit.core.files.atomic import read_json_object, without_non_finite
from orbit.core.user_text import counted
from pipeline.run_files.reading import CONFIG_FILE


@dataclass(frozen=True)
class SearchStatus:
    """The state of a controller in words; `is_at_work` means that it may still begin trials."""

    words: str
    is_at_work: bool = False
    is_well: bool = True


def read_search_status(
    sweep: Path, records: Sequence[JobRecord], liveness: Liveness
) -> SearchStatus | None:
    """The state of a sweep's search; None if it is no search, or one that runs in a terminal.

    `records` are those of the sweep's jobs, and `liveness` says which of them exist.
    """
    order = read_json_object(sweep / ORDER_FILE)
    if order is None or not any(record.kind == TASK for record in records):
        return None
    if (order.get("cluster") or {}).get("name") == "inline":
        return None
    summary = read_json_object(sweep / SUMMARY_FILE)
    if summary is not None:
        trials = ", ".join(f"{num} {name}" for name, num in (summary.get("trials") or {}).items())
        return SearchStatus(f"over: {trials}")
    live = liveness.jobs.get(TASK)
    if live is not None and live.state == "waiting":
        why = REASONS.get(live.reason.split(",")[0], live.reason)
        return SearchStatus(f"its controller waits: {why}", True)
    if live is not None:
        return SearchStatus("its controller runs, and begins trials", True)
    if (sweep / CANCELLED_FILE).exists():
        return SearchStatus(f"cancelled; {STAYS}", is_well=False)
    failure = read_json_object(sweep / FAILURE_FILE)
    if failure is not None:
        return SearchStatus(f"its controller failed: {failure.get('message')}", is_well=False)
    if liveness.unchecked is not None:
        return SearchStatus("SLURM does not say whether its controller has a job", True)
    return SearchStatus(f"its controller is gone; {STAYS}", is_well=False)


AGAIN = "submit again"
"""A placeholder for a command that is the same for all runs of a sweep, and is shown once."""
HELD = ("JobHeldUser", "JobHeldAdmin")


def help_for(state: RunState, run_dir: Path, sweep: Path | None) -> str:
    """The next command for a run; `sweep` is its sweep directory, if any."""
    run = shown(run_dir)
    if state.state == "waiting":
        if not state.job or not state.job.replace("_", "").isdecimal():
            return f"{command_for('status')} {shown(sweep or run_dir)} watch=true"
        if any(reason in state.detail for reason in HELD):
            return f"scontrol release {state.job}"
        return f"squeue --job {state.job}"
    if state.state in ("starting", "running", "failed", "collapsed"):
        return f"{command_for('logs')} {run}"
    if state.state == "finished":
        evaluate = "launch-evaluate" if _by_word() else "evaluate"
        return f"{command_for(evaluate)} runs={run}"
    if state.state == "unknown":
        return "squeue --me"
    if state.state in (*INTERRUPTED, "planned"):
        return AGAIN if sweep is not None else f"{_train()} config={run}/config.yaml run_dir={run}"
    return f"{command_for('collect')} {shown(sweep if sweep is not None else run_dir.parent)}"


def sweep_again(sweep: Path) -> str | None:
    """The command that a sweep was submitted with; None if its directory does not record it."""
    try:
        request = read_yaml((sweep / "sweep.yaml").read_text(encoding="utf-8"))
        words = [str(word) for word in request["words"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return f"{command_for('sweep')} {shlex.join(words)}"


def shown(path: Path) -> str:
    """A path for the command line: relative if it is below the current folder."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


def _by_word() -> bool:
    return " " in command_for("status") and not command_for("status").endswith(".py")


def _train() -> str:
    """The training program is in a different folder."""
    if _by_word():
        return command_for("train")
    return f"python {Path(sys.argv[0]).parent.parent / 'pipeline' / 'train.py'}"


ORDER = (
    "failed",
    "collapsed",
    "lost",
    "timed_out",
    "preempted",
    "cancelled",
    "stopped",
    "planned",
    "unknown",
    "running",
    "starting",
    "waiting",
    "pruned",
    "finished",
    "evaluated",
)
MAX_DETAIL = 110
MAX_LINES_BELOW, MAX_LINE = 3, 160


@dataclass(frozen=True)
class Status:
    """States by run name, a reason if the scheduler could not be asked, and a line per code if
    there are several.

    `folder` holds the runs, `sweep` is their sweep directory, if any, and `search` its search.
    """

    states: Mapping[str, RunState]
    unchecked: str | None
    codes: tuple[str, ...] = ()
    folder: Path = Path()
    sweep: Path | None = None
    search: SearchStatus | None = None

    @property
    def is_well(self) -> bool:
        """Whether no run needs attention, nor a search."""
        is_well = self.search is None or self.search.is_well
        return is_well and all(state.is_well for state in self.states.values())


def run_folder(path: Path) -> Path:
    """The folder of the run directories of a sweep, or a folder of runs itself."""
    return path / "runs" if (path / "runs").is_dir() else path


def read_status(path: Path) -> Status:
    """The runs of a sweep directory, those directly below any other folder, or a single run.

    Raises FileNotFoundError if there are none.
    """
    if (path / CONFIG_FILE).is_file():
        return _read_one(path.absolute())
    every = read_records(path, ("train", "search"))
    records = [record for record in every if record.kind == "train"]
    liveness = find_live(path, every)
    directory = SweepDirectory(path)
    if directory.exists():
        names, root = list(directory.read_plan()), directory.runs
        known = {run.name for run in root.iterdir()} if root.is_dir() else set()
        submitted = {task for record in records for task in record.tasks}
        names += sorted(known - set(names))
    else:
        root = run_folder(path)
        found = root.iterdir() if root.is_dir() else ()
        names = sorted(run.name for run in found if (run / CONFIG_FILE).is_file())
        submitted = set()
    if not names and not directory.exists():
        raise FileNotFoundError(f"no runs at {path}")

    def state_of(name: str, ended_as: str | None) -> RunState:
        live = liveness.jobs.get(name)
        return read_run_state(root / name, live, name in submitted, ended_as=ended_as)

    states = {name: state_of(name, liveness.ended.get(name)) for name in names}
    if liveness.unchecked is None:
        unclear = {name for name, state in states.items() if is_unclear(state)}
        remembered = accounting().ended(records, unclear)
        states |= {name: state_of(name, word) for name, word in remembered.items()}
    else:
        in_slurm = {
            task for record in records if record.cluster == "slurm" for task in record.tasks
        }
        states |= {name: without_answer(states[name]) for name in in_slurm & set(states)}
    codes = counts([read_spans(root / name) for name in states])
    sweep = directory.path if directory.exists() else None
    search = read_search_status(path, every, liveness)
    return Status(states, liveness.unchecked, tuple(codes), root, sweep, search)


def _read_one(run_dir: Path) -> Status:
    """The state of a single run, with its sweep's records if it belongs to one."""
    sweep = run_dir.parent.parent
    if run_dir.parent.name == "runs" and SweepDirectory(sweep).exists():
        status = read_status(sweep)
        return replace(status, states={run_dir.name: status.states[run_dir.name]}, search=None)
    state = read_run_state(run_dir, None, was_submitted=False)
    spans = counts([read_spans(run_dir)])
    return Status({run_dir.name: state}, None, tuple(spans), run_dir.parent)


def is_unclear(state: RunState) -> bool:
    """Whether the accounts of a cluster may say more about how the run's job ended."""
    return state.state in ("lost", "timed_out", "preempted") and not state.gave_up


def without_answer(state: RunState) -> RunState:
    """The state to show if SLURM did not say which jobs exist.

    A run that seems lost or stopped may be waiting in the queue.
    """
    if state.state not in INTERRUPTED or state.state == "cancelled" or state.gave_up:
        return state
    return replace(state, state="unknown", detail="SLURM does not say whether it has a job")


def status_table(status: Status) -> str:
    """A line per run, those that need attention first, and a line of counts.

    Each line ends with the command that helps. The last lines of a failed run's log follow below
    it.
    """
    rows: list[tuple[str, ...]] = [
        ("run", "state", "restarts", "step", "samples/s", "loss", "left", "")
    ]
    ranked = sorted(status.states.items(), key=lambda item: ORDER.index(item[1].state))
    rows += [run_cells(name, state) for name, state in ranked]
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    below = [(), *(state.lines for _, state in ranked)]
    helps = ["", *(help_for(state, status.folder / name, status.sweep) for name, state in ranked)]
    lines: list[str] = []
    for row, more, advice in zip(rows, below, helps, strict=True):
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [row[column].rjust(widths[column]) for column in range(2, 7)]
        arrow = f"-> {advice}" if advice else ""
        lines.append("  ".join([*cells, *filter(None, (row[7], arrow))]).rstrip())
        lines += [f"    {line[:MAX_LINE]}" for line in more[-MAX_LINES_BELOW:]]
    counts: Counter[str] = Counter(state.state for state in status.states.values())
    total = ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])
    num = counted(len(status.states), "run")
    lines += ["", f"{num}: {total}" if total else "no run was submitted yet"]
    again = sweep_again(status.sweep) if status.sweep is not None else None
    is_stuck = status.search is not None and not status.search.is_well
    if status.search is not None:
        lines.append(f"search: {status.search.words}{f'  -> {AGAIN}' if is_stuck else ''}")
    if again is not None and (is_stuck or any(text == AGAIN for text in helps)):
        lines.append(f"{AGAIN}: {again}")
    if status.codes:
        lines += [*status.codes, "different code is not averaged together"]
    if status.unchecked is not None:
        lines.append(f"not checked: {status.unchecked}; states are those of the heartbeats")
    return "\n".join(lines)


def as_plain(status: Status) -> Any:
    """The status as values for JSON; non-finite numbers are null."""
    return without_non_finite(
        {
            "runs": {name: asdict(state) for name, state in status.states.items()},
            "search": None if status.search is None else asdict(status.search),
            "not_checked": status.unchecked,
            "codes": list(status.codes),
        }
    )


def run_cells(name: str, state: RunState) -> tuple[str, ...]:
    """A run as texts: name, state, restarts, step, samples/s, loss, time left, detail."""
    step = f"{state.step}/{state.num_steps}" if state.step is not None else ""
    speed = f"{state.samples_per_second:,.0f}" if state.samples_per_second else ""
    loss = f"{state.loss:.4g}" if isinstance(state.loss, float) else ""
    detail = " ".join(state.detail.split())
    if len(detail) > MAX_DETAIL:
        detail = f"{detail[: MAX_DETAIL - 3]}..."
    restarts = str(state.num_restarts) if state.num_restarts else ""
    return (name, state.state, restarts, step, speed, loss, duration(state.remaining_s), detail)


def duration(seconds: float | None) -> str:
    """Seconds as minutes, or as hours and minutes."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"
