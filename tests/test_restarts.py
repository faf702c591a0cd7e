"""Asking SLURM for another start: by a rank, by the batch script, never for what was cancelled.

A stand-in plays scontrol.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.attempts import ORDER, content, place, requeues
from hypothesis import given
from hypothesis import strategies as st

from launch.cluster import slurm
from launch.cluster.settings import RetryConfig
from launch.cluster.slurm import Place, slurm_job, slurm_place
from launch.cluster.submission import JobRecord, write_record
from launch.jobs import aftermath, history
from launch.jobs import deciding as restarting
from launch.jobs.deciding import (
    ERROR_FILE,
    write_order,
)
from launch.jobs.history import Ending
from launch.jobs.run_state import CANCELLED_FILE
from orbit.core.config.program import EXIT_STOPPED


def test_a_restart_is_asked_for_once(scontrol: Path, sleeps: list[float]) -> None:
    with pytest.raises(SystemExit) as ended:
        restarting.request_restart("7_3", "preempted")
    assert ended.value.code == 1
    assert requeues(scontrol) == ["7_3"]
    assert sleeps == [restarting.WAIT_FOR_END_S]


def test_a_request_that_slurm_turns_down_is_repeated(scontrol: Path, sleeps: list[float]) -> None:
    (scontrol / "refusals").write_text("2")
    with pytest.raises(SystemExit):
        restarting.request_restart("7", "preempted")
    assert requeues(scontrol) == ["7"] * 3
    (scontrol / "refusals").write_text("1000")
    with pytest.raises(SystemExit) as ended:
        restarting.request_restart("7", "preempted")
    assert ended.value.code == EXIT_STOPPED
    assert len(requeues(scontrol)) == 3 + 1 + len(slurm.PAUSES_S)


def test_a_job_that_slurm_says_nothing_of_is_asked_for_again(
    scontrol: Path, sleeps: list[float]
) -> None:
    """Silence is no answer: a run that was only asked for once would be dropped."""
    (scontrol / "silence").write_text("4")
    with pytest.raises(SystemExit) as ended:
        restarting.request_restart("7", "timeout")
    assert ended.value.code == 1
    assert requeues(scontrol) == ["7"]
    assert sleeps == [*slurm.PAUSES_S[:4], restarting.WAIT_FOR_END_S]


def test_slurm_that_stays_silent_leaves_it_to_the_batch_script(
    scontrol: Path, sleeps: list[float]
) -> None:
    """Ending with 0 would tell SLURM, and the batch script, that all is done."""
    (scontrol / "silence").write_text("1000")
    with pytest.raises(SystemExit) as ended:
        restarting.request_restart("7", "preempted")
    assert ended.value.code == EXIT_STOPPED
    assert sum(slurm.PAUSES_S) > 5 * 60


def test_a_requeue_whose_answer_was_lost_is_not_asked_for_twice(
    scontrol: Path, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def requeue(job: str) -> None:
        (scontrol / "state").write_text("COMPLETING")
        raise slurm.SlurmError("scontrol did not answer within 60 s")

    monkeypatch.setattr(slurm, "requeue", requeue)
    with pytest.raises(SystemExit) as ended:
        restarting.request_restart("7", "preempted")
    assert ended.value.code == 1
    assert sleeps == [slurm.PAUSES_S[0], restarting.WAIT_FOR_END_S]


def test_the_first_node_is_asked_for_again(scontrol: Path, sleeps: list[float]) -> None:
    (scontrol / "silence").write_text("2")
    assert slurm.first_host("node[3-5]") == "node3"


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PENDING", "FAILED", "TIMEOUT", None])
def test_only_a_running_job_is_requeued(
    state: str | None, scontrol: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A requeue would bring a cancelled job back, and give a requeued one a second start."""
    if state is None:
        (scontrol / "state").unlink()
    else:
        (scontrol / "state").write_text(state)
    restarting.request_restart("7", "preempted")
    assert requeues(scontrol) == []
    assert f"the job is {state or 'unknown to SLURM'}" in capfd.readouterr().out


