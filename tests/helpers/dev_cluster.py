"""The SLURM of `slurm/dev_cluster.sh`, for tests that start jobs."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers.programs import REPOSITORY
from helpers.waiting import PATIENCE_S

SCRIPT = REPOSITORY / "slurm" / "dev_cluster.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def search_path() -> str:
    """PATH with the folders of system programs, which an ordinary user's may lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), SYSTEM_FOLDERS])


def dev_cluster_reason() -> str | None:
    """Why SLURM cannot be started here; None if it can."""
    if os.geteuid() != 0:
        return "needs root, which starts SLURM's daemons"
    missing = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if missing:
        return f"needs {', '.join(missing)}: slurm/dev_cluster.sh start --install"
    return None


class DevCluster:
    """Starts, uses and stops one cluster; its state lies in a folder of its own."""

    def __init__(self, state: Path | None = None) -> None:
        """Without `state`: the folder that the script uses by default."""
        self._options = [] if state is None else ["--state", str(state)]
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))
        }
        self.environment["PATH"] = search_path()

    def start(self) -> bool:
        """Start it, or use the one that serves; whether it was started here, so is ours to stop."""
        was_up = self._script("status").returncode == 0
        done = self._script("start")
        assert done.returncode == 0, f"dev_cluster.sh start: {done.stderr}"
        exported = re.search(r"^export SLURM_CONF=(.+)$", done.stdout, re.MULTILINE)
        assert exported, f"no SLURM_CONF in: {done.stdout}"
        self.environment["SLURM_CONF"] = exported[1]
        return not was_up

    def stop(self) -> None:
        """Kill all jobs and stop."""
        self._check("stop")

    def kill_node(self, node: str) -> None:
        """Kill everything that runs on a node at once."""
        self._check("kill-node", node)

    def start_node(self, node: str) -> None:
        """Bring a killed node back; it serves a moment later."""
        self._check("start-node", node)

    def run(
        self, command: Sequence[str], cwd: Path = REPOSITORY, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that may talk to this SLURM."""
        return subprocess.run(
            list(command),
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def sbatch(self, *words: str, cwd: Path = REPOSITORY) -> str:
        """Submit a job; options and script as sbatch takes them. Returns its id."""
        done = self.run(["sbatch", "--parsable", *words], cwd=cwd)
        assert done.returncode == 0, f"sbatch: {done.stderr}"
        return done.stdout.strip().split(";")[0]

    def job(self, job_id: str) -> dict[str, str]:
        """What SLURM says about a job: JobState, Restarts, NodeList, ...; empty if unknown.

        Of an array the fields of the first task in SLURM's list.
        """
        done = self.run(["scontrol", "--oneliner", "show", "job", job_id])
        words = done.stdout.partition("\n")[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job_id: str) -> str:
        """PENDING, RUNNING, COMPLETING, COMPLETED, CANCELLED, ...; empty if unknown."""
        return self.job(job_id).get("JobState", "")

    def restarts(self, job_id: str) -> int:
        """How often SLURM has put the job back into the queue."""
        return int(self.job(job_id).get("Restarts", 0))

    def queue(self) -> list[str]:
        """Ids of the jobs that wait or run, one for each task of an array."""
        done = self.run(["squeue", "--noheader", "--array", "--format=%i"])
        assert done.returncode == 0, f"squeue: {done.stderr}"
        return done.stdout.split()

    def cancel_all(self, timeout_s: float = PATIENCE_S) -> None:
        """Cancel every job, whoever started it, and wait until the nodes are free again.

        Only for a cluster that nobody else uses: one with a `state` of its own.
        """
        for job_id in self.queue():
            self.run(["scancel", job_id])
        self.wait_until(lambda: not self.queue(), timeout_s)

    def wait_until(
        self, condition: Callable[[], object], timeout_s: float = PATIENCE_S, every_s: float = 0.5
    ) -> None:
        """Wait until the condition holds; fails with the queue's content after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                jobs = self.run(["squeue"]).stdout
                raise AssertionError(f"not within {timeout_s} s; the queue:\n{jobs}")
            time.sleep(every_s)

    def _script(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(["bash", str(SCRIPT), *words, *self._options])

    def _check(self, *words: str) -> None:
        done = self._script(*words)
        assert done.returncode == 0, f"dev_cluster.sh {' '.join(words)}: {done.stderr}"
