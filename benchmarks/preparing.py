"""One preparation by the program, timed from its start to its end."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from measuring import say

from orbit.core.store.manifest import Manifest, read_manifest

PROGRAM = Path(__file__).resolve().parents[1] / "data_prep" / "prepare.py"
NUM_WORKERS = 2


class Preparation(NamedTuple):
    """Seconds from start to end, what was made, and the peak memory of any one process in MiB."""

    seconds: float
    manifest: Manifest
    peak_mib: float

    @property
    def num_frames(self) -> int:
        return sum(split.num_frames for split in self.manifest.splits.values())

    @property
    def num_records(self) -> int:
        return sum(split.num_records for split in self.manifest.splits.values())


def prepare(out: Path, words: list[str]) -> Preparation:
    """Prepare a dataset anew; ValueError with the program's last line if it fails."""
    shutil.rmtree(out, ignore_errors=True)
    say(" ".join(words[:2]))
    started = time.perf_counter()
    command = [sys.executable, str(PROGRAM), *words, f"out={out}", f"num_workers={NUM_WORKERS}"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(complaint.strip().splitlines()[-1])
    elapsed = time.perf_counter() - started
    return Preparation(elapsed, read_manifest(out), usage.ru_maxrss / 1024)
