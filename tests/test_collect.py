"""The table of many runs: which rows and columns, means over seeds, which point is best."""

import csv
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
from helpers.programs import call
from helpers.training import make_config
from hypothesis import given
from hypothesis import strategies as st

from launch.jobs.codes import Spans
from launch.reports.collecting import (
    Evaluation,
    Run,
    Table,
    as_csv,
    make_table,
    read_runs,
    stated_by,
    varied_keys,
)
from launch.reports.seed_summary import Cell, as_plain, as_text, direction_of, summarise
from pipeline.training.run_directory import RunDirectory

PROGRAM = "launch/collect.py"
OWN, OTHER = "a" * 64, "b" * 64


def write_run(
    folder: Path, name: str, *words: str, loss: float | None = None, dataset: str = OWN
) -> Path:
    """A run directory with the configuration of these words; finished if it has a loss."""
    path = folder / name
    path.mkdir(parents=True)
    run = RunDirectory(path)
    run.write_config(make_config(Path("data"), path, *words))
    if loss is not None:
        (path / "checkpoints" / "step_00000034").mkdir(parents=True)
        run.write_json("checkpoints/step_00000034/meta.json", {"dataset": dataset})
        metrics = {"loss/total": loss, "psnr": 10 - loss, "mask/fraction_variant": 0.5}
        result = {"state": "finished", "step": 51, "best_step": 34, "split": "val"}
        run.write_json("result.json", {**result, "metrics": metrics, "last_metrics": {}})
    return path


def write_evaluation(
    run: Path, step: int, split: str, loss: float, dataset: str = OWN, suffix: str = ""
) -> Path:
    (run / "evaluations").mkdir(exist_ok=True)
    content = {"step": step, "split": split, "dataset": dataset, "metrics": {"loss/total": loss}}
    file = run / "evaluations" / f"step_{step:08d}-{split}{suffix}.json"
    file.write_text(json.dumps(content))
    return file


@pytest.fixture
def sweep(made_sweep: Path, tmp_path: Path) -> Path:
    """Three seeds at two learning rates; 0.01_0 has no test, 0.001_2 is unfinished."""
    return shutil.copytree(made_sweep, tmp_path / "sweep")


@pytest.fixture(scope="module")
def made_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("made") / "runs"
    for rate in ("0.01", "0.001"):
        for seed in range(3):
            loss = None if (rate, seed) == ("0.001", 2) else float(rate) * (seed + 1)
            words = (
                f"seed={seed}",
                f"optimizer.learning_rate={rate}",
                f"loader.prefetch={seed + 1}",
            )
            path = write_run(runs, f"lr_{rate}_{seed}", *words, loss=loss)
            if (rate, seed) != ("0.01", 0):
                write_evaluation(path, 34, "test", 2 * float(rate) * (seed + 1))
                write_evaluation(path, 51, "test", 100.0)
    return runs.parent


