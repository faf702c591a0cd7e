"""Protects preparing by several jobs: the result is that of one process, bit by bit, and only
what is missing is ever submitted.

SLURM is played by stand-ins for its commands; workers on this machine are real.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.programs import Outcome, call

from data_prep.recipes import make_recipe
from data_prep.store.builder import build_dataset, build_shard, finish_build, start_build
from data_prep.store.recipe import Recipe, ShardPlan
from launch.cluster.settings import LocalConfig, SlurmConfig
from launch.jobs import prepare_job
from launch.jobs.endings import STOP_SIGNALS
from launch.jobs.prepare_job import PrepareJob, array_place, refusal
from launch.preparation import work
from launch.preparation.directory import JobsDirectory, PrepareOrder, read_order
from launch.preparation.request import read_request
from launch.preparation.submission import cluster_for_shards, make_order
from launch.preparation.tasks import default_shards_per_task, group_shards
from launch.snapshot import Snapshot
from pipeline.files.atomic import sha256_of_file

PROGRAM = "launch/prepare.py"
WORDS = ("num_samples=60", "dataset.shard_mib=0.02")
SHARDS = [
    "train/shard_00000.h5",
    "train/shard_00001.h5",
    "train/shard_00002.h5",
    "val/shard_00000.h5",
    "test/shard_00000.h5",
]


def recipe_for(out: Path, *words: str) -> Recipe:
    return make_recipe(read_request([f"out={out}", *WORDS, *words])[1])


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


def contents(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): sha256_of_file(path) for path in files}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)


# What was asked for


def test_words_go_where_they_belong_and_paths_become_absolute(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["cluster=slurm", "cluster.time=90", "shards_per_task=4", "dry_run=true", "out=a/../b"]
    request, config = read_request(
        [*words, "dataset=rotated_mnist", "source.root=[x, y]", "seed=3", "dataset.shard_mib=2"]
    )
    assert isinstance(request.cluster, SlurmConfig)
    assert (request.cluster.time, request.shards_per_task, request.dry_run) == (90, 4, True)
    assert (config.out, config.seed) == (str(tmp_path / "b"), 3)
    assert (config.source.root, config.dataset.shard_mib) == (str(tmp_path / "[x, y]"), 2.0)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["cluster=moon"], "unknown cluster=moon"),
        (["cluster.max_runing=2"], "did you mean 'cluster.max_running'?"),
        (["shards_per_task=0"], "shards_per_task=0 must be at least 1"),
        (["shards_per_task=2", "cluster=inline"], "shards_per_task has no effect"),
        (["num_workers=4"], "num_workers has no effect with cluster=local"),
        (["sead=1"], "did you mean 'seed'?"),
        (["dataset=rotated_mnist"], "give source.root=DIR"),
        (["dataset=rotated_mnist", "source.root=nowhere"], "nowhere: there is no such directory"),
        (["num_samples=1000000"], "the source has 1797 images"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    words: list[str], complaint: str, tmp_path: Path
) -> None:
    assert complaint in call(PROGRAM, f"out={tmp_path / 'out'}", *words).error_line
    assert not list(tmp_path.iterdir())


def test_without_an_output_it_says_so() -> None:
    assert "give out=VALUE" in call(PROGRAM, *WORDS).error_line


# Tasks


def test_shards_are_grouped_in_order_and_none_is_lost() -> None:
    for size in range(1, 7):
        tasks = group_shards(SHARDS, size)
        assert [file for files in tasks.values() for file in files] == SHARDS
        assert max(map(len, tasks.values())) == min(size, len(SHARDS))
    assert list(group_shards(SHARDS, 2)) == ["train-00000+1", "train-00002+1", "test-00000"]
    assert group_shards([], 3) == {}


@pytest.mark.parametrize(
    ("num", "limit", "size"), [(0, 10, 1), (10, 10, 1), (11, 10, 2), (5, 2, 3)]
)
def test_by_default_all_tasks_fit_into_one_array(num: int, limit: int, size: int) -> None:
    assert default_shards_per_task(num, limit) == size
    assert len(group_shards([str(number) for number in range(num)], size)) <= limit


def test_a_task_takes_one_cpu_whatever_the_cluster_is_set_to() -> None:
    slurm = SlurmConfig("slurm", nodes=2, tasks_per_node=4, gpus_per_node=4, cpus_per_task=8)
    shards = cluster_for_shards(slurm)
    assert isinstance(shards, SlurmConfig)
    assert (shards.num_ranks, shards.gpus_per_node, shards.cpus_per_task) == (1, 0, 1)
    local = cluster_for_shards(LocalConfig("local", max_running=2, gpus=(0, 1)))
    assert isinstance(local, LocalConfig)
    assert (local.max_running, local.gpus) == (2, ())


# In this process and on this machine


def test_inline_is_what_one_process_makes(tmp_path: Path, plain_dir: Path) -> None:
    out = tmp_path / "out"
    done = call(PROGRAM, f"out={out}", *WORDS, "cluster=inline", "num_workers=1")
    assert done.code == 0, done.err
    assert f"complete in {out}" in done.out
    assert contents(out) == contents(plain_dir)
    again = call(PROGRAM, f"out={out}", *WORDS, "cluster=inline")
    assert (again.code, again.out) == (0, done.out)
    other = call(PROGRAM, f"out={out}", *WORDS, "seed=1")
    assert "complete dataset made with another configuration" in other.error_line


def test_local_workers_share_the_shards_and_one_writes_the_manifest(
    tmp_path: Path, plain_dir: Path
) -> None:
    out = tmp_path / "with space, and=more"
    words = (f"out={out}", *WORDS, "cluster=local", "cluster.max_running=2")
    first = call(PROGRAM, *words)
    assert first.code == 0, first.err
    assert "to make: 5 shards" in first.out
    assert "submitted 6 tasks: 2 workers here" in first.out
    second = call(PROGRAM, *words)
    assert second.code == 0, second.err
    assert "of 5 shards finished" in second.out
    assert "nothing was submitted" in second.out
    assert "overwrite=true must wait" in call(PROGRAM, *words, "overwrite=true").error_line
    assert "unfinished dataset" in call(PROGRAM, *words, "seed=1").error_line
    assert (
        "overwrite=true must wait"
        in call(PROGRAM, f"out={out}", *WORDS, "cluster=inline", "overwrite=true").error_line
    )
    logs = tmp_path / f"{out.name}.jobs" / "logs"
    written = lambda: "".join(log.read_text() for log in logs.rglob("*.out"))  # noqa: E731
    wait_until(lambda: written().count("Job completed successfully") == 2, "both workers end")
    assert contents(out) == contents(plain_dir)
    lines = [line for line in written().splitlines() if "submitit" not in line]
    assert sorted(lines) == sorted([*SHARDS, "manifest.json"])
    assert "is complete" in call(PROGRAM, *words).out


# In SLURM

STAND_INS = {
    "srun": "exit 1",
    "squeue": 'cat "$STAND_INS/queue"',
    "scancel": 'echo "$*" >>"$STAND_INS/cancelled"',
    "scontrol": """
        case $* in
            *'show config'*) echo 'MaxArraySize            = 4' ;;
            *'show partition'*) echo 'PartitionName=low Default=YES MaxTime=1:00:00 TotalNodes=2' ;;
            *) exit 1 ;;
        esac""",
    "sbatch": """
        cd "$STAND_INS"
        number=$((100 + $(ls | grep -c script)))
        cp "${@: -1}" "script.$number"
        value() { sed -n "s/^#SBATCH --$1=//p" "script.$number"; }
        last=$(value array | sed 's/^0-\\([0-9]*\\)%.*/\\1/')
        for index in $([[ -n $last ]] && seq 0 "$last" || echo N/A); do
            echo "$number|$index|$number|PENDING|Resources|$(value job-name)" >>queue
        done
        echo "Submitted batch job $number" """,
}


class StandInSlurm:
    """Commands that remember what was submitted; nothing is ever started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name, body in STAND_INS.items():
            (folder / "bin" / name).write_text(f"#!{shutil.which('bash')}\n{body}\n")
            (folder / "bin" / name).chmod(0o755)
        self.empty_queue()

    def empty_queue(self) -> None:
        (self.folder / "queue").write_text("")

    def change_queue(self, old: str, new: str) -> None:
        queue = self.folder / "queue"
        queue.write_text(queue.read_text().replace(old, new))

    def take_scripts(self) -> list[dict[str, str]]:
        """The #SBATCH options of what was submitted since the last call."""
        found = []
        for path in sorted(self.folder.glob("script.*")):
            lines = path.read_text().splitlines()
            words = [line[10:] for line in lines if line.startswith("#SBATCH --")]
            found.append({key: value for key, _, value in (word.partition("=") for word in words)})
            path.rename(path.with_name(f"taken.{path.name}.{time.monotonic_ns()}"))
        return found


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_signals: None) -> StandInSlurm:
    """Stand-ins first in PATH, jobs that are content with the code at hand."""
    stand_in = StandInSlurm(tmp_path / "slurm")
    monkeypatch.setenv("STAND_INS", str(stand_in.folder))
    monkeypatch.setenv("PATH", f"{stand_in.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(
        "launch.preparation.command.take_snapshot",
        lambda root, folder, leave_out: Snapshot(folder / "abc", "abc"),
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
                time.sleep(60)
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


def test_a_task_starts_again_as_long_as_that_helps(tmp_path: Path) -> None:
    _, config = read_request([f"out={tmp_path}"])
    cluster = SlurmConfig("slurm")
    order: PrepareOrder = make_order(config, cluster, {}, Snapshot(tmp_path, "abc"))
    assert order.max_restarts == 1000
    assert refusal("preempted", 0, 5, order) is None
    assert refusal("timeout", 1, 5, order) is None
    assert "cluster.time" in (refusal("timeout", 0, 5, order) or "")
    assert "after 1000 restarts" in (refusal("preempted", 3, 1000, order) or "")


def test_a_task_of_an_array_goes_by_its_index() -> None:
    """The plain id of one of its tasks is that of the whole array."""
    single = {"SLURM_JOB_ID": "9", "SLURM_RESTART_COUNT": "2"}
    assert (array_place(single).job, array_place(single).restart) == ("9", 2)
    task = {**single, "SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "4"}
    assert array_place(task).job == "9_4"
