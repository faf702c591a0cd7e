"""The run directory: the files of a run, and the check whether another attempt may continue it.

run_dir/
  config.yaml              resolved configuration
  dataset.json             the dataset's manifest, so that the run can be used without it
  environment.json         versions, commit, hardware, threads
  code.json                by which code the run was made, from which step on
  metrics.jsonl            one line per logged step and validation
  events.out.tfevents.*    the same for TensorBoard; logger_*.json: runs of other loggers
  checkpoints/             see `pipeline/run_files/checkpoint.py`
  evaluations/             written by `pipeline/evaluate.py`, and orbits.png
  heartbeat.json           the current step, rewritten every few seconds
  model.json               the number of parameters of the model and of each of its parts
  pictures/                written by evaluation, and pictures/training/ by training (`previews.py`)
  order.json               the order in which the data is read, and why
  ended.json               only after an early end: the reason
  restarts.json            only after a collapse that was restarted
  task_run/                only if the method learns from another run: a copy of what it needs of it
  result.json              written last: the run is finished

The heartbeat is for other programs (`launch/status.py`); no result depends on it.
"""

import dataclasses
import functools
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from orbit.core.code import CODE_FILE
from orbit.core.config.compose import TASK_RUN, with_found_paths
from orbit.core.config.schema import build, path_keys, with_paths
from orbit.core.config.yaml_files import yaml_text
from orbit.core.files.atomic import (
    TEMPORARY_SUFFIX,
    parse_json,
    remove_tree,
    without_non_finite,
    write_json,
    write_text,
)
from orbit.core.files.listing import list_folder
from orbit.core.files.lock import describe_process
from orbit.core.store.manifest import Manifest, as_plain, read_manifest, read_manifest_file
from pipeline.loggers import note_file
from pipeline.run_files.reading import CONFIG_FILE, DATASET_FILE, read_config_values
from pipeline.training.settings import KEYS_FREE_TO_CHANGE, TrainConfig

if TYPE_CHECKING:
    from torch import nn

    from pipeline.run_files.checkpoint import CheckpointStore

MODEL_FILE = "model.json"
ENDED_FILE = "ended.json"
"""File name known to `launch/jobs/run_state.py` as well."""
WRITTEN = (
    CONFIG_FILE,
    CODE_FILE,
    DATASET_FILE,
    ENDED_FILE,
    TASK_RUN,
    note_file("wandb"),
    note_file("mlflow"),
    "environment.json",
    MODEL_FILE,
    "metrics.jsonl",
    "heartbeat.json",
    "order.json",
    "restarts.json",
    "result.json",
)
"""Files and a folder of the trainer. Each is written under a temporary name in the same folder, and
then renamed."""


