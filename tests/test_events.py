"""Protects event files: what their thread cannot write is raised where it is waited for, once."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline import loggers
from pipeline.evaluation import evaluate_run as tensorboard
from pipeline.loggers import open_events


class NoSpace:
    """Takes the place of a file that has no room left."""

    def write(self, data: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def fill_disk(writer: Any) -> Any:
    writer._get_file_writer().event_writer._async_writer._writer = NoSpace()
    writer._get_file_writer().event_writer._async_writer._worker._record_writer = NoSpace()
    return writer


def test_an_error_of_the_thread_is_raised_and_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = fill_disk(open_events(tmp_path))

    def add() -> None:
        writer.add_scalar("loss", 1.0, 1)
        writer.flush()

    with pytest.raises(OSError, match="No space"):
        add()
    assert "Traceback" not in capsys.readouterr().err


def test_events_of_an_evaluation_are_not_cut_off_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_on_full_disk(*words: Any, **options: Any) -> Any:
        return fill_disk(open_events(*words, **options))

    monkeypatch.setattr(tensorboard, "open_events", open_on_full_disk)
    with pytest.raises(OSError, match="No space"):
        tensorboard.write_events(tmp_path, 1, "test", {"loss/total": 1.0})


def test_bugs_in_threads_are_printed_as_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the writer's errors of the operating system are left to the caller."""
    monkeypatch.setattr(loggers, "_print_error", threading.__excepthook__)  # not pytest's own
    open_events(tmp_path).close()

    def fail() -> None:
        raise OSError("of another thread")

    thread = threading.Thread(target=fail)
    assert threading.excepthook.__module__ == "pipeline.loggers"
    thread.start()
    thread.join()
    assert "of another thread" in capsys.readouterr().err
