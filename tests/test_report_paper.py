"""A paper's numbers beside ours.

Protects that the shipped file is shown with its notes, that our runs are found by what they
are and stand in the paper's unit, and that mistakes in such a file are one line.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.html import table_of, text_of
from helpers.programs import call

from launch.reports.html.gathering import find_runs, gather
from launch.reports.html.pages_papers import belongs, beside
from launch.reports.papers import read_paper

PROGRAM = "launch/report.py"


def test_the_shipped_paper_is_shown_with_its_notes(mixed_report: Path) -> None:
    rows = table_of(
        mixed_report / "paper.html", "Numbers of the paper: authors' ICML poster. 1 2 3"
    )
    assert rows[2][0].startswith("CNN (None)")
    assert rows[2][1:3] == ["2.8 ± 0.6", "–"]
    assert rows[2][-1] == "not run"
    assert "implausible" in text_of(mixed_report / "paper.html")


def test_our_runs_stand_beside_the_paper_in_its_unit(mixed_sweep: Path, tmp_path: Path) -> None:
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
    ours, theirs = beside(read.tables[0], gather(find_runs([mixed_sweep])), "test")
    assert (ours.num_runs, theirs.num_runs, theirs.ours) == (2, 0, {})
    assert ours.ours["loss"].mean == pytest.approx(30.5)
    assert list(ours.ours) == ["loss"]
    out = tmp_path / "report"
    assert call(PROGRAM, str(mixed_sweep), f"out={out}", f"paper={file}").code == 0
    rows = table_of(out / "paper.html")
    assert rows[2] == ["ours 1", "30 ± 1", "30.50 ± 0.71", "2", "–", "2"]


def test_what_belongs_beside_a_row() -> None:
    facts = {"a": 1, "b": "shapes_up", "c": [1, 2], "n": None}
    assert belongs({"a": 1, "b": "shapes_*", "c": [1, 2]}, facts)
    assert belongs({"a": [2, 1]}, facts)
    assert belongs({"c": "*"}, facts)
    assert not belongs({"n": "*"}, facts)
    assert belongs({"n": None}, facts)
    assert not belongs({}, facts)
    assert not belongs({"a": 2}, facts)
    assert not belongs({"d": 1}, facts)


EARLIER_NAME = {"data.generator.world": "shapes_2d"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"titel": "x"}, "unknown key 'titel'"),
        ({"tables": [{"rows": [{"name": "r", "values": {"x": [1]}}]}]}, "unknown column 'x'"),
        ({"tables": [{"notes": ["n"]}]}, "unknown note 'n'"),
        ({"tables": [{"rows": [{"name": "r", "values": {"y": [1, 2, 3]}}]}]}, "a mean"),
        (
            {"tables": [{"rows": [{"name": "r", "values": {}, "match": EARLIER_NAME}]}]},
            "data.generator.world is an earlier name",
        ),
    ],
)
def test_papers_with_mistakes_are_one_line(
    change: dict[str, Any], line: str, tmp_path: Path, mixed_sweep: Path
) -> None:
    table = {"caption": "C", "source": "S", "columns": {"y": {"title": "Y"}}, "rows": []}
    content = {"title": "P", "reference": "R", **change}
    content["tables"] = [{**table, **one} for one in change.get("tables", [])]
    file = tmp_path / "paper.yaml"
    file.write_text(yaml.safe_dump(content))
    outcome = call(PROGRAM, str(mixed_sweep), f"out={tmp_path / 'r'}", f"paper={file}")
    assert line in outcome.error_line
