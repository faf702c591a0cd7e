"""Protects preparing by SLURM jobs: what is submitted, what is not, and what a job does that is
stopped, fails, or finds something else than it was submitted for.

Stand-ins play SLURM's commands; the jobs are run in this process.
"""

import errno
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.programs import Outcome, call
from helpers.stand_in_slurm import SHARDS, WORDS, StandInSlurm, contents, recipe_for

from data_prep.building.builder import build_dataset, build_shard, finish_build, start_build
from data_prep.building.recipe import Recipe, ShardPlan
from launch.cluster.settings import SlurmConfig
from launch.preparation import job as prepare_job
from launch.preparation import work
from launch.preparation.command import make_order
from launch.preparation.directory import JobsDirectory, PrepareOrder, read_order, read_request
from launch.preparation.job import PrepareJob, refusal
from launch.snapshot import Snapshot
from orbit.core.files import waiting as hiccups
from orbit.core.signals import STOP_SIGNALS

pytestmark = pytest.mark.usefixtures("starts_are_warm")

PROGRAM = "launch/prepare.py"


@pytest.fixture(scope="session")
def plain_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of WORDS as data_prep/prepare.py makes it."""
    out = tmp_path_factory.mktemp("plain") / "dataset"
    build_dataset(recipe_for(out), out)
    return out


@pytest.fixture
def keeps_signals() -> Iterator[None]:
    """Puts the handlers back that a job in this process replaces."""
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGCONT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_signals: None) -> StandInSlurm:
    """Stand-ins first in PATH, jobs that are content with the code at hand."""
    stand_in = StandInSlurm(tmp_path / "slurm", monkeypatch)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(
        "launch.preparation.command.take_snapshot",
        lambda root, folder, leave_out, packages: Snapshot(folder / "abc", "abc"),
    )
    monkeypatch.setattr(work, "_check_code", lambda code, digest: None)
    return stand_in


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def prepare(out: Path, *words: str) -> Outcome:
    return call(PROGRAM, f"out={out}", *WORDS, "cluster=slurm", "cluster.time=30", *words)


def newest_order(out: Path) -> Path:
    folder = JobsDirectory(out).submissions
    return max(folder.iterdir(), key=lambda path: (path / "order.json").stat().st_mtime_ns)


def run_jobs(folder: Path) -> None:
    """Do what the jobs of a submission would do."""
    for task in [*read_order(folder).tasks, "manifest"]:
        PrepareJob(str(folder), task)()


def test_an_array_makes_the_shards_and_a_dependent_job_the_manifest(
    slurm: StandInSlurm, out: Path, plain_dir: Path
) -> None:
    done = prepare(out, "shards_per_task=2", "cluster.gpus_per_node=1")
    assert done.code == 0, done.err
    assert "submitted 3 tasks: job 100" in done.out
    assert "submitted 1 task: job 101" in done.out
    array, manifest = slurm.take_scripts()
    assert array["array"] == "0-2%3"
    assert "dependency" not in array
    assert (manifest["dependency"], manifest["kill-on-invalid-dep"]) == ("afterok:100", "yes")
    for script in (array, manifest):
        assert (script["nodes"], script["ntasks-per-node"], script["cpus-per-task"]) == ("1",) * 3
        assert "gpus-per-node" not in script
        assert "requeue" in script
        assert script["output"].startswith(str(out.parent / "out.jobs" / "logs"))
    order = read_order(newest_order(out))
    assert [file for files in order.tasks.values() for file in files] == SHARDS
    assert order.time_limit_s == 1800
    run_jobs(newest_order(out))
    assert contents(out) == contents(plain_dir)
    slurm.empty_queue()
    assert "is complete" in prepare(out).out
    run_jobs(newest_order(out))  # A job that starts again finds nothing left to do.
    assert slurm.take_scripts() == []
    assert contents(out) == contents(plain_dir)


def test_shards_share_tasks_where_an_array_is_too_short(slurm: StandInSlurm, out: Path) -> None:
    """The cluster's own limit is 4 tasks an array."""
    prepare(out)
    assert slurm.take_scripts()[0]["array"] == "0-2%3"
    prepare(out.with_name("single"), "shards_per_task=1")
    first, second, manifest = slurm.take_scripts()
    assert first["array"] == "0-3%4"
    assert "array" not in second
    assert manifest["dependency"] == "afterok:102,afterok:103"


def test_while_jobs_are_alive_it_says_how_far_they_are(slurm: StandInSlurm, out: Path) -> None:
    prepare(out, "shards_per_task=2")
    PrepareJob(str(newest_order(out)), "train-00000+1")()
    slurm.change_queue("100|0|100|PENDING|Resources|", "100|0|100|RUNNING|None|")
    slurm.take_scripts()
    leftover = out / "train/.shard_00002.h5.1.tmp"
    leftover.write_text("a task writes this")
    again = prepare(out, "shards_per_task=2")
    assert again.code == 0
    assert "2 of 5 shards finished" in again.out
    assert "tasks: 1 running, 3 waiting (Resources); nothing was submitted" in again.out
    assert slurm.take_scripts() == []
    assert leftover.exists()
    assert "another configuration (differing: seed)" in prepare(out, "seed=2").error_line
    assert "launch/cancel.py" in prepare(out, "overwrite=true").error_line


