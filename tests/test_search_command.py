"""The command of an Optuna search, and what its controller works with."""

import errno
import json
import os
import re
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.programs import Outcome, call, start_python
from helpers.reporting import write_log, write_run
from helpers.searching import (
    LOSS,
    TINY,
    make_order,
    open_study,
    states,
    trials,
)
from helpers.waiting import wait_until

from launch.cluster.settings import InlineConfig, LocalConfig, SlurmConfig
from launch.cluster.slurm import local_places
from launch.cluster.submission import JobRecord, write_record
from launch.jobs.attempt import Decision, StopNote, mark_pruned, run_attempt
from launch.jobs.deciding import Order
from launch.jobs.history import read_attempts
from launch.jobs.run_state import CANCELLED_FILE, read_run_state
from launch.jobs.train_job import claim, claims_folder
from launch.reports.html.gathering import find_runs as find_roots
from launch.reports.status_table import read_status
from launch.reports.watching import is_over
from launch.sweeps import search as search_loop
from launch.sweeps.expansion import Resolver
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.search import (
    ORDER_FILE,
    SUMMARY_FILE,
    num_parallel,
    read_search_order,
    write_search_order,
)
from launch.sweeps.search_command import FAILURE_FILE, SearchJob, controller_resources
from launch.sweeps.search_space import example_points, point_of
from launch.sweeps.settings import Dimension
from launch.sweeps.study import SearchStudy
from launch.sweeps.trials import ClusterJobs, judge, under_way
from orbit.core.files import waiting as hiccups
from orbit.core.files.atomic import write_json
from orbit.core.files.lock import LostLockError, describe_process


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
    like = sweep_dir.with_name("like")
    write_log(write_run(like), 30)
    (like / "heartbeat.json").write_text('{"num_steps": 300}')
    for like, expected in (
        ([], "expected hours: not known before"),
        (
            [f"like={sweep_dir.with_name('like')}"],
            r"expected hours: 0\.\d+ h in all, 0\.\d+ h a run",
        ),
    ):
        dry = sweep(sweep_dir, digits_dir, three, "dry_run=true", *like)
        assert dry.code == 0
        assert re.search(expected, dry.out), dry.out
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

    longer = sweep(sweep_dir, digits_dir, "sweep.search.num_trials=4")
    assert longer.code == 0, longer.err
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
    given = words(sweep_dir, digits_dir, "sweep.search.num_trials=2", "epochs=12", *often)
    code = "import sys; from launch.sweeps.command import run_sweep; run_sweep(sys.argv[1:])"
    process = start_python(code, *given)
    saved = "runs/*/checkpoints/step_*"
    wait_until(lambda: list(sweep_dir.glob(saved)) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
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


def test_search_without_runs_yet_has_a_status(sweep_dir: Path) -> None:
    sweep_dir.mkdir()
    SweepDirectory(sweep_dir).write_plan({})
    shown = call("launch/status.py", str(sweep_dir))
    assert shown.code == 0
    assert "no run was submitted yet" in shown.out


def test_the_status_of_a_search_is_that_of_its_controller_too(sweep_dir: Path) -> None:
    """Between two trials every run is done, but others will come."""
    sweep_dir.mkdir()
    SweepDirectory(sweep_dir).write_plan({})
    write_json(sweep_dir / ORDER_FILE, {"cluster": {"name": "local"}})
    here = describe_process(os.getpid())
    record = JobRecord("orbit-a", "search", "local", ("search",), time.time(), None, (here,))
    write_record(sweep_dir, record)

    def shown(code: int) -> str:
        done = call("launch/status.py", str(sweep_dir))
        assert done.code == code
        return next(line for line in done.out.splitlines() if line.startswith("search: "))

    assert shown(0) == "search: its controller waits: for a worker"
    assert not is_over(read_status(sweep_dir))
    assert claim(claims_folder(sweep_dir / "jobs" / "orbit-a.json") / "search")
    assert shown(0) == "search: its controller runs, and begins trials"
    assert not is_over(read_status(sweep_dir))
    assert [root.is_searching for root in find_roots([sweep_dir])] == [True]
    gone = replace(record, processes=({**here, "process_start": "1"},))
    write_record(sweep_dir, gone)
    assert shown(3) == "search: its controller is gone; does not return by itself  -> submit again"
    assert is_over(read_status(sweep_dir))
    assert [root.is_searching for root in find_roots([sweep_dir])] == [False]
    write_json(sweep_dir / FAILURE_FILE, {"message": "why"})
    assert shown(3) == "search: its controller failed: why  -> submit again"
    write_json(sweep_dir / CANCELLED_FILE, {})
    assert shown(3) == "search: cancelled; does not return by itself  -> submit again"
    write_json(sweep_dir / SUMMARY_FILE, {"trials": {"complete": 3, "pruned": 1}})
    assert shown(0) == "search: over: 3 complete, 1 pruned"
    assert is_over(read_status(sweep_dir))
    # In a terminal it says itself how it stands.
    (sweep_dir / SUMMARY_FILE).unlink()
    write_json(sweep_dir / ORDER_FILE, {"cluster": {"name": "inline"}})
    assert "search: " not in call("launch/status.py", str(sweep_dir)).out


def test_mistakes_are_named_before_anything_is_trained(sweep_dir: Path, digits_dir: Path) -> None:
    for change, named in (
        ("sweep.search.space={task.tua: {low: 0.3, high: 0.7}}", "task.tau"),
        ("sweep.search.space={epochs: {low: 1.2, high: 1.8, integer: true}}", "no whole number"),
        ("sweep.search.space={seed: {choices: [1]}}", "seed"),
        ("retry_failed=false", "retry_failed=false"),
        ("sweep.search.pruner_warmup_steps=-1", "pruner_warmup_steps"),
        ("sweep.search.seed=-1", "seed=-1"),
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
    assert found == {"young": "waiting", "old": "planned", "new": "planned"}


def test_submission_to_slurm_is_not_repeated_before_it_can_be_seen() -> None:
    cut_off = JobRecord("orbit-a", "train", "slurm", ("run",), 1000.0)
    handed_over = replace(cut_off, job_id="7", tasks=("other",))
    assert set(under_way([cut_off, handed_over], now=1010.0)) == {"run"}
    assert under_way([cut_off, handed_over], now=1100.0) == {}


def test_places_and_gpus_of_this_machine(
    tmp_path: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = make_order(digits_dir)
    directory = SweepDirectory(tmp_path)
    started: list[tuple[str, tuple[int, ...]]] = []

    def start(
        config: LocalConfig, base: Path, code: Path, label: str, kind: str, tasks: list[str], _: Any
    ) -> JobRecord:
        started.append((tasks[0], config.gpus))
        here = (describe_process(os.getpid()),)
        name = f"orbit-{label}-{len(started)}"
        record = JobRecord(name, kind, "local", tuple(tasks), time.time(), None, here)
        write_record(base, record)
        return record

    monkeypatch.setattr("launch.sweeps.trials.submit_workers", start)
    points = [{"task.tau": tau} for tau in (0.3, 0.4, 0.5)]
    runs = Resolver(order.words, directory.runs).resolve(points)
    cluster = LocalConfig("local", max_running=2, gpus=(5, 3))
    jobs = ClusterJobs(directory, cluster, order.snapshot, False, 1.0, 2)
    assert jobs.look() is None
    assert jobs.submit(runs[:1], lambda: False) == [runs[0].name]
    jobs.look()
    assert jobs.submit(runs[1:], lambda: False) == [runs[1].name], "one place was left"
    assert jobs.submit(runs[2:], lambda: False) == []
    assert started == [(runs[0].name, (5,)), (runs[1].name, (3,))]
    found = jobs.states([run.name for run in runs])
    assert [state.state for state in found.values()] == ["waiting", "waiting", "planned"]


def test_run_that_is_given_up_while_it_trains(tmp_path: Path) -> None:
    program = tmp_path / "pipeline" / "train.py"
    program.parent.mkdir()
    program.write_text(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "pathlib.Path(sys.argv[2].removeprefix('run_dir='), 'begun').touch()\n"
        "time.sleep(3000)\n"
    )
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    order = Order("sub", str(tmp_path), None, 1, None, 60.0, 60.0, None, "data")

    def give_up() -> None:
        wait_until((run_dir / "begun").exists)
        mark_pruned(run_dir, "it fell behind")

    threading.Thread(target=give_up).start()
    stop = StopNote()
    decision = run_attempt(run_dir, order, local_places(1, "job", 0), stop)
    assert decision == Decision("pruned", False)
    assert stop.signal is None, "the worker goes on with other runs"
    assert run_attempt(run_dir, order, local_places(1, "job", 1), stop) == decision
    assert [attempt.reason for attempt in read_attempts(run_dir)] == ["pruned"]
    state = read_run_state(run_dir, None)
    assert (state.state, state.detail) == ("pruned", "it fell behind")
    assert judge({"run": state}, tmp_path).kind == "pruned"


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


def test_a_passing_error_does_not_end_a_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError(errno.EIO, "Input/output error"), OSError(errno.ESTALE, "Stale")]

    def search(*_: object) -> str:
        if failures:
            raise failures.pop()
        return "finished"

    monkeypatch.setattr(hiccups, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(search_loop, "run_search", search)
    assert SearchJob(str(tmp_path))() == "finished"
    assert not (tmp_path / "search_error.json").exists()


def test_a_controller_that_lost_its_place_takes_no_further_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a sleep of its machine, for one: two of them would ask for the same trials."""
    steps: list[int] = []

    class Controller:
        def __init__(self, *_: object) -> None:
            pass

        def step(self) -> bool:
            steps.append(len(steps))
            (tmp_path / search_loop.LOCK_FILE).write_text('{"pid": 77, "host": "node9"}')
            return len(steps) > 2

    monkeypatch.setattr(search_loop, "Controller", Controller)
    monkeypatch.setattr(search_loop, "read_search_order", lambda _: SimpleNamespace(search=None))
    monkeypatch.setattr(search_loop, "make_jobs", lambda *_: SimpleNamespace(poll_s=0.0))
    for name in ("mend_journal", "SearchStudy", "write_summary"):
        monkeypatch.setattr(search_loop, name, lambda *_: None)
    with pytest.raises(LostLockError, match="taken over by process 77 on node9"):
        search_loop.run_search(tmp_path, lambda: False, lambda line: None)
    assert steps == [0]


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
    assert low["a"] == pytest.approx(0.1234574, abs=1e-6)
    assert (low["b"], low["c"], high["b"], high["c"]) == (1, [1, 2], 5, [3])
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
