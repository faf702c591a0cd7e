"""The run directory: what a run leaves behind, and whether a new start may continue it.

run_dir/
  config.yaml              resolved configuration
  environment.json         versions, commit, hardware, threads
  metrics.jsonl            one line per logged step and validation
  events.out.tfevents.*    the same for TensorBoard
  checkpoints/             see `checkpoint.py`
  evaluations/             written by `pipeline/evaluate.py`, with orbits.png beside
  heartbeat.json           where the run is, rewritten every few seconds
  restarts.json            only after a collapse that was restarted
  result.json              written last: the run is finished
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.schema import build
from pipeline.files.atomic import TEMPORARY_SUFFIX, write_json, write_text
from pipeline.training.checkpoint import CheckpointStore
from pipeline.training.settings import KEYS_FREE_TO_CHANGE, TrainConfig

WRITTEN = (
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "heartbeat.json",
    "restarts.json",
    "result.json",
)
"""Files of the trainer: what replaces them is written beside them first."""

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the C one is ten times as fast


class RunDirectory:
    """Paths and small files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointStore(path / "checkpoints")

    def read_config(self) -> TrainConfig:
        """The configuration the run was started with.

        Raises FileNotFoundError if this is not a run directory, ValueError if the
        file cannot be read.
        """
        file = self.path / "config.yaml"
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"no run at {self.path}: config.yaml is missing") from None
        except ValueError as error:
            raise ValueError(f"{file} cannot be read: {error}") from None
        try:
            return build(TrainConfig, yaml.safe_load(text))
        except (ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from None

    def write_config(self, config: TrainConfig) -> None:
        values = json.loads(json.dumps(dataclasses.asdict(config)))
        text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        write_text(self.path / "config.yaml", text)

    def read_json(self, name: str) -> Any:
        """A JSON file of the run, None if there is none.

        Raises ValueError for one that is no JSON, and whatever the operating system says:
        a file that cannot be read just now is not one that was never written.
        """
        file = self.path / name
        try:
            return json.loads(file.read_text(encoding="utf-8"))
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
        """Delete what a crash left half-written: drafts of the files above."""
        for name in WRITTEN:
            for draft in self.path.glob(f".{name}.*{TEMPORARY_SUFFIX}"):
                draft.unlink(missing_ok=True)
        self.checkpoints.clear_leftovers()

    def write_environment(self, environment: dict[str, Any]) -> None:
        write_json(self.path / "environment.json", environment)


def differing_keys(before: TrainConfig, now: TrainConfig) -> list[str]:
    """'key: old -> new' for keys that a continued run may not change."""
    old, new = flatten(dataclasses.asdict(before)), flatten(dataclasses.asdict(now))
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
