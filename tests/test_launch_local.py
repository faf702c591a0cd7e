"""Protects the launch programs on one machine, without SLURM: a sweep from its first call to the
evaluation of its checkpoints, in this process and by workers in the background."""

import errno
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.launching import attempts, logged_step, run_dirs
from helpers.programs import Outcome, call, start_python
from helpers.training import final_weights, make_config, never_stop
from helpers.waiting import PATIENCE_S, wait_until

from launch.cluster.submission import JobRecord, read_records, write_record
from launch.evaluation import evaluator as evaluator_module
from launch.evaluation.command import _live_evaluations, write_task
from launch.evaluation.evaluator import (
    Evaluator,
    Target,
    Work,
    claim_file,
    find_runs,
    find_targets,
)
from launch.jobs.deciding import _claim
from launch.jobs.history import newest_step
from launch.jobs.liveness import LiveJob, Liveness, find_live
from launch.jobs.train_job import claim, claimed, claims_folder
from orbit.core.files import waiting as hiccups
from orbit.core.files.atomic import write_json
from orbit.core.files.lock import describe_process
from orbit.core.signals import STOP_SIGNALS
from pipeline.settings import EvaluateConfig, evaluation_file
from pipeline.training.run import train

TINY = ("task.model.width=4", "compile=false", "epochs=1", "global_batch=32", "log_every=5")
OTHER = ("num_samples=60", "seed=1", "dataset.shard_mib=0.1")
CHECKPOINTS = ("checkpoint_every=6", "retention.keep_last=5")
STEPS = (6, 12, 17)
DEAD = {**describe_process(os.getpid()), "process_start": "1"}


@pytest.fixture(scope="module", autouse=True)
def keeps_signals() -> Iterator[None]:
    """Puts back the handlers that a training in this process replaces."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def sweep(data: Path, sweep_dir: Path, *words: str) -> Outcome:
    return call("launch/sweep.py", f"data={data}", f"sweep_dir={sweep_dir}", *TINY, *words)


def status(folder: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and states by name."""
    done = call("launch/status.py", str(folder), "json=true")
    return done.code, json.loads(done.out)["runs"]


def states(folder: Path) -> dict[str, str]:
    return {name: state["state"] for name, state in status(folder)[1].items()}


