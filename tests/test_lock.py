"""One writer per directory: a living owner keeps its lock, a dead one does not keep others out."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.programs import start_python

from orbit.core.files import lock as lock_module
from orbit.core.files import lock as processes
from orbit.core.files import waiting
from orbit.core.files.lock import DirectoryLock, LostLockError, describe_process
from orbit.core.files.waiting import StoppedWaiting

ELSEWHERE = {"boot": "another-machine"}


class Clock:
    """A monotonic clock that moves when somebody sleeps; `at` makes things happen on the way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.at: list[tuple[float, Any]] = []
        for module in (waiting.time, lock_module.time):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(waiting.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for due, event in list(self.at):
            if self.now >= due:
                self.at.remove((due, event))
                event()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def write_owner(folder: Path, **changes: Any) -> Path:
    """The lock of an owner that differs from this process in some ways."""
    folder.mkdir(exist_ok=True)
    owner = {**describe_process(os.getpid()), "token": "its own", **changes}
    (folder / ".lock").write_text(json.dumps(owner))
    return folder / ".lock"


def test_a_living_owner_of_this_host_is_seen_at_once(tmp_path: Path, clock: Clock) -> None:
    with (
        DirectoryLock(tmp_path, "trainers"),
        pytest.raises(ValueError, match=f"in use by process {os.getpid()} on .* two trainers"),
    ):
        DirectoryLock(tmp_path, "trainers").acquire()
    assert clock.now == 1000.0
    assert not (tmp_path / ".lock").exists()


def test_a_dead_owner_of_this_host_is_seen_at_once(tmp_path: Path, clock: Clock) -> None:
    write_owner(tmp_path, process_start="1")
    with DirectoryLock(tmp_path, "trainers"):
        assert clock.now == 1000.0


@pytest.mark.parametrize(
    "changes",
    [
        {"boot": "another-machine"},
        {"pid_namespace": "pid:[42]"},
        {"boot": "another-machine", "host": "another-host"},
        {"boot": ""},
    ],
    ids=["machine of the same name", "container", "another host", "no boot id"],
)
def test_an_owner_that_cannot_be_seen_counts_as_dead_only_after_it_was_watched(
    tmp_path: Path, clock: Clock, changes: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_owner(tmp_path, process_start="1", **changes)
    # However old it looks by a clock of its own or of the file server.
    os.utime(path, (1.0, 1.0))
    with DirectoryLock(tmp_path, "trainers") as lock:
        assert clock.now > 1000 + lock_module.STALE_AFTER_S
        lock.check_owned()
    assert "waiting for process" in capsys.readouterr().out


@pytest.mark.parametrize("modified", [1.0, 4e9], ids=["clock behind", "clock ahead"])
def test_an_owner_that_touches_its_lock_lives_whatever_the_clocks_say(
    tmp_path: Path, clock: Clock, modified: float
) -> None:
    path = write_owner(tmp_path, **ELSEWHERE)
    os.utime(path, (modified, modified))
    clock.at.append((1004.0, lambda: os.utime(path, (modified + 5, modified + 5))))
    with pytest.raises(ValueError, match="is in use"):
        DirectoryLock(tmp_path, "trainers").acquire()
    assert clock.now < 1010
    assert json.loads(path.read_text())["token"] == "its own"


def test_another_owner_in_between_starts_the_watch_again(tmp_path: Path, clock: Clock) -> None:
    write_owner(tmp_path, **ELSEWHERE)
    clock.at.append((1050.0, lambda: write_owner(tmp_path, token="a third one", **ELSEWHERE)))
    with DirectoryLock(tmp_path, "trainers"):
        assert clock.now > 1050 + lock_module.STALE_AFTER_S


def test_a_lock_that_says_nothing_is_watched_too(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / ".lock").write_bytes(b"\xff{")
    with DirectoryLock(tmp_path, "trainers"):
        assert clock.now > 1000 + lock_module.STALE_AFTER_S


def test_the_wait_ends_when_the_owner_lets_go(tmp_path: Path, clock: Clock) -> None:
    path = write_owner(tmp_path, **ELSEWHERE)
    clock.at.append((1003.0, path.unlink))
    with DirectoryLock(tmp_path, "trainers"):
        assert clock.now < 1010


def test_the_wait_ends_at_a_request_to_stop(tmp_path: Path, clock: Clock) -> None:
    path = write_owner(tmp_path, **ELSEWHERE)
    lock = DirectoryLock(tmp_path, "trainers", should_stop=lambda: clock.now > 1005)
    with pytest.raises(StoppedWaiting, match="which may have ended"):
        lock.acquire()
    lock.release()
    assert path.exists()


def test_an_owner_that_lost_its_lock_finds_out_and_leaves_the_new_one(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path, "trainers")
    first.acquire()
    first.check_owned()
    write_owner(tmp_path, pid=77, host="node9")
    with pytest.raises(LostLockError, match="taken over by process 77 on node9"):
        first.check_owned()
    first._touch()
    first.release()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == 77


def test_a_lock_that_vanished_is_lost(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, "trainers") as lock:
        lock.path.unlink()
        with pytest.raises(LostLockError, match="an unknown process"):
            lock.check_owned()


def test_the_owner_keeps_changing_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DirectoryLock(tmp_path, "trainers") as lock:
        os.utime(lock.path, (1.0, 1.0))
        before = lock_module._look(lock.path)
        lock._touch()
        assert lock_module._look(lock.path) != before
        # Some file systems keep no times: then the file itself changes.
        monkeypatch.setattr(os, "utime", lambda *_, **__: None)
        before = lock_module._look(lock.path)
        lock._touch()
        assert lock_module._look(lock.path) != before
        lock.check_owned()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with DirectoryLock(tmp_path, "trainers") as lock:
        lock.check_owned()
        with pytest.raises(ValueError, match="is in use"):
            DirectoryLock(tmp_path, "trainers").acquire()
    assert os.listdir(tmp_path) == []
    write_owner(tmp_path, process_start="1")
    with DirectoryLock(tmp_path, "trainers"):
        pass


def test_a_link_that_a_file_server_made_and_denied_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def twice(*words: Any) -> None:
        real(*words)
        real(*words)

    monkeypatch.setattr(os, "link", twice)
    with DirectoryLock(tmp_path, "trainers") as lock:
        lock.check_owned()


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError, match="Permission denied") as error:
        DirectoryLock(tmp_path, "trainers").acquire()
    assert error.value.filename == str(tmp_path / ".lock")


def test_of_many_who_want_an_abandoned_lock_one_gets_it(tmp_path: Path) -> None:
    for _ in range(20):
        write_owner(tmp_path, process_start="1")
        gate = threading.Barrier(6)
        held: list[DirectoryLock] = []
        lock_of = [DirectoryLock(tmp_path, "trainers") for _ in range(6)]

        def take(lock: DirectoryLock, gate: Any = gate, held: Any = held) -> None:
            gate.wait()
            if lock.try_acquire():
                held.append(lock)

        threads = [threading.Thread(target=take, args=(lock,)) for lock in lock_of]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        owners = []
        for lock in held:
            with contextlib.suppress(LostLockError):
                lock.check_owned()
                owners.append(lock)
        assert len(owners) <= 1
        for lock in held:
            lock.release()
        if not held:
            continue
        assert len(owners) == 1


def test_drafts_of_the_killed_are_swept(tmp_path: Path) -> None:
    draft = tmp_path / "..lock.0123456789ab.tmp"
    draft.touch()
    with DirectoryLock(tmp_path, "trainers"):
        assert not draft.exists()


HOLD = """
import sys, time
from pathlib import Path
from orbit.core.files.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1]), "trainers"):
    print("held", flush=True)
    time.sleep(300)
"""


def test_a_process_that_was_killed_lets_go(tmp_path: Path) -> None:
    process = start_python(HOLD, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"process {process.pid}"):
        DirectoryLock(tmp_path, "trainers").acquire()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with DirectoryLock(tmp_path, "trainers"):
        pass


def test_a_process_of_a_container_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unshare = shutil.which("unshare")
    words = [unshare or "", "--pid", "--fork", "--mount-proc"]
    if unshare is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("no PID namespaces can be made here")
    monkeypatch.setattr(lock_module, "TOUCH_EVERY_S", 0.5)
    code = f"from orbit.core.files import lock; lock.TOUCH_EVERY_S = 0.5\n{HOLD}"
    process = start_python(code, str(tmp_path), before=words)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="is in use"):
            DirectoryLock(tmp_path, "trainers").acquire()
    finally:
        process.kill()
        process.wait()


def test_what_names_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    here = describe_process(os.getpid())
    assert processes.can_see(here)
    assert processes.is_running(here)
    for change in (ELSEWHERE, {"pid_namespace": "pid:[42]"}):
        assert not processes.can_see({**here, **change})
        assert not processes.is_running({**here, **change})
    without = {key: value for key, value in here.items() if key != "pid_namespace"}
    assert processes.is_running(without)
    monkeypatch.setattr(processes, "_boot_id", lambda: "")
    assert not processes.can_see(describe_process(os.getpid()))