def rows_of(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


# The table


def test_rows_and_columns(sweep: Path, tmp_path: Path) -> None:
    outcome = call(PROGRAM, str(sweep), f"out={tmp_path / 'table.csv'}")
    assert (outcome.code, outcome.err) == (0, "")
    rows = rows_of(tmp_path / "table.csv")
    assert list(rows[0]) == [
        *("run", "optimizer.learning_rate", "seed", "step", "split", "state"),
        *("loss/total", "psnr", "mask/fraction_variant"),
    ]
    found = [(row["run"], row["step"], row["split"], row["state"]) for row in rows]
    assert found == sorted(found)
    assert len(found) == 5 + 2 * 5
    assert found[0] == ("lr_0.001_0", "34", "test", "finished")
    assert found[1] == ("lr_0.001_0", "34", "val", "finished")
    assert {row["state"] for row in rows if row["run"] == "lr_0.001_2"} == {"unfinished"}
    assert (rows[0]["loss/total"], rows[0]["psnr"], rows[0]["seed"]) == ("0.002", "", "0")
    assert (rows[1]["loss/total"], rows[1]["psnr"]) == ("0.001", "9.999")


def test_the_table_is_written_whole_and_the_same_each_time(sweep: Path) -> None:
    first = call(PROGRAM, str(sweep))
    table = (sweep / "table.csv").read_bytes()
    again = call(PROGRAM, str(sweep))
    assert first.out == again.out
    assert (sweep / "table.csv").read_bytes() == table
    assert table.count(b"\r\n") == table.count(b"\n") == 16
    assert {path.name for path in sweep.iterdir()} == {"runs", "table.csv"}


def test_a_folder_of_runs_is_as_good_as_a_sweep(sweep: Path, tmp_path: Path) -> None:
    assert make_table(read_runs(sweep / "runs")[0]) == make_table(read_runs(sweep)[0])


def test_only_what_can_matter_is_a_column(tmp_path: Path) -> None:
    write_run(tmp_path, "a", "num_threads=1", "retention.keep_last=1", "checkpoint_every=5")
    write_run(tmp_path, "b", "num_threads=2", "retention.keep_last=2", "resume=never", "epochs=4")
    runs, _ = read_runs(tmp_path)
    assert varied_keys(runs) == ["epochs", "num_threads"]
    assert make_table(runs).columns[:4] == ("run", "epochs", "num_threads", "seed")


def test_an_evaluation_replaces_the_validation_it_repeats(tmp_path: Path) -> None:
    path = write_run(tmp_path, "a", loss=1.0)
    write_evaluation(path, 34, "val", 1.5)
    rows = make_table(read_runs(tmp_path)[0]).rows
    assert [(row["step"], row["split"], row["loss/total"]) for row in rows] == [(34, "val", 1.5)]


def test_other_datasets_are_told_apart(tmp_path: Path) -> None:
    for seed in range(2):
        path = write_run(tmp_path, f"a{seed}", f"seed={seed}", loss=1.0)
        write_evaluation(path, 34, "test", 2.0)
        write_evaluation(path, 34, "test", 50.0, OTHER, "-bbbbbbbb")
    runs, _ = read_runs(tmp_path)
    table = make_table(runs)
    assert "dataset" in table.columns
    assert [row["dataset"] for row in table.rows] == ["a" * 8, "b" * 8, "a" * 8] * 2
    (point,) = summarise(runs, "loss/total", None).points
    assert (point.cells["test"].mean, point.cells["test"].num_seeds, point.settings) == (2.0, 2, {})
    for seed in range(2):
        write_run(tmp_path, f"b{seed}", f"seed={seed}", loss=3.0, dataset=OTHER)
    summary = summarise(read_runs(tmp_path)[0], "loss/total", "val")
    assert [(point.settings, point.cells["val"].mean) for point in summary.points] == [
        ({"dataset": "a" * 8}, 1.0),
        ({"dataset": "b" * 8}, 3.0),
    ]


def test_values_are_quoted_where_csv_needs_it() -> None:
    text = 'one,"two"\nthree'
    table = Table(("run", "a", "b", "c", "d"), ({"run": text, "a": None, "b": True, "c": [1, 2]},))
    assert as_csv(table) == 'run,a,b,c,d\r\n"one,""two""\nthree",null,true,"[1, 2]",\r\n'


def test_what_cannot_be_read_is_named_and_left_out(sweep: Path) -> None:
    runs = sweep / "runs"
    (runs / "empty").mkdir()
    (runs / ".hidden").mkdir()
    (runs / "notes.txt").touch()
    (runs / "lr_0.01_0" / "config.yaml").write_text("a: [\n")
    (runs / "lr_0.01_1" / "result.json").write_text('{"state": "fin')
    (runs / "lr_0.01_2" / "evaluations" / "step_00000034-test.json").write_text("{}")
    (runs / "lr_0.01_2" / "evaluations" / ".step_00000034-test.json.1.tmp").write_text("{")
    outcome = call(PROGRAM, str(sweep))
    assert outcome.code == 0
    lines = outcome.err.splitlines()
    assert len(lines) == 4
    for line, (place, why) in zip(
        lines,
        [
            ("empty/config.yaml", "is missing; run left out"),
            ("lr_0.01_0/config.yaml", "cannot be read; run left out"),
            ("lr_0.01_1/result.json", "cannot be read; left out"),
            ("lr_0.01_2/evaluations/step_00000034-test.json", "holds no step, split and metrics"),
        ],
        strict=True,
    ):
        assert line.startswith("collect: ")
        assert place in line
        assert why in line
    states = {row["run"]: row["state"] for row in rows_of(sweep / "table.csv")}
    assert states["lr_0.01_1"] == "unfinished"
    assert "lr_0.01_0" not in states


# The summary


def test_means_over_seeds_at_the_best_step(sweep: Path) -> None:
    summary = summarise(read_runs(sweep)[0], "loss/total", None)
    assert (summary.splits, summary.direction, summary.best) == (("val", "test"), "lower", 0)
    low, high = (point.cells for point in summary.points)
    assert summary.points[0].settings == {"optimizer.learning_rate": 0.001}
    assert (low["test"].num_seeds, low["test"].mean) == (2, pytest.approx(0.003))
    assert low["test"].std == pytest.approx(statistics.stdev([0.002, 0.004]))
    assert (high["test"].num_seeds, high["test"].mean) == (2, pytest.approx(0.05))
    assert (high["val"].num_seeds, high["val"].mean) == (3, pytest.approx(0.02))
    assert summary.notes == ("not counted, unfinished: 1",)


def test_the_printed_summary(sweep: Path) -> None:
    lines = call(PROGRAM, str(sweep), "metric=loss/total").out.splitlines()
    assert lines[0] == ("loss/total, lower is better, over seeds; val chooses, test is next to it:")
    each = ["std", "seeds"]
    heads = ["optimizer.learning_rate", "val", "mean", *each, "test", "mean", *each]
    assert lines[1].split() == heads
    assert lines[2].split() == ["0.001", "0.0015", "0.0007071", "2", "0.003", "0.001414", "2"]
    assert lines[3].split() == ["0.01", "0.02", "0.01", "3", "0.05", "0.01414", "2"]
    assert "best on val: optimizer.learning_rate=0.001" in lines
    assert lines[-1] == f"15 rows of 6 runs: {sweep / 'table.csv'}"


@given(
    val=st.lists(st.floats(-10, 10), min_size=2, max_size=5, unique=True),
    test=st.lists(st.floats(-10, 10), min_size=5, max_size=5),
    wish=st.sampled_from([None, "val", "test"]),
)
def test_no_number_of_the_test_split_changes_what_is_best(
    val: list[float], test: list[float], wish: str | None
) -> None:
    """Settings that were ranked on the test split would look better than they are."""
    runs = [
        run_of(0, own, width=width, test=other)
        for width, (own, other) in enumerate(zip(val, test, strict=False))
    ]
    summary = summarise(runs, "mse", wish)
    assert summary.best is not None
    assert summary.points[summary.best].settings["width"] == val.index(min(val))


def test_where_nothing_was_validated_nothing_is_best() -> None:
    runs = [run_of(0, None, width=width, test=1.0 + width) for width in (1, 2)]
    summary = summarise(runs, "mse", None)
    assert summary.best is None
    assert [point.cells["test"].mean for point in summary.points] == [2.0, 3.0]
    assert "mse was not measured on val, which alone is used to choose" in summary.notes[0]


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6))
def test_mean_and_sample_standard_deviation(values: list[float]) -> None:
    runs = [run_of(seed, value) for seed, value in enumerate(values)]
    (point,) = summarise(runs, "mse", None).points
    cell = point.cells["val"]
    assert cell.num_seeds == len(values)
    assert cell.mean == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert cell.std == pytest.approx(statistics.stdev(values), abs=1e-6)


