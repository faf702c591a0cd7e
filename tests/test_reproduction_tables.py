"""Protects the tables: numbers are those of the result files, and hand-written text stays.

A table that mixes settings, hides a collapsed seed or touches the text around it would be
worse than none.
"""

import dataclasses
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from helpers.programs import REPOSITORY
from helpers.reproducing import a_result, request_in, small_settings
from hypothesis import given
from hypothesis import strategies as st

from launch.reports.papers import PaperColumn
from launch.reproduction.cells import cell, columns_of, difference, metric, worst_of
from launch.reproduction.command import carry_out, read_request
from launch.reproduction.figures import (
    END,
    START,
    make_figures,
    replace_blocks,
    rewrite_document,
)
from launch.reproduction.plan import plan_run
from launch.reproduction.results import classification_rows, read_results, write_result
from launch.reproduction.settings import (
    DatasetSettings,
    Panel,
    PresetOverrides,
    ReproductionSettings,
)
from launch.reproduction.tables import Result, make_blocks
from orbit.core.metrics import half_width
from pipeline.methods.table import METHODS

SETTINGS = small_settings()
STATED = METHODS["latent_action"].metrics
TEXT = (
    "# Title\r\n\n<!-- table: one -->\nold\n\nold\n<!-- end -->  \n"
    "Text ±\t<!-- table: two --><!-- end -->"
)


def result_of(variant: str, seed: int, dataset: str = "digits", **more: object) -> Result:
    """A result by the words of the settings, with PSNR 20 + seed."""
    digest = plan_run(SETTINGS, "small", dataset, variant, seed).digest
    metrics = {"psnr": 20.0 + seed, "psnr/0": 30.0, "psnr/90": 19.0 + seed, "ssim": 0.9}
    return a_result(dataset, variant, seed, digest, metrics, **more)


def rows_of(block: str) -> dict[str, list[str]]:
    """Cells by the first cell of their row."""
    lines = [line for line in block.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


# Cells


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6))
def test_cells_hold_mean_and_sample_deviation(values: list[float]) -> None:
    text = cell(values, 6, "mean", len(values))
    mean, _, deviation = text.partition(" (CI")[0].partition(" ± ")
    assert float(mean) == pytest.approx(statistics.mean(values), abs=1e-6)
    if len(values) == 1:
        assert not deviation
    else:
        assert float(deviation) == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert ("(CI ± " in text) == (len(values) >= 3)
    assert cell(values, 6, "mean", len(values) + 1) == f"{text} ({len(values)})"


def test_intervals_are_those_of_students_t() -> None:
    """The quantile for two degrees of freedom has a closed form: t^2 = 2 x^2 / (1 - x^2) with x the
    level; and about 95% of samples have their mean's interval around the truth."""
    quantile = math.sqrt(2 * 0.95**2 / (1 - 0.95**2))
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(quantile / math.sqrt(3))
    assert cell([1.0, 2.0, 3.0], 2, "mean", 3) == "2.00 ± 1.00 (CI ± 2.48)"
    assert cell([1.0, 3.0], 2, "mean", 2) == "2.00 ± 1.41"
    draws = np.random.default_rng(0).normal(5.0, 3.0, (1000, 4))
    hits = [abs(row.mean() - 5.0) <= half_width(row.tolist()) for row in draws]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=6), st.floats(-10, 10))
def test_differences_are_bold_if_their_interval_leaves_zero_out(
    values: list[float], by: float
) -> None:
    """The width does not change when the same is added to all."""
    text = difference([value + by for value in values])
    assert text.strip("*").endswith(f" ({len(values)})")
    mean = statistics.mean(values) + by
    if abs(abs(mean) - half_width(values)) > 1e-6:
        assert text.startswith("**") == (abs(mean) > half_width(values))
    assert difference(values[:2]) == f"{difference(values[:2]).split()[0]} (2)"


def test_a_median_shows_its_range() -> None:
    assert cell([3.0, 1.0, 200.0], 1, "median", 3) == "3.0 [1.0, 200.0]"
    assert cell([3.0], 1, "median", 1) == "3.0"
    assert cell([], 1, "median", 3) == ""


