"""Which checkpoints have no valid result yet, from the files of runs alone.

Only directories that were renamed into place count, and a result counts only if it
is of the weights that lie there now.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.evaluation.request import Checkpoints
from pipeline.evaluation.settings import evaluation_file
from pipeline.files.atomic import read_json_object
from pipeline.files.listing import matching_paths

STEP = re.compile(r"step_([0-9]{8,})$")


@dataclass(frozen=True)
class Target:
    """A checkpoint to evaluate; `weights` is the sha256 that its meta.json states."""

    run_dir: str
    step: int
    weights: str


def find_runs(pattern: str) -> list[Path]:
    """Run directories that a plain path or a pattern names, sorted."""
    return sorted(
        path.absolute() for path in matching_paths(pattern) if (path / "config.yaml").exists()
    )


def find_targets(runs: Sequence[Path], checkpoints: Checkpoints) -> tuple[list[Target], list[str]]:
    """The checkpoints to look at, oldest first in each run, and a line for each unreadable one."""
    targets, complaints = [], []
    for run in runs:
        for step in _steps(run / "checkpoints", checkpoints):
            folder = run / "checkpoints" / f"step_{step:08d}"
            meta = read_json_object(folder / "meta.json")
            try:
                assert meta is not None
                weights = str(meta["files"]["model.safetensors"]["sha256"])
            except (AssertionError, KeyError, TypeError):
                if folder.is_dir():  # else it was pruned while we looked
                    complaints.append(f"{folder}: meta.json cannot be read, skipped")
                continue
            targets.append(Target(str(run), step, weights))
    return targets, complaints


def is_evaluated(target: Target, split: str, other_dataset: str | None) -> bool:
    """Whether there is a result of exactly these weights."""
    name = evaluation_file(target.step, split, other_dataset)
    result = read_json_object(Path(target.run_dir) / "evaluations" / name)
    return (
        result is not None
        and result.get("weights") == target.weights
        and other_dataset in (None, result.get("dataset"))
        and isinstance(result.get("metrics"), dict)
    )


def claim_file(target: Target, split: str, other_dataset: str | None) -> str:
    """Name of the lock of whoever makes a result: each has its own."""
    name = evaluation_file(target.step, split, other_dataset)
    return f".claim-{name.removeprefix('step_').removesuffix('.json')}"


def _steps(folder: Path, checkpoints: Checkpoints) -> list[int]:
    if not folder.is_dir():
        return []
    if checkpoints == "all":
        matches = (STEP.fullmatch(path.name) for path in folder.iterdir())
        return sorted(int(match.group(1)) for match in matches if match)
    pointer = read_json_object(folder / f"{checkpoints}.json") or {}
    return [int(pointer["step"])] if "step" in pointer else []
