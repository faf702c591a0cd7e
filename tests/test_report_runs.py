"""The page of each run, the comparison of configurations, and reports that are written anew.

Protects that everything a run left is on its page, that a report holds no link to anything
outside it, that runs which no sweep made are told by their names, and that `watch=true` ends.
"""

import errno
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.html import table_of, text_of, value_of_script
from helpers.programs import call
from helpers.reporting import finish, write_log, write_run
from helpers.waiting import wait_until

from launch.cluster.slurm import Place
from launch.jobs.history import begin, end
from launch.reports.html.gathering import find_runs, gather
from launch.reports.watching import written_anew
from orbit.core.files import waiting
from orbit.core.files.atomic import write_json
from orbit.core.pictures import Strip

PROGRAM = "launch/report.py"
WORDS = "latent    64 x 8 x 8: <64> channels"


def write_two(root: Path) -> Path:
    """A run with everything, and one that differs in a key that matters and in debugging."""
    best = write_run(root / "good")
    write_log(best, 20)
    finish(best, 200, 0.1, 30.0)
    (best / "notes.md").write_text("Looks *right*.\n</pre>\n")
    write_json(best / "model.json", {"parameters": {"total": 1234567, "parts": {"encoder": 34}}})
    write_json(best / "description.json", {"words": WORDS})
    strip = Strip(best / "pictures/training")
    for step in (100, 200):
        strip.add(step, np.full((2, 3, 1, 8, 8), step / 200), ("source", "output"), "T", "D")
    folder = begin(best, Place(0, 2, 0, "node3", "node3", "17", 0), "sub", 1_700_000_000.0, "code")
    end(folder, "finished", 1_700_000_060.0, "went well")
    other = write_run(root / "other", "optimizer.learning_rate=0.01", "debug.num_steps=200")
    write_log(other, 20)
    finish(other, 200, 0.2, 20.0)
    return root


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on them, moved away from where it was made."""
    root = tmp_path_factory.mktemp("two")
    write_two(root / "runs")
    assert call(PROGRAM, str(root / "runs"), f"out={root / 'report'}").code == 0
    return (root / "report").rename(root / "moved")


def test_a_page_holds_everything_that_a_run_left(two: Path) -> None:
    page = two / "run-0000.html"
    text, raw = text_of(page), page.read_text()
    assert "1,234,567" in text
    assert "encoder 34" in text
    assert "64 x 8 x 8: &lt;64&gt; channels" in raw
    assert "Looks *right*.\n&lt;/pre&gt;" in raw
    for line in ("learning_rate: 0.001", "global_batch: 32", "tau: 0.5"):
        assert line in raw, line
    row = table_of(page, "Every start")[1]
    assert row[2:] == ["node3", "2", "200", "60 s", "finished went well"]
    assert "Validation" not in text  # nothing is said of what is not there
    assert json.loads(re.findall(r'data-frames="([^"]+)"', raw)[0].replace("&#34;", '"'))[
        "labels"
    ] == ["100", "200"]


def test_differences_are_those_of_the_files(two: Path) -> None:
    rows = table_of(two / "run-0001.html", "Keys with other values")
    assert rows[1:] == [
        ["debug.num_steps", "200", "null"],
        ["optimizer.learning_rate", "0.01", "0.001"],
    ]
    data = value_of_script(two / "data/configs.js")
    assert data["names"] == ["good", "other"]
    assert data["keys"] == ["debug.num_steps", "optimizer.learning_rate"]
    assert data["values"] == [["null", "0.001"], ["200", "0.01"]]


def test_no_run_is_called_best_before_one_is_finished(tmp_path: Path) -> None:
    for name, rate in (("a", "0.01"), ("b", "0.02")):
        write_log(write_run(tmp_path / "runs" / name, f"optimizer.learning_rate={rate}"), 5)
    assert call(PROGRAM, str(tmp_path / "runs"), f"out={tmp_path / 'out'}").code == 0
    for page in ("run-0000.html", "run-0001.html"):
        assert "best run" not in text_of(tmp_path / "out" / page)


def test_no_link_leads_out_of_the_report(two: Path) -> None:
    for page in two.glob("*.html"):
        for link in re.findall(r'(?:src|href)="([^"#]+)"', page.read_text()):
            assert link.startswith("data:") or (two / link).resolve().is_relative_to(two), link
            assert link.startswith("data:") or (two / link).is_file(), link


def test_runs_of_no_sweep_are_told_by_their_names(two: Path) -> None:
    assert value_of_script(two / "data/runs.js")["groups"] == ["good", "other"]
    assert "debug.num_steps" not in text_of(two / "index.html")
    rows = table_of(two / "index.html", "Mean ± sample")
    assert [cell.split()[0] for cell in rows[0]][:3] == ["runs", "learning_rate", "debug"]
    assert [row[:3] for row in rows[1:]] == [["good", "0.001", "none"], ["other", "0.01", "fast"]]


def test_what_debugging_changed_stays_apart(tmp_path: Path) -> None:
    """Runs that differ in nothing but `debug.*` are no two seeds of one setting."""
    for name, words in (("real", ()), ("quick", ("debug.num_steps=2",))):
        finish(write_run(tmp_path / name, *words), 200, 0.1, 20.0)
    gathered = gather(find_runs([tmp_path]))
    assert gathered.keys == ("debug",)
    assert [gathered.settings(record)["debug"] for record in gathered.records] == ["fast", "none"]


def test_code_is_shown_however_many_keys_vary(tmp_path: Path) -> None:
    """Values of different code do not compare, whichever made a run or measured it."""
    varied = ("epochs=3", "task.tau=0.4", "task.model.width=8", "optimizer.learning_rate=0.1")
    made = {"one": "a", "two": "b", "three": "b"}
    for number, (name, letter) in enumerate(made.items()):
        run = write_run(tmp_path / "runs" / name, *varied[: 2 + number])
        finish(run, 200, 0.1, 20.0)
        write_json(run / "code.json", {"spans": [{"packages": {"pipeline": letter * 64}}]})
        file = run / "evaluations/step_00000200-test.json"
        code = {"packages": {"pipeline": ("c" if name == "three" else "d") * 64}}
        write_json(file, {**json.loads(file.read_text()), "code": code})
    out = tmp_path / "report"
    assert call(PROGRAM, str(tmp_path / "runs"), f"out={out}").code == 0
    heads, *rows = table_of(out / "index.html", "Mean ± sample")
    places = [heads.index(head) for head in ("code", "test measured by")]
    assert {row[0]: [row[place] for place in places] for row in rows} == {
        "one": ["pipeline aaaaaaaa", "pipeline dddddddd"],
        "two": ["pipeline bbbbbbbb", "pipeline dddddddd"],
        "three": ["pipeline bbbbbbbb", "pipeline cccccccc"],
    }
    text = text_of(out / "index.html")
    for made_by, by in ("ad", "bd", "bc"):
        words = f"code pipeline {made_by * 8}, test measured by pipeline {by * 8}"
        assert f"Best run, {words}" in text


def test_watching_ends_when_nothing_runs(tmp_path: Path) -> None:
    """The report is written anew while a run goes on, reloads itself, and is final at the end."""
    run, out = write_run(tmp_path / "run"), tmp_path / "report"
    write_log(run, 5)
    heartbeat = {"time": 1e12, "host": "elsewhere", "step": 50, "num_steps": 200}
    write_json(run / "heartbeat.json", heartbeat)
    seen: list[str] = []

    def is_written() -> bool:
        try:
            seen[:] = [(out / "index.html").read_text()]
        except FileNotFoundError:  # also while a report takes the place of the one before
            return False
        return True

    def end_it() -> None:
        wait_until(is_written, "the first report")
        write_log(run, 20)
        finish(run, 200, 0.1, 20.0)

    ending = threading.Thread(target=end_it, daemon=True)
    ending.start()
    outcome = call(PROGRAM, str(run), f"out={out}", "watch=true", "every=0.05")
    assert outcome.code == 0
    ending.join()
    assert "rewritten every 0.05 s" in outcome.out
    assert "nothing runs any more" in outcome.out
    assert ['http-equiv="refresh"' in text for text in seen] == [True]
    text = (out / "index.html").read_text()
    assert "refresh" not in text
    assert "◉ evaluated" in text_of(out / "index.html")


def test_watching_outlives_a_passing_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server that is away for a moment."""
    monkeypatch.setattr(waiting, "PAUSES_S", (0.0,))
    written = iter((OSError(errno.ESTALE, "stale"), SimpleNamespace(is_watching=False)))

    def write() -> SimpleNamespace:
        found = next(written)
        if isinstance(found, OSError):
            raise found
        return found

    assert len(list(written_anew(SimpleNamespace(is_watching=True), write, 0.0))) == 1


def test_every_without_watch_is_refused(tmp_path: Path) -> None:
    words = (str(write_run(tmp_path / "run")), f"out={tmp_path / 'out'}", "every=5")
    assert "every=5 has no effect without watch=true" in call(PROGRAM, *words).error_line
