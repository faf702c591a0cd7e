"""Protects preparing by several jobs: the result is that of one process, bit by bit, and only
what is missing is ever submitted.

Workers on this machine are real; `test_launch_prepare_slurm.py` has the rest.
"""

from pathlib import Path

import pytest
from helpers.programs import call
from helpers.stand_in_slurm import SHARDS, WORDS, contents, recipe_for
from helpers.waiting import wait_until

from data_prep.building.builder import build_dataset
from launch.cluster.settings import LocalConfig, SlurmConfig
from launch.preparation.command import cluster_for_shards
from launch.preparation.directory import default_shards_per_task, group_shards, read_request

PROGRAM = "launch/prepare.py"


@pytest.fixture(scope="session")
def plain_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of WORDS as data_prep/prepare.py makes it."""
    out = tmp_path_factory.mktemp("plain") / "dataset"
    build_dataset(recipe_for(out), out)
    return out


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