def run_of(
    seed: int,
    value: object,
    metric: str = "mse",
    test: object = None,
    code: Spans | None = None,
    measured_by: Spans = (),
    **config: Any,
) -> Run:
    evaluations = tuple(
        Evaluation(1, split, OWN, True, {metric: each}, code=measured_by)
        for split, each in (("val", value), ("test", test))
        if each is not None
    )
    name = "_".join(map(str, [*config.values(), seed]))
    task = {"task.name": "latent_action"}
    return Run(name, {"seed": seed, **task, **config}, True, 1, evaluations, code)


def span(pipeline: str, step: int = 0, **more: str) -> dict[str, Any]:
    return {"first_step": step, "packages": {"orbit": "0" * 64, "pipeline": pipeline * 64, **more}}


def test_runs_of_different_code_are_not_averaged_unless_that_is_asked_for() -> None:
    runs = [
        run_of(0, 1.0, code=(span("a"),)),
        run_of(1, 2.0, code=(span("a"),)),
        run_of(2, 9.0, code=(span("b"),)),
        run_of(3, 5.0, code=()),
        run_of(4, 6.0, code=(span("a"), span("b", step=20))),
    ]
    summary = summarise(runs, "mse", None)
    means = {point.settings["code"]: point.cells["val"].mean for point in summary.points}
    assert means == {
        "pipeline aaaaaaaa": 1.5,
        "pipeline bbbbbbbb": 9.0,
        "unknown": 5.0,
        "pipeline aaaaaaaa then pipeline bbbbbbbb": 6.0,
    }
    assert summary.best is None
    text = as_text(summary)
    assert "different code: 2 runs of code pipeline aaaaaaaa" in text
    assert "not averaged together, and no best is named (any_code=true averages)" in text
    (point,) = summarise(runs, "mse", None, any_code=True).points
    assert (point.settings, point.cells["val"].num_seeds) == ({}, 5)
    assert "code" in make_table(runs).columns