def test_columns_without_values_are_left_out_and_swaps_are_found() -> None:
    bare = [result_of("method", 0)]
    headings = [column.heading for column, _ in columns_of(bare, STATED)]
    assert headings == ["PSNR", "PSNR, worst g", "SSIM"]
    rich = a_result("d", "m", 0, "x", {"swap/background_rmse": 0.1, "swap/other": 1.0, "dice": 0.5})
    headings = [column.heading for column, _ in columns_of([*bare, rich], STATED)]
    assert headings == ["PSNR", "PSNR, worst g", "SSIM", "Dice", "swap, background"]
    (psnr,) = (each for each in STATED if each.name == "psnr")
    assert worst_of(psnr, STATED)(bare[0]) == 19.0
    composed = {**bare[0]["metrics"], "psnr/composed": 1.0}
    assert worst_of(psnr, STATED)({**bare[0], "metrics": composed}) == 19.0
    assert worst_of(psnr, STATED)(rich) is None


# Tables


def test_a_row_rests_on_what_its_cells_say() -> None:
    results = [
        result_of("method", 0),
        result_of("method", 1),
        result_of("half", 1),
        {**result_of("constant", 0), "state": "collapsed", "metrics": {}},
    ]
    rows = rows_of(make_blocks(SETTINGS, "small", results)["digits/controls"])
    assert rows["variant"] == ["PSNR", "PSNR, worst g", "SSIM", "runs"]
    assert rows["`method`"][-1] == "2", "their commits are clean"
    assert rows["`method`"] == ["20.50 ± 0.71", "19.50 ± 0.71", "0.9000 ± 0.0000", "2"]
    assert rows["`half`"] == ["21.00 (1)", "20.00 (1)", "0.9000 (1)", "1 of 2"]
    assert rows["`constant`"] == ["0 of 1, 1 collapsed"] * 4


def test_what_was_not_run_is_said() -> None:
    blocks = make_blocks(SETTINGS, "small", [])
    assert set(rows_of(blocks["digits/controls"])) == {
        "variant",
        "---",
        "`method`",
        "`half`",
        "`constant`",
    }
    assert rows_of(blocks["digits/controls"])["`half`"] == ["not run"]
    assert blocks["digits/classification"] == "not run"
    assert rows_of(blocks["summary"])["`digits`"] == ["7", "0", "0", "0", "7"]
    some = make_blocks(SETTINGS, "small", [result_of("method", 0)])
    assert rows_of(some["digits/controls"])["`half`"] == ["not run"] * 4
    assert rows_of(some["summary"])["`digits`"] == ["7", "1", "0", "0", "6"]
    shown = rows_of(some["matrix"])
    assert shown["variant"] == ["`digits`", "`others`"]
    assert shown["`method`"] == ["1 of 2", "not run"]
    assert shown["`constant`"] == ["not run", "not applicable"]


def test_a_column_may_tell_what_a_run_cost() -> None:
    result = {**result_of("method", 0), "num_parameters": 17}
    assert [metric(name)(result) for name in ("num_parameters", "train_minutes")] == [17.0, 1.0]


def test_results_of_other_words_do_not_count() -> None:
    nothing = make_blocks(SETTINGS, "small", [])
    full = plan_run(SETTINGS, "full", "digits", "method", 0).digest
    stale = [
        a_result("digits", "method", 0, full, {"psnr": 99.0}),
        a_result("digits", "gone", 0, full, {"psnr": 99.0}),
        a_result("gone", "method", 0, full, {"psnr": 99.0}),
    ]
    assert make_blocks(SETTINGS, "small", stale) == nothing
    assert make_blocks(SETTINGS, "full", stale) != make_blocks(SETTINGS, "full", [])


def test_a_table_names_machine_commit_and_command() -> None:
    results = [result_of("method", 0), result_of("half", 0, commit="def")]
    text = make_blocks(SETTINGS, "small", results)["digits/controls"]
    assert (
        "Loom, 2 cores, one thread a run, torch unknown; commit `abc`, `def`; 2025-12-03." in text
    )
    assert "A run took 1.5 minutes." in text
    assert "`python launch/reproduce.py small preset=small only=digits work=DIR`" in text


