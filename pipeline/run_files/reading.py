"""Reading a run directory as plain values: its configuration and its metrics."""

import json
from pathlib import Path
from typing import Any

from orbit.core import plugins
from orbit.core.config.yaml_files import read_yaml

CONFIG_FILE = "config.yaml"
DATASET_FILE = "dataset.json"
"""The manifest of the dataset that a run was trained on."""


def read_config_values(run_dir: Path) -> dict[str, Any]:
    """The configuration that a run was started with, as it was written.

    Raises FileNotFoundError if this is not a run directory, ValueError if the file cannot be read
    or a plug-in that it names is missing.
    """
    file = run_dir / CONFIG_FILE
    try:
        values = read_yaml(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no keys")
        plugins.require(values.get("plugins"))
        return values
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"no run at {run_dir}: {CONFIG_FILE} is missing") from None
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


WALL_CLOCK_PREFIXES = ("speed/", "memory/", "time/")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics file; a line cut off by a crash is left out."""
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines


def without_wall_clock(line: dict[str, Any]) -> dict[str, Any]:
    """A line without the keys that depend on the clock."""
    return {key: value for key, value in line.items() if not key.startswith(WALL_CLOCK_PREFIXES)}