def test_runs_of_one_code_or_of_none_known_look_as_ever() -> None:
    """Packages that only some runs use make no difference between those."""
    for codes in ([(), ()], [(span("a"),)] * 2, [(span("a"),), (span("a", mylab="1" * 64),)]):
        runs = [run_of(seed, 1.0, code=code) for seed, code in enumerate(codes)]
        summary = summarise(runs, "mse", None)
        assert ([point.settings for point in summary.points], summary.notes) == ([{}], ())
        assert "code" not in make_table(runs).columns


def test_numbers_that_different_code_measured_are_not_averaged() -> None:
    made = (span("a"),)
    runs = [
        run_of(seed, 1.0, test=2.0, code=made, measured_by=(span(by),))
        for seed, by in enumerate("aab")
    ]
    summary = summarise(runs, "mse", None)
    assert [point.settings for point in summary.points] == [
        {f"{split} measured by": f"pipeline {by * 8}" for split in ("val", "test")} for by in "ab"
    ]
    assert "with redo=true measures all with one code" in summary.notes[-1]
    assert len(summarise(runs, "mse", None, any_code=True).points) == 1


def test_one_seed_has_no_deviation_and_a_repeated_one_counts_once() -> None:
    runs = [run_of(0, 1.0), run_of(0, 5.0)]
    summary = summarise(runs, "mse", None)
    (point,) = summary.points
    assert point.cells["val"] == Cell(1.0, None, 1)
    assert summary.notes == ("not counted, settings and seed of 0: 0",)
    assert "best on val: all runs have the same settings" in as_text(summary)


def test_points_are_in_the_order_of_their_values() -> None:
    runs = [run_of(0, 1.0, width=width) for width in (16, 8, 128)]
    assert [point.settings["width"] for point in summarise(runs, "mse", None).points] == [
        8,
        16,
        128,
    ]


def test_what_is_not_finite_is_never_best() -> None:
    runs = [run_of(0, "nan", width=8), run_of(1, 1.0, width=8), run_of(0, 3.0, width=16)]
    summary = summarise(runs, "mse", None)
    assert summary.best == 1
    assert "nan" in as_text(summary)
    plain = as_plain(make_table(runs), summary)
    assert plain["summary"]["points"][0]["cells"]["val"]["mean"] is None
    json.dumps(plain, allow_nan=False)


