"""What a report works out from logs: points of curves, hours, costs, effects, numbers as text.

Protects that downsampling keeps means and extremes, that restarts are neither counted as
work nor forgotten, and that logs in any state are read.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.reporting import BEGAN, write_log, write_run
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from launch.jobs.history import Attempt
from launch.reports.html.curves import (
    axes_of,
    cost_of,
    make_curves,
    points_per_curve,
    rounded,
    total,
)
from launch.reports.html.gathering import RunRecord, find_runs, gather
from launch.reports.html.headline import explained, make_effects, spearman
from launch.reports.html.logs import (
    Clock,
    Log,
    SplitLog,
    bucket_means,
    make_buckets,
    read_clock,
    read_log,
    steps_per_epoch,
)
from launch.reports.html.names import duration, number, section_order, short_keys, spread
from orbit.core.files.atomic import write_json
from pipeline.methods.table import METHODS

FINITE = st.floats(-1e9, 1e9)
ROWS = st.integers(0, 200).flatmap(lambda num: arrays(np.float64, num, elements=FINITE))


# Downsampling


@given(values=ROWS, max_points=st.integers(1, 60))
def test_buckets_keep_means_and_extremes(values: np.ndarray, max_points: int) -> None:
    buckets = make_buckets(len(values), max_points)
    thinned = bucket_means(values, buckets)
    sizes = np.diff(buckets.edges)
    assert len(thinned.mean) == buckets.num_points == min(len(values), max_points)
    assert sizes.sum() == len(values)
    if len(values):
        assert sizes.max() - sizes.min() <= 1
        assert buckets.most == sizes.max()
        assert thinned.low.min() == values.min()
        assert thinned.high.max() == values.max()
        assert (thinned.low <= thinned.mean).all()
        assert (thinned.mean <= thinned.high).all()
        scale = 1 + np.abs(values).max()
        assert (thinned.mean * sizes).sum() == pytest.approx(values.sum(), abs=1e-9 * scale * 200)


@given(values=ROWS)
def test_few_points_stay_as_they_are(values: np.ndarray) -> None:
    buckets = make_buckets(len(values), 200)
    assert not buckets.is_thinned
    np.testing.assert_array_equal(bucket_means(values, buckets).mean, values)


@given(num=st.integers(1, 300), max_points=st.integers(1, 50))
def test_steps_stay_in_order(num: int, max_points: int) -> None:
    steps = np.cumsum(np.arange(1, num + 1)).astype(np.float64)
    grid = bucket_means(steps, make_buckets(num, max_points)).mean
    assert (np.diff(grid) > 0).all()
    assert steps[0] <= grid[0]
    assert grid[-1] <= steps[-1]


def test_what_is_not_finite_does_not_count() -> None:
    values = np.array([1.0, np.nan, 3.0, np.inf, np.nan, np.nan])
    thinned = bucket_means(values, make_buckets(6, 3))
    np.testing.assert_array_equal(thinned.mean, [1, 3, np.nan])
    assert rounded(thinned.high) == [1, 3, None]
    assert rounded(np.array([0.1234567, 1e-12, 250.0])) == [0.12346, 1e-12, 250]


def test_many_curves_have_fewer_points() -> None:
    assert points_per_curve(1, True) == 1000
    assert points_per_curve(20_000, False) == 50
    assert points_per_curve(10**7, True) == 20


# Reading logs


def test_a_log_is_read_as_arrays(tmp_path: Path) -> None:
    lines = write_log(write_run(tmp_path / "run"), 25)
    log = read_log(tmp_path / "run/metrics.jsonl")
    for split in ("train", "val"):
        own = [line for line in lines if line["split"] == split]
        found = log.splits[split]
        assert found.steps.tolist() == [line["step"] for line in own]
        assert found.values["loss/total"].tolist() == [line["loss/total"] for line in own]
    assert log.last("val")["loss/total"] == lines[-1]["loss/total"]
    assert (log.num_lines, log.num_broken) == (len(lines), 0)
    assert log.last("test") == {}


def test_a_stride_keeps_what_tells_most(tmp_path: Path) -> None:
    file = tmp_path / "run/metrics.jsonl"
    lines = write_log(write_run(tmp_path / "run"), 100)
    texts = file.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if line["step"] == 570)
    texts[number] = json.dumps({**lines[number], "loss/total": "nan"})
    number = next(n for n, line in enumerate(lines) if line["step"] == 730)
    texts[number] = json.dumps({**lines[number], "speed/samples_per_second": 0.0})
    file.write_text("\n".join(texts) + "\n")
    whole, thin = read_log(file), read_log(file, stride=7)
    np.testing.assert_array_equal(thin.splits["val"].steps, whole.splits["val"].steps)
    kept = set(thin.splits["train"].steps.tolist())
    assert {10, 570, 730, 1000} <= kept
    assert len(kept) < 25
    assert read_clock(thin.splits["train"]).num_restarts == 1


def test_logs_in_any_state(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_log(file) == Log()
    file.write_text("")
    assert read_log(file).splits == {}
    line = {"step": 1, "epoch": 0, "split": "train", "a": 1.0}
    broken = ["{", "[1]", '{"split": "train"}', '{"step": "x"}', "null"]
    texts = [json.dumps(line), *broken, json.dumps({**line, "step": 2, "a": "inf", "b": [1]})]
    file.write_bytes(("\n".join(texts) + '\n{"step": 3, "spl').encode() + b"\xff")
    log = read_log(file)
    assert log.num_broken == len(broken)
    assert log.splits["train"].steps.tolist() == [1, 2]
    assert log.splits["train"].values["a"].tolist() == [1, float("inf")]
    assert np.isnan(log.splits["train"].values["b"]).all()
    assert log.last("train") == {"a": 1.0}
    twice = [
        json.dumps({**line, "a": value, "step": step}) for step, value in ((5, 1), (4, 2), (5, 3))
    ]
    file.write_text("\n".join(twice) + "\n")
    assert read_log(file).splits["train"].values["a"].tolist() == [2, 3]


# Clocks and costs


def train_log(times: list[float], firsts: set[int], steps: list[int] | None = None) -> SplitLog:
    numbers = np.array(steps or [10 * (k + 1) for k in range(len(times))], np.int64)
    speeds = [0.0 if k in firsts else 100.0 for k in range(len(times))]
    values = {"time/unix": np.array(times), "speed/samples_per_second": np.array(speeds)}
    return SplitLog(numbers, np.zeros(len(times)), values)


def clock_of(log: SplitLog) -> Clock:
    clock = read_clock(log)
    assert clock is not None
    return clock


@given(
    num=st.integers(3, 30),
    gaps=st.dictionaries(st.integers(2, 29), st.floats(0, 1e5), max_size=4),
)
def test_restarts_are_lost_time_and_not_work(num: int, gaps: dict[int, float]) -> None:
    """Lines 2 s apart, with a restart of so many seconds more before some of them."""
    gaps = {place: gap for place, gap in gaps.items() if place < num}
    times = BEGAN + np.cumsum([2.0 + gaps.get(place, 0.0) for place in range(num)])
    clock = clock_of(train_log(times.tolist(), {0, *gaps}))
    assert clock.num_restarts == len(gaps)
    np.testing.assert_allclose(clock.hours * 3600, 2.0 * np.arange(1, num + 1), rtol=1e-4)
    assert clock.lost_hours * 3600 == pytest.approx(sum(gaps.values()), rel=1e-4, abs=1e-3)


def test_clocks_of_short_and_timeless_logs() -> None:
    assert read_clock(SplitLog(np.zeros(0, np.int64), np.zeros(0), {})) is None
    assert clock_of(train_log([5.0], {0})).hours.tolist() == [0]
    assert clock_of(train_log([5.0, 4.0], {0})).lost_hours == 0
    assert read_clock(train_log([5.0, float("nan")], {0})) is None


def test_epochs_follow_from_the_lines_that_end_them() -> None:
    steps = np.array([10, 17, 20, 30, 34, 40], np.int64)
    log = SplitLog(steps, np.array([0, 1, 1, 1, 2, 2.0]), {})
    assert steps_per_epoch(log) == 17
    assert steps_per_epoch(SplitLog(steps[:1], np.zeros(1), {})) is None


def record_of(run: Path) -> RunRecord:
    (record,) = gather(find_runs([run])).records
    return record


def test_axes_of_a_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "global_batch=32")
    write_log(run, 25)
    axes = axes_of(record_of(run))
    assert (axes["stepsPerEpoch"], axes["batch"]) == (100, 32)
    steps, hours = axes["hours"]
    assert (steps[0], hours[0], steps[-1]) == (0, 0, 250)
    assert hours[-1] * 3600 == pytest.approx(50, rel=1e-3)


def test_costs_without_and_with_a_launcher(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_log(run, 25)
    cost = cost_of(record_of(run))
    assert (cost.samples_per_second, cost.wait_share, cost.host_mib) == (320, 0.25, 502.5)
    assert (cost.num_restarts, cost.is_gpu, cost.gpu_mib) == (0, False, None)
    assert cost.device_hours == pytest.approx(2 * 50 / 3600)
    for restart, (start, end) in enumerate([(0, 30), (40, None)]):
        folder = run / f"attempts/7-{restart}"
        folder.mkdir(parents=True)
        begun = {"submission": "s", "started": BEGAN + start, "first_step": 0, "num_ranks": 4}
        write_json(folder / "begin.json", begun)
        if end is not None:
            write_json(folder / "end.json", {"reason": "preempted", "time": BEGAN + end})
    write_json(run / "environment.json", {"gpu": "a GPU", "device": "cuda", "world_size": 4})
    cost = cost_of(record_of(run))
    # The second attempt left no word: it lasted until the last line, at 50 s.
    assert cost.device_hours == pytest.approx(4 * (30 + 10) / 3600)
    assert cost.waiting_hours == pytest.approx(10 / 3600)
    assert (cost.num_restarts, cost.is_gpu) == (1, True)
    assert total([cost, cost]).gpu_hours == pytest.approx(2 * cost.device_hours)


def test_attempts_know_their_end_and_ranks(tmp_path: Path) -> None:
    record = record_of(write_run(tmp_path / "run"))
    assert record.attempts == ()
    assert Attempt("a", "s", 1.0, 0, None).num_ranks == 1
    cost = cost_of(record)
    assert (cost.samples_per_second, cost.device_hours, cost.work_hours) == (None, None, None)


def test_curves_of_runs_share_grids_and_leave_out_what_is_flat(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_log(write_run(tmp_path / name), 25)
    write_log(write_run(tmp_path / "c"), 3)
    curves = make_curves(gather(find_runs([tmp_path])))
    assert curves.most == 1
    assert [one["run"] for one in curves.series["psnr"]] == [0, 1, 2]
    grids = {(one["run"], one["split"]): one["grid"] for one in curves.series["loss/total"]}
    assert grids[0, "train"] == grids[1, "train"] != grids[2, "train"]
    assert curves.grids[grids[0, "val"]] == [100, 200, 250]
    assert "time/unix" not in curves.series


# Effects


@given(st.lists(st.lists(FINITE, min_size=1, max_size=5), min_size=1, max_size=5))
def test_explained_variance_is_a_share(groups: list[list[float]]) -> None:
    assert 0 <= explained(groups) <= 1


def test_effects_of_a_grid() -> None:
    settings = [{"a": a, "b": b, "c": 1} for a in (1, 2) for b in ("x", "y", "z")]
    values = [10.0 * one["a"] for one in settings]
    effects = make_effects(["b", "a", "c", "d"], settings, values)
    assert [effect.key for effect in effects] == ["a", "b"]
    assert effects[0].explained == pytest.approx(1)
    assert effects[1].explained == pytest.approx(0)
    assert [(one.value, one.mean, one.num_runs) for one in effects[0].levels] == [
        (1, 10, 3),
        (2, 20, 3),
    ]
    values[0] = float("nan")
    assert make_effects(["a"], settings, values)[0].levels[0].num_runs == 2
    assert make_effects(["a"], settings, [float("nan")] * 6) == []


def test_many_numbers_are_told_by_rank_correlation() -> None:
    x = np.linspace(0.1, 3, 40)
    (effect,) = make_effects(["x"], [{"x": v} for v in x.tolist()], (-np.exp(x)).tolist())
    assert (effect.levels, effect.explained) == ((), None)
    assert effect.correlation == pytest.approx(-1)


@given(arrays(np.float64, 12, elements=st.sampled_from([0.0, 1.0, 2.5, 7.0])))
def test_rank_correlation_agrees_with_scipy(x: np.ndarray) -> None:
    from scipy.stats import spearmanr

    y = np.arange(12.0)[::-1].copy()
    if len(np.unique(x)) > 1:
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    else:
        assert spearman(x, y) == 0


# Names and numbers


def test_short_keys_stay_apart() -> None:
    keys = ["task.model.width", "head.width", "seed", "task.tau"]
    assert short_keys(keys) == {
        "task.model.width": "model.width",
        "head.width": "head.width",
        "seed": "seed",
        "task.tau": "tau",
    }


def test_losses_come_first_and_numbers_in_order() -> None:
    names = ["mask/flips", "psnr/90", "loss/part_10", "loss/part_2", "psnr", "loss/total", "mse"]
    stated = METHODS["latent_action"].metrics
    assert sorted(names, key=lambda name: section_order(name, stated)) == [
        *("loss/total", "loss/part_2", "loss/part_10", "psnr", "mse", "mask/flips", "psnr/90"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("-inf"), "−∞"),
        (0.0, "0"),
        (12, "12"),
        (27.0, "27.00"),
        (-0.01234567, "−0.01235"),
        (1234.5, "1,234"),
        (123456.0, "1.23e5"),
        (0.00001234, "1.23e−5"),
        ("x", "x"),
    ],
)
def test_numbers_as_text(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (22.61123, 0.0251, "22.611 ± 0.025"),
        (0.5, None, "0.5000"),
        (100.0, 0.0, "100.0 ± 0"),
        (float("nan"), 0.1, "–"),
        (61.8, 13.2, "62 ± 13"),
    ],
)
def test_means_with_their_spread(mean: float, std: float | None, text: str) -> None:
    assert spread(mean, std) == text


def test_durations() -> None:
    shown = [duration(hours) for hours in (None, 0.001, 0.5, 3.334, 52.0)]
    assert shown == ["–", "4 s", "30 min", "3 h 20 min", "2 d 4 h"]
