"""Evaluating checkpoints one by one, each by one evaluator only."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from launch.evaluation.pending import (
    Target,
    claim_file,
    find_runs,
    find_targets,
    is_evaluated,
)
from launch.evaluation.request import Work
from launch.jobs.liveness import find_live
from launch.jobs.records import read_records
from launch.reports.run_state import read_run_state
from pipeline.files.atomic import read_json_object
from pipeline.files.hiccups import is_hiccup, trying_again
from pipeline.files.lock import DirectoryLock
from pipeline.files.waiting import StoppedWaiting, pause

Say = Callable[[str], None]
StopAsked = Callable[[], bool]


class Evaluator:
    """Works through checkpoints; remembers those that cannot be read, to report them once."""

    def __init__(self, work: Work, say: Say = print, stop_asked: StopAsked = lambda: False) -> None:
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
        """What is left to do now, including what another evaluator is doing."""
        targets, complaints = find_targets(find_runs(self._work.runs), self._work.checkpoints)
        for complaint in complaints:
            if complaint not in self._reported:
                self._reported.add(complaint)
                self._say(complaint)
        split = self._work.split
        return [
            target
            for target in targets
            if target not in self._given_up and not is_evaluated(target, split, self._other_dataset)
        ]

    def evaluate(self, targets: Sequence[Target]) -> None:
        """Evaluate what no one else has or is at."""
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
        """Evaluate what appears until all runs have ended and nothing is left."""
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
        """Whether no run waits or trains any more."""
        base = Path(self._work.base)
        liveness = find_live(base, read_records(base, ("train",)))
        if liveness.unchecked is not None:
            return False  # SLURM is silent: no reason to leave runs that may be waiting
        runs = find_runs(self._work.runs)
        return all(
            read_run_state(run, liveness.jobs.get(run.name)).state not in ("running", "waiting")
            for run in runs
        )

    def _take(self, target: Target) -> None:
        """Evaluate a checkpoint unless another evaluator is at it or has done it."""
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
            if not is_evaluated(target, self._work.split, self._other_dataset):
                self._evaluate(target)
        finally:
            claim.release()

    def _give_up(self, target: Target, error: ValueError | OSError) -> None:
        self._given_up.add(target)
        self._say(f"{_name(target)}: skipped: {' '.join(str(error).split())}")

    def _evaluate(self, target: Target) -> None:
        from pipeline.evaluation.evaluate_run import evaluate_run
        from pipeline.evaluation.settings import EvaluateConfig

        config = EvaluateConfig(
            run_dir=target.run_dir,
            checkpoint=target.step,
            data=self._work.data,
            split=self._work.split,
            batch=self._work.batch,
            num_threads=self._work.num_threads,
            pictures=self._work.checkpoints != "all",
            analyses=self._work.analyses,
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
    from data_prep.store.manifest import read_manifest

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
