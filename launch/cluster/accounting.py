"""What SLURM's accounting (sacct) remembers of jobs that SLURM itself has forgotten.

squeue knows an ended job for some minutes, and nothing of a task of an array that was cancelled
before it began. Many clusters keep no accounts, so this is only a further source: without an
answer, or with one that comes late, nothing is known and nothing fails.
"""

import functools
import re
import time
from collections.abc import Collection, Iterator, Sequence

from launch.cluster import slurm
from launch.cluster.submission import JobRecord

TIMEOUT_S = 10.0
"""Seconds to wait for sacct. Its database may be far away, or down."""
PAUSE_S = 60.0
"""Seconds between two questions; a status that is watched is read every few seconds."""
TASKS = re.compile(r"(?P<job>\d+)_(?:\[(?P<several>[^\]%]*)(?:%\d+)?\]|(?P<one>\d+))$")


class Accounting:
    """Asks sacct for ended jobs: at most once a minute, and never again after it gave no answer."""

    def __init__(self) -> None:
        self._is_silent = False
        self._asked: float | None = None
        self._states: dict[tuple[str, str, int | None], str] = {}

    def ended(self, records: Sequence[JobRecord], tasks: Collection[str]) -> dict[str, str]:
        """How the jobs of these tasks ended, as far as sacct knows; each task's newest record
        counts."""
        newest = {
            task: record
            for record in sorted(records, key=lambda record: record.submitted)
            for task in record.tasks
            if task in tasks
        }
        wanted = {
            task: (record.job_id, record.name, record.tasks.index(task))
            for task, record in newest.items()
            if record.cluster == "slurm" and record.job_id is not None
        }
        unknown = {job for job, name, index in wanted.values() if not self._knows(job, name, index)}
        if unknown:
            self._ask(sorted(unknown))
        found = {
            task: self._states.get((job, name, index)) or self._states.get((job, name, None))
            for task, (job, name, index) in wanted.items()
        }
        return {task: state for task, state in found.items() if state is not None}

    def _knows(self, job: str, name: str, index: int) -> bool:
        return (job, name, index) in self._states or (job, name, None) in self._states

    def _ask(self, jobs: Sequence[str]) -> None:
        now = time.monotonic()
        if self._is_silent or (self._asked is not None and now - self._asked < PAUSE_S):
            return
        try:
            answer = slurm.ask_within(
                TIMEOUT_S,
                {"SLURM_BITSTR_LEN": "0"},  # task lists of arrays in full
                "sacct",
                "--allocations",
                "--noheader",
                "--parsable2",
                "--format=JobID,State,JobName",
                f"--jobs={','.join(jobs)}",
            )
        except slurm.SlurmError:
            self._is_silent = True
            return
        self._asked = time.monotonic()
        for line in answer.splitlines():
            self._read(line)

    def _read(self, line: str) -> None:
        job, _, rest = line.strip().partition("|")
        said, _, name = rest.partition("|")
        state = said.split(" ")[0]  # "CANCELLED by 1001"
        if not state or state in slurm.LIVE_STATES:
            return
        match = TASKS.match(job)
        if match is None:
            self._states[job, name, None] = state
            return
        for index in indices_of(match["several"] or match["one"]):
            self._states[match["job"], name, index] = state


def indices_of(text: str) -> Iterator[int]:
    """The numbers in a list such as `0,3-5,10-20:5`; parts that are no numbers are left out."""
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match is not None:
            first, last, step = match.groups()
            yield from range(int(first), int(last or first) + 1, int(step or 1))


@functools.cache
def accounting() -> Accounting:
    """That of this process."""
    return Accounting()