@pytest.fixture(scope="module")
def trained(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inline sweep of two seeds with three checkpoints each: copy it before a change."""
    sweep_dir = tmp_path_factory.mktemp("inline") / "sweep"
    words = ("cluster=inline", "sweep.seeds=[0,1]", *CHECKPOINTS)
    done = sweep(digits_dir, sweep_dir, *words)
    assert done.code == 0, done.err
    assert "2 runs: 2 new\nto submit: 2\n" in done.out
    return sweep_dir


@pytest.fixture
def sweep_dir(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained sweep of one's own."""
    shutil.copytree(trained, tmp_path / "sweep")
    return tmp_path / "sweep"


def made_by(run: Path, pipeline: str) -> None:
    """As if the run had been made by another `pipeline`."""
    (span,) = json.loads((run / "code.json").read_text())["spans"]
    packages = {**span["packages"], "pipeline": pipeline * 64}
    write_json(run / "code.json", {"spans": [{**span, "digest": pipeline, "packages": packages}]})


def test_a_sweep_of_two_programs_is_refused_and_shown_as_such(
    digits_dir: Path, sweep_dir: Path
) -> None:
    """Change a loss, add a seed: nothing may call the mean of both one result."""
    first, second = sorted((sweep_dir / "runs").iterdir())
    spans = json.loads((first / "code.json").read_text())["spans"]
    order = json.loads((first / "launch.json").read_text())
    assert [span["packages"] for span in spans] == [order["packages"]]
    made_by(first, "a")
    made_by(second, "a")
    words = ("cluster=inline", "sweep.seeds=[0,1,2]", *CHECKPOINTS)
    before = (sweep_dir / "plan.json").read_text()
    line = sweep(digits_dir, sweep_dir, *words).error_line
    assert "2 existing runs have other code than the current one (changed: pipeline)" in line
    assert line.endswith("or set any_code=true")
    assert (sweep_dir / "plan.json").read_text() == before
    assert "a mix: 2 existing runs" in sweep(digits_dir, sweep_dir, *words, "dry_run=true").out
    assert call("launch/status.py", str(sweep_dir)).code == 0
    made_by(second, "b")
    shown = call("launch/status.py", str(sweep_dir)).out
    assert "1 run of code pipeline aaaaaaaa" in shown
    assert "different code is not averaged together" in shown
    collected = call("launch/collect.py", str(sweep_dir)).out
    assert "not averaged together, and no best is named" in collected
    assert "pipeline bbbbbbbb" in collected
    assert "best on val" in call("launch/collect.py", str(sweep_dir), "any_code=true").out
    words = ("cluster=inline", "sweep.seeds=[0,1]", *CHECKPOINTS)
    assert sweep(digits_dir, sweep_dir, *words).code == 0


# Inline


def test_a_finished_sweep_submits_nothing_more(digits_dir: Path, trained: Path) -> None:
    words = ("cluster=inline", "sweep.seeds=[0,1]", *CHECKPOINTS)
    before = {path: path.stat().st_mtime_ns for path in trained.glob("runs/*/*")}
    again = sweep(digits_dir, trained, *words)
    assert (again.code, again.out) == (0, "2 runs: 2 finished\nto submit: 0\n")
    assert {path: path.stat().st_mtime_ns for path in trained.glob("runs/*/*")} == before
    code, runs = status(trained)
    assert code == 0
    assert [state["state"] for state in runs.values()] == ["finished"] * 2
    assert all(state["step"] == state["num_steps"] == STEPS[-1] for state in runs.values())


def test_a_run_of_a_sweep_is_that_of_the_training_program(
    digits_dir: Path, trained: Path, tmp_path: Path
) -> None:
    """The launcher changes where and when, never what."""
    words = (*TINY, *CHECKPOINTS, "seed=1", "precision=auto")
    alone = make_config(digits_dir, tmp_path / "alone", *words)
    train(alone, never_stop())
    (run,) = [run for run in run_dirs(trained) if "seed1" in run.name]
    assert final_weights(run) == final_weights(tmp_path / "alone")


def test_a_point_that_fails_inline_is_reported_and_the_others_go_on(
    digits_dir: Path, tmp_path: Path
) -> None:
    points = "sweep.search.points=[{optimizer.learning_rate:1e30},{}]"
    words = ("cluster=inline", points)
    done = sweep(digits_dir, tmp_path / "sweep", *words)
    assert done.code == 1
    assert "not finite in step" in done.out
    code, runs = status(tmp_path / "sweep")
    assert code == 3
    assert sorted(state["state"] for state in runs.values()) == ["failed", "finished"]
    (detail,) = [state["detail"] for state in runs.values() if state["state"] == "failed"]
    assert detail.startswith("non_finite: ")
    table = call("launch/status.py", str(tmp_path / "sweep"))
    assert table.code == 3
    assert table.out.splitlines()[1].split()[1] == "failed"
    assert table.out.splitlines()[-1] == "2 runs: 1 failed, 1 finished"
    kept = sweep(digits_dir, tmp_path / "sweep", *words, "retry_failed=false")
    assert "1 finished, 1 failed before\nto submit: 0" in kept.out
    dry = sweep(digits_dir, tmp_path / "sweep", *words, "dry_run=true")
    assert "to submit: 1" in dry.out


def test_a_folder_without_runs_is_one_line(tmp_path: Path) -> None:
    assert "no runs at" in call("launch/status.py", str(tmp_path)).error_line
    assert "nothing was submitted from" in call("launch/cancel.py", str(tmp_path)).error_line
    assert "json=maybe is not allowed" in call("launch/status.py", "x", "json=maybe").error_line
    assert "give one directory" in call("launch/cancel.py").error_line


def test_any_folder_of_runs_has_a_status(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "elsewhere")
    code, runs = status(tmp_path / "elsewhere")
    assert (code, set(runs)) == (0, {run.name for run in run_dirs(trained)})


# Workers in the background


def stop_workers(base: Path) -> None:
    """Whatever a failed test has left; by process id."""
    for record in read_records(base) if (base / "jobs").is_dir() else ():
        for process in record.processes:
            if record.is_alive_here():
                os.kill(int(process["pid"]), signal.SIGTERM)


@pytest.fixture
def local_dir(tmp_path: Path) -> Iterator[Path]:
    """A sweep directory whose workers do not outlive the test."""
    yield tmp_path / "a sweep"
    stop_workers(tmp_path / "a sweep")


def logs(sweep_dir: Path) -> str:
    return "\n".join(path.read_text()[-2000:] for path in sweep_dir.glob("logs/*/*.out"))


def wait_for_workers(sweep_dir: Path) -> None:
    """Wait until no run waits or trains."""
    wait_until(
        lambda: not {"waiting", "starting", "running"} & set(states(sweep_dir).values()),
        lambda: logs(sweep_dir),
    )


def test_two_workers_share_the_runs_and_one_of_them_fails(
    digits_dir: Path, local_dir: Path
) -> None:
    points = "sweep.search.points=[{optimizer.learning_rate:1e30},{}]"
    words = ("cluster=local", "cluster.max_running=2", points)
    done = sweep(digits_dir, local_dir, *words)
    assert done.code == 0, done.err
    assert "submitted 2 runs: 2 workers here" in done.out
    assert set(states(local_dir).values()) <= {"waiting", "starting", "running"}
    assert "to submit: 0" in sweep(digits_dir, local_dir, *words).out
    wait_for_workers(local_dir)
    code, runs = status(local_dir)
    assert code == 3
    found = sorted(state["state"] for state in runs.values())
    assert found == ["failed", "finished"], logs(local_dir)
    (failed,) = [run for run in run_dirs(local_dir) if runs[run.name]["state"] == "failed"]
    assert "learning_rate1e+30" in failed.name
    error = json.loads((failed / "error.json").read_text())
    assert (error["kind"], error["rank"], error["exit_code"]) == ("non_finite", 0, 76)
    assert "not finite in step" in error["message"]
    assert [len(attempts(run)) for run in run_dirs(local_dir)] == [1, 1]
    assert "to submit: 0" in sweep(digits_dir, local_dir, *words, "retry_failed=false").out


def test_cancelled_workers_save_and_a_later_call_continues(
    digits_dir: Path, local_dir: Path
) -> None:
    """Nothing but the cancelled jobs is lost, not even the steps since the last checkpoint."""
    endless = ("epochs=100000", "validate_every=1000000", "checkpoint_every=1000000")
    words = ("cluster=local", "sweep.seeds=[0,1]", *endless)
    sweep(digits_dir, local_dir, *words)
    run, other = run_dirs(local_dir)
    wait_until(lambda: logged_step(run) > 0, lambda: logs(local_dir))
    assert states(local_dir) == {run.name: "running", other.name: "waiting"}
    said = call("launch/cancel.py", str(local_dir)).out
    assert "told 1 worker on this machine to save and stop" in said
    wait_for_workers(local_dir)
    assert set(states(local_dir).values()) == {"cancelled"}
    assert "nothing is waiting or running" in call("launch/cancel.py", str(local_dir)).out
    assert attempts(other) == []
    (first,) = attempts(run)
    assert first["first_step"] == 0

    # Continued in this process, until it has trained further and is told to stop.
    saved = newest_step(run)
    assert saved > 0

    def stop_later() -> None:
        wait_until(lambda: logged_step(run) > saved)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_later, daemon=True)
    stopper.start()
    again = sweep(digits_dir, local_dir, *words[1:], "cluster=inline")
    stopper.join(timeout=PATIENCE_S)
    assert again.code == 75
    assert "2 runs: 2 stopped, lost or cancelled\nto submit: 2\n" in again.out
    assert f"continuing from step {saved} " in again.out
    assert newest_step(run) > saved
    assert not (other / "heartbeat.json").exists()


def test_workers_claim_each_run_once(tmp_path: Path) -> None:
    record = write_record(tmp_path, JobRecord("orbit-a", "train", "local", ("x",), time.time()))
    go = tmp_path / "go"
    code = (
        "import sys, time; from pathlib import Path; from launch.jobs.train_job import claim\n"
        "print('ready', flush=True)\n"
        "while not Path(sys.argv[2]).exists(): time.sleep(0.001)\n"
        "names = [f'run{number}' for number in range(200)]\n"
        "print(*[name for name in names if claim(Path(sys.argv[1]) / name)])"
    )
    workers = [start_python(code, str(claims_folder(record)), str(go)) for _ in range(3)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    go.touch()
    took = [
        name for worker in workers for name in worker.communicate(timeout=PATIENCE_S)[0].split()
    ]
    assert Counter(took) == {f"run{number}": 1 for number in range(200)}
    assert set(claimed(record)) == set(took)
    assert not list(claims_folder(record).glob(".*"))


def test_what_a_dead_worker_had_taken_is_not_alive(tmp_path: Path) -> None:
    """What it had not taken waits for the other worker, or for nobody if that is dead as well."""
    here = describe_process(os.getpid())
    for processes, expected in (
        ((DEAD, here), {"ours": "running", "left": "waiting"}),
        ((DEAD,), {}),
    ):
        tasks = ("ours", "theirs", "left")
        record = JobRecord("orbit-a", "train", "local", tasks, time.time(), None, processes)
        folder = claims_folder(write_record(tmp_path, record))
        folder.mkdir(exist_ok=True)
        write_json(folder / "ours", here)
        write_json(folder / "theirs", DEAD)
        live = find_live(tmp_path, read_records(tmp_path)).jobs
        assert {name: job.state for name, job in live.items()} == expected


@pytest.mark.parametrize("take", [claim, _claim])
def test_claims_work_where_there_are_no_hard_links(
    take: Callable[[Path], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On exFAT, SMB and buckets that are mounted as folders."""

    def link(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "claims" / "run0"
    path.parent.mkdir()
    assert [take(path), take(path)] == [True, False]
    assert [file.name for file in path.parent.iterdir()] == ["run0"]


def test_a_claim_that_is_just_being_written_is_nobodys(tmp_path: Path) -> None:
    record = tmp_path / "jobs" / "orbit-a.json"
    claims_folder(record).mkdir(parents=True)
    (claims_folder(record) / "run0").touch()
    assert claimed(record) == {"run0": {}}


# Evaluation


def evaluate(runs: Path, *words: str) -> Outcome:
    return call("launch/evaluate.py", f"runs={runs}/runs/*", "cluster=inline", *words)


def results(runs: Path) -> list[str]:
    """Run and step of each result."""
    files = runs.glob("runs/*/evaluations/step_*-test.json")
    return sorted(
        f"{file.parents[1].name} {json.loads(file.read_text())['step']}" for file in files
    )


def test_every_checkpoint_is_evaluated_once(sweep_dir: Path) -> None:
    expected = sorted(f"{run.name} {step}" for run in run_dirs(sweep_dir) for step in STEPS)
    done = evaluate(sweep_dir, "checkpoints=all")
    assert (done.code, done.out.splitlines()[-1]) == (0, "6 evaluated, 0 failed")
    assert results(sweep_dir) == expected
    again = evaluate(sweep_dir, "checkpoints=all")
    assert (again.code, again.out) == (0, "0 evaluated, 0 failed\n")
    assert not list(sweep_dir.glob("runs/*/evaluations/.claim*"))
    # A result of other weights is none.
    (file, *_) = sorted(sweep_dir.glob("runs/*/evaluations/step_*-test.json"))
    write_json(file, {**json.loads(file.read_text()), "weights": "of an earlier run"})
    assert evaluate(sweep_dir, "checkpoints=all").out.splitlines()[-1] == "1 evaluated, 0 failed"


def test_what_other_code_measured_is_kept_unless_told_otherwise(sweep_dir: Path) -> None:
    assert evaluate(sweep_dir, "checkpoints=all").code == 0
    files = sorted(sweep_dir.glob("runs/*/evaluations/step_*-test.json"))
    other, unrecorded, *_ = files
    current = json.loads(other.read_text())
    packages = {**current["code"]["packages"], "pipeline": "0" * 64}
    write_json(other, {**current, "code": {"digest": "1" * 64, "packages": packages}})
    write_json(unrecorded, {**json.loads(unrecorded.read_text()), "code": None})
    before = {file: file.stat().st_mtime_ns for file in files}
    kept = "2 results of other code kept (changed: pipeline, orbit); redo=true measures again"
    done = evaluate(sweep_dir, "checkpoints=all")
    assert done.out.splitlines() == ["0 evaluated, 0 failed", kept]
    planned = call(
        "launch/evaluate.py", f"runs={sweep_dir}/runs/*", "checkpoints=all", "dry_run=true"
    )
    assert kept in planned.out.splitlines()
    assert before == {file: file.stat().st_mtime_ns for file in files}
    again = evaluate(sweep_dir, "checkpoints=all", "redo=true")
    assert again.out.splitlines()[-1] == "2 evaluated, 0 failed"
    replaced = {file for file in files if file.stat().st_mtime_ns != before[file]}
    assert replaced == {other, unrecorded}
    assert json.loads(other.read_text())["code"] == current["code"]
    assert json.loads(other.read_text())["metrics"] == pytest.approx(current["metrics"])
    assert evaluate(sweep_dir, "checkpoints=all", "redo=true").out == "0 evaluated, 0 failed\n"


@pytest.mark.parametrize("was_refereed", [True, False])
def test_what_was_refereed_is_refereed_again(
    was_refereed: bool, sweep_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its measures would be missing from the result that replaces it."""
    assert evaluate(sweep_dir).code == 0
    for file in sweep_dir.glob("runs/*/evaluations/step_*-test.json"):
        more = {"not_measured": {}} if was_refereed else {}
        write_json(file, {**json.loads(file.read_text()), "code": {}, **more})
    asked: list[bool] = []

    def measure(config: EvaluateConfig) -> dict[str, Any]:
        asked.append(config.referee)
        return {"metrics": {}}

    monkeypatch.setattr("pipeline.evaluation.evaluate_run.evaluate_run", measure)
    evaluator = Evaluator(Work(f"{sweep_dir}/runs/*", str(sweep_dir), redo=True))
    evaluator.evaluate(evaluator.pending())
    assert asked == [was_refereed] * 2


def test_a_damaged_checkpoint_is_reported_and_skipped(sweep_dir: Path) -> None:
    first, second = run_dirs(sweep_dir)
    weights = first / "checkpoints" / "step_00000006" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (second / "checkpoints" / "step_00000012" / "meta.json").write_text("{")
    done = evaluate(sweep_dir, "checkpoints=all")
    assert done.code == 1
    assert f"{first.name} step 6: skipped: checkpoint {weights.parent} is damaged" in done.out
    assert "step_00000012: meta.json cannot be read, skipped" in done.out
    assert done.out.splitlines()[-1] == "4 evaluated, 1 failed"
    damaged = {f"{first.name} 6", f"{second.name} 12"}
    every = {f"{run.name} {step}" for run in (first, second) for step in STEPS}
    assert set(results(sweep_dir)) == every - damaged


def test_a_claim_counts_as_long_as_its_process_lives(sweep_dir: Path) -> None:
    run, _ = run_dirs(sweep_dir)
    (run / "evaluations").mkdir()
    claim_file = run / "evaluations" / f".claim-{STEPS[-1]:08d}-test"
    write_json(claim_file, describe_process(os.getpid()))
    words = ("checkpoints=all",)
    assert evaluate(sweep_dir, *words).out.splitlines()[-1] == "5 evaluated, 0 failed"
    write_json(claim_file, DEAD)
    assert evaluate(sweep_dir, *words).out.splitlines()[-1] == "1 evaluated, 0 failed"
    assert len(results(sweep_dir)) == 6
    assert not claim_file.exists()


def test_an_evaluation_on_other_data_is_another(
    sweep_dir: Path, digits_dir: Path, tmp_path: Path
) -> None:
    """Evaluators at work on the run's own data, or on the other split of other data, are no reason
    to leave this one out."""
    other = tmp_path / "other"
    prepared = call("data_prep/prepare.py", "dataset=rotated_digits", f"out={other}", *OTHER)
    assert prepared.code == 0
    run, _ = run_dirs(sweep_dir)
    (run / "evaluations").mkdir()
    fingerprint = json.loads((other / "manifest.json").read_text())["fingerprint"]
    for step in STEPS:
        for split, data in (("test", None), ("val", None), ("test", fingerprint)):
            claim = run / "evaluations" / claim_file(Target(run.name, step, ""), split, data)
            write_json(claim, describe_process(os.getpid()))
    done = evaluate(sweep_dir, "split=val", f"data={other}")
    assert done.out.splitlines()[-1] == "2 evaluated, 0 failed"


@pytest.mark.parametrize(("key", "value"), [("split", "val"), ("data", "/other"), (None, None)])
def test_jobs_that_evaluate_something_else_are_not_under_way(
    key: str | None, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(f"{tmp_path}/runs/*", str(tmp_path))
    theirs = work if key is None else replace(work, **{key: value})
    target = Target("run", 3, "weights")
    write_task(tmp_path / "task.json", theirs, [target])
    job = LiveJob("running", "", "7", "record")
    live = Liveness({str(tmp_path / "task.json"): job})
    monkeypatch.setattr("launch.evaluation.command.find_live", lambda *_: live)
    assert _live_evaluations(tmp_path, work) == ([[target]] if key is None else [])
    # Those that keep results of other code are not the work of those that replace them.
    assert _live_evaluations(tmp_path, replace(work, redo=True)) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("poll_s=1",), "poll_s has no effect without follow=true"),
        (("num_evaluators=2",), "num_evaluators has no effect without follow=true"),
        (("follow=true", "checkpoints_per_job=2"), "checkpoints_per_job has no effect with follow"),
        (("follow=true", "num_evaluators=0"), "num_evaluators=0 must be at least 1"),
        (("follow=true", "poll_s=0"), "poll_s=0.0 must be positive"),
        (("checkpoints_per_job=0",), "checkpoints_per_job=0 must be at least 1"),
        (("batch=0",), "batch=0 must be positive"),
        (("checkpoints=first",), "checkpoints=first is not allowed; allowed: best, last, all"),
        (("runs=/nowhere/*",), "runs=/nowhere/*: no run directory there"),
        (("data=/nowhere",), "no dataset at /nowhere"),
    ],
)
def test_an_evaluation_without_sense_is_one_line(
    words: tuple[str, ...], complaint: str, trained: Path
) -> None:
    assert complaint in evaluate(trained, *words).error_line
    assert results(trained) == []


# Evaluators with pretended runs


def add_checkpoint(run: Path, step: int) -> None:
    """A checkpoint's directory, renamed into place."""
    draft = run / "checkpoints" / f".draft-{step}"
    draft.mkdir(parents=True)
    content = {"files": {"model.safetensors": {"sha256": f"{run.name}-{step}"}}, "dataset": "d"}
    write_json(draft / "meta.json", content)
    draft.rename(run / "checkpoints" / f"step_{step:08d}")


class Pretended:
    """Runs without weights, and an evaluation that notes its calls."""

    def __init__(self, base: Path, num_runs: int, steps: tuple[int, ...]) -> None:
        self.base, self.calls = base, list[tuple[str, int]]()
        for number in range(num_runs):
            run = base / "runs" / f"run{number}"
            run.mkdir(parents=True)
            (run / "config.yaml").touch()
            write_json(run / "result.json", {})
            for step in steps:
                add_checkpoint(run, step)

    def evaluate(self, config: EvaluateConfig) -> dict[str, Any]:
        run, step = Path(config.run_dir), int(config.checkpoint)
        self.calls.append((run.name, step))
        time.sleep(0.01)
        (run / "evaluations").mkdir(exist_ok=True)
        result = {"weights": f"{run.name}-{step}", "metrics": {"loss/total": 0.5}}
        write_json(run / "evaluations" / evaluation_file(step, config.split), result)
        return result

    def work(self, **more: Any) -> Work:
        return Work(f"{self.base}/runs/*", str(self.base), "all", poll_s=0.1, **more)


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    made = Pretended(tmp_path, 3, (1, 2, 3, 4))
    monkeypatch.setattr("pipeline.evaluation.evaluate_run.evaluate_run", made.evaluate)
    return made


def test_best_and_last_are_the_checkpoints_that_the_run_names(pretended: Pretended) -> None:
    for run in run_dirs(pretended.base)[1:]:
        write_json(run / "checkpoints" / "best.json", {"step": 2})
        write_json(run / "checkpoints" / "last.json", {"step": 4})
    write_json(run / "checkpoints" / "last.json", {"step": 5})  # not there (any more)
    runs = find_runs(f"{pretended.base}/runs/*")
    named: dict[str, list[tuple[str, int]]] = {}
    for which in ("best", "last", "all"):
        targets, complaints = find_targets(runs, which)  # type: ignore[arg-type]
        assert complaints == []
        named[which] = [(Path(target.run_dir).name, target.step) for target in targets]
    assert named["best"] == [("run1", 2), ("run2", 2)]
    assert named["last"] == [("run1", 4)]
    assert named["all"] == [(f"run{number}", step) for number in range(3) for step in (1, 2, 3, 4)]


def test_evaluators_at_once_share_the_checkpoints(pretended: Pretended) -> None:
    """Each finds the whole list pending; each checkpoint is evaluated exactly once."""
    num = 4
    evaluators = [Evaluator(pretended.work(), lambda line: None) for _ in range(num)]
    together = threading.Barrier(num)

    def go(evaluator: Evaluator) -> None:
        targets = evaluator.pending()
        assert len(targets) == 12
        together.wait(timeout=PATIENCE_S)
        evaluator.evaluate(targets)

    with ThreadPoolExecutor(num) as pool:
        list(pool.map(go, evaluators))
    assert Counter(pretended.calls) == {
        (f"run{number}", step): 1 for number in range(3) for step in (1, 2, 3, 4)
    }
    assert sum(evaluator.num_evaluated for evaluator in evaluators) == 12
    assert not list(pretended.base.glob("runs/*/evaluations/.claim*"))


def test_a_watcher_follows_a_run_until_it_ends(pretended: Pretended) -> None:
    run = pretended.base / "runs" / "run1"
    (run / "result.json").unlink()
    write_json(run / "heartbeat.json", {"time": time.time() + 600})
    evaluator = Evaluator(pretended.work(), lambda line: None)
    watcher = threading.Thread(target=evaluator.watch, daemon=True)
    watcher.start()
    wait_until(lambda: len(pretended.calls) == 12)
    add_checkpoint(run, 5)
    wait_until(lambda: ("run1", 5) in pretended.calls)
    assert watcher.is_alive()
    add_checkpoint(run, 6)
    write_json(run / "result.json", {})
    watcher.join(timeout=PATIENCE_S)
    assert not watcher.is_alive()
    assert Counter(pretended.calls)["run1", 6] == 1
    assert len(pretended.calls) == 14


def test_a_watcher_stays_while_slurm_does_not_answer(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = Evaluator(pretended.work(), lambda line: None)
    assert evaluator.all_ended()
    write_record(pretended.base, JobRecord("orbit-x", "train", "slurm", ("run1",), 0.0, "5"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert not evaluator.all_ended()


def test_an_evaluator_that_is_told_to_stop_ends_after_the_checkpoint_at_hand(
    pretended: Pretended,
) -> None:
    evaluator = Evaluator(pretended.work(), lambda line: None, lambda: len(pretended.calls) == 5)
    evaluator.watch()
    assert len(pretended.calls) == 5


def test_a_checkpoint_deleted_by_retention_is_no_failure(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lies there and cannot be read is; it is reported once."""
    said: list[str] = []

    def fails(config: EvaluateConfig) -> dict[str, Any]:
        if config.checkpoint == 1:
            shutil.rmtree(Path(config.run_dir) / "checkpoints" / "step_00000001")
        raise ValueError("checkpoint cannot\nbe read")

    monkeypatch.setattr("pipeline.evaluation.evaluate_run.evaluate_run", fails)
    evaluator = Evaluator(pretended.work(), said.append)
    targets = [target for target in evaluator.pending() if target.step < 3]
    evaluator.evaluate(targets)
    assert evaluator.num_failed == 3
    assert sum("deleted meanwhile" in line for line in said) == 3
    assert sum(line.endswith("skipped: checkpoint cannot be read") for line in said) == 3
    run = str(pretended.base / "runs" / "run0")
    assert Target(run, 2, "run0-2") not in evaluator.pending()
    assert Target(run, 3, "run0-3") in evaluator.pending()


def test_a_passing_error_gives_no_checkpoint_up(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while the checkpoints are listed nor while one of them is evaluated."""
    said: list[str] = []
    num_calls: Counter[str] = Counter()
    real = evaluator_module.find_targets

    def fail_at_first(name: str) -> None:
        num_calls[name] += 1
        if num_calls[name] == 1:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), "meta.json")

    def find(*words: Any) -> Any:
        fail_at_first("list")
        return real(*words)

    def evaluate(config: EvaluateConfig) -> dict[str, Any]:
        fail_at_first(f"{config.run_dir} {config.checkpoint}")
        return pretended.evaluate(config)

    monkeypatch.setattr(hiccups, "PAUSES_S", (0.0,))
    monkeypatch.setattr(evaluator_module, "find_targets", find)
    monkeypatch.setattr("pipeline.evaluation.evaluate_run.evaluate_run", evaluate)
    evaluator = Evaluator(pretended.work(), said.append)
    evaluator.watch()
    assert (evaluator.num_evaluated, evaluator.num_failed) == (12, 0)
    assert not [line for line in said if "skipped" in line]


def test_a_checkpoint_that_can_never_be_read_is_given_up(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: EvaluateConfig) -> dict[str, Any]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "model.safetensors")

    monkeypatch.setattr(hiccups, "PAUSES_S", (0.0,))
    monkeypatch.setattr("pipeline.evaluation.evaluate_run.evaluate_run", fail)
    evaluator = Evaluator(pretended.work(), lambda line: None)
    evaluator.watch()
    assert (evaluator.num_evaluated, evaluator.num_failed) == (0, 12)
