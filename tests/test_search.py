"""The controller of an Optuna search: nothing is lost or done twice wherever it is killed.

The cluster is one that notes what it was asked for and trains by writing files.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from helpers.searching import (
    LOSS,
    FakeCluster,
    Killed,
    make_controller,
    make_order,
    run_out,
    states,
    trials,
)

from launch.cluster.settings import LocalConfig
from launch.cluster.slurm import SlurmError
from launch.jobs.attempt import mark_pruned
from launch.jobs.run_state import read_run_state
from launch.reports.status_table import read_status
from launch.sweeps import expansion as resolving
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.search import summarise
from launch.sweeps.settings import Dimension
from launch.sweeps.study import JOURNAL, SearchStudy
from launch.sweeps.trials import UnknownMetricError, validation_values
from orbit.core.config.compose import compose
from orbit.core.files.atomic import write_json


@pytest.fixture(autouse=True)
def compose_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Composing a configuration takes a third of a second: controllers of a test share it."""
    composed: dict[str, dict[str, Any]] = {}

    def remember(config: str, given: Sequence[str], paths: frozenset[str]) -> dict[str, Any]:
        key = json.dumps([config, *given])
        if key not in composed:
            composed[key] = compose(config, given, paths)
        return composed[key]

    monkeypatch.setattr(resolving, "compose", remember)


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    return tmp_path / "a_search"


# A whole search


def test_all_trials_are_trained_once_and_the_best_is_named(
    sweep_dir: Path, digits_dir: Path
) -> None:
    cluster, order = FakeCluster(sweep_dir), make_order(digits_dir, seeds=(0, 1))
    controller = make_controller(sweep_dir, order, cluster)
    assert not controller.step()
    assert len(cluster.submitted) == 4, "two trials of two seeds are at work"
    assert not controller.step()
    assert len(cluster.submitted) == 4, "and no more than two"
    run_out(controller, cluster)
    assert states(sweep_dir) == ["COMPLETE"] * 4
    assert len(cluster.submitted) == len(set(cluster.submitted)) == 8
    plan = SweepDirectory(sweep_dir).read_plan()
    assert set(plan) == set(cluster.submitted), "status and collect know all runs"
    summary = summarise(order.search, SearchStudy(sweep_dir, order.search))
    best = min(trials(sweep_dir), key=lambda trial: trial.value or 0)
    assert summary["best"]["trial"] == best.number
    assert summary["best"]["runs"] == best.user_attrs["runs"]
    assert summary["best"]["params"]["task.tau"] == float(f"{best.params['task.tau']:.6g}")
    assert summary["trials"] == {"complete": 4, "pruned": 0, "failed": 0}


def test_value_is_the_mean_over_seeds_at_their_best_step(sweep_dir: Path, digits_dir: Path) -> None:
    cluster = FakeCluster(sweep_dir, max_trials=1)
    controller = make_controller(sweep_dir, make_order(digits_dir, (0, 1), num_trials=1), cluster)
    controller.step()
    first, second = cluster.submitted
    cluster.finish(first, 1.0)
    controller.step()
    assert states(sweep_dir) == ["RUNNING"]
    cluster.finish(second, 2.0)
    assert controller.step()
    assert trials(sweep_dir)[0].value == 1.5


def test_proposals_do_not_depend_on_restarts(
    sweep_dir: Path, tmp_path: Path, digits_dir: Path
) -> None:
    order, other_dir = make_order(digits_dir, num_trials=6), tmp_path / "other"
    cluster, other = FakeCluster(sweep_dir), FakeCluster(other_dir)
    run_out(make_controller(sweep_dir, order, cluster), cluster)
    for _ in range(50):
        if make_controller(other_dir, order, other).step():
            break
        other.train_all()
    assert [trial.params for trial in trials(other_dir)] == [
        trial.params for trial in trials(sweep_dir)
    ]
    params = [json.dumps(trial.params) for trial in trials(sweep_dir)]
    assert len(set(params)) == 6


