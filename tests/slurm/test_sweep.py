"""A sweep on two nodes with evaluators beside it, a failing point, and what is said of it all."""

import json
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers.launching import Launcher, attempts, run_dirs

WORDS = (
    "sweep=paper1_tau",
    "sweep.search.grid.task.tau=[0.4,0.6]",
    "sweep.seeds=[1]",
    "cluster.nodes=2",
    "cluster.max_running=1",
    "epochs=3",
    "retention.keep_every=1",
)
FAILING = (
    "sweep.search.name=points",
    "sweep.search.points=[{optimizer.learning_rate:1e30}]",
    "epochs=3",
    "retention.keep_every=1",
)


@pytest.fixture(scope="module")
def finished_sweep(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 points, each run on 2 nodes, evaluated by two watchers while they train."""
    sweep_dir = tmp_path_factory.mktemp("sweep") / "two nodes, tau"
    others = set(launcher.cluster.queue())
    assert "submitted 2 runs: job" in launcher.sweep(sweep_dir, *WORDS)
    said = launcher.call(
        "evaluate",
        f"runs={sweep_dir}/runs/*",
        "cluster=slurm_dev",
        "checkpoints=all",
        "split=val",
        "follow=true",
        "num_evaluators=2",
        "poll_s=1",
    )
    assert "submitted 2 followers" in said
    assert "to submit: 0" in launcher.sweep(sweep_dir, *WORDS)
    assert "submitted 1 run:" in launcher.sweep(sweep_dir, *FAILING)
    launcher.wait_for_end(sweep_dir)
    launcher.cluster.wait_until(lambda: set(launcher.cluster.queue()) <= others)
    return sweep_dir


def good_runs(sweep_dir: Path) -> list[Path]:
    """All but the failing one."""
    return [run for run in run_dirs(sweep_dir) if run.name.startswith("tau")]


def test_every_run_ends_with_a_result_of_two_ranks(finished_sweep: Path) -> None:
    runs = good_runs(finished_sweep)
    assert len(runs) == 2
    for run in runs:
        assert json.loads((run / "result.json").read_text())["state"] == "finished"
        assert json.loads((run / "environment.json").read_text())["world_size"] == 2
        (only,) = attempts(run)
        assert (only["reason"], only["num_ranks"], only["restart"]) == ("finished", 2, 0)


def test_two_watchers_evaluate_every_checkpoint_exactly_once(finished_sweep: Path) -> None:
    said = [path.read_text() for path in finished_sweep.glob("logs/orbit-evaluate*/*.out")]
    lines = re.findall(r"^evaluated (\S+) step (\d+)", "\n".join(said), re.MULTILINE)
    expected = {
        (run.name, str(int(folder.name[5:])))
        for run in run_dirs(finished_sweep)
        for folder in (run / "checkpoints").glob("step_*")
    }
    assert len(said) == 2
    assert len(expected) == 2 * 3
    assert Counter(lines) == Counter(expected)
    for run in good_runs(finished_sweep):
        assert len(list((run / "evaluations").glob("step_*-val.json"))) == 3
        assert not list((run / "evaluations").glob(".claim*"))


def test_status_collect_and_a_second_call_agree(launcher: Launcher, finished_sweep: Path) -> None:
    states = launcher.states(finished_sweep)
    finished = {run.name for run in good_runs(finished_sweep)}
    assert {name for name, state in states.items() if state["state"] == "evaluated"} == finished
    table = finished_sweep / "table.csv"
    said = launcher.call("collect", str(finished_sweep), f"out={table}", "split=val")
    assert re.search(r"^best on val: .*task.tau=0\.[46]", said, re.MULTILINE)
    assert {line.split(",")[0] for line in table.read_text().splitlines()[1:]} >= finished
    assert "to submit: 0" in launcher.sweep(finished_sweep, *WORDS)


def test_a_deleted_run_and_a_new_value_are_all_that_is_submitted(
    launcher: Launcher, finished_sweep: Path
) -> None:
    others = set(launcher.cluster.queue())
    gone = good_runs(finished_sweep)[0]
    shutil.rmtree(gone)
    try:
        wider = [word.replace("[0.4,0.6]", "[0.4,0.6,0.5]") for word in WORDS]
        assert "to submit: 2" in launcher.sweep(finished_sweep, *wider, "hold=true")
        states = launcher.states(finished_sweep)
        waiting = {name for name, state in states.items() if state["state"] == "waiting"}
        assert waiting == {gone.name} | {name for name in states if name.startswith("tau0.5")}
        held = states[gone.name]
        assert held["detail"].startswith("JobHeldUser: held by its user")
        said = launcher.call("status", str(finished_sweep), code=3)
        assert f"scontrol release {held['job']}" in said
        launcher.cluster.run(["scancel", held["job"]])
        (other,) = waiting - {gone.name}
        after = launcher.states(finished_sweep)
        # Without accounts, SLURM keeps no record of an array's task cancelled before it began.
        assert (after[gone.name]["state"], after[other]["state"]) == ("lost", "waiting")
        assert after[gone.name]["detail"].startswith("its job is gone and never began: cancelled")
    finally:
        launcher.call("cancel", str(finished_sweep))
    assert launcher.states(finished_sweep)[other]["detail"].startswith("by launch/cancel.py")
    assert set(launcher.cluster.queue()) <= others


def test_a_failing_point_is_reported_and_disturbs_nobody(
    launcher: Launcher, finished_sweep: Path
) -> None:
    states = launcher.states(finished_sweep)
    (failed,) = [name for name in states if name.startswith("learning_rate1e+30")]
    assert states[failed]["state"] == "failed"
    run = finished_sweep / "runs" / failed
    error = json.loads((run / "error.json").read_text())
    assert (error["kind"], error["rank"], error["exit_code"]) == ("non_finite", 0, 76)
    assert "not finite in step" in error["message"]
    assert len(attempts(run)) == 1
    said = launcher.call("status", str(finished_sweep), code=3)
    assert "not finite" in said
    assert f"logs.py {shlex.quote(str(run))}" in said
    shown = launcher.call("logs", str(run))
    assert f"rank {error['rank']}: " in shown
    assert "non_finite: " in shown
