"""Waiting says what it waits for and ends at a request to stop."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from helpers.waiting import wait_until as wait_for

from launch.cluster import slurm
from orbit.core.files import waiting
from orbit.core.files.waiting import StoppedWaiting, pause, wait_until
from pipeline.training import distributed as rendezvous


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(waiting.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(waiting.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_what_came_true_is_returned_at_once_and_in_silence(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wait_until(lambda: "there", "a file") == "there"
    assert clock.now == 100.0
    assert capsys.readouterr().out == ""


def test_after_two_seconds_it_says_for_what_and_again_each_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    wait_until(lambda: clock.now >= 101.5, "a file")
    assert capsys.readouterr().out == ""
    wait_until(lambda: clock.now >= 230.0, lambda: "the lock of host b")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["waiting for the lock of host b"] * len(lines)
    assert len(lines) == 3


def test_it_gives_up_after_its_time(clock: Clock) -> None:
    assert wait_until(lambda: 0, "nothing", timeout_s=7.0) == 0
    assert clock.now == pytest.approx(107.0)


def test_a_request_to_stop_ends_it_and_says_what_it_waited_for(clock: Clock) -> None:
    with pytest.raises(StoppedWaiting, match="while waiting for the others"):
        wait_until(lambda: False, "the others", should_stop=lambda: clock.now > 103)
    with pytest.raises(StoppedWaiting):
        pause(300, "the next try", should_stop=lambda: clock.now > 105)
    assert clock.now < 106


def ask_slurm() -> None:
    slurm.ask("squeue")


def join_without_a_launcher() -> None:
    rendezvous.join_process_group("gloo", 1, 2, lambda: False)


@pytest.mark.parametrize(
    ("call", "what"),
    [(ask_slurm, "squeue to answer"), (join_without_a_launcher, "the other ranks (rank 1 of 2)")],
)
def test_what_waits_by_itself_does_not_wait_in_silence(
    call: Callable[[], None], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def answer_late(*_: object, **__: object) -> SimpleNamespace:
        wait_for(lambda: bool(said))
        return SimpleNamespace(returncode=0, stdout="")

    for name in (rendezvous.RENDEZVOUS_FILE, rendezvous.HAS_AGENT_STORE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(waiting, "SAY_AFTER_S", 0.01)
    monkeypatch.setattr(waiting, "say", lambda line, error: said.append(line))
    monkeypatch.setattr(
        slurm, "subprocess", SimpleNamespace(run=answer_late, TimeoutExpired=TimeoutError)
    )
    monkeypatch.setattr(rendezvous.dist, "init_process_group", answer_late)
    call()
    assert len(said) == 1
    assert said[0].startswith(f"waiting for {what}")
