"""A program that is told to stop puts its files in order, whatever the signal."""

import os
import signal
from collections.abc import Iterator

import pytest

from orbit.core.config.program import run_program
from orbit.core.signals import STOP_SIGNALS, EndedBySignal, ending_cleanly

OTHERS = [number for number in STOP_SIGNALS if number != signal.SIGINT]


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    """As a program finds them; the test process gets its own back."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in OTHERS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", OTHERS)
def test_a_signal_ends_a_program_through_its_cleaning_up(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal that is closed, a scheduler, a limit of processor time: no lock stays behind."""
    done = []

    def main(words: list[str]) -> None:
        try:
            os.kill(os.getpid(), number)
        finally:
            done.append("put in order")

    monkeypatch.setattr("sys.argv", ["prepare.py"])
    with pytest.raises(SystemExit) as ended:
        run_program(main, "")
    assert ended.value.code == 128 + number
    assert done == ["put in order"]
    assert f"prepare.py: ended by {number.name}" in capsys.readouterr().err
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_hang_up_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending_cleanly():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_handlers_that_a_trainer_installs_stay_to_the_end() -> None:
    """It may be told to stop while it leaves; it has saved, and ends as finished."""
    noted: list[int] = []
    with ending_cleanly():
        signal.signal(signal.SIGTERM, lambda number, _: noted.append(number))
    os.kill(os.getpid(), signal.SIGTERM)
    assert noted == [signal.SIGTERM]


def test_a_second_signal_is_not_held_up_by_cleaning_up() -> None:
    def clean_up() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            for number in OTHERS:
                assert signal.getsignal(number) is signal.SIG_DFL

    with pytest.raises(EndedBySignal), ending_cleanly():
        clean_up()


def test_a_forked_worker_ends_as_without_it() -> None:
    """A pool ends its workers by TERM: they must not run their parent's cleaning up."""
    with ending_cleanly():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(3)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM
