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

from pipeline.config.places import with_absolute_paths, with_found_paths, with_real_paths
from pipeline.config.schema import build
from pipeline.config.yaml_files import read_yaml, yaml_text
from pipeline.files.atomic import write_json, write_text
from pipeline.training.checkpoint import CheckpointStore
from pipeline.training.settings import KEYS_FREE_TO_CHANGE, TrainConfig


class RunDirectory:
    """Paths and small files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointStore(path / "checkpoints")

    def read_config(self) -> TrainConfig:
        """The configuration the run was started with.

        Where the directory was moved together with what it was made from, that is found.
        Raises FileNotFoundError if this is not a run directory, ValueError if the file cannot
        be read.
        """
        file = self.path / "config.yaml"
        if not file.is_file():
            raise FileNotFoundError(f"no run at {self.path}: config.yaml is missing")
        try:
            values = read_yaml(file.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("it holds no keys")
            return build(TrainConfig, with_found_paths(values, self.path))
        except ValueError as error:
            raise ValueError(f"{file} cannot be read: {error}") from None

    def write_config(self, config: TrainConfig) -> None:
        """Write config.yaml, with absolute paths."""
        values = with_absolute_paths(json.loads(json.dumps(dataclasses.asdict(config))))
        write_text(self.path / "config.yaml", yaml_text(values))

    def read_json(self, name: str) -> Any:
        """A JSON file of the run, None if there is none or it cannot be read."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write_json(self, name: str, value: Any) -> None:
        write_json(self.path / name, value)

    def write_environment(self, environment: dict[str, Any]) -> None:
        write_json(self.path / "environment.json", environment)


def differing_keys(before: TrainConfig, now: TrainConfig) -> list[str]:
    """'key: old -> new' for keys that a continued run may not change; paths by their place."""
    old, new = (flatten(with_real_paths(dataclasses.asdict(each))) for each in (before, now))
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
