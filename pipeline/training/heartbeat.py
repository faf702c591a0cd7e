"""heartbeat.json: where a run is, rewritten every few seconds while it trains.

It is for those who look from outside (`launch/status.py`); no result depends on it.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.files.atomic import without_non_finite
from pipeline.files.processes import describe_process

HEARTBEAT_FILE = "heartbeat.json"
EVERY_S = 5.0


class Heartbeat:
    """Context manager that writes what `read` returns, with time, process and job."""

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
            # A file system that is away for a moment must not end the training.
            return