def test_equal_points_are_trained_once(sweep_dir: Path, digits_dir: Path) -> None:
    space = {"task.model.width": Dimension(choices=(4, 8))}
    cluster = FakeCluster(sweep_dir, max_trials=3)
    order = make_order(digits_dir, space=space, num_trials=6, sampler="random")
    controller = make_controller(sweep_dir, order, cluster)
    for _ in range(50):
        if controller.step():
            break
        for name in sorted(cluster.live):
            cluster.finish(name, 4.0 if "width4" in name else 8.0)
    assert states(sweep_dir) == ["COMPLETE"] * 6
    assert sorted(cluster.submitted) == sorted(set(cluster.submitted))
    assert len(cluster.submitted) == 2
    for trial in trials(sweep_dir):
        assert trial.value == trial.params["task.model.width"]


# Kills


def test_nothing_is_lost_or_done_twice_wherever_the_controller_is_killed(
    tmp_path: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = make_order(digits_dir, num_trials=3)
    backend = optuna.storages.journal.JournalFileBackend
    append, left = backend.append_logs, 10**9

    def append_or_die(self: Any, logs: list[dict[str, Any]]) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        append(self, logs)

    monkeypatch.setattr(backend, "append_logs", append_or_die)

    def search(folder: Path) -> list[str]:
        cluster, num_left = FakeCluster(folder), 50
        while num_left:
            num_left -= 1
            try:
                if make_controller(folder, order, cluster).step():
                    break
            except Killed:
                revive()
            cluster.train_all()
        assert sorted(cluster.submitted) == sorted(set(cluster.submitted))
        assert not cluster.live
        return cluster.submitted

    def revive() -> None:
        nonlocal left
        left = 10**9

    expected = search(tmp_path / "undisturbed")
    num_writes = 10**9 - left
    assert num_writes > 20
    for number in range(num_writes):
        left = number
        folder = tmp_path / f"killed_{number}"
        assert len(search(folder)) == len(expected)
        assert states(folder) == ["COMPLETE"] * 3
        assert [trial.value for trial in trials(folder)] == [
            pytest.approx(float(f"{trial.params['task.tau']:.6g}")) for trial in trials(folder)
        ]


def test_killed_between_asking_and_submitting(sweep_dir: Path, digits_dir: Path) -> None:
    cluster, order = FakeCluster(sweep_dir), make_order(digits_dir)

    def die() -> None:
        raise Killed

    cluster.before_submission = die
    with pytest.raises(Killed):
        make_controller(sweep_dir, order, cluster).step()
    (asked,) = trials(sweep_dir)
    cluster.before_submission = lambda: None
    make_controller(sweep_dir, order, cluster).step()
    assert cluster.submitted[0] == asked.user_attrs["runs"][0]
    assert trials(sweep_dir)[0].params == asked.params
    assert len(trials(sweep_dir)) == 2


def test_results_that_came_while_no_controller_was_there(sweep_dir: Path, digits_dir: Path) -> None:
    cluster, order = FakeCluster(sweep_dir), make_order(digits_dir)
    make_controller(sweep_dir, order, cluster).step()
    first, second = cluster.submitted
    cluster.finish(first, 0.25)
    make_controller(sweep_dir, order, cluster).step()
    assert states(sweep_dir) == ["COMPLETE", "RUNNING", "RUNNING"]
    assert cluster.submitted.count(second) == 1


def test_last_line_that_a_lost_node_cut_off(sweep_dir: Path, digits_dir: Path) -> None:
    cluster, order = FakeCluster(sweep_dir), make_order(digits_dir)
    make_controller(sweep_dir, order, cluster).step()
    with open(sweep_dir / JOURNAL, "a") as file:
        file.write('{"op_code": 6, "worker_id"')
    run_out(make_controller(sweep_dir, order, cluster), cluster)
    assert states(sweep_dir) == ["COMPLETE"] * 4


# Failures


def test_failing_trial_has_a_reason_and_stops_nothing(sweep_dir: Path, digits_dir: Path) -> None:
    cluster, order = FakeCluster(sweep_dir), make_order(digits_dir, seeds=(0, 1))
    controller = make_controller(sweep_dir, order, cluster)
    controller.step()
    bad, sibling = cluster.submitted[:2]
    cluster.fail(bad)
    run_out(controller, cluster)
    assert sorted(states(sweep_dir)) == ["COMPLETE"] * 3 + ["FAIL"]
    assert trials(sweep_dir)[0].user_attrs["reason"] == f"{bad}: non_finite: NaN"
    assert sibling in cluster.cancelled, "the other seed would be trained in vain"
    assert read_run_state(cluster.runs / sibling, None).state == "pruned"


def test_values_that_are_refused_fail_the_trial(sweep_dir: Path, digits_dir: Path) -> None:
    space = {"global_batch": Dimension(choices=(64, 63))}
    order = make_order(digits_dir, space=space, num_trials=6, sampler="random")
    order = replace(order, cluster=LocalConfig("local", num_ranks=2))
    cluster = FakeCluster(sweep_dir)
    run_out(make_controller(sweep_dir, order, cluster), cluster, 1.0)
    found = {trial.params["global_batch"]: trial for trial in trials(sweep_dir)}
    assert found[64].state.name == "COMPLETE"
    assert found[63].state.name == "FAIL"
    assert "cannot be divided among 2 ranks" in found[63].user_attrs["reason"]


def test_not_a_number_fails_the_trial(sweep_dir: Path, digits_dir: Path) -> None:
    cluster = FakeCluster(sweep_dir)
    run_out(make_controller(sweep_dir, make_order(digits_dir), cluster), cluster, "nan")
    assert states(sweep_dir) == ["FAIL"] * 4
    assert trials(sweep_dir)[0].user_attrs["reason"] == "loss/total is nan"


def test_unknown_metric_ends_the_search_but_loses_nothing(
    sweep_dir: Path, digits_dir: Path
) -> None:
    cluster = FakeCluster(sweep_dir)
    wrong = make_order(digits_dir, metric="loss/totl")
    controller = make_controller(sweep_dir, wrong, cluster)
    controller.step()
    cluster.train_all()
    with pytest.raises(UnknownMetricError, match="did you mean 'loss/total'"):
        controller.step()
    run_out(make_controller(sweep_dir, make_order(digits_dir), cluster), cluster)
    assert states(sweep_dir) == ["COMPLETE"] * 4
    assert len(cluster.submitted) == 4


def test_lost_runs_go_on_but_not_for_ever(sweep_dir: Path, digits_dir: Path) -> None:
    cluster = FakeCluster(sweep_dir, max_trials=1)
    order = make_order(digits_dir, num_trials=1)
    make_controller(sweep_dir, order, cluster).step()
    (name,) = cluster.submitted
    for number in range(10):
        cluster.live.clear()
        if number == 2:
            (cluster.runs / name / "checkpoints/step_00000010").mkdir(parents=True)
        if make_controller(sweep_dir, order, cluster).step():
            break
    assert states(sweep_dir) == ["FAIL"]
    max_faults = 3
    assert cluster.submitted == [name] * (1 + 2 + max_faults), "a new checkpoint begins anew"
    assert "4 times (retry.max_faults=3)" in trials(sweep_dir)[0].user_attrs["reason"]


def test_cancelled_runs_are_taken_up_as_often_as_one_likes(
    sweep_dir: Path, digits_dir: Path
) -> None:
    cluster = FakeCluster(sweep_dir, max_trials=1)
    order = make_order(digits_dir, num_trials=1)
    for _ in range(8):
        assert not make_controller(sweep_dir, order, cluster).step()
        cluster.live.clear()
        write_json(cluster.runs / cluster.submitted[0] / "cancelled.json", {"time": 0})
    assert len(cluster.submitted) == 8


def test_cluster_that_refuses_or_does_not_answer(
    sweep_dir: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, order = FakeCluster(sweep_dir), make_order(digits_dir)

    def refuse() -> None:
        raise SlurmError("sbatch refused: too many jobs")

    cluster.before_submission = refuse
    controller = make_controller(sweep_dir, order, cluster)
    controller.step()
    assert states(sweep_dir) == ["RUNNING"], "no further trials are asked for"
    cluster.before_submission = lambda: None
    controller.step()
    assert cluster.submitted == [], "it is left alone for a while"
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    controller.step()
    assert len(cluster.submitted) == 2
    cluster.live.clear()
    cluster.complaint = "squeue did not answer"
    controller.step()
    assert len(cluster.submitted) == 2, "nothing is decided in the dark"


# Pruning


def test_pruner_ends_a_trial_that_falls_behind(sweep_dir: Path, digits_dir: Path) -> None:
    cluster = FakeCluster(sweep_dir, max_trials=1)
    order = make_order(digits_dir, (0, 1), pruner="median", pruner_warmup_steps=20, num_trials=3)
    controller = make_controller(sweep_dir, order, cluster)
    for number in range(2):
        controller.step()
        for name in cluster.submitted[-2:]:
            cluster.finish(name, 0.0)
            cluster.log(name, 1.0, 0.5, 0.1)
        assert len(cluster.submitted) == 2 * (number + 1)
    controller.step()
    ahead, behind = cluster.submitted[-2:]
    cluster.log(ahead, 9.0, 9.0)
    cluster.log(behind, 9.0)
    controller.step()
    assert states(sweep_dir)[-1] == "RUNNING", "step 10 is before the warm-up's end, 20 of one only"
    assert trials(sweep_dir)[-1].intermediate_values == {10: 9.0}
    cluster.log(behind, 9.0, 7.0)
    assert controller.step()
    assert states(sweep_dir) == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert trials(sweep_dir)[-1].intermediate_values == {10: 9.0, 20: 8.0}
    assert trials(sweep_dir)[0].intermediate_values == {10: 1.0, 20: 0.5, 30: 0.1}
    assert sorted(cluster.cancelled) == sorted([ahead, behind])
    status = read_status(sweep_dir)
    assert status.states[behind].state == "pruned"
    assert status.is_well


def test_killed_after_the_decision_to_prune(sweep_dir: Path, digits_dir: Path) -> None:
    cluster, order = FakeCluster(sweep_dir, max_trials=1), make_order(digits_dir, num_trials=1)
    make_controller(sweep_dir, order, cluster).step()
    (name,) = cluster.submitted
    mark_pruned(cluster.runs / name, "decided by the one that was killed")
    assert make_controller(sweep_dir, order, cluster).step()
    assert cluster.cancelled == [name]
    assert states(sweep_dir) == ["PRUNED"]


def test_hyperband_prunes_too(sweep_dir: Path, digits_dir: Path) -> None:
    cluster = FakeCluster(sweep_dir, max_trials=1)
    order = make_order(digits_dir, pruner="hyperband", pruner_warmup_steps=10, num_trials=12)
    controller = make_controller(sweep_dir, order, cluster)
    for number in range(200):
        if controller.step():
            break
        for name in sorted(cluster.live):
            cluster.log(name, *[float(number)] * 9)
            if not controller.step() and name in cluster.live:
                write_json(cluster.runs / name / "result.json", {"metrics": {LOSS: float(number)}})
                cluster.live.discard(name)
    assert set(states(sweep_dir)) == {"COMPLETE", "PRUNED"}


def test_steps_that_all_seeds_have_reached(tmp_path: Path) -> None:
    for seed, text in enumerate(
        (
            '{"step": 1, "split": "val", "a": 1.0}\n{"step": 2, "split": "val", "a": 3.0}\n',
            '{"step": 1, "split": "val", "a": "nan"}\n{"step": 2, "split": "val", "a": 5.0}\n{"ste',
        )
    ):
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "metrics.jsonl").write_text(text)
    values = validation_values([tmp_path / "0", tmp_path / "1"], "a")
    assert list(values) == [1, 2]
    assert values[1] != values[1]
    assert values[2] == 4.0
    assert validation_values([tmp_path / "0", tmp_path / "none"], "a") == {}


# Known points, and what crashed


def test_a_search_begins_with_the_points_that_are_known(sweep_dir: Path, digits_dir: Path) -> None:
    """Also where it was killed after one had been written down and before it was asked for."""
    start = ({"task.tau": 0.31}, {"task.tau": 0.69})
    order = make_order(digits_dir, start=start)
    make_controller(sweep_dir, order, FakeCluster(sweep_dir))
    study = SearchStudy(sweep_dir, order.search)
    study._study.enqueue_trial(dict(start[0]))
    cluster = FakeCluster(sweep_dir)
    run_out(make_controller(sweep_dir, order, cluster), cluster)
    found = [trial.params["task.tau"] for trial in trials(sweep_dir)]
    assert found[:2] == [0.31, 0.69]
    assert len(set(found)) == len(found) == 4
    assert states(sweep_dir) == ["COMPLETE"] * 4


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ({"task.tau": 2.0}, "task.tau=2.0, which space leaves out"),
        ({"task.tua": 0.5}, "task.tua, which space lacks"),
        ({"task.tau": True}, "task.tau=True, which space leaves out"),
    ],
)
def test_a_point_outside_the_space_is_refused(
    start: dict[str, Any], reason: str, digits_dir: Path
) -> None:
    with pytest.raises(ValueError, match=rf"^start\[0\] has {reason}$"):
        make_order(digits_dir, start=(start,))


