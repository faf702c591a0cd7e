"""The command of an Optuna search, and what its controller works with."""

import json
import sys
import time
from pathlib import Path

import pytest
from helpers.programs import Outcome, call, start_python
from helpers.searching import (
    LOSS,
    TINY,
    make_order,
    open_study,
    states,
    trials,
)

from launch.cluster.settings import InlineConfig, LocalConfig, SlurmConfig
from launch.jobs.records import JobRecord, write_record
from launch.jobs.search_job import SearchJob, controller_resources
from launch.reports.run_state import read_run_state
from launch.sweeps.directory import SweepDirectory
from launch.sweeps.search_loop import num_parallel
from launch.sweeps.search_order import read_search_order, write_search_order
from launch.sweeps.search_space import example_points, point_of
from launch.sweeps.settings import Dimension
from launch.sweeps.study import SearchStudy
from launch.sweeps.trial_jobs import ClusterJobs


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    return tmp_path / "a_search"


# The command


def words(sweep_dir: Path, data: Path, *more: str) -> list[str]:
    space = "{task.tau: {low: 0.3, high: 0.7}, task.model.width: {choices: [4]}}"
    return [
        *TINY,
        f"data={data}",
        "sweep=optuna_search",
        "cluster=inline",
        f"sweep_dir={sweep_dir}",
        "sweep.search.num_parallel=1",
        f"sweep.search.space={space}",
        *more,
    ]


def sweep(sweep_dir: Path, data: Path, *more: str) -> Outcome:
    return call("launch/sweep.py", *words(sweep_dir, data, *more))


def test_inline_search_its_repetition_and_its_continuation(
    sweep_dir: Path, digits_dir: Path
) -> None:
    three = "sweep.search.num_trials=3"
    dry = sweep(sweep_dir, digits_dir, three, "dry_run=true")
    assert dry.code == 0
    assert not sweep_dir.exists()
    first = sweep(sweep_dir, digits_dir, three)
    assert first.code == 0, first.err
    assert "best: trial" in first.out
    summary = json.loads((sweep_dir / "search.json").read_text())
    assert summary["trials"] == {"complete": 3, "pruned": 0, "failed": 0}
    (best,) = summary["best"]["runs"]
    result = json.loads((sweep_dir / "runs" / best / "result.json").read_text())
    assert result["metrics"][LOSS] == summary["best"]["value"]

    again = sweep(sweep_dir, digits_dir, three)
    assert again.code == 0
    assert "nothing to submit" in again.out
    assert len(list((sweep_dir / "runs").iterdir())) == 3

    more = sweep(sweep_dir, digits_dir, "sweep.search.num_trials=4")
    assert more.code == 0, more.err
    assert len(list((sweep_dir / "runs").iterdir())) == 4
    assert states(sweep_dir) == ["COMPLETE"] * 4

    for change, named in (
        ("sweep.search.direction=maximize", 'direction: "minimize" -> "maximize"'),
        ("sweep.search.space={task.tau: {low: 0.4, high: 0.7}}", "space.task.tau"),
        ("epochs=2", "epochs: (default) -> 2"),
        ("sweep.seeds=[0,1]", "seeds: [0] -> [0, 1]"),
        ("sweep.search.metric=psnr", "metric"),
    ):
        refused = sweep(sweep_dir, digits_dir, "sweep.search.num_trials=9", change)
        assert named in refused.error_line
    assert len(states(sweep_dir)) == 4


def test_inline_search_prunes_while_it_trains(sweep_dir: Path, digits_dir: Path) -> None:
    sweep_dir.mkdir()
    study = open_study(sweep_dir, is_new=True)
    for rate in (1e-3, 1e-9):
        study.enqueue_trial({"optimizer.learning_rate": rate})
    done = sweep(
        sweep_dir,
        digits_dir,
        "sweep.search.num_trials=2",
        "sweep.search.num_startup_trials=1",
        "sweep.search.space={optimizer.learning_rate: {low: 1e-9, high: 1e-3, log: true}}",
        "validate_every=2",
    )
    assert done.code == 0, done.err
    good, bad = trials(sweep_dir)
    assert (good.state.name, bad.state.name) == ("COMPLETE", "PRUNED")
    assert list(bad.intermediate_values) == [2]
    run_dir = sweep_dir / "runs" / bad.user_attrs["runs"][0]
    assert read_run_state(run_dir, None).state == "pruned"
    assert not (run_dir / "result.json").exists()


