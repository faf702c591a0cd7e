"""What the runs of a trial (one a seed) have measured so far, read from their directories."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launch.jobs.pruning import is_pruned
from launch.reports.run_state import RunState
from pipeline.config.schema import suggestion
from pipeline.files.atomic import read_json_object

Kind = Literal["complete", "pruned", "failed", "open"]


class UnknownMetricError(ValueError):
    """The metric of the search is none that validation gives."""


@dataclass(frozen=True)
class Verdict:
    """Where a trial is: over in some way, or open with runs that nobody works on."""

    kind: Kind
    reason: str = ""
    idle: tuple[str, ...] = ()


IDLE = ("lost", "stopped", "cancelled", "missing")


def judge(states: Mapping[str, RunState], runs: Path) -> Verdict:
    """The verdict on a trial from the states of its runs."""
    if all(state.state == "finished" for state in states.values()):
        return Verdict("complete")
    for name, state in states.items():
        if state.state == "failed":
            return Verdict("failed", f"{name}: {state.detail}")
    if any(is_pruned(runs / name) for name in states):
        return Verdict("pruned")
    return Verdict("open", idle=tuple(name for name in states if states[name].state in IDLE))


def final_value(run_dirs: Sequence[Path], metric: str) -> float:
    """Mean over finished runs of a validation metric at their best step.

    Raises UnknownMetricError if there is no such metric; the value may not be finite.
    """
    values = []
    for run_dir in run_dirs:
        result = read_json_object(run_dir / "result.json") or {}
        values.append(_take(result.get("metrics", {}), metric))
    return sum(values) / len(values)


def validation_values(run_dirs: Sequence[Path], metric: str) -> dict[int, float]:
    """Mean of a metric by step, at the validation steps that all runs have reached."""
    series = [_series(run_dir / "metrics.jsonl", metric) for run_dir in run_dirs]
    steps = sorted(set.intersection(*(set(values) for values in series)))
    return {step: sum(values[step] for values in series) / len(series) for step in steps}


def is_usable(value: float) -> bool:
    """Whether a value can stand for a trial."""
    return math.isfinite(value)


def _series(path: Path, metric: str) -> dict[int, float]:
    """The metric by step; a line that is still being written is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    values = {}
    for line in text.splitlines():
        if '"split": "val"' not in line:
            continue
        try:
            content = json.loads(line)
        except ValueError:
            break
        values[int(content["step"])] = _take(content, metric)
    return values


def _take(metrics: Mapping[str, Any], metric: str) -> float:
    if metric not in metrics:
        names = [name for name in metrics if name not in ("step", "epoch", "split")]
        hint = suggestion(metric, names).replace("allowed", "known")
        raise UnknownMetricError(f"sweep.search.metric={metric} is not measured{hint}")
    return float(metrics[metric])