def test_a_run_that_was_cancelled_is_not_requeued(scontrol: Path, tmp_path: Path) -> None:
    (tmp_path / CANCELLED_FILE).touch()
    restarting.request_restart("7", "preempted", tmp_path / CANCELLED_FILE)
    assert requeues(scontrol) == []


# The batch script after its job step


class Batch:
    """The aftermath of task 1 of an array, job 7, whose run is `run_dir`."""

    def __init__(self, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        base = run_dir.parents[1]
        record = JobRecord("orbit-x-1", "train", "slurm", ("other", run_dir.name), 1.0)
        self.record = write_record(base, record)
        self.run_dir, self._monkeypatch = run_dir, monkeypatch
        for name, value in {
            "SLURM_JOB_ID": "8",
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": "1",
            "SLURM_NTASKS": "4",
            "SLURMD_NODENAME": "node3",
        }.items():
            monkeypatch.setenv(name, value)

    def after(self, restart: int = 0, exit_code: str = "137") -> None:
        self._monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        with suppress(SystemExit):  # how it waits for its end after it asked for a restart
            aftermath.main(str(self.record), exit_code)

    def folder(self, restart: int = 0) -> Path:
        return self.run_dir / "attempts" / f"7_1-{restart}"

    def begin(self, restart: int = 0) -> Path:
        where = place(restart, world_size=4, job="7_1")
        return history.begin(self.run_dir, where, "mine", 1000.0 + restart, "")


@pytest.fixture
def batch(
    run_dir: Path, scontrol: Path, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
) -> Batch:
    return Batch(run_dir, monkeypatch)


def test_the_batch_script_decides_when_all_ranks_were_killed(batch: Batch, scontrol: Path) -> None:
    for restart, has_begun in ((0, True), (1, False)):
        if has_begun:
            batch.begin(restart)
        batch.after(restart)
        assert content(batch.folder(restart) / "end.json")["reason"] == "cluster_fault"
        (ending,) = history.endings(batch.folder(restart))
        assert (ending.host, ending.exit_code) == ("node3", 137)
        assert requeues(scontrol) == ["7_1"] * (restart + 1)
    assert [one.reason for one in history.read_attempts(batch.run_dir)] == ["cluster_fault"] * 2


def test_a_rank_that_died_over_its_decision_does_not_block_it(batch: Batch, scontrol: Path) -> None:
    folder = batch.begin()
    history.note_ending(folder, Ending("cluster_fault", "connection lost", 2, "node5", 78))
    (folder / "decided").touch()
    batch.after()
    assert content(folder / "end.json")["message"] == "connection lost"
    assert requeues(scontrol) == ["7_1"]


def test_a_cause_that_a_rank_noted_is_believed(batch: Batch, scontrol: Path) -> None:
    folder = batch.begin()
    history.note_ending(folder, Ending("crash", "KeyError: 'x'", 2, "node5", 1))
    batch.after(exit_code="1")
    assert content(batch.run_dir / ERROR_FILE)["message"] == "KeyError: 'x'"
    assert requeues(scontrol) == []


@pytest.mark.parametrize(
    ("reason", "goes_on"),
    [
        ("preempted", True),
        ("timeout", True),
        ("cluster_fault", True),
        ("mistake", False),
        ("gave_up", False),
        ("finished", False),
        ("pruned", False),
    ],
)
def test_a_decision_that_was_made_stays(
    reason: str, goes_on: bool, batch: Batch, scontrol: Path, sleeps: list[float]
) -> None:
    """But a restart that was decided and never asked for is asked for now."""
    folder = batch.begin()
    history.end(folder, reason, 5.0, "words")
    before = (folder / "end.json").read_bytes()
    batch.after()
    assert (folder / "end.json").read_bytes() == before
    assert history.endings(folder) == []
    assert requeues(scontrol) == (["7_1"] if goes_on else [])


def test_the_batch_script_does_not_drop_a_run_of_which_slurm_says_nothing(
    batch: Batch, scontrol: Path
) -> None:
    batch.begin()
    (scontrol / "silence").write_text("3")
    batch.after(exit_code="75")
    assert content(batch.folder() / "end.json")["reason"] == "cluster_fault"
    assert requeues(scontrol) == ["7_1"]


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING"])
def test_what_slurm_ends_is_left_alone(state: str, batch: Batch, scontrol: Path) -> None:
    (scontrol / "state").write_text(state)
    folder = batch.begin()
    batch.after()
    assert not (folder / "end.json").exists()
    assert requeues(scontrol) == []


def test_a_cancelled_run_is_never_requeued(batch: Batch, scontrol: Path) -> None:
    """SLURM may still call the job RUNNING."""
    batch.begin()
    (batch.run_dir / CANCELLED_FILE).touch()
    batch.after()
    assert requeues(scontrol) == []


def test_faults_in_a_row_are_given_more_and_more_time(batch: Batch, sleeps: list[float]) -> None:
    """SLURM needs minutes to notice a lost node, and would start the job there again."""
    write_order(batch.run_dir, replace(ORDER, retry=RetryConfig(max_faults=9)))
    waits = []
    for restart in range(6):
        sleeps.clear()
        batch.begin(restart)
        batch.after(restart)
        waits.append(max(wait for wait in sleeps if wait != restarting.WAIT_FOR_END_S))
    assert waits == [2, 10, 50, 250, 300, 300]
    history.end(batch.begin(6), "preempted", 1.0)
    sleeps.clear()
    batch.after(7)
    assert 2 in sleeps
    assert 10 not in sleeps


def test_the_batch_script_gives_up_in_the_end(batch: Batch, scontrol: Path) -> None:
    for restart in range(4):
        batch.begin(restart)
        batch.after(restart)
    assert len(requeues(scontrol)) == ORDER.retry.max_faults
    assert content(batch.run_dir / ERROR_FILE)["kind"] == "gave_up"


@pytest.mark.parametrize(
    ("exit_code", "restart", "is_requeued"),
    [("137", 0, True), ("137", 4, True), ("137", 5, False), ("1", 0, False), ("75", 9, True)],
)
def test_other_jobs_start_again_after_a_kill_for_a_while(
    exit_code: str, restart: int, is_requeued: bool, batch: Batch, scontrol: Path
) -> None:
    record = JobRecord("orbit-e-1", "evaluate", "slurm", ("a", "b"), 1.0)
    batch.record = write_record(batch.run_dir.parents[1], record)
    batch.after(restart, exit_code)
    assert requeues(scontrol) == (["7_1"] if is_requeued else [])


# Names and environments


def test_a_task_of_an_array_names_itself_by_its_index() -> None:
    """The id of an array's last task is that of the whole array."""
    environment = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    assert slurm_job(environment) == "7_0"
    assert slurm_job({"SLURM_JOB_ID": "7"}) == "7"


def test_a_place_is_what_slurm_says(scontrol: Path) -> None:
    environment = {
        "SLURM_JOB_ID": "9",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_RESTART_COUNT": "3",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_NTASKS": "6",
        "SLURMD_NODENAME": "node5",
        "SLURM_JOB_NODELIST": "node[3-5]",
    }
    found = slurm_place(environment)
    assert found == Place(5, 6, 1, "node5", "node3", "7_2", 3)
    assert found.attempt == "7_2-3"


JOBS_OWN = (
    "SLURM_CPU_BIND",
    "SLURM_JOB_ID",
    "SLURM_NTASKS",
    "SLURMD_NODENAME",
    "SBATCH_PARTITION",
    "SRUN_CPUS_PER_TASK",
    "SALLOC_ACCOUNT",
    "SUBMITIT_EXECUTOR",
    "PMI_RANK",
    "PMIX_RANK",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "CUDA_VISIBLE_DEVICES",
    "ORBIT_RENDEZVOUS",
)
OUR_OWN = (
    "SLURM_CONF",
    "SLURM_CLUSTERS",
    "PATH",
    "HOME",
    "RANKING",
    "MY_SLURM_NOTE",
    "OMP_NUM_THREADS",
)


@given(names=st.sets(st.sampled_from((*JOBS_OWN, *OUR_OWN))))
def test_a_new_job_inherits_nothing_of_the_job_one_is_in(names: set[str]) -> None:
    """A binding to processors or a rank of its own would break it; SLURM_CONF says which SLURM."""
    environment = dict.fromkeys(names, "1")
    assert set(slurm.clean_environment(environment)) == names & set(OUR_OWN)
