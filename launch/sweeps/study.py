"""The Optuna study of a search, in `sweep_dir/optuna.journal`; only this file uses Optuna.

A proposal is a function of the seed, the trial's number and the results so far, and a trial whose
parameters are incomplete after a kill gets the rest when it is opened again.
"""

import errno
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launch.sweeps.expansion import Point
from launch.sweeps.search_space import choice_labels, differing, point_of, whole_range
from launch.sweeps.settings import OptunaSearch
from orbit.core.files.atomic import parse_json

JOURNAL = "optuna.journal"
DESCRIPTION = "description"
CREATE_STUDY, CREATE_TRIAL = 0, 4
"""Codes of operations in a journal."""


@dataclass(frozen=True)
class OpenTrial:
    """An unfinished trial: its values, and the notes about it (`note`)."""

    number: int
    point: Point
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class BestTrial:
    """The best finished trial."""

    number: int
    value: float
    point: Point
    notes: Mapping[str, Any]


def require_optuna() -> Any:
    """The module; a one-line ImportError if it is missing."""
    try:
        import optuna
    except ImportError:
        raise ImportError(
            "an Optuna search needs the extra `optuna`: pip install -e '.[optuna]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def mend_journal(path: Path) -> None:
    """Remove a last line that a lost node left unfinished; call this only if no other process
    writes.

    Raises ValueError for a last line that is not part of a record.
    """
    if not path.exists():
        return
    with open(path, "rb+") as file:
        content = file.read()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            if content[end : end + 1] != b"{":
                raise ValueError(f"{path} is damaged: its last line is not a record")
            file.truncate(end)
            os.fsync(file.fileno())


def _check_journal(path: Path) -> None:
    """Raise ValueError unless every record belongs to one study and to trials that it has created.

    Optuna ignores records of other workers that belong to something else.
    """
    num_studies = num_trials = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # It is being written.
            record = parse_json(line)
            if not isinstance(record, dict) or not isinstance(record.get("worker_id"), str):
                raise ValueError(f"line {number} is not a record")
            num_studies += record.get("op_code") == CREATE_STUDY
            study, trial = record.get("study_id", 0), record.get("trial_id", 0)
            if num_studies != 1 or study != 0 or isinstance(study, bool):
                raise ValueError(f"line {number} belongs to another study")
            num_trials += record.get("op_code") == CREATE_TRIAL
            if "trial_id" in record and not (type(trial) is int and 0 <= trial < num_trials):
                raise ValueError(f"line {number} belongs to a trial that was not created")


class SearchStudy:
    """Opens or creates the study of a sweep directory.

    Raises ValueError naming the journal if it was changed, and OSError if it cannot be read.
    """

    def __init__(self, folder: Path, search: OptunaSearch) -> None:
        self._optuna, self._search = require_optuna(), search
        path = folder / JOURNAL
        try:
            self._study = self._open_study(folder, path)
            self._check_trials()
        except OSError:
            raise
        except Exception as error:  # Optuna replays the journal without checking it.
            cause = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path} is damaged: {cause}") from None

    def _open_study(self, folder: Path, path: Path) -> Any:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lock = JournalFileOpenLock(str(path))
            storage = JournalStorage(JournalFileBackend(str(path), lock))
            # A sweep directory may have been renamed since.
            names = self._optuna.get_all_study_names(storage)
            if names:
                _check_journal(path)
            elif path.exists() and path.stat().st_size > 0:
                raise ValueError("it holds no study")
            if not names:
                self._optuna.create_study(
                    storage=storage, study_name=folder.name, direction=self._search.direction
                )
            return self._optuna.load_study(
                storage=storage,
                study_name=names[0] if names else folder.name,
                sampler=self._sampler(0),
                pruner=self._pruner(),
            )

    def _check_trials(self) -> None:
        """Raise ValueError for a trial that Optuna could not have written."""
        for number, trial in enumerate(self._trials()):
            measured = [*trial.intermediate_values.values(), *(trial.values or ())]
            if not all(isinstance(value, float) and math.isfinite(value) for value in measured):
                raise ValueError(f"trial {number} has a value that is not a finite number")
            for key, value in trial.params.items():
                if not trial.distributions[key]._contains(
                    trial.distributions[key].to_internal_repr(value)
                ):
                    raise ValueError(f"trial {number} has {key}={value}, which is out of its range")

    def bind(self, description: dict[str, Any]) -> None:
        """Record the fixed settings of all trials; ValueError if they differ from those recorded
        before."""
        self.check(description)
        if self._study.user_attrs.get(DESCRIPTION) != description:
            self._study.set_user_attr(DESCRIPTION, description)

    def check(self, description: dict[str, Any]) -> None:
        """Raise ValueError if the fixed settings of the trials differ.

        The metric may still be changed while none has been measured.
        """
        changed = differing(self._study.user_attrs.get(DESCRIPTION, description), description)
        if changed and (set(changed) != {"metric"} or self._has_values()):
            lines = "; ".join(f"{key}: {change}" for key, change in changed.items())
            raise ValueError(
                f"this sweep_dir holds another search ({lines}): choose another sweep_dir"
            )

    # Trials

    def counts(self) -> dict[str, int]:
        """Number of trials by state: running, complete, pruned, failed."""
        names = {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        counts = dict.fromkeys(names.values(), 0)
        for trial in self._trials():
            if trial.state.name in names:
                counts[names[trial.state.name]] += 1
        return counts

    def is_over(self) -> bool:
        """Whether all trials were created and none is open."""
        counts = self.counts()
        return not counts["running"] and sum(counts.values()) >= self._search.num_trials

    def open_trials(self) -> list[OpenTrial]:
        """All unfinished trials, oldest first."""
        running = [trial for trial in self._trials() if trial.state.name == "RUNNING"]
        return [self._open(trial.number) for trial in running]

    def ask(self) -> OpenTrial:
        """A new trial: one of the points to start with, then what the sampler proposes."""
        trials = self._trials()
        self._study.sampler = self._sampler(len(trials))
        # One that was written down, and not asked for before the search was killed, comes next.
        is_waiting = any(trial.state.name == "WAITING" for trial in trials)
        if len(trials) < len(self._search.start) and not is_waiting:
            self._study.enqueue_trial(self._start_params(self._search.start[len(trials)]))
        return self._open(self._study.ask().number)

    def note(self, number: int, key: str, value: Any) -> None:
        """Write a note about a trial."""
        if self._frozen(number).user_attrs.get(key) != value:
            self._trial(number).set_user_attr(key, value)

    def report(self, number: int, values: Mapping[int, float], is_over: bool = False) -> bool:
        """Report the metric at new steps; returns whether the pruner ends the trial.

        All steps of a trial that `is_over` are reported, because other trials are compared with it.
        """
        known = self._frozen(number).intermediate_values
        for step in sorted(set(values) - set(known)):
            trial = self._trial(number)
            trial.report(values[step], step)
            if trial.should_prune() and not is_over:
                return True
        return False

    def complete(self, number: int, value: float) -> None:
        """End the trial with this value."""
        self._study.tell(number, value)

    def prune(self, number: int) -> None:
        """End the trial as pruned."""
        self._study.tell(number, state=self._optuna.trial.TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """End the trial as failed, without a value."""
        self.note(number, "reason", reason)
        self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def best(self) -> BestTrial | None:
        """The best trial that has a value, None if there is none."""
        done = [trial for trial in self._trials() if trial.state.name == "COMPLETE"]
        if not done:
            return None
        sign = 1 if self._search.direction == "minimize" else -1
        best = min(done, key=lambda trial: (sign * trial.value, trial.number))
        point = point_of(self._search.space, best.params)
        return BestTrial(best.number, best.value, point, dict(best.user_attrs))

    # Optuna's objects

    def _trials(self) -> list[Any]:
        return list(self._study.get_trials(deepcopy=False))

    def _frozen(self, number: int) -> Any:
        return self._trials()[number]

    def _trial(self, number: int) -> Any:
        return self._optuna.trial.Trial(self._study, self._frozen(number)._trial_id)

    def _open(self, number: int) -> OpenTrial:
        """Draw the missing parameters of a trial; existing ones are kept."""
        if any(key not in self._frozen(number).params for key in self._search.space):
            self._study.sampler = self._sampler(number)
            trial = self._trial(number)
            for key in self._search.space:
                self._suggest(trial, key)
        frozen = self._frozen(number)
        return OpenTrial(
            number,
            point_of(self._search.space, frozen.params),
            dict(frozen.user_attrs),
        )

    def _suggest(self, trial: Any, key: str) -> None:
        dimension = self._search.space[key]
        if dimension.choices is not None:
            trial.suggest_categorical(key, choice_labels(dimension))
        elif dimension.integer:
            low, high = whole_range(dimension)
            trial.suggest_int(key, low, high, log=dimension.log)
        else:
            trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)

    def _start_params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point in Optuna's terms: of a choice its label."""
        params = {}
        for key, value in point.items():
            dimension = self._search.space[key]
            if dimension.choices is None:
                params[key] = value
            else:
                params[key] = choice_labels(dimension)[dimension.choices.index(value)]
        return params

    def _has_values(self) -> bool:
        return any(trial.values or trial.intermediate_values for trial in self._trials())

    def _sampler(self, number: int) -> Any:
        """The sampler for one trial; its draws do not depend on restarts."""
        seed = int(np.random.SeedSequence([self._search.seed, number]).generate_state(1)[0])
        samplers = self._optuna.samplers
        if self._search.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return samplers.TPESampler(
                n_startup_trials=self._search.num_startup_trials, seed=seed, constant_liar=True
            )

    def _pruner(self) -> Any:
        pruners, warmup = self._optuna.pruners, self._search.pruner_warmup_steps
        if self._search.pruner == "none":
            return pruners.NopPruner()
        if self._search.pruner == "hyperband":
            return pruners.HyperbandPruner(min_resource=max(1, warmup))
        return pruners.MedianPruner(
            n_startup_trials=self._search.num_startup_trials, n_warmup_steps=warmup
        )