def test_inline_search_killed_while_it_trains(sweep_dir: Path, digits_dir: Path) -> None:
    often = ("checkpoint_every=5", "validate_every=1000", "sweep.search.sampler=random")
    given = words(sweep_dir, digits_dir, "sweep.search.num_trials=2", "epochs=30", *often)
    code = "import sys; from launch.sweeps.command import run_sweep; run_sweep(sys.argv[1:])"
    process = start_python(code, *given)
    deadline = time.monotonic() + 120
    while not list(sweep_dir.glob("runs/*/checkpoints/step_*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.wait()
    (begun,) = (sweep_dir / "runs").iterdir()
    assert states(sweep_dir) == ["RUNNING"]
    done = call("launch/sweep.py", *given)
    assert done.code == 0, done.err
    assert "continuing from step" in done.out
    assert states(sweep_dir) == ["COMPLETE"] * 2
    assert begun.name in trials(sweep_dir)[0].user_attrs["runs"]
    assert len(list((sweep_dir / "runs").iterdir())) == 2


def test_missing_optuna_is_one_line(
    sweep_dir: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = sweep(sweep_dir, digits_dir).error_line
    assert line.endswith("an Optuna search needs the extra `optuna`: pip install -e '.[optuna]'")
    assert not sweep_dir.exists()


def test_mistakes_are_named_before_anything_is_trained(sweep_dir: Path, digits_dir: Path) -> None:
    for change, named in (
        ("sweep.search.space={task.tua: {low: 0.3, high: 0.7}}", "task.tau"),
        ("sweep.search.space={epochs: {low: 1.2, high: 1.8, integer: true}}", "no whole number"),
        ("sweep.search.space={seed: {choices: [1]}}", "seed"),
        ("retry_failed=false", "retry_failed=false"),
    ):
        assert named in sweep(sweep_dir, digits_dir, change).error_line
    assert not sweep_dir.exists()


# Jobs of a cluster


def test_submission_under_way_is_not_repeated(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    local = LocalConfig("local")
    jobs = ClusterJobs(directory, local, make_order(tmp_path).snapshot, False, 1.0, 1)
    young = JobRecord("orbit-a", "train", "local", ("young",), time.time())
    old = JobRecord("orbit-b", "train", "local", ("old",), time.time() - 1000)
    for record in (young, old):
        write_record(tmp_path, record)
    assert jobs.look() is None
    found = {name: state.state for name, state in jobs.states(["young", "old", "new"]).items()}
    assert found == {"young": "waiting", "old": "missing", "new": "missing"}


def test_trials_at_a_time() -> None:
    assert num_parallel(4, 1, InlineConfig("inline")) == 1
    assert num_parallel(4, 1, LocalConfig("local", max_running=3)) == 3
    assert num_parallel(4, 3, LocalConfig("local", max_running=4)) == 2
    assert num_parallel(4, 3, SlurmConfig("slurm", max_running=1)) == 4


def test_controller_asks_for_one_processor() -> None:
    cluster = SlurmConfig(
        "slurm",
        partition="low",
        account="us",
        nodes=2,
        tasks_per_node=4,
        gpus_per_node=4,
        cpus_per_task=8,
        memory_gb=200.0,
        setup=("module load x",),
        options={"gres": "disk:1", "nice": 5},
    )
    asked = controller_resources(cluster)
    assert (asked.num_ranks, asked.gpus_per_node, asked.cpus_per_task) == (1, 0, 1)
    assert asked.memory_gb == 4.0
    assert asked.options == {"nice": 5}
    assert (asked.partition, asked.account, asked.setup) == ("low", "us", ("module load x",))


def test_controller_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        SearchJob(str(tmp_path))()
    assert (
        "search_order.json" in json.loads((tmp_path / "search_error.json").read_text())["message"]
    )


def test_order_survives_the_file(tmp_path: Path) -> None:
    order = make_order(tmp_path)
    write_search_order(tmp_path, order)
    assert read_search_order(tmp_path) == order


# Spaces


def test_values_are_short_and_inside_their_range() -> None:
    space = {
        "a": Dimension(0.1234574, 0.2),
        "b": Dimension(1, 5, integer=True),
        "c": Dimension(choices=([1, 2], [3])),
        "d": Dimension(choices=(None, True, "x")),
    }
    point = point_of(space, {"a": 0.12345741, "b": 3, "c": "[3]", "d": None})
    assert point == {"a": 0.1234574, "b": 3, "c": [3], "d": None}
    assert point_of({"a": Dimension(0, 1)}, {"a": 0.123456789}) == {"a": 0.123457}
    low, middle, high = example_points(space)
    assert (low["a"], low["b"], low["c"], high["b"], high["c"]) == (0.123457, 1, [1, 2], 5, [3])
    assert middle["b"] == 3


def test_all_kinds_of_dimensions_are_drawn(sweep_dir: Path, digits_dir: Path) -> None:
    sweep_dir.mkdir()
    space = {
        "epochs": Dimension(1, 100, integer=True, log=True),
        "x": Dimension(choices=([1, 2], [3])),
        "y": Dimension(2.0, 2.0),
    }
    study = SearchStudy(sweep_dir, make_order(digits_dir, space=space).search)
    for _ in range(5):
        point = study.ask().point
        assert isinstance(point["epochs"], int)
        assert point["x"] in ([1, 2], [3])
        assert point["y"] == 2.0
