"""Protects training from its loggers: none stops or slows it, each line arrives once and in order.

The real libraries are tried where they are installed (the extras `wandb` and `mlflow`).
"""

import errno
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
from helpers.training import StopAfter, make_config, never_stop
from helpers.waiting import PATIENCE_S, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.core.config.program import ExitWithCode
from pipeline import loggers
from pipeline.loggers import Line, Position, Start, WandbTracker, as_line, safe_name
from pipeline.run_files.reading import read_metrics
from pipeline.training import metrics_log
from pipeline.training.metrics_log import MAX_WAITING, BackgroundLogger
from pipeline.training.run import train
from pipeline.training.settings import TrainConfig

WORDS = ("epochs=2", "collapse.action=warn", "log_every=3", "checkpoint_every=10")


class Recorder:
    """A tracker that remembers, over its openings, and fails where it is told to."""

    def __init__(self, failures: Sequence[int] = ()) -> None:
        self.lines: list[Line] = []
        self.failures = set(failures)
        self.num_calls = self.num_opened = 0
        self.is_finished: bool | None = None

    def open(self) -> "Recorder":
        self.num_opened += 1
        return self

    def last(self) -> Position | None:
        return self.lines[-1].position if self.lines else None

    def send(self, lines: Sequence[Line]) -> None:
        self.num_calls += 1
        if self.num_calls in self.failures:
            raise ConnectionError("the server is away")
        self.lines += lines

    def close(self, is_finished: bool) -> None:
        self.is_finished = is_finished

    @property
    def positions(self) -> list[Position]:
        return [line.position for line in self.lines]


def write_lines(file: Path, steps: Sequence[int]) -> Iterator[Line]:
    """Lines of a log, each in the file before it is given."""
    with open(file, "a") as log:
        for step in steps:
            values = {"step": step, "epoch": 0, "split": "train", "loss/total": 1.0 / step}
            log.write(json.dumps(values) + "\n")
            log.flush()
            yield as_line(values)


def positions_of(file: Path) -> list[Position]:
    return [as_line(each).position for each in read_metrics(file)]