class RunDirectory:
    """Paths and small files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @functools.cached_property
    def checkpoints(self) -> "CheckpointStore":
        """The checkpoints of the run; using them imports torch."""
        from pipeline.run_files.shared import checkpoints_of

        return checkpoints_of(self.path)

    def check_trainable(self) -> None:
        """Raise ValueError for a shared folder, from which no training can continue."""
        from pipeline.run_files.shared import is_shared

        if is_shared(self.path):
            raise ValueError(
                f"{self.path} is a shared model, not a run to continue: choose another run_dir"
                f" (init_from={self.path} starts from its weights)"
            )

    def is_untrained(self) -> bool:
        """Whether a start ended before its first step was logged, as one does that the dataset does
        not fit. A run that a launcher made has its configuration from there, and keeps it."""
        kept = ("launch.json", "restarts.json", "result.json")
        log = self.path / "metrics.jsonl"
        is_logged = log.exists() and log.stat().st_size > 0
        return not is_logged and not any((self.path / name).exists() for name in kept)

    def read_config(self) -> TrainConfig:
        """The configuration the run was started with.

        If the directory was moved together with its dataset, the new paths are found. Raises
        FileNotFoundError if this is not a run directory, ValueError if the file cannot be read.
        """
        values = read_config_values(self.path)
        values = with_found_paths(values, self.path, path_keys(TrainConfig))
        try:
            return build(TrainConfig, values)
        except ValueError as error:
            raise ValueError(f"{self.path / CONFIG_FILE} cannot be read: {error}") from None

    def recorded_config(self) -> TrainConfig | None:
        """The configuration the run was started with, None if there is no run yet."""
        try:
            return self.read_config()
        except FileNotFoundError:
            return None

    def write_config(self, config: TrainConfig) -> None:
        """Write config.yaml, with absolute paths."""
        values = json.loads(json.dumps(dataclasses.asdict(with_paths(config, os.path.abspath))))
        write_text(self.path / CONFIG_FILE, yaml_text(values))

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the dataset's manifest into the run directory."""
        self.write_json(DATASET_FILE, as_plain(manifest))

    def read_manifest(self) -> Manifest:
        """The manifest of the dataset that the run was trained on.

        Runs of earlier versions have no copy: theirs is read at the dataset's recorded path. Raises
        FileNotFoundError or ValueError if it cannot be read.
        """
        if (self.path / DATASET_FILE).exists():
            return read_manifest_file(self.path / DATASET_FILE)
        return read_manifest(Path(self.read_config().data))

    def read_json(self, name: str) -> Any:
        """A JSON file of the run, None if there is none.

        Raises ValueError if it is not JSON, and any error of the operating system: a file that
        cannot be read at the moment does not count as missing.
        """
        file = self.path / name
        try:
            return parse_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(f"{file} cannot be read: {error}") from None

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the run; ValueError naming it for numbers that are not finite."""
        try:
            write_json(self.path / name, value)
        except ValueError as error:
            raise ValueError(f"{self.path / name} cannot be written: {error}") from None

    def clear_leftovers(self) -> None:
        """Delete drafts of the files above that a crash left behind."""
        for name in WRITTEN:
            for draft in list_folder(self.path, f".{name}.*{TEMPORARY_SUFFIX}"):
                remove_tree(draft)
        self.checkpoints.clear_leftovers()

    def write_environment(self, environment: dict[str, Any]) -> None:
        write_json(self.path / "environment.json", environment)


def differing_keys(before: TrainConfig, now: TrainConfig) -> list[str]:
    """'key: old -> new' for keys that a continued run may not change; paths are compared as
    resolved."""
    real = (with_paths(each, os.path.realpath) for each in (before, now))
    old, new = (flatten(dataclasses.asdict(each)) for each in real)
    return [
        f"{key}: {old.get(key)} -> {new.get(key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and key not in KEYS_FREE_TO_CHANGE
    ]


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def num_parameters(module: "nn.Module") -> int:
    """Numbers that training can change."""
    return sum(parameter.numel() for parameter in module.parameters())


def parameters(model: "nn.Module") -> dict[str, Any]:
    """How many parameters a model has: `total`, and `parts`, its immediate parts that have any."""
    counts = {name: num_parameters(part) for name, part in model.named_children()}
    return {
        "total": num_parameters(model),
        "parts": {name: count for name, count in counts.items() if count},
    }


HEARTBEAT_FILE = "heartbeat.json"
EVERY_S = 5.0


class Heartbeat:
    """Context manager that regularly writes the result of `read`, with time, process and job."""

    def __init__(self, run_dir: Path, read: Callable[[], dict[str, Any]]) -> None:
        self._path, self._read = run_dir / HEARTBEAT_FILE, read
        self._process = describe_process(os.getpid())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._write()

    def _beat(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._write()

    def _write(self) -> None:
        content = {
            "time": time.time(),
            **self._process,
            "job": os.environ.get("SLURM_JOB_ID"),
            **self._read(),
        }
        draft = self._path.with_name(f".{HEARTBEAT_FILE}.{os.getpid()}.tmp")
        try:
            draft.write_text(json.dumps(without_non_finite(content)))
            os.replace(draft, self._path)
        except OSError:
            # A passing error of the file system must not end the training.
            return
