"""Where a report goes, and what launch/report.py refuses.

Protects that a report is put in place as a whole and never over anything else, and that
mistakes and absent libraries are one line.
"""

import shutil
import sys
from pathlib import Path

import pytest
from helpers.html import text_of
from helpers.programs import call

PROGRAM = "launch/report.py"


def test_a_report_is_replaced_as_a_whole(mixed_sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    run = mixed_sweep / "runs/tau0.3_width4_seed0"
    assert call(PROGRAM, str(mixed_sweep), f"out={out}").code == 0
    assert (out / "runs.html").exists()
    assert call(PROGRAM, str(run), f"out={out}", "title=One run").code == 0
    assert not (out / "runs.html").exists()
    assert "One run" in text_of(out / "index.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_nothing_else_is_replaced(mixed_sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("")
    outcome = call(PROGRAM, str(mixed_sweep), f"out={tmp_path / 'mine'}")
    assert "holds files that are not a report" in outcome.error_line
    outcome = call(PROGRAM, str(mixed_sweep), f"out={tmp_path / 'mine/file'}")
    assert "is a file" in outcome.error_line
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]


def test_a_failure_leaves_the_old_report(
    mixed_sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    assert call(PROGRAM, str(mixed_sweep), f"out={out}").code == 0

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(out))

    monkeypatch.setattr(shutil, "copyfile", fail)
    assert "No space left" in call(PROGRAM, str(mixed_sweep), f"out={out}").error_line
    assert (out / "index.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "give the directories"),
        (("SWEEP",), "out=DIR is missing"),
        (("SWEEP", "out=OUT", "spilt=val"), "unknown key 'spilt'; did you mean 'split'?"),
        (("nowhere", "out=OUT"), "no run at nowhere: there is no such directory"),
        (("SWEEP/plan.json", "out=OUT"), "plan.json is a file"),
        (("SWEEP", "out=OUT", "metric=psrn"), "no finished run has metric=psrn; did you mean"),
        (("SWEEP", "out=OUT", "split=tset"), "no finished run has split=tset; known: test, val"),
        (("SWEEP", "out=OUT", "paper=other"), "paper=other: no such file; shipped: "),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], line: str, mixed_sweep: Path, tmp_path: Path
) -> None:
    given = [word.replace("SWEEP", str(mixed_sweep)) for word in words]
    given = [word.replace("OUT", str(tmp_path / "out")) for word in given]
    assert line in call(PROGRAM, *given).error_line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", ["jinja2", "plotly"])
def test_an_absent_library_is_one_line(
    library: str, mixed_sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name == library:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    outcome = call(PROGRAM, str(mixed_sweep), f"out={tmp_path / 'out'}")
    assert outcome.error_line.endswith(
        "a report needs the extra `report`: pip install -e '.[report]'"
    )
