"""Loggers: experiment trackers that get the metrics of a run in addition to its own files.

Their interface, the built-in ones (Weights & Biases, MLflow), and those of other packages, by name.

W&B is off-line by default: RUN_DIR/wandb/ holds the files, and `wandb sync` uploads them from a
machine with a network. With WANDB_MODE=online the library uploads by itself. WANDB_PROJECT and its
other variables work as usual.

MLflow has a local database by default. Without MLFLOW_TRACKING_URI the store is RUN_DIR/mlflow.db,
which `mlflow ui` shows. A server that is set later gets all lines at the next start. The server
itself says which lines have arrived.

Both keep one run, whose id the run directory holds. TensorBoard only has event files there.
"""

import importlib.util
import math
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from orbit.core import plugins
from orbit.core.config.schema import suggestion
from orbit.core.files.atomic import read_json_object, write_json

Position = tuple[int, str]
"""Step and split of a line. Lines come in this order, because `train` sorts before `val`."""
ABOUT = frozenset({"step", "epoch", "split"})


class Line(NamedTuple):
    """A line of metrics.jsonl: its position, its finite numbers by `split/name`, seconds since
    1970."""

    position: Position
    numbers: Mapping[str, float]
    time: float | None


def as_line(values: Mapping[str, Any]) -> Line:
    """A line read from metrics.jsonl, without values that are not finite (these are text there)."""
    step, split = int(values["step"]), str(values["split"])
    numbers = {
        f"{split}/{name}": float(value)
        for name, value in values.items()
        if name not in ABOUT and isinstance(value, int | float) and math.isfinite(value)
    }
    return Line(
        (step, split), {"epoch": float(values["epoch"]), **numbers}, values.get("time/unix")
    )


class Tracker(Protocol):
    """One run of a tracker, used by one thread. Every method may raise any exception."""

    def last(self) -> Position | None:
        """The position of the last line that arrived, in this attempt or an earlier one."""

    def send(self, lines: Sequence[Line]) -> None:
        """Send lines after the last one, in order."""

    def close(self, is_finished: bool) -> None:
        """Called at the end of the trainer; unless `is_finished`, the run will be continued."""


@dataclass(frozen=True)
class Start:
    """The data with which a tracker starts. `settings` are the keys of the configuration. `attempt`
    counts restarts after a collapse, each of which is a separate run of the tracker."""

    run_dir: Path
    settings: Mapping[str, Any]
    attempt: int = 0

    @property
    def name(self) -> str:
        """The name of the tracker's run."""
        name = self.run_dir.absolute().name
        return name if self.attempt == 0 else f"{name}, attempt {self.attempt + 1}"

    def read_note(self, logger: str) -> dict[str, Any]:
        """The logger's note in the run directory from an earlier start of this attempt; empty if
        there is none.

        Raises errors of the operating system: without its note a run would be begun anew.
        """
        note = read_json_object(self.run_dir / note_file(logger)) or {}
        return note if note.get("attempt") == self.attempt else {}

    def is_owed(self, logger: str) -> bool:
        """Whether a logger's run was begun and has not all lines yet, as far as its note says."""
        try:
            note = self.read_note(logger)
        except OSError:
            return False
        return "id" in note and not note.get("complete")

    def write_note(self, logger: str, note: Mapping[str, Any]) -> None:
        """Save a note for the next start, on any machine."""
        write_json(self.run_dir / note_file(logger), {"attempt": self.attempt, **note})


def note_file(logger: str) -> str:
    """The file that holds the id of a logger's run."""
    return f"logger_{logger}.json"


WANDB = "wandb"
PROJECT = "orbit"


class WandbTracker:
    """See `Tracker`. The position of a line is noted before it is sent:
    after a crash a line may be missing, but none is sent twice."""

    def __init__(self, start: Start) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._start, self._note = start, start.read_note(WANDB)
        if "id" not in self._note:
            self._note = {"id": uuid.uuid4().hex[:16], "last": None}
            start.write_note(WANDB, self._note)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self._note["id"],
            name=start.name,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=str(start.run_dir),
            config=dict(start.settings),
            settings=wandb.Settings(console="off", silent=True, save_code=False),
        )
        if self._run.id != self._note["id"]:
            # The library returns a run that is still open in this process, such as one whose
            # server hung before the restart.
            raise RuntimeError(f"the run {self._run.id} of this process has not ended yet")

    def last(self) -> Position | None:
        last = self._note.get("last")
        return None if last is None else (int(last[0]), str(last[1]))

    def send(self, lines: Sequence[Line]) -> None:
        self._note = {**self._note, "last": list(lines[-1].position)}
        self._start.write_note(WANDB, self._note)
        for line in lines:
            self._run.log(dict(line.numbers), step=line.position[0])

    def close(self, is_finished: bool) -> None:
        if not is_finished:
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if is_finished else 1)
        self._start.write_note(WANDB, {**self._note, "complete": is_finished})


