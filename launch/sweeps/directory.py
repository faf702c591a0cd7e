"""The sweep directory.

sweep_dir/
  sweep.yaml       the words and the resolved sweep and cluster of the last call
  plan.json        the runs of the sweep: varied values by name
  runs/<name>/     run directories, with launch.json and attempts/ of the launcher
  jobs/            what was submitted, a file a job array
  logs/            output of the jobs, by job
  code/            snapshots of the code that was submitted
  optuna.journal   trials of an Optuna search, with search_order.json and, at its end, search.json
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config.yaml_files import yaml_text
from pipeline.files.atomic import write_json, write_text

PLAN_FILE = "plan.json"


class SweepDirectory:
    """Paths and small files of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.runs = self.path / "runs"
        self.code = self.path / "code"

    def exists(self) -> bool:
        """Whether a sweep was planned here."""
        return (self.path / PLAN_FILE).exists()

    def write_request(self, words: Sequence[str], sweep: Any, cluster: Any) -> None:
        """Write sweep.yaml."""
        values = {
            "words": list(words),
            "sweep": dataclasses.asdict(sweep),
            "cluster": dataclasses.asdict(cluster),
        }
        plain = json.loads(json.dumps(values))
        write_text(self.path / "sweep.yaml", yaml_text(plain))

    def write_plan(self, values_by_run: dict[str, dict[str, Any]]) -> None:
        """Write plan.json."""
        write_json(self.path / PLAN_FILE, {"runs": values_by_run})

    def read_plan(self) -> dict[str, dict[str, Any]]:
        """Varied values by run name; FileNotFoundError if there is no sweep here."""
        try:
            plan = json.loads((self.path / PLAN_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"no sweep at {self.path}: {PLAN_FILE} is missing") from None
        except ValueError:
            raise ValueError(f"{self.path / PLAN_FILE} cannot be read") from None
        runs: dict[str, dict[str, Any]] = plan["runs"]
        return runs