def test_what_crashed_is_tried_again_and_what_diverged_is_not(
    sweep_dir: Path, digits_dir: Path
) -> None:
    cluster = FakeCluster(sweep_dir)
    controller = make_controller(sweep_dir, make_order(digits_dir), cluster)
    controller.step()
    crashed, diverged = cluster.submitted
    cluster.fail(crashed, "crash")
    cluster.fail(diverged)
    controller.step()
    assert cluster.submitted.count(crashed) == 2
    assert states(sweep_dir)[:2] == ["RUNNING", "FAIL"]
    cluster.fail(crashed, "crash")
    controller.step()
    assert cluster.submitted.count(crashed) == 2
    assert states(sweep_dir)[:2] == ["FAIL", "FAIL"]


def test_what_collapsed_or_was_given_up_is_not_tried_again(
    sweep_dir: Path, digits_dir: Path
) -> None:
    """Nor does anything say so: it would fail again, or was tried too often already."""
    cluster, said = FakeCluster(sweep_dir), list[str]()
    controller = make_controller(sweep_dir, make_order(digits_dir), cluster)
    controller._say = said.append
    controller.step()
    collapsed, given_up = cluster.submitted
    cluster.fail(collapsed, "collapsed")
    cluster.fail(given_up, "gave_up")
    error = {"kind": "gave_up", "message": "gave up", "after": "timeout"}
    write_json(cluster.runs / given_up / "error.json", error)
    controller.step()
    assert states(sweep_dir)[:2] == ["FAIL", "FAIL"]
    assert not [line for line in said if "once more" in line]
    assert len(set(cluster.submitted)) == len(cluster.submitted)


def test_a_retry_that_found_no_room_is_none(
    sweep_dir: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, said = FakeCluster(sweep_dir, max_trials=1), list[str]()
    controller = make_controller(sweep_dir, make_order(digits_dir, num_trials=1), cluster)
    controller._say = said.append
    controller.step()
    (name,) = cluster.submitted
    cluster.fail(name, "crash")
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "submit", lambda runs, follow: [])
        for _ in range(3):
            controller.step()
    assert states(sweep_dir) == ["RUNNING"]
    assert len([line for line in said if "once more" in line]) == 1
    controller.step()
    assert cluster.submitted == [name, name]
    cluster.fail(name, "crash")
    controller.step()
    assert states(sweep_dir) == ["FAIL"]
