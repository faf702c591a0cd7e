"""Protects what a log shows of progress: little, and nothing at all where it was told so."""

import pytest

from orbit.core import progress
from orbit.core.progress import Progress


def run(total: int = 5, **settings: bool) -> None:
    with Progress(total, "files", "reading", **settings) as shown:
        for _ in shown.over(range(total)):
            pass


def test_a_log_gets_lines_only_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "LINE_EVERY_S", -1.0)
    run()
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"reading: {n}/5 files" for n in range(1, 6)]
    assert err == ""
    run(enabled=False)
    run(lines=False)
    assert capsys.readouterr() == ("", "")


def test_named_parts_give_their_results_in_order(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", -1.0)
    with Progress(2, "parts", "working") as shown:
        results = list(shown.through({"first": lambda: 1, "second": lambda: 2}))
    assert results == [1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["working: 1/2 parts", "working: 2/2 parts"]


def test_on_a_terminal_a_bar_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(2, "files", "reading", lines=False) as shown:
        shown.advance()
        shown.say("a line")
        shown.note("a note")
        with shown.showing("now"):
            pass
    out, err = capsys.readouterr()
    assert out == "a line\n"
    assert "reading" in err
    assert err.index("now") > err.index("reading")
