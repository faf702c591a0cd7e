"""launch/report.py: which runs it finds, what its pages say, and what it refuses.

Protects that runs in any state appear with their reason, that tables hold the right means,
that a report is put in place as a whole and never over anything else.
"""

import csv
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.attempts import FAILURE
from helpers.programs import call
from helpers.reporting import finish, write_log, write_run, write_sweep

from launch.reports.html.finding import find_runs
from launch.reports.html.gathering import gather, unique_names
from launch.reports.html.headline import make_headline
from launch.reports.html.paper import belongs, beside, read_paper
from launch.reports.html.pictures import choose_galleries, find_gallery
from pipeline.files.atomic import write_json

PROGRAM = "launch/report.py"


class Tables(HTMLParser):
    """Every table of a page as rows of texts, by the text of its caption."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self._place = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        if tag in ("td", "th", "caption"):
            self._place = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            rows = [[" ".join(cell.split()) for cell in row] for row in self._rows]
            self.tables[" ".join(self._caption.split())] = rows
        if tag in ("td", "th", "caption"):
            self._place = ""

    def handle_data(self, data: str) -> None:
        if self._place == "caption":
            self._caption += data
        elif self._place:
            self._rows[-1][-1] += data


def table_of(page: Path, start: str = "") -> list[list[str]]:
    return next(rows for name, rows in Tables(page).tables.items() if name.startswith(start))


def text_of(page: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")).split())


def value_of_script(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds at three thresholds and two widths, and runs that came to nothing."""
    root = write_sweep(tmp_path_factory.mktemp("swept") / "sweep", (0.3, 0.5, 0.7), (4, 8), 2)
    runs = root / "runs"
    plan = json.loads((root / "plan.json").read_text())
    plan["runs"]["never"] = {"task.tau": 0.9, "task.model.width": 4, "seed": 0}
    write_json(root / "plan.json", plan)
    write_json(write_run(runs / "failed", "task.tau=0.9") / "error.json", FAILURE)
    write_log(runs / "failed", 12)
    (runs / "broken").mkdir()
    (runs / "broken/config.yaml").write_text("{")
    (runs / "broken/metrics.jsonl").write_text("nonsense\n")
    return root


@pytest.fixture(scope="module")
def report(sweep: Path) -> Path:
    out = sweep.parent / "report"
    outcome = call(PROGRAM, str(sweep), f"out={out}", "paper=symmetric_embeddings")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("15 runs, ")
    return out


# Finding runs


def kinds(*paths: Path) -> list[tuple[str, list[str]]]:
    return [(root.kind, [run.name for run in root.runs]) for root in find_runs(paths)]


def test_runs_folders_and_sweeps_are_told_apart(tmp_path: Path, sweep: Path) -> None:
    write_run(tmp_path / "folder/a")
    (tmp_path / "folder/empty").mkdir()
    (tmp_path / "folder/notes").mkdir()
    (tmp_path / "folder/notes/text.txt").write_text("")
    (tmp_path / "nothing").mkdir()
    assert kinds(tmp_path / "folder/a") == [("run", ["a"])]
    assert kinds(tmp_path / "folder") == [("folder", ["a", "empty"])]
    assert kinds(tmp_path / "nothing") == [("run", ["nothing"])]
    ((kind, names),) = kinds(sweep)
    assert (kind, len(names)) == ("sweep", 15)
    assert {"never", "failed", "broken"} <= set(names)
    assert kinds(tmp_path / "folder", tmp_path / "folder/a")[1] == ("run", [])


def test_a_plan_that_cannot_be_read_does_not_hide_the_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a")
    (tmp_path / "plan.json").write_text("{")
    (root,) = find_runs([tmp_path])
    assert (root.kind, [run.name for run in root.runs]) == ("folder", ["a"])
    assert "plan.json" in str(root.unchecked)


def test_names_are_unique() -> None:
    found = unique_names([("x", "a"), ("y", "a"), ("y", "b"), ("y", "a")])
    assert found == ["x/a", "y/a", "b", "y/a (2)"]


# What the pages say