def test_only_missing_shards_are_submitted_again(
    slurm: StandInSlurm, out: Path, plain_dir: Path
) -> None:
    prepare(out, "shards_per_task=1")
    for task in ("train-00000", "train-00001", "val-00000"):
        PrepareJob(str(newest_order(out)), task)()
    (out / SHARDS[1]).unlink()
    kept = (out / SHARDS[0]).stat().st_mtime_ns
    slurm.empty_queue()
    slurm.take_scripts()
    done = prepare(out, "shards_per_task=1")
    assert "5 shards, 2 finished" in done.out
    assert list(read_order(newest_order(out)).tasks) == ["train-00001", "train-00002", "test-00000"]
    run_jobs(newest_order(out))
    assert (out / SHARDS[0]).stat().st_mtime_ns == kept
    assert contents(out) == contents(plain_dir)


def test_where_only_the_manifest_is_missing_one_job_is_submitted(
    slurm: StandInSlurm, out: Path, plain_dir: Path
) -> None:
    recipe = recipe_for(out)
    out.mkdir()
    start_build(recipe, out, False)
    for plan in recipe.plans():
        build_shard(recipe, out, plan)
    done = prepare(out)
    assert "to make: 0 shards (0.0 MiB) in 0 tasks, and the manifest" in done.out
    (script,) = slurm.take_scripts()
    assert "dependency" not in script
    assert "array" not in script
    run_jobs(newest_order(out))
    assert contents(out) == contents(plain_dir)


def test_a_manifest_job_that_can_never_run_stands_in_nobodys_way(
    slurm: StandInSlurm, out: Path
) -> None:
    prepare(out)
    (slurm.folder / "queue").write_text(
        "\n".join(
            line.replace("Resources", "DependencyNeverSatisfied")
            for line in (slurm.folder / "queue").read_text().splitlines()
            if line.startswith("101|")
        )
    )
    slurm.take_scripts()
    assert prepare(out).code == 0
    assert (slurm.folder / "cancelled").read_text() == "101\n"
    assert len(slurm.take_scripts()) == 2


def test_a_dry_run_changes_nothing(slurm: StandInSlurm, out: Path) -> None:
    done = prepare(out, "dry_run=true")
    assert done.code == 0, done.err
    assert "5 shards, 0 finished" in done.out
    assert "#SBATCH --array=0-2%3" in done.out
    assert slurm.take_scripts() == []
    assert not out.exists()
    assert not (out.parent / "out.jobs").exists()


def test_what_slurm_would_refuse_is_said_before(slurm: StandInSlurm, out: Path) -> None:
    assert "is above the limit" in prepare(out, "cluster.time=2:00:00").error_line
    assert "not a partition" in prepare(out, "cluster.partition=high").error_line
    assert not out.exists()


# Jobs that cannot go on


def failure(out: Path, task: str) -> str:
    """What a job says that has to fail, and so does the next call of the program."""
    with pytest.raises(SystemExit) as ended:
        PrepareJob(str(newest_order(out)), task)()
    assert ended.value.code == 1
    return JobsDirectory(out).last_failures()[task]


def test_a_failure_is_kept_and_shown_by_the_next_call(slurm: StandInSlurm, out: Path) -> None:
    prepare(out, "shards_per_task=1")
    (out / SHARDS[0]).mkdir()
    assert "Is a directory" in failure(out, "train-00000")
    assert "5 of 5 shards are missing, first train/shard_00000.h5" in failure(out, "manifest")
    (out / SHARDS[0]).rmdir()
    slurm.empty_queue()
    done = prepare(out, "shards_per_task=1")
    assert "failed before: train-00000: " in done.out
    assert "failed before: manifest: " in done.out


def test_a_job_whose_plan_is_stale_touches_nothing(slurm: StandInSlurm, out: Path) -> None:
    """Somebody started another dataset in its place, finished that one, or removed it."""
    prepare(out, "shards_per_task=5")
    other = recipe_for(out, "seed=1")
    start_build(other, out, overwrite=True)
    before = contents(out)
    for task in ("train-00000+4", "manifest"):
        assert "unfinished dataset made with another configuration" in failure(out, task)
    assert contents(out) == before
    for plan in other.plans():
        build_shard(other, out, plan)
    finish_build(other, out)
    assert "complete dataset made with another configuration" in failure(out, "train-00000+4")
    shutil.rmtree(out)
    assert "was removed after this was submitted" in failure(out, "manifest")
    assert not out.exists()


