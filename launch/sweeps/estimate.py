"""How long the runs of a sweep will take, by runs that were measured."""

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.cluster.settings import ClusterConfig, InlineConfig
from launch.sweeps.expansion import PlannedRun
from orbit.core.files.atomic import read_json_object
from orbit.core.printing import say
from orbit.core.user_text import counted
from pipeline.run_files.reading import CONFIG_FILE, read_config_values, read_metrics

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