def test_the_report_is_complete(report: Path) -> None:
    names = {path.name for path in report.iterdir()}
    pages = {"index", "paper", "curves", "pictures", "runs", "effects", "speed"}
    assert {f"{page}.html" for page in pages} <= names
    for page in report.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:src|href)="([^"#]+)"', text):
            assert not re.match(r"[a-z]+:|//", link) or link.startswith("data:"), link
            if not link.startswith("data:"):
                assert (report / link).exists(), f"{page.name}: {link}"
        assert text.count("<main") == text.count("<h1") == text.count("<title>") == 1
        assert 'lang="en"' in text
    assert len(list(report.rglob("plotly*.js"))) == 1


def test_the_front_table_has_means_over_seeds(report: Path) -> None:
    rows = table_of(report / "index.html", "Mean ± sample")
    assert [cell.split()[0] for cell in rows[0]][:4] == ["width", "tau", "seeds", "loss/total"]
    body = {(row[0], row[1]): row[2:] for row in rows[1:]}
    assert len(body) == 6
    # Seeds 0 and 1 at tau 0.3: 0.30 and 0.31.
    assert body["4", "0.3"][:2] == ["2", "0.3050 ± 0.0071"]
    assert rows[1][1] == "0.3"
    assert rows[-1][1] == "0.7"
    assert "tau0.3_width4_seed0" in text_of(report / "index.html")


def test_the_front_says_what_was_run(report: Path) -> None:
    text = text_of(report / "index.html")
    for said in ("rotated_digits", "0123456789ab", "2023-11-14", "a processor", "torch 2.14.1"):
        assert said in text, said
    assert "crash: KeyError" in text
    assert "config.yaml cannot be read" in text


def test_every_run_is_listed_with_its_state_and_reason(report: Path) -> None:
    rows = table_of(report / "runs.html")
    found = {row[0]: row[1] for row in rows[1:]}
    assert len(found) == 15
    assert found["never"].endswith("missing")
    assert found["failed"].endswith("failed crash: KeyError")
    assert "lost" in found["broken"] or "missing" in found["broken"]
    assert found["tau0.5_width8_seed1"].endswith("finished")
    by_name = {row[0]: row for row in rows[1:]}
    assert by_name["never"][2:5] == ["4", "0.9", "0"]
    assert by_name["tau0.5_width8_seed1"][-3:] == ["0.5100", "25.00", "0.5000"]
    text = (report / "runs.html").read_text()
    assert 'href="../sweep/runs/tau0.5_width8_seed1/"' in text


def test_effects_are_marginal_means(report: Path) -> None:
    rows = table_of(report / "effects.html", "loss/total ↓ (lower is better) by task.tau")
    assert [row[0] for row in rows[1:]] == ["0.3", "0.5", "0.7"]
    assert rows[1][1:] == ["0.3050 ± 0.0058", "4"]
    text = text_of(report / "effects.html")
    assert text.index("task.tau 100%") < text.index("task.model.width 0%")


def test_costs_add_up(report: Path) -> None:
    text = text_of(report / "speed.html")
    # 12 finished runs of 40 s and a failed one of 24 s, on two ranks each.
    assert f"rank-hours on processors {2 * (12 * 40 + 24) / 3600:.3g}" in text
    rows = table_of(report / "speed.html")
    row = next(row for row in rows if row[0] == "tau0.5_width8_seed1")
    assert row[1:4] == ["320.0", "25.0%", "502.0"]


def test_scripts_hold_what_was_logged(report: Path, sweep: Path) -> None:
    data = value_of_script(report / "data/runs.js")
    numbers = {run["name"]: number for number, run in enumerate(data["runs"])}
    curve = value_of_script(report / "data/curve-000.js")
    assert curve["metric"] == "loss/total"
    (train,) = (
        one
        for one in curve["series"]
        if one["run"] == numbers["tau0.5_width8_seed1"] and one["split"] == "train"
    )
    lines = [
        json.loads(line)
        for line in (sweep / "runs/tau0.5_width8_seed1/metrics.jsonl").read_text().splitlines()
    ]
    logged = [line for line in lines if line["split"] == "train"]
    assert data["grids"][train["grid"]] == [line["step"] for line in logged]
    assert train["y"] == pytest.approx([line["loss/total"] for line in logged], rel=1e-4)
    groups = {run["name"]: run["group"] for run in data["runs"]}
    assert groups["tau0.5_width8_seed0"] == groups["tau0.5_width8_seed1"]
    assert data["groups"][groups["tau0.5_width8_seed0"]] == "width 8, tau 0.5"


