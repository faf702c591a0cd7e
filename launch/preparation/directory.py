"""What the launcher keeps beside a dataset that it prepares.

<out>.jobs/
  submissions/<name>/order.json           configuration, tasks and code of one submission
  submissions/<name>/failed/<task>.json   why a task failed
  jobs/                                   what was submitted, a file a job array
  logs/                                   output of the jobs, by job
  code/                                   snapshots of the code that was submitted
"""

import dataclasses
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from data_prep.settings import PrepareConfig
from pipeline.config.schema import build
from pipeline.files.atomic import write_json
from pipeline.files.listing import list_folder

SUBMISSIONS = "submissions"
ORDER_FILE = "order.json"
FAILED = "failed"


@dataclass(frozen=True)
class PrepareOrder:
    """What the jobs of a submission need to know: `tasks` maps a name to files of shards.

    `code` is the snapshot's path and `digest` its content; `time_limit_s` is None where
    a job has no limit; a job that was interrupted starts again up to `max_restarts` times.
    """

    config: PrepareConfig
    code: str
    digest: str
    tasks: dict[str, tuple[str, ...]]
    time_limit_s: float | None = None
    signal_before_s: float = 60.0
    max_restarts: int = 0


class JobsDirectory:
    """Paths and small files of a preparation."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f"{out.name}.jobs")
        self.code = self.path / "code"
        self.submissions = self.path / SUBMISSIONS

    def write_order(self, name: str, order: PrepareOrder) -> Path:
        """Write the order of a new submission; returns its folder."""
        folder = self.submissions / name
        folder.mkdir(parents=True)
        write_json(folder / ORDER_FILE, dataclasses.asdict(order))
        return folder

    def last_failures(self) -> dict[str, str]:
        """Why tasks of the latest submission failed, by their names."""
        orders = (folder / ORDER_FILE for folder in list_folder(self.submissions))
        written = filter(Path.is_file, orders)
        last = max(written, key=lambda path: path.stat().st_mtime, default=None)
        if last is None:
            return {}
        notes = list_folder(last.parent / FAILED, "*.json")
        return {path.stem: json.loads(path.read_text())["message"] for path in notes}


def read_order(folder: Path) -> PrepareOrder:
    """Read the order of a submission; FileNotFoundError or ValueError if that cannot be done."""
    path = folder / ORDER_FILE
    try:
        return build(PrepareOrder, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def note_failure(folder: Path, task: str, message: str) -> None:
    """Note why a task of a submission failed."""
    path = folder / FAILED / f"{task}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"message": message, "host": socket.gethostname(), "time": time.time()})
