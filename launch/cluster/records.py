"""Records of submitted jobs: one file for each job array, `<base>/jobs/<name>.json`.

The file is written before the submission and again, with the job's id, after it: a submission that
was interrupted in between is found by its name.
"""

import dataclasses
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbit.core.config.schema import read_json_as
from orbit.core.files.atomic import write_json
from orbit.core.files.listing import list_folder
from orbit.core.files.lock import is_running

JOBS = "jobs"


@dataclass(frozen=True)
class JobRecord:
    """A job array (task i works on `tasks[i]`), or workers on this machine that share `tasks`.

    `kind` is train, evaluate, prepare or search; `processes` describes local workers.
    """

    name: str
    kind: str
    cluster: str
    tasks: tuple[str, ...]
    submitted: float
    job_id: str | None = None
    processes: tuple[dict[str, Any], ...] = ()

    def is_alive_here(self) -> bool:
        """Whether one of its workers runs on this machine."""
        return any(is_running(process) for process in self.processes)


def new_name(label: str) -> str:
    """A unique name for a job."""
    safe = "".join(letter if letter.isalnum() else "-" for letter in label)[:30]
    return f"orbit-{safe}-{uuid.uuid4().hex[:8]}"


def write_record(base: Path, record: JobRecord) -> Path:
    """Write or rewrite a record; returns its path."""
    path = base / JOBS / f"{record.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dataclasses.asdict(record))
    return path


def read_record(path: Path) -> JobRecord:
    """Read one record; ValueError if it cannot be read."""
    return read_json_as(JobRecord, path)


def read_records(base: Path, kinds: Sequence[str] = ()) -> list[JobRecord]:
    """All records below `base`, oldest first, of the given kinds (all if none is given)."""
    records = [read_record(path) for path in list_folder(base / JOBS, "orbit-*.json")]
    chosen = [record for record in records if not kinds or record.kind in kinds]
    return sorted(chosen, key=lambda record: record.submitted)