def test_the_table_of_everything_is_there(report: Path) -> None:
    with open(report / "table.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"test", "val"}
    assert len(rows) == 2 * 12


def test_names_are_escaped(tmp_path: Path) -> None:
    run = write_run(tmp_path / "<b>&run")
    write_log(run, 12)
    write_json(run / "error.json", {"kind": "crash", "message": "</script><i>"})
    out = tmp_path / "report"
    assert call(PROGRAM, str(run), f"out={out}", "title=<u>").code == 0
    text = (out / "index.html").read_text()
    assert "&lt;b&gt;&amp;run" in text
    assert "<u>" not in text
    assert "<i>" not in text
    assert 'href="../%3Cb%3E%26run/"' in text


@pytest.mark.parametrize("kind", ["empty", "begun", "running", "one line"])
def test_runs_that_have_hardly_begun(kind: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    if kind == "empty":
        run.mkdir()
    else:
        write_run(run)
    if kind == "running":
        write_log(run, 5)
        heartbeat = {"time": 1e12, "host": "elsewhere", "step": 50, "num_steps": 200}
        write_json(run / "heartbeat.json", heartbeat)
    if kind == "one line":
        write_log(run, 1)
    out = tmp_path / "report"
    outcome = call(PROGRAM, str(run), f"out={out}")
    assert (outcome.code, outcome.err) == (0, "")
    text = text_of(out / "index.html")
    assert "No run is finished yet" in text
    if kind == "running":
        assert "▶ running" in text
        assert table_of(out / "index.html", "Latest validation")[1][:3] == [
            "run",
            "▶ running",
            "50",
        ]


def test_several_datasets_have_a_best_run_each(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        run = write_run(tmp_path / name)
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "data": f"/data/of_{name}"}))
        write_log(run, 20)
        finish(run, 200, 0.1 + number, 20.0, dataset=name * 64)
    headline = make_headline(gather(find_runs([tmp_path])), None, None)
    assert [record.name for record in headline.best] == ["a", "b"]
    assert [row.settings["dataset"] for row in headline.rows] == ["of_a", "of_b"]


def test_probes_are_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    finish(run, 200, 0.1, 20.0)
    kind = {"labels": "upright", "classifier": "linear", "num_train": 9}
    rows = [
        {**kind, "feature": name, "fraction": fraction, "accuracy": {"mean": fraction / 2}}
        for name in ("z", "z_v")
        for fraction in (0.1, 1.0)
    ]
    (run / "classification").mkdir()
    write_json(run / "classification/step_00000200.json", {"summary": rows})
    call(PROGRAM, str(run), f"out={tmp_path / 'report'}")
    rows = table_of(tmp_path / "report/index.html", "Accuracy in percent")
    assert rows == [["feature", "linear, upright labels"], ["z", "50.00"], ["z_v", "50.00"]]


# Pictures


