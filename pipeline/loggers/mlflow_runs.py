"""MLflow: one run, whose id the run directory holds, in a local database by default.

Without MLFLOW_TRACKING_URI the store is RUN_DIR/mlflow.db, which `mlflow ui` shows. A server that
is set later gets all lines at the next start. The server itself says which lines have arrived.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from pipeline.loggers.interface import Line, Position, Start

NAME = "mlflow"
EXPERIMENT = "orbit"
LAST_TAG = "orbit.last_line"
MAX_METRICS, MAX_PARAMS, MAX_VALUE = 900, 100, 500
"""The most metrics and parameters that MLflow accepts at once, and the most characters of a
value."""
NOT_IN_NAMES = re.compile(r"[^\w/. -]")


class MlflowTracker:
    """See `pipeline.loggers.interface.Tracker`."""

    def __init__(self, start: Start) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient

        own_store = f"sqlite:///{start.run_dir.absolute() / 'mlflow.db'}"
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self._client: Any = MlflowClient(given or own_store)
        note = start.read_note(NAME)
        if note.get("uri") != given or "id" not in note:
            # The store of another machine has different ids.
            note = {"uri": given, "id": self._new_run(start)}
            start.write_note(NAME, note)
        self._start, self._note = start, note
        self._id: str = note["id"]
        self._time = time.time()
        self._client.update_run(self._id, status="RUNNING")

    def _new_run(self, start: Start) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        run_id: str = self._client.create_run(number, run_name=start.name).info.run_id
        values = ((safe_name(key), str(value)[:MAX_VALUE]) for key, value in start.settings.items())
        for part in _parts((Param(*each) for each in values), MAX_PARAMS):
            self._client.log_batch(run_id, params=part)
        return run_id

    def last(self) -> Position | None:
        tag = self._client.get_run(self._id).data.tags.get(LAST_TAG)
        if tag is None:
            return None
        step, _, split = tag.partition(" ")
        return int(step), split

    def send(self, lines: Sequence[Line]) -> None:
        from mlflow.entities import Metric

        metrics: list[Any] = []
        for line, following in zip(lines, [*lines[1:], None], strict=True):
            self._time = line.time or self._time
            metrics += [
                Metric(safe_name(name), value, int(1000 * self._time), line.position[0])
                for name, value in line.numbers.items()
            ]
            if following is None or len(metrics) + len(following.numbers) > MAX_METRICS:
                self._write(metrics, line.position)
                metrics = []

    def _write(self, metrics: Sequence[Any], last: Position) -> None:
        """Whole lines in one request, together with how far they come: each request takes a
        server's time, whatever is in it."""
        from mlflow.entities import RunTag

        parts = list(_parts(iter(metrics), MAX_METRICS))
        for number, part in enumerate(parts, 1):
            tags = [RunTag(LAST_TAG, f"{last[0]} {last[1]}")] if number == len(parts) else []
            self._client.log_batch(self._id, metrics=part, tags=tags)

    def close(self, is_finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if is_finished else "KILLED")
        self._start.write_note(NAME, {**self._note, "complete": is_finished})


def safe_name(name: str) -> str:
    """A name in the characters that MLflow accepts: `psnr/(4, 0)` becomes `psnr/_4_ 0_`."""
    return NOT_IN_NAMES.sub("_", name)


def _parts(values: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while part := list(islice(values, size)):
        yield part
