"""The request of `launch/evaluate.py`, the checkpoints without results, and their evaluation.

Only completely written directories count, and a result counts only if it belongs to the current
weights.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from launch.cluster.settings import ClusterConfig
from launch.cluster.submission import read_records
from launch.jobs.liveness import find_live
from launch.jobs.run_state import read_run_state
from launch.jobs.standing import AT_WORK
from orbit.core.code import differing_packages, measured_by
from orbit.core.config.limits import Count, Positive, PositiveInt, limited
from orbit.core.config.schema import FilePath
from orbit.core.config.yaml_files import read_yaml
from orbit.core.files.atomic import read_json_object
from orbit.core.files.listing import matching_paths
from orbit.core.files.lock import DirectoryLock
from orbit.core.files.waiting import StoppedWaiting, is_hiccup, pause, trying_again
from orbit.core.printing import say
from orbit.core.store.manifest import MANIFEST_NAME
from orbit.core.user_text import counted
from pipeline.run_files.reading import CONFIG_FILE, DATASET_FILE
from pipeline.settings import evaluation_file

Checkpoints = Literal["best", "last", "all"]


@dataclass(frozen=True)
@limited
class Work:
    """The work of an evaluator; jobs read it from a file.

    `runs` is a glob of run directories. `base` is where jobs are recorded. `redo` measures again
    what other code measured.
    """

    runs: str
    base: str
    checkpoints: Checkpoints = "best"
    split: Literal["train", "val", "test"] = "test"
    data: FilePath | None = None
    batch: PositiveInt | None = None
    num_threads: PositiveInt = 1
    poll_s: Positive = 10.0
    analyses: bool = True
    redo: bool = False


@dataclass(frozen=True)
@limited
class EvaluateRequest:
    """The keys of `launch/evaluate.py`.

    `analyses=false` measures only the metrics of training. `num_evaluators` jobs follow the runs
    with `follow=true`; otherwise each job takes up to `checkpoints_per_job` checkpoints. `jobs_dir`
    is where jobs are recorded: the sweep directory by default. `redo=true` measures again what
    other code measured, and replaces it; results of the current code are kept.
    """

    runs: FilePath
    cluster: ClusterConfig
    checkpoints: Checkpoints = "best"
    split: Literal["train", "val", "test"] = "test"
    data: str | None = None
    batch: PositiveInt | None = None
    num_threads: PositiveInt = 1
    analyses: bool = True
    redo: bool = False
    follow: bool = False
    num_evaluators: Count | None = None
    poll_s: Positive | None = None
    checkpoints_per_job: Count | None = None
    jobs_dir: FilePath | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.follow:
            for name in ("num_evaluators", "poll_s"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} has no effect without follow=true")
        elif self.checkpoints_per_job is not None:
            raise ValueError("checkpoints_per_job has no effect with follow=true")


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
    """The checkpoints to evaluate, oldest first in each run, and a line for each unreadable one."""
    targets, complaints = [], []
    for run in runs:
        for step in _steps(run / "checkpoints", checkpoints):
            folder = run / "checkpoints" / f"step_{step:08d}"
            meta = read_json_object(folder / "meta.json")
            try:
                assert meta is not None
                weights = str(meta["files"]["model.safetensors"]["sha256"])
            except (AssertionError, KeyError, TypeError):
                if folder.is_dir():  # otherwise it has just been pruned
                    complaints.append(f"{folder}: meta.json cannot be read, skipped")
                continue
            targets.append(Target(str(run), step, weights))
    return targets, complaints


def result_of(target: Target, split: str, other_dataset: str | None) -> dict[str, Any] | None:
    """The result for exactly these weights, None if there is none."""
    name = evaluation_file(target.step, split, other_dataset)
    result = read_json_object(Path(target.run_dir) / "evaluations" / name)
    is_valid = (
        result is not None
        and result.get("weights") == target.weights
        and other_dataset in (None, result.get("dataset"))
        and isinstance(result.get("metrics"), dict)
    )
    return result if is_valid else None


def other_packages(target: Target, result: Mapping[str, Any], data: str | None) -> list[str]:
    """The packages with which a result was measured and that have changed since; `data` as in
    `Work`.

    For a result of a version that recorded no code: all of the current code.
    """
    run_dir = Path(target.run_dir)
    config = read_yaml((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    manifest = Path(data) / MANIFEST_NAME if data is not None else run_dir / DATASET_FILE
    current = _current_code(_plugins_of(config), _plugins_of(read_json_object(manifest)))
    measured = result.get("code")
    if not isinstance(measured, dict) or not measured.get("packages"):
        return list(current["packages"])
    return differing_packages(measured, current)


@functools.cache
def _current_code(config: tuple[str, ...], manifest: tuple[str, ...]) -> dict[str, Any]:
    """One for all runs with the same plug-ins: reading all packages takes a while."""
    return measured_by(config, manifest)


def _plugins_of(content: Any) -> tuple[str, ...]:
    return tuple((content or {}).get("plugins") or ())


def claim_file(target: Target, split: str, other_dataset: str | None) -> str:
    """Name of the lock for making a result; each result has its own."""
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


Say = Callable[[str], None]
StopAsked = Callable[[], bool]


class Evaluator:
    """Evaluates checkpoints; remembers unreadable ones, to report them only once."""

    def __init__(self, work: Work, say: Say = say, stop_asked: StopAsked = lambda: False) -> None:
        self._work, self._say, self._stop_asked = work, say, stop_asked
        self._given_up: set[Target] = set()
        self._reported: set[str] = set()
        self.num_evaluated = 0
        self._other_dataset = other_dataset_of(work)

    @property
    def num_failed(self) -> int:
        """Checkpoints that could not be evaluated."""
        return len(self._given_up)

    def pending(self) -> list[Target]:
        """The checkpoints without results, including those that other evaluators are working on."""
        targets, complaints = find_targets(find_runs(self._work.runs), self._work.checkpoints)
        for complaint in complaints:
            if complaint not in self._reported:
                self._reported.add(complaint)
                self._say(complaint)
        return [
            target
            for target in targets
            if target not in self._given_up and not self._is_done(target)
        ]

    def kept(self) -> str | None:
        """A line about results of other code that are kept, None if there are none."""
        targets, _ = find_targets(find_runs(self._work.runs), self._work.checkpoints)
        changed = [names for target in targets if (names := self._changed_since(target))]
        if not changed or self._work.redo:
            return None
        which = ", ".join(dict.fromkeys(name for names in changed for name in names))
        num = counted(len(changed), "result")
        return f"{num} of other code kept (changed: {which}); redo=true measures again"

    def _changed_since(self, target: Target) -> list[str]:
        """The packages that have changed since a target was measured."""
        result = result_of(target, self._work.split, self._other_dataset)
        return [] if result is None else other_packages(target, result, self._work.data)

    def _is_done(self, target: Target) -> bool:
        if result_of(target, self._work.split, self._other_dataset) is None:
            return False
        return not (self._work.redo and self._changed_since(target))

    def evaluate(self, targets: Sequence[Target]) -> None:
        """Evaluate the checkpoints that no other evaluator has done or is working on."""
        for target in targets:
            if self._stop_asked():
                return
            try:
                trying_again(partial(self._take, target), _name(target), self._stop_asked)
            except StoppedWaiting:
                return
            except OSError as error:
                if not is_hiccup(error):
                    raise
                self._give_up(target, error)

    def watch(self) -> None:
        """Evaluate new checkpoints until all runs have ended and nothing is left."""
        while not self._stop_asked():
            try:
                is_over, targets = trying_again(
                    lambda: (self.all_ended(), self.pending()), "the checkpoints", self._stop_asked
                )
                self.evaluate(targets)
                if not targets and is_over:
                    return
                pause(self._work.poll_s, "new checkpoints", self._stop_asked)
            except StoppedWaiting:
                return

    def all_ended(self) -> bool:
        """Whether no run is waiting or training."""
        base = Path(self._work.base)
        liveness = find_live(base, read_records(base, ("train",)))
        if liveness.unchecked is not None:
            return False  # SLURM does not answer: runs may still be waiting
        runs = find_runs(self._work.runs)
        return all(
            read_run_state(run, liveness.jobs.get(run.name)).state not in AT_WORK for run in runs
        )

    def _take(self, target: Target) -> None:
        """Evaluate a checkpoint unless another evaluator is working on it or has done it."""
        claim = DirectoryLock(
            Path(target.run_dir) / "evaluations",
            "evaluators",
            file=claim_file(target, self._work.split, self._other_dataset),
            should_stop=self._stop_asked,
        )
        try:
            claim.acquire()
        except ValueError:
            return
        try:
            if not self._is_done(target):
                self._evaluate(target)
        finally:
            claim.release()

    def _give_up(self, target: Target, error: ValueError | OSError) -> None:
        self._given_up.add(target)
        self._say(f"{_name(target)}: skipped: {' '.join(str(error).split())}")

    def _evaluate(self, target: Target) -> None:
        from pipeline.evaluation.evaluate_run import evaluate_run
        from pipeline.settings import EvaluateConfig

        before = result_of(target, self._work.split, self._other_dataset) or {}
        config = EvaluateConfig(
            run_dir=target.run_dir,
            checkpoint=target.step,
            data=self._work.data,
            split=self._work.split,
            batch=self._work.batch,
            num_threads=self._work.num_threads,
            pictures=self._work.checkpoints != "all",
            analyses=self._work.analyses,
            referee="not_measured" in before,  # what is measured again has been refereed as well
        )
        name = _name(target)
        try:
            result = evaluate_run(config)
        except (ValueError, OSError) as error:
            was_pruned = not (Path(target.run_dir) / f"checkpoints/step_{target.step:08d}").is_dir()
            if was_pruned:
                self._say(f"{name}: deleted meanwhile by the run's retention, skipped")
                return
            if is_hiccup(error):
                raise
            self._give_up(target, error)
            return
        self.num_evaluated += 1
        loss = result["metrics"].get("loss/total", math.nan)
        self._say(f"evaluated {name}: loss/total {loss:.4g}")


def other_dataset_of(work: Work) -> str | None:
    """Fingerprint of `work.data` if it is not the dataset of the runs themselves."""
    if work.data is None:
        return None
    from orbit.core.store.manifest import read_manifest

    fingerprint = read_manifest(Path(work.data)).fingerprint
    targets, _ = find_targets(find_runs(work.runs), "last")
    trained_on = {_dataset_of(target) for target in targets}
    if len(trained_on) > 1:
        raise ValueError("data=DIR needs runs of one dataset: these were trained on several")
    return None if trained_on == {fingerprint} else fingerprint


def _name(target: Target) -> str:
    return f"{Path(target.run_dir).name} step {target.step}"


def _dataset_of(target: Target) -> str | None:
    """Fingerprint of the dataset that a checkpoint was trained on."""
    folder = Path(target.run_dir) / "checkpoints" / f"step_{target.step:08d}"
    return (read_json_object(folder / "meta.json") or {}).get("dataset")