@pytest.mark.parametrize(
    ("method", "metric", "direction"),
    [
        ("of a package", "loss/total", "lower"),
        ("of a package", "mse", None),
        ("latent_action", "mse", "lower"),
        ("latent_action", "ssim/90", "higher"),
        ("latent_action", "mask/fraction_variant", None),
        ("world_model", "hits_at_1/horizon_10", "higher"),
        ("world_model", "mrr/horizon_1/unseen_actions", "higher"),
        ("sequence_labelling", "accuracy", "higher"),
    ],
)
def test_directions(method: str, metric: str, direction: str | None) -> None:
    """Those of Orbit's methods hold for evaluations that state nothing, too."""
    task = {"task.name": method}
    runs = [run_of(0, value, metric, width=value, **task) for value in (1.0, 2.0)]
    assert direction_of(metric, stated_by(runs)) == direction
    assert summarise(runs, metric, None).best == {"lower": 0, "higher": 1, None: None}[direction]


# The program


def test_everything_as_json(sweep: Path) -> None:
    outcome = call(PROGRAM, str(sweep), "json=true", "split=val")
    content = json.loads(outcome.out)
    assert len(content["rows"]) == 15
    assert content["rows"][0]["optimizer.learning_rate"] == 0.001
    points = content["summary"]["points"]
    assert [point["cells"]["val"]["num_seeds"] for point in points] == [2, 3]
    assert not (sweep / "table.csv").exists()
    call(PROGRAM, str(sweep), "json=true", f"out={sweep / 'other.csv'}")
    assert len(rows_of(sweep / "other.csv")) == 15


def test_a_sweep_that_has_just_begun(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "a")
    outcome = call(PROGRAM, str(tmp_path))
    assert outcome.out.splitlines()[:2] == ["nothing to compare yet", "not counted, unfinished: 1"]
    assert rows_of(tmp_path / "table.csv") == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("metric=psrn",), "no finished run has metric=psrn on val; did you mean 'psnr'?"),
        (("split=tset",), "no finished run has split=tset; known: test, val"),
        (("out=nowhere/table.csv",), "out=nowhere/table.csv: there is no directory nowhere"),
        (("jsn=true",), "cannot use 'jsn=true'"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], line: str, sweep: Path) -> None:
    extra = ("split=val",) if words[0].startswith("metric") else ()
    assert line in call(PROGRAM, str(sweep), *words, *extra).error_line
    assert {path.name for path in sweep.iterdir()} == {"runs"}


def test_places_without_runs_are_one_line(tmp_path: Path) -> None:
    assert "there is no such directory" in call(PROGRAM, str(tmp_path / "none")).error_line
    assert "no run below" in call(PROGRAM, str(tmp_path)).error_line


def recorded(file: Path, **more: object) -> None:
    """Add to what an evaluation says of itself."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


def test_what_was_measured_before_a_run_started_over_is_left_out(tmp_path: Path) -> None:
    """Its weights are gone; the same step of the new attempt is another model."""
    run = write_run(tmp_path, "a")
    recorded(write_evaluation(run, 17, "test", 0.5), attempt=0)
    recorded(write_evaluation(run, 34, "test", 0.4), attempt=1)
    (run / "restarts.json").write_text(json.dumps(["collapsed at step 20"]))
    ((found,), complaints) = read_runs(tmp_path)
    assert ([each.step for each in found.evaluations], complaints) == ([34], [])


def test_older_evaluations_are_told_by_the_weights_they_name(tmp_path: Path) -> None:
    run = write_run(tmp_path, "a")
    for step, weights in ((17, "old"), (34, "new")):
        recorded(write_evaluation(run, step, "test", 0.5), weights=weights)
        folder = run / "checkpoints" / f"step_{step:08d}"
        folder.mkdir(parents=True)
        meta = {"files": {"model.safetensors": {"sha256": "new"}}}
        (folder / "meta.json").write_text(json.dumps(meta))
    assert len(read_runs(tmp_path)[0][0].evaluations) == 2
    (run / "restarts.json").write_text(json.dumps(["collapsed at step 20"]))
    assert [each.step for each in read_runs(tmp_path)[0][0].evaluations] == [34]