def test_a_truncated_shard_gets_no_manifest(slurm: StandInSlurm, out: Path) -> None:
    prepare(out, "shards_per_task=5")
    PrepareJob(str(newest_order(out)), "train-00000+4")()
    os.truncate(out / SHARDS[3], 1000)
    assert "1 of 5 shards are missing, first val/shard_00000.h5" in failure(out, "manifest")
    assert not (out / "manifest.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_task_told_to_stop_asks_for_another_start_and_keeps_its_shards(
    number: signal.Signals,
    hidden: bool,
    slurm: StandInSlurm,
    out: Path,
    plain_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where a library turns the interruption into an error of its own."""
    asked: list[tuple[str, str]] = []

    def build_slowly(recipe: Recipe, out: Path, plan: ShardPlan) -> None:
        if plan.file == SHARDS[2]:
            try:
                os.kill(os.getpid(), number)
                time.sleep(3000)
            except prepare_job.Stopped:
                if hidden:
                    raise OSError("cannot write") from None
                raise
        build_shard(recipe, out, plan)

    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setattr(
        prepare_job, "request_restart", lambda job, why, *_: asked.append((job, why))
    )
    prepare(out, "shards_per_task=5")
    job = PrepareJob(str(newest_order(out)), "train-00000+4")
    monkeypatch.setattr(work, "build_shard", build_slowly)
    with pytest.raises(SystemExit) as ended:
        job()
    assert ended.value.code == 1
    assert asked == [("7_0", "preempted")]
    assert [file for file in SHARDS if (out / file).exists()] == SHARDS[:2]
    assert JobsDirectory(out).last_failures() == {}
    monkeypatch.setattr(work, "build_shard", build_shard)
    assert job() == 3
    run_jobs(newest_order(out))
    assert contents(out) == contents(plain_dir)


def test_a_passing_error_does_not_end_a_task(
    slurm: StandInSlurm, out: Path, plain_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def build(recipe: Recipe, out: Path, plan: ShardPlan) -> None:
        tried.append(plan.file)
        if tried.count(plan.file) == 1 and plan.file in (SHARDS[0], SHARDS[2]):
            raise OSError(errno.EIO, os.strerror(errno.EIO), plan.file)
        build_shard(recipe, out, plan)

    prepare(out, "shards_per_task=5")
    monkeypatch.setattr(hiccups, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(work, "build_shard", build)
    run_jobs(newest_order(out))
    assert [tried.count(file) for file in SHARDS] == [2, 1, 2, 1, 1]
    assert JobsDirectory(out).last_failures() == {}
    assert contents(out) == contents(plain_dir)


def test_who_lost_the_directory_submits_nothing(
    slurm: StandInSlurm, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(root: Path, folder: Path, leave_out: object, packages: object) -> Snapshot:
        (out / ".lock").write_text('{"pid": 77, "host": "node9"}')
        return Snapshot(folder / "abc", "abc")

    monkeypatch.setattr("launch.preparation.command.take_snapshot", lose)
    done = prepare(out)
    assert done.code == 1
    assert "taken over by process 77 on node9" in done.error_line
    assert slurm.take_scripts() == []


def test_a_task_starts_again_as_long_as_that_helps(tmp_path: Path) -> None:
    _, config = read_request([f"out={tmp_path}"])
    cluster = SlurmConfig("slurm")
    order: PrepareOrder = make_order(config, cluster, {}, Snapshot(tmp_path, "abc"))
    assert order.max_restarts == 1000
    assert refusal("preempted", 0, 5, order) is None
    assert refusal("timeout", 1, 5, order) is None
    assert "cluster.time" in (refusal("timeout", 0, 5, order) or "")
    assert "after 1000 restarts" in (refusal("preempted", 3, 1000, order) or "")


def test_overwriting_that_cannot_be_submitted_brings_the_old_dataset_back(
    slurm: StandInSlurm, out: Path, plain_dir: Path, monkeypatch
) -> None:
    shutil.copytree(plain_dir, out)
    usage = shutil.disk_usage(out)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "not enough space" in prepare(out, "overwrite=true", "seed=1").error_line
    assert contents(out) == contents(plain_dir)
    assert slurm.take_scripts() == []


def test_a_plain_preparation_keeps_away_from_a_job_at_work(
    slurm: StandInSlurm, out: Path, plain_dir: Path, monkeypatch
) -> None:
    """Its half-written shard is not taken for one of the dead."""
    prepare(out)
    refused = []

    def at_work(recipe: Recipe, out: Path, plan: ShardPlan) -> None:
        with pytest.raises(ValueError, match="it is a job of launch/prepare") as error:
            build_dataset(recipe_for(out), out)
        refused.append(str(error.value))
        build_shard(recipe, out, plan)

    monkeypatch.setattr(work, "build_shard", at_work)
    run_jobs(newest_order(out))
    assert len(refused) == len(SHARDS)
    assert contents(out) == contents(plain_dir)


def test_a_job_whose_work_others_finish_meanwhile_succeeds(
    slurm: StandInSlurm, out: Path, plain_dir: Path, monkeypatch
) -> None:
    prepare(out)

    def finished_by_others(recipe: Recipe, out: Path, plan: ShardPlan) -> None:
        for each in recipe.plans():
            build_shard(recipe, out, each)
        finish_build(recipe, out)
        raise FileNotFoundError("the note's folder is gone")

    monkeypatch.setattr(work, "build_shard", finished_by_others)
    task = next(iter(read_order(newest_order(out)).tasks))
    assert PrepareJob(str(newest_order(out)), task)() == 0
    assert contents(out) == contents(plain_dir)
    assert not list((newest_order(out)).glob("failed/*"))