def test_classification_shows_the_linear_probe_by_labels_and_fraction() -> None:
    def entry(labels: str, fraction: float, classifier: str, accuracy: float) -> dict[str, object]:
        return {
            "feature": "pooled_z_v",
            "labels": labels,
            "fraction": fraction,
            "num_train": 9,
            "classifier": classifier,
            "accuracy": {"mean": accuracy, "std": 0.1, "ci95": [0, 1]},
            "macro_f1": {"mean": 0.4, "std": None, "ci95": None},
            "auc": {"mean": None, "std": None, "ci95": None},
        }

    content = {
        "summary": [
            entry("upright", 1.0, "linear", 0.5),
            entry("rotated", 0.1, "linear", 0.25),
            entry("rotated", 0.1, "mlp", 0.9),
        ]
    }
    rows = classification_rows(content)
    assert rows[0] == {
        "labels": "upright",
        "feature": "pooled_z_v",
        "classifier": "linear",
        "fraction": 1.0,
        "accuracy": 0.5,
        "macro_f1": 0.4,
    }
    results = [result_of("method", seed, classification=rows) for seed in (0, 1)]
    lines = make_blocks(SETTINGS, "small", results)["digits/classification"].splitlines()
    assert lines[0] == "| variant | feature | rotated, 10% of labels | upright, 100% of labels |"
    assert lines[2] == "| `method` | `pooled_z_v` | 0.250 ± 0.000 | 0.500 ± 0.000 |"
    assert len(lines) == 3


def test_pixels_with_the_same_labels_count_once() -> None:
    """They do not depend on the run: three equal values would be shown as a spread of 0."""

    def probed(seed: int, drawn: int, accuracy: float) -> Result:
        entries = [
            {"labels": "upright", "fraction": 1.0, "classifier": "linear", "accuracy": accuracy}
            | {"feature": feature}
            for feature in ("pixels", "pooled_z")
        ]
        words = {"classify": [f"seeds=[{drawn}]"]}
        return result_of("method", seed, classification=entries, words=words)

    settings = small_settings(seeds=(0, 1, 2))
    same = [probed(seed, 0, 0.5 + seed / 10) for seed in range(3)]
    rows = make_blocks(settings, "small", same)["digits/classification"].splitlines()
    assert rows[2] == "| `method` | `pixels` | 0.500 (1) |"
    assert rows[3] == "| `method` | `pooled_z` | 0.600 ± 0.100 (CI ± 0.248) |"
    anew = [probed(seed, seed, 0.5 + seed / 10) for seed in range(3)]
    rows = make_blocks(settings, "small", anew)["digits/classification"].splitlines()
    assert rows[2].startswith("| `method` | `pixels` | 0.600 ± 0.100")


def with_precision() -> ReproductionSettings:
    """Two variants that train in bf16 where the machine has it."""
    words = PresetOverrides(train=("epochs=1", "precision=bf16"))
    digits = DatasetSettings(experiment="x", prepare=("dataset=x",), small=words)
    panel = Panel("PSNR, dB", "psnr")
    return small_settings(
        seeds=(0, 1, 2),
        datasets={"digits": digits},
        variants={name: SETTINGS.variants[name] for name in ("method", "half")},
        tables={"controls": ("method", "half")},
        panels=(panel,),
        reference="method",
    )


def in_precision(settings: ReproductionSettings, variant: str, seed: int, bf16: bool) -> Result:
    """A result of a machine with or without units for bf16; PSNR 20 + seed, 1 less for `half`,
    whose seed 2 has one dB more."""
    planned = plan_run(settings, "small", "digits", variant, seed)
    run = dataclasses.replace(planned, has_bf16=bf16)
    psnr = 20.0 + seed - (variant == "half") * (1 - 0.1 * seed)
    words = {"train": list(run.train_here)}
    return a_result("digits", variant, seed, run.digest, {"psnr": psnr}, words=words)


def test_no_cell_mixes_precisions_and_only_the_same_is_compared() -> None:
    settings = with_precision()
    results = [in_precision(settings, "method", seed, seed > 0) for seed in range(3)]
    results += [in_precision(settings, "half", seed, True) for seed in range(3)]
    blocks = make_blocks(settings, "small", results)
    rows = rows_of(blocks["digits/controls"])
    assert rows["`method`"] == ["21.50 ± 0.71 (2)", "2 of 3"]
    assert rows["`method` (fp32)"] == ["20.00 (1)", "1 of 3"]
    assert rows["`half`"][0].startswith("20.10 ± 1.10 (CI ±")
    paired = rows_of(blocks["digits/paired"])
    assert paired["`half`"] == ["-0.85 (2)"], "seed 0 has another precision"
    assert rows_of(blocks["summary"])["`digits`"][:2] == ["6", "6"]
    (figure,) = make_figures(settings, "small", results).values()
    assert figure.variants == ("method", "method (fp32)", "half")