MLFLOW = "mlflow"
EXPERIMENT = "orbit"
LAST_TAG = "orbit.last_line"
MAX_METRICS, MAX_PARAMS, MAX_VALUE = 900, 100, 500
"""The most metrics and parameters that MLflow accepts at once, and the most characters of a
value."""
NOT_IN_NAMES = re.compile(r"[^\w/. -]")


class MlflowTracker:
    """See `Tracker`."""

    def __init__(self, start: Start) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient

        own_store = f"sqlite:///{start.run_dir.absolute() / 'mlflow.db'}"
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self._client: Any = MlflowClient(given or own_store)
        note = start.read_note(MLFLOW)
        if note.get("uri") != given or "id" not in note:
            # The store of another machine has different ids.
            note = {"uri": given, "id": self._new_run(start)}
            start.write_note(MLFLOW, note)
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
        self._start.write_note(MLFLOW, {**self._note, "complete": is_finished})


def safe_name(name: str) -> str:
    """A name in the characters that MLflow accepts: `psnr/(4, 0)` becomes `psnr/_4_ 0_`."""
    return NOT_IN_NAMES.sub("_", name)


def _parts(values: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while part := list(islice(values, size)):
        yield part


TENSORBOARD = "tensorboard"
"""TensorBoard writes files next to metrics.jsonl. It needs no thread here, because it has its
own."""

TRACKERS: dict[str, Callable[[Start], Tracker]] = {WANDB: WandbTracker, MLFLOW: MlflowTracker}
NEEDED = (WANDB, MLFLOW)
"""Loggers that need the package with their name; the extra with this name installs it."""


def check_loggers(names: Sequence[str]) -> None:
    """Raise ValueError for an unknown name, or one whose package is not installed."""
    known = [TENSORBOARD, *TRACKERS, *plugins.installed("loggers")]
    for name in names:
        if name not in known:
            raise ValueError(f"unknown logger {name!r}{suggestion(name, known)}")
        if name in NEEDED and importlib.util.find_spec(name) is None:
            raise ValueError(
                f"logger={name} needs the package {name}: pip install 'orbit-group-actions[{name}]'"
            )


def tracker_opener(name: str) -> Callable[[Start], Tracker]:
    """The function that opens a logger's run. For a package's logger (`orbit.loggers`) it is
    `make(start)` of its Kind."""

    def open_of_package(start: Start) -> Tracker:
        kind = plugins.load("loggers", name)
        if kind is None:
            raise ValueError(f"no installed package offers the logger {name!r}")
        tracker: Tracker = kind.make(start)
        return tracker

    return TRACKERS.get(name, open_of_package)


_print_error = threading.excepthook


def open_events(folder: Path, **options: Any) -> Any:
    """TensorBoard's SummaryWriter, with these options.

    It writes in a separate thread. An error of the operating system is raised by the next call of
    `add_scalar` or `flush`; the thread does not print it.
    """
    from torch.utils.tensorboard import SummaryWriter

    threading.excepthook = _pass_over_errors_of_writers
    return SummaryWriter(str(folder), **options)  # type: ignore[no-untyped-call]


def write_settings(writer: Any, settings: Mapping[str, Any]) -> None:
    """Fill the tab HPARAMS, which shows settings beside all scalars of the folder.

    Numbers, truth values and texts stay what they are; anything else becomes its text.
    """
    from torch.utils.tensorboard.summary import hparams

    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in settings.items()
    }
    # The first summary lists the metrics; without it TensorBoard takes all scalars there are.
    _, begin, end = hparams(plain, {})  # type: ignore[no-untyped-call]
    for summary in (begin, end):
        writer._get_file_writer().add_summary(summary)


def _pass_over_errors_of_writers(error: Any) -> None:
    is_writer = type(error.thread).__module__.startswith("tensorboard.")
    if not (is_writer and isinstance(error.exc_value, OSError)):
        _print_error(error)
