"""Protects tables with a paper's numbers in them: each number in its row, each doubt beside it.

A paper's number in the wrong column, or one whose known fault is not said, would make our own
look better or worse than they are.
"""

import dataclasses
from pathlib import Path

import pytest
from helpers.reproducing import a_result, small_settings

from launch.reports.papers import PaperColumn, read_paper
from launch.reproduction.cells import spread
from launch.reproduction.command import read_request
from launch.reproduction.plan import plan_run
from launch.reproduction.settings import DatasetSettings, PaperRows, ReproductionSettings
from launch.reproduction.tables import make_blocks

PAPER = """
title: A paper
reference: Its place
notes: {first: All of it is odd., second: This row is odd., unused: Nothing.}
tables:
  - caption: Hits
    source: table 7
    notes: [first]
    columns:
      h1: {title: H@1, metric: hits, factor: 100}
      other: {title: Not ours}
    rows:
      - {name: Best, values: {h1: [99.5, 0.25], other: [3]}, notes: [second]}
      - {name: Worst, values: {h1: [1]}}
"""
OWN_COLUMNS = {
    "mean": PaperColumn("an error", "error"),
    "mask": PaperColumn("variant %", "mask/fraction_variant", 100),
}


def settings_in(folder: Path, rows: PaperRows) -> ReproductionSettings:
    """A dataset that stands beside the paper above."""
    (folder / "paper.yaml").write_text(PAPER)
    digits = DatasetSettings(
        experiment="x", prepare=("dataset=x",), paper=rows, columns=OWN_COLUMNS
    )
    return small_settings(datasets={"digits": digits}, paper=str(folder / "paper.yaml"), tables={})


def test_the_papers_row_follows_ours_in_its_unit_with_its_faults(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, PaperRows("Hits", {"method": "Best", "broken": "Worst"}))
    results = []
    for seed, hits in ((0, 0.5), (1, 0.75)):
        digest = plan_run(settings, "small", "digits", "method", seed).digest
        metrics = {"hits": hits} | ({} if seed else {"error": 0.123456})
        results.append(a_result("digits", "method", seed, digest, metrics))
        results[-1]["mask"] = {"mask/fraction_variant": 0.25}
    lines = make_blocks(settings, "small", results)["digits/results"].splitlines()
    assert lines[0] == "| variant | H@1 | Not ours | an error | variant % | runs |"
    assert lines[2] == "| `method` | 62.5 ± 18 |  | 0.1235 (1 of 2) | 25 ± 0 | 2 |"
    assert lines[3] == "| *paper: Best* (2) | 99.5 ± 0.25 | 3 |  |  | ? |"
    assert lines[4] == "| `half` |  |  |  |  | not run |"
    assert lines[6] == "| *paper: Worst* | 1 |  |  |  | ? |"
    assert "The paper's rows: table 7 (1)." in lines
    assert lines[-5:-3] == ["(1) All of it is odd.", "(2) This row is odd."]
    assert not any("Nothing" in line for line in lines)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (PaperRows("Hit", {}), "paper.table: unknown 'Hit'; known: Hits"),
        (PaperRows("Hits", {"method": "Bets"}), "paper.rows: unknown 'Bets'; known: Best, Worst"),
    ],
)
def test_what_the_paper_does_not_have_is_refused(
    tmp_path: Path, rows: PaperRows, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_blocks(settings_in(tmp_path, rows), "small", [])


def test_numbers_of_a_paper_need_a_paper() -> None:
    digits = DatasetSettings(experiment="x", prepare=("dataset=x",), paper=PaperRows("Hits", {}))
    with pytest.raises(ValueError, match=r"datasets\.digits\.paper has no effect"):
        small_settings(datasets={"digits": digits}, tables={})


def test_spreads_keep_what_can_be_told_apart() -> None:
    assert spread([]) == ""
    assert spread([99.97]) == "99.97"
    assert spread([100.0, 100.0]) == "100 ± 0"
    assert spread([0.0001, 0.0003]) == "0.0002 ± 0.00014"
    assert spread([1.0, 2.0, 3.0]) == "2 ± 1 (CI ± 2.5)"


def test_columns_that_lead_come_before_those_of_the_paper(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, PaperRows("Hits", {}))
    leading = {"first": PaperColumn("a fair error", "fair")}
    digits = dataclasses.replace(settings.datasets["digits"], leading=leading)
    settings = dataclasses.replace(settings, datasets={"digits": digits})
    heading = make_blocks(settings, "small", [])["digits/results"].splitlines()[0]
    assert heading.startswith("| variant | a fair error | H@1 | Not ours | an error |")
    with pytest.raises(ValueError, match="leading and columns both have 'mean'"):
        dataclasses.replace(digits, leading={"mean": leading["first"]})


def test_every_table_of_worlds_leads_with_centred_errors() -> None:
    """Also where the authors' form, by the norm, follows."""
    settings = read_request(["paper2", "tables=true"]).reproduction
    for name, dataset in settings.datasets.items():
        assert any("_centred/" in str(column.metric) for column in dataset.leading.values()), name
        columns = {column.metric for column in dataset.columns.values()}
        by_norm = {metric for metric in columns if metric and "variance_error/" in metric}
        centred = {column.metric for column in dataset.leading.values()}
        for metric in by_norm:
            assert metric.replace("_error/", "_error_centred/") in centred, (name, metric)


def test_every_row_of_the_second_paper_stands_in_one_of_its_tables() -> None:
    settings = read_request(["paper2", "tables=true"]).reproduction
    blocks = make_blocks(settings, "small", [])
    paper = read_paper(str(settings.paper))
    for table in paper.tables:
        datasets = [
            name
            for name, dataset in settings.datasets.items()
            if dataset.paper is not None and dataset.paper.table == table.caption
        ]
        assert datasets, table.caption
        for dataset in datasets:
            for row in table.rows:
                assert f"| *paper: {row.name}*" in blocks[f"{dataset}/results"]
            for note in {*table.notes, *(note for row in table.rows for note in row.notes)}:
                assert paper.notes[note].strip() in blocks[f"{dataset}/results"]