# The thread and its queue


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    failures=st.lists(st.integers(1, 20), max_size=6),
    room=st.integers(1, 5),
)
def test_whatever_fails_each_line_arrives_once_and_in_order(
    sizes: list[int], failures: list[int], room: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Over several starts, with a queue that is too small and a server that is away at times."""
    file = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    recorder, step = Recorder(failures), 0
    for size in [*sizes, 0]:
        logger = BackgroundLogger("fake", recorder.open, file, retry_s=0.0)
        logger._queue.maxsize = room
        for line in write_lines(file, range(step + 1, step + size + 1)):
            logger.put(line)
        step += size
        logger.close(True, PATIENCE_S)
        recorder.failures = {number for number in failures if number > recorder.num_calls + 3}
    assert recorder.positions == positions_of(file)[: len(recorder.positions)]
    recorder.failures = set()
    BackgroundLogger("fake", recorder.open, file).close(True, PATIENCE_S)
    assert recorder.positions == positions_of(file)


def test_a_tracker_that_hangs_keeps_nobody_waiting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither while lines come, nor at the end; in memory there are never more than the queue."""
    release = threading.Event()

    class Hanging(Recorder):
        def send(self, lines: Sequence[Line]) -> None:
            release.wait(PATIENCE_S)

    logger = BackgroundLogger("slow", Hanging().open, tmp_path / "metrics.jsonl")
    for line in write_lines(tmp_path / "metrics.jsonl", range(1, 3 * MAX_WAITING)):
        logger.put(line)
    assert logger._queue.qsize() <= MAX_WAITING
    assert logger._is_behind
    logger.close(False, 0.01)
    assert (
        "logger slow: it did not accept all lines in time; training continues"
        in capsys.readouterr().err
    )
    release.set()
    logger._thread.join(PATIENCE_S)
    assert not logger._thread.is_alive()


def test_nothing_is_sent_after_the_wait_is_over(tmp_path: Path) -> None:
    """The log may be another attempt's by then, and the tracker's note too."""
    has_begun, release = threading.Event(), threading.Event()

    class Hanging(Recorder):
        def send(self, lines: Sequence[Line]) -> None:
            has_begun.set()
            release.wait(PATIENCE_S)
            super().send(lines)

    file, hanging = tmp_path / "metrics.jsonl", Hanging()
    (first,) = write_lines(file, [1])
    logger = BackgroundLogger("slow", hanging.open, file)
    assert has_begun.wait(PATIENCE_S)
    for line in write_lines(file, range(2, 5)):
        logger.put(line)
    logger.close(False, 0.01)
    release.set()
    logger._thread.join(PATIENCE_S)
    assert not logger._thread.is_alive()
    assert hanging.positions == [first.position]
    assert hanging.is_finished is None


def test_a_fault_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(range(1, 10))
    logger = BackgroundLogger("fake", recorder.open, tmp_path / "metrics.jsonl", retry_s=0.0)
    for line in write_lines(tmp_path / "metrics.jsonl", range(1, 30)):
        logger.put(line)
        time.sleep(0.001)
    logger.close(True, PATIENCE_S)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "warning: logger fake: the server is away" in lines[0]


def test_what_is_no_number_stays_in_the_file_alone() -> None:
    values = {"step": 3, "epoch": 1, "split": "val", "a": float("nan"), "b": "inf", "c/d": 2}
    assert as_line(values) == Line((3, "val"), {"epoch": 1.0, "val/c/d": 2.0}, None)
    assert (3, "train") < (3, "val") < (4, "train")


# In a training


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setitem(loggers.TRACKERS, "fake", lambda start: recorder.open())
    return recorder


def with_fake(digits_dir: Path, run_dir: Path, *words: str) -> TrainConfig:
    return make_config(digits_dir, run_dir, *WORDS, "logger=[fake]", *words)


def test_a_run_that_is_stopped_and_continued_is_one(
    fake: Recorder, digits_dir: Path, tmp_path: Path
) -> None:
    """The second start goes back to a checkpoint, and what it does again is not sent again."""
    run_dir = tmp_path / "run"
    with pytest.raises(ExitWithCode):
        train(with_fake(digits_dir, run_dir), StopAfter(19))
    assert fake.is_finished is False
    # As after a crash: of the last checkpoint nothing is left.
    newest = max((run_dir / "checkpoints").glob("step_*"))
    for file in newest.iterdir():
        file.write_bytes(b"")
    before = list(fake.positions)
    train(with_fake(digits_dir, run_dir), never_stop())
    assert fake.positions[: len(before)] == before
    assert fake.positions == positions_of(run_dir / "metrics.jsonl")
    assert fake.is_finished is True
    assert not list(run_dir.glob("events.out*"))


def test_a_finished_run_that_is_told_again_sends_what_is_owed(
    fake: Recorder, digits_run: Path, digits_dir: Path, tmp_path: Path
) -> None:
    run_dir = Path(shutil.copytree(digits_run, tmp_path / "run"))
    words = ("epochs=1", "collapse.action=warn", "logger=[fake]")
    config = make_config(digits_dir, run_dir, *words)
    train(config, never_stop())
    assert fake.num_opened == 0
    Start(run_dir, {}).write_note("fake", {"id": "x"})
    train(config, never_stop())
    assert fake.positions == positions_of(run_dir / "metrics.jsonl")
    Start(run_dir, {}).write_note("fake", {"id": "x", "complete": True})
    train(config, never_stop())
    assert fake.num_opened == 1


def test_a_training_does_not_notice_a_logger_that_fails(
    digits_dir: Path, digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(start: Start) -> Recorder:
        raise RuntimeError("no such server")

    monkeypatch.setitem(loggers.TRACKERS, "fake", fail)
    monkeypatch.setattr(metrics_log, "FINISH_S", 0.1)
    words = ("epochs=1", "log_every=5", "checkpoint_every=17")
    result = train(with_fake(digits_dir, tmp_path / "run", *words), never_stop())
    wanted = json.loads((digits_run / "result.json").read_text())
    assert result["metrics"] == wanted["metrics"]


def test_restarts_after_a_collapse_are_runs_of_their_own(tmp_path: Path) -> None:
    first = Start(tmp_path, {})
    first.write_note("wandb", {"id": "x"})
    assert first.read_note("wandb")["id"] == "x"
    second = Start(tmp_path, {}, attempt=1)
    assert second.read_note("wandb") == {}
    assert second.name != first.name
    (tmp_path / "logger_wandb.json").write_text("torn")
    assert first.read_note("wandb") == {}


def test_a_note_that_cannot_be_read_just_now_is_not_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every line would be sent once more, as another run."""
    start = Start(tmp_path, {})
    start.write_note("wandb", {"id": "x"})

    def away(path: Path) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "read_bytes", away)
    with pytest.raises(OSError, match="Stale"):
        start.read_note("wandb")
    assert not start.is_owed("wandb")


def test_lines_do_not_go_into_the_run_of_another_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B gives the run that is open in a process, whatever id is asked for."""
    given = SimpleNamespace(id="first")
    library = SimpleNamespace(init=lambda **_: given, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", library)
    start = Start(tmp_path, {}, attempt=1)
    with pytest.raises(RuntimeError, match="the run first of this process has not ended yet"):
        WandbTracker(start)
    given.id = start.read_note("wandb")["id"]
    assert WandbTracker(start).last() is None


def test_names_are_checked_before_anything_is_written(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    for names, words in {
        "[tensorbord]": "unknown logger 'tensorbord'; did you mean 'tensorboard'",
        "[mlflow]": r"pip install 'orbit-group-actions\[mlflow\]'",
        "[mlflow,mlflow]": "must not name one twice",
    }.items():
        with pytest.raises(ValueError, match=words):
            train(make_config(digits_dir, tmp_path / "run", f"logger={names}"), never_stop())
    assert not (tmp_path / "run").exists()


# TensorBoard


def test_the_tab_of_settings_is_filled(digits_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(digits_run)).Reload()
    found = events.PluginTagToContent("hparams")
    content = HParamsPluginData.FromString(found["_hparams_/session_start_info"])
    settings = content.session_start_info.hparams
    assert settings["optimizer.learning_rate"].number_value == 1e-3
    assert settings["task.name"].string_value == "latent_action"
    assert "_hparams_/session_end_info" in found
    assert "train/loss/total" in events.Tags()["scalars"]


# The libraries themselves


def interrupted(digits_dir: Path, run_dir: Path, logger: str) -> list[Position]:
    """A run that was stopped, lost a checkpoint and went on; the lines of its log."""
    config = make_config(digits_dir, run_dir, *WORDS, f"logger=[{logger}]")
    with pytest.raises(ExitWithCode):
        train(config, StopAfter(19))
    for file in max((run_dir / "checkpoints").glob("step_*")).iterdir():
        file.write_bytes(b"")
    train(config, never_stop())
    return positions_of(run_dir / "metrics.jsonl")


def records_of(file: Path) -> Iterator[bytes]:
    """The records of one of W&B's off-line files: pieces in blocks of 32 KiB, as in a LevelDB log.

    Before each piece stand its checksum (4 bytes), length (2) and kind (1): whole, first, middle,
    last.
    """
    content, block, header = file.read_bytes(), 1 << 15, 7
    assert content[:4] == b":W&B"
    place, record = header, b""
    while place + header <= len(content):
        if block - place % block < header:
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + header : place + header + length]
        place += header + length
        if kind in (1, 4):
            yield record
            record = b""


def test_wandb_has_one_run_and_each_step_once(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setattr(metrics_log, "CLOSE_S", PATIENCE_S)
    monkeypatch.setattr(metrics_log, "FINISH_S", PATIENCE_S)
    lines = interrupted(digits_dir, tmp_path / "run", "wandb")
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    ids, steps = set(), list[int]()
    for file in files:
        for content in records_of(file):
            record = Record.FromString(content)
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                values = {item.key or item.nested_key[0]: item for item in record.history.item}
                steps.append(int(values["_step"].value_json))
    assert len(files) == 2
    assert len(ids) == 1
    assert steps == sorted({step for step, _ in lines})


@pytest.fixture(params=["file", "server"])
def mlflow_server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Set MLFLOW_TRACKING_URI to a store in a file, or to a server that answers over HTTP."""
    pytest.importorskip("mlflow")
    store = f"sqlite:///{tmp_path}/server.db"
    if request.param == "file":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        yield store
        return
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts")]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        wait_until(
            lambda: server.poll() is not None or answers(f"{uri}/health"),
            "MLflow's server does not answer",
        )
        assert server.poll() is None, (tmp_path / "server.log").read_text()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_mlflow_has_one_run_and_each_line_once(
    mlflow_server: str,
    digits_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(metrics_log, "CLOSE_S", PATIENCE_S)
    monkeypatch.setattr(metrics_log, "FINISH_S", PATIENCE_S)
    lines = interrupted(digits_dir, tmp_path / "run", "mlflow")
    client = MlflowClient(mlflow_server)
    (run,) = client.search_runs([client.get_experiment_by_name("orbit").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.learning_rate"] == "0.001"
    for split in ("train", "val"):
        history = client.get_metric_history(run.info.run_id, f"{split}/loss/total")
        assert sorted(metric.step for metric in history) == [
            step for step, of in lines if of == split
        ]


def test_names_that_mlflow_refuses_are_written_otherwise() -> None:
    assert safe_name("val/psnr/(4, 0)") == "val/psnr/_4_ 0_"
    assert safe_name("train/speed/samples_per_second") == "train/speed/samples_per_second"