def test_pictures_are_copied_until_they_are_too_many(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        run = write_run(tmp_path / name)
        (run / "orbits.png").write_bytes(b"x" * 100)
        (run / "pictures").mkdir()
        (run / "pictures/mine_own.png").write_bytes(b"x" * 100)
        (run / "pictures/.draft.tmp.png").write_bytes(b"x")
    records = gather(find_runs([tmp_path])).records
    chosen, num_left_out = choose_galleries(records, max_bytes=450)
    assert [gallery.record.name for gallery in chosen] == ["a", "b"]
    assert num_left_out == 1
    pictures = find_gallery(records[0], with_frames=True).pictures
    assert [picture.title for picture in pictures] == ["Orbits", "Mine own"]


# A paper's numbers


def test_the_shipped_paper_is_shown_with_its_notes(report: Path) -> None:
    rows = table_of(report / "paper.html", "Numbers of the paper: authors' ICML poster. 1 2 3")
    assert rows[2][0].startswith("CNN (None)")
    assert rows[2][1:3] == ["2.8 ± 0.6", "–"]
    assert rows[2][-1] == "not run"
    assert "implausible" in text_of(report / "paper.html")


def test_our_runs_stand_beside_the_paper_in_its_unit(sweep: Path, tmp_path: Path) -> None:
    paper = {
        "title": "P",
        "reference": "R",
        "notes": {"n": "a note"},
        "tables": [
            {
                "caption": "C",
                "source": "S",
                "columns": {
                    "loss": {"title": "Loss", "metric": "loss/total", "factor": 100},
                    "other": {"title": "Other"},
                },
                "rows": [
                    {
                        "name": "ours",
                        "values": {"loss": [30, 1], "other": [2]},
                        "match": {"task.tau": [0.3, 0.35], "task.model.width": 8},
                        "notes": ["n"],
                    },
                    {"name": "theirs", "values": {"loss": [1]}, "match": {"task.tau": 7}},
                ],
            }
        ],
    }
    file = tmp_path / "paper.yaml"
    file.write_text(yaml.safe_dump(paper))
    read = read_paper(str(file))
    ours, theirs = beside(read.tables[0], gather(find_runs([sweep])), "test")
    assert (ours.num_runs, theirs.num_runs, theirs.ours) == (2, 0, {})
    assert ours.ours["loss"].mean == pytest.approx(30.5)
    assert list(ours.ours) == ["loss"]
    out = tmp_path / "report"
    assert call(PROGRAM, str(sweep), f"out={out}", f"paper={file}").code == 0
    rows = table_of(out / "paper.html")
    assert rows[2] == ["ours 1", "30 ± 1", "30.50 ± 0.71", "2", "–", "2"]


def test_what_belongs_beside_a_row() -> None:
    facts = {"a": 1, "b": "shapes_up", "c": [1, 2]}
    assert belongs({"a": 1, "b": "shapes_*", "c": [1, 2]}, facts)
    assert belongs({"a": [2, 1]}, facts)
    assert not belongs({}, facts)
    assert not belongs({"a": 2}, facts)
    assert not belongs({"d": 1}, facts)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"titel": "x"}, "unknown key 'titel'"),
        ({"tables": [{"rows": [{"name": "r", "values": {"x": [1]}}]}]}, "unknown column 'x'"),
        ({"tables": [{"notes": ["n"]}]}, "unknown note 'n'"),
        ({"tables": [{"rows": [{"name": "r", "values": {"y": [1, 2, 3]}}]}]}, "a mean"),
    ],
)
def test_papers_with_mistakes_are_one_line(
    change: dict[str, Any], line: str, tmp_path: Path, sweep: Path
) -> None:
    table = {"caption": "C", "source": "S", "columns": {"y": {"title": "Y"}}, "rows": []}
    content = {"title": "P", "reference": "R", **change}
    content["tables"] = [{**table, **one} for one in change.get("tables", [])]
    file = tmp_path / "paper.yaml"
    file.write_text(yaml.safe_dump(content))
    outcome = call(PROGRAM, str(sweep), f"out={tmp_path / 'r'}", f"paper={file}")
    assert line in outcome.error_line


# Where it goes, and what is refused


def test_a_report_is_replaced_as_a_whole(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    run = sweep / "runs/tau0.3_width4_seed0"
    assert call(PROGRAM, str(sweep), f"out={out}").code == 0
    assert (out / "runs.html").exists()
    assert call(PROGRAM, str(run), f"out={out}", "title=One run").code == 0
    assert not (out / "runs.html").exists()
    assert "One run" in text_of(out / "index.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_nothing_else_is_replaced(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("")
    outcome = call(PROGRAM, str(sweep), f"out={tmp_path / 'mine'}")
    assert "holds something that is not a report" in outcome.error_line
    outcome = call(PROGRAM, str(sweep), f"out={tmp_path / 'mine/file'}")
    assert "is a file" in outcome.error_line
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]


def test_a_failure_leaves_the_old_report(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    assert call(PROGRAM, str(sweep), f"out={out}").code == 0

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(out))

    monkeypatch.setattr(shutil, "copyfile", fail)
    assert "No space left" in call(PROGRAM, str(sweep), f"out={out}").error_line
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
    words: tuple[str, ...], line: str, sweep: Path, tmp_path: Path
) -> None:
    given = [word.replace("SWEEP", str(sweep)) for word in words]
    given = [word.replace("OUT", str(tmp_path / "out")) for word in given]
    assert line in call(PROGRAM, *given).error_line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", ["jinja2", "plotly"])
def test_an_absent_library_is_one_line(
    library: str, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name == library:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    outcome = call(PROGRAM, str(sweep), f"out={tmp_path / 'out'}")
    assert outcome.error_line.endswith(
        "a report needs the extra `report`: pip install -e '.[report]'"
    )