def test_pairs_of_seeds_tell_more_than_two_spreads() -> None:
    settings = with_precision()
    results = [
        in_precision(settings, variant, seed, True)
        for variant in ("method", "half")
        for seed in range(3)
    ]
    blocks = make_blocks(settings, "small", results)
    half = 0.1 * math.sqrt(2 * 0.95**2 / (1 - 0.95**2)) / math.sqrt(3)
    assert rows_of(blocks["digits/paired"]) == {
        "less `method`": ["PSNR, dB"],
        "---": ["---"],
        "`half`": [f"**-0.9 ± {half:.2g} (3)**"],
    }
    nothing = make_blocks(settings, "small", results[:3])
    assert nothing["digits/paired"] == "not run"
    assert "digits/paired" not in make_blocks(SETTINGS, "small", [])
    with pytest.raises(ValueError, match="reference: unknown 'methode'"):
        small_settings(reference="methode")


def test_results_of_earlier_versions_have_what_their_numbers_determine(tmp_path: Path) -> None:
    """Centred errors of rollouts are raw errors by sqrt(2) times the spread at that horizon."""
    raw = "distance_invariance_error_raw"
    metrics = {
        f"{raw}/model/horizon_5": 3.0,
        f"long/{raw}/model/horizon_100": 2.0,
        f"{raw}/latent": 4.0,
        "latent_spread/horizon_5": 2.0,
        "long/latent_spread/horizon_100": 0.5,
        "swap/foreground_rmse": 0.2,
        "swap/background_rmse": 0.1,
    }
    run = plan_run(SETTINGS, "small", "digits", "method", 0)
    write_result(tmp_path, run, {**result_of("method", 0), "metrics": metrics})
    (read,) = read_results(tmp_path)
    name = "distance_invariance_error_centred/model"
    added = {
        f"{name}/horizon_5": pytest.approx(3 / math.sqrt(8), rel=1e-5),
        f"long/{name}/horizon_100": pytest.approx(2 / math.sqrt(0.5), rel=1e-5),
        "swap/worse_rmse": 0.2,
    }
    assert read["metrics"] == {**metrics, **added}
    measured = {**metrics, f"{name}/horizon_5": 0.7}
    write_result(tmp_path, run, {**result_of("method", 0), "metrics": measured})
    (read,) = read_results(tmp_path)
    assert read["metrics"][f"{name}/horizon_5"] == 0.7, "what was measured stands"


# Documents


def test_only_blocks_change_byte_for_byte() -> None:
    new = replace_blocks(TEXT, {"one": "| a |", "two": "b\n"})
    assert new == (
        "# Title\r\n\n<!-- table: one -->\n| a |\n<!-- end -->  \n"
        "Text ±\t<!-- table: two -->\nb\n\n<!-- end -->"
    )
    assert replace_blocks(new, {"one": "| a |", "two": "b\n"}) == new


@given(st.text("ab\r\n\\1 |"), st.text("ab\r\n\\1 |"), st.text("xy\r\n\\g<0>|"))
def test_text_outside_stays_and_a_second_pass_changes_nothing(
    before: str, after: str, block: str
) -> None:
    text = f"{before}<!-- table: t -->{END}{after}"
    new = replace_blocks(text, {"t": block})
    assert new == f"{before}<!-- table: t -->\n{block}\n{END}{after}"
    assert replace_blocks(new, {"t": block}) == new


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: tow --><!-- end -->", "unknown table 'tow'; did you mean 'two'?"),
        ("<!-- table: one -->", "table 'one' has no <!-- end -->"),
        ("<!-- table: one --><!-- table: two --><!-- end -->", "table 'one' has no <!-- end -->"),
    ],
)
def test_broken_documents_are_left_alone(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(text)
    with pytest.raises(ValueError) as error:
        rewrite_document(file, {"one": "a", "two": "b"})
    assert str(error.value) == f"{file}: {message}"
    assert file.read_text() == text
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        rewrite_document(tmp_path / "none.md", {})


def test_tables_are_rewritten_from_result_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_bytes(b"A\r\n<!-- table: digits/controls -->\n<!-- end -->\xc2\xb1")
    for seed in (0, 1):
        run = plan_run(SETTINGS, "small", "digits", "method", seed)
        write_result(tmp_path / "results", run, result_of("method", seed))
    request = request_in(tmp_path, SETTINGS, tables=True, document=str(page))
    assert carry_out(request) == 0
    once = page.read_bytes()
    assert "| `method` | 20.50 ± 0.71 |".encode() in once
    assert once.startswith(b"A\r\n<!-- table: digits/controls -->\n|")
    assert once.endswith(b"\n<!-- end -->\xc2\xb1")
    stamp = page.stat().st_mtime_ns
    assert carry_out(request) == 0
    assert (page.read_bytes(), page.stat().st_mtime_ns) == (once, stamp)
    assert "nothing to change" in capsys.readouterr().out
    (tmp_path / "results/digits/method_seed0.json").write_text("{}")
    with pytest.raises(ValueError, match=r"method_seed0.json is not a result: dataset is missing"):
        carry_out(request)


@pytest.mark.parametrize("name", ["paper1", "referee"])
def test_the_page_holds_the_tables_of_its_results(name: str) -> None:
    request = read_request([name, "tables=true"])
    assert request.document_file == REPOSITORY / "docs" / f"{name}.md"
    text = request.document_file.read_text()
    blocks = make_blocks(request.reproduction, request.preset, read_results(request.results_dir))
    texts = [text, *(page.read_text() for page in request.other_documents)]
    named = {match["name"] for each in texts for match in START.finditer(each)}
    assert named | {"matrix"} == set(blocks), "a page may leave the matrix out"
    for each in texts:
        assert replace_blocks(each, blocks) == each, f"launch/reproduce.py {name} tables=true"


def guest_result(evaluate: list[str]) -> dict[str, object]:
    """A result of a variant that the settings do not list."""
    plan = plan_run(SETTINGS, "small", "digits", "method", 0)
    words = {"prepare": list(plan.prepare), "train": ["task=theirs"], "evaluate": evaluate}
    return a_result("digits", "theirs", 0, "other", {"psnr": 31.0}, words=words)


def test_a_method_of_another_package_joins_by_its_result_file() -> None:
    """If the reproduction has guests, and the result was measured as the dataset's others are."""
    evaluate = list(plan_run(SETTINGS, "small", "digits", "method", 0).evaluate)
    digits = dataclasses.replace(
        SETTINGS.datasets["digits"], columns={"psnr": PaperColumn("PSNR", "psnr")}
    )
    settings = dataclasses.replace(
        SETTINGS, guests=True, datasets={**SETTINGS.datasets, "digits": digits}
    )
    blocks = make_blocks(settings, "small", [guest_result(evaluate)])
    assert rows_of(blocks["digits/results"])["`theirs`"] == ["31", "1 of 2"]
    assert rows_of(blocks["matrix"])["`theirs`"] == ["1 of 2", "not applicable"]
    for result, alike in (
        (guest_result(["split=val"]), settings),
        (guest_result(evaluate), SETTINGS),
    ):
        assert "`theirs`" not in rows_of(make_blocks(alike, "small", [result])["matrix"])


def test_floors_stand_below_the_table() -> None:
    digits = dataclasses.replace(
        SETTINGS.datasets["digits"],
        columns={"psnr": PaperColumn("PSNR", "psnr")},
        floors=(PaperColumn("PSNR of a copy", "copy"), PaperColumn("of nothing", "nothing")),
    )
    settings = dataclasses.replace(SETTINGS, datasets={**SETTINGS.datasets, "digits": digits})
    result = result_of("method", 0)
    result["metrics"]["copy"] = 12.25
    text = make_blocks(settings, "small", [result])["digits/results"]
    assert "Without a method: PSNR of a copy 12.2." in text
    assert "Floors: not run." in make_blocks(settings, "small", [])["digits/results"]
