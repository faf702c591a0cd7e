"""Protects what is asked of SLURM: the batch script, the arrays, and what is never submitted.

Stand-ins play SLURM's commands: they write their calls down and keep the batch scripts.
"""

import os
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.programs import REPOSITORY, Outcome, call
from hypothesis import given
from hypothesis import strategies as st

from launch.cluster import slurm
from launch.cluster import submission as slurm_submission
from launch.cluster.settings import SlurmConfig
from launch.cluster.slurm import ArrayCut, cut_into_arrays
from launch.cluster.submission import JobRecord, read_records, sbatch_text, submit_arrays
from launch.jobs.train_job import TrainJob
from launch.snapshot import Snapshot
from orbit.core.store.manifest import MANIFEST_NAME, read_manifest

BASH = shutil.which("bash") or "/bin/bash"
GOLDEN = REPOSITORY / "tests" / "golden" / "train_array.sbatch"
PARTITIONS = """\
PartitionName=low AllowGroups=ALL Default=YES MaxNodes=UNLIMITED MaxTime=01:00:00 \
OverSubscribe=NO State=UP TotalCPUs=8 TotalNodes=2 TRES=cpu=8,mem=8G,node=2,billing=8
PartitionName=gpu AllowGroups=ALL Default=NO MaxNodes=4 MaxTime=2-00:00:00 \
OverSubscribe=NO State=UP TotalCPUs=256 TotalNodes=16 TRES=cpu=256,mem=1T,node=16,gres/gpu=64
PartitionName=old AllowGroups=ALL Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED \
OverSubscribe=NO State=DOWN TotalCPUs=4 TotalNodes=1 TRES=cpu=4,mem=1G,node=1
"""
STAND_INS = {
    "srun": "exit 1",
    "sinfo": "exit 1",
    "squeue": "[[ ! -e no-answer ]] && cat queue",
    "scancel": "",
    "sacctmgr": "cat accounts",
    "scontrol": """
        case $* in
            'show config') echo "MaxArraySize            = $(cat max_array_size)" ;;
            *'show partition') cat partitions ;;
            *) exit 1 ;;
        esac""",
    "sbatch": """
        number=$((100 + $(grep -c ^sbatch calls) - 1))
        if [[ -e refuse ]] && (( number >= $(cat refuse) )); then
            echo 'sbatch: error: Batch job submission failed: Invalid qos' >&2
            exit 1
        fi
        cp "${@: -1}" script.$number
        value() { sed -n "s/^#SBATCH --$1=//p" "script.$number"; }
        last=$(value array | sed 's/^0-\\([0-9]*\\)%.*/\\1/')
        for index in $([[ -n $last ]] && seq 0 "$last" || echo N/A); do
            echo "$number|$index|$number|PENDING|Resources|$(value job-name)" >>queue
        done
        echo "Submitted batch job $number" """,
}


class Slurm:
    """The stand-ins' folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name, body in STAND_INS.items():
            program = folder / "bin" / name
            log = f'cd {shlex.quote(str(folder))}; echo "{name} $*" >>calls'
            program.write_text(f"#!{BASH}\n{log}\n{body}\n")
            program.chmod(0o755)
        self.say("queue", "")
        self.say("calls", "")
        self.say("max_array_size", "1001")
        self.say("partitions", PARTITIONS)

    def say(self, name: str, text: str) -> None:
        """Set what a command answers."""
        (self.folder / name).write_text(text)

    def calls(self, program: str) -> list[str]:
        """The arguments of each call."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{program} ")]

    def scripts(self) -> list[str]:
        """The batch scripts that were accepted."""
        found = self.folder.glob("script.*")
        return [path.read_text() for path in sorted(found, key=lambda path: int(path.suffix[1:]))]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Stand-ins first in PATH, seen from inside of another job; no copy of the code is made."""
    stand_in = Slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{stand_in.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(
        "launch.sweeps.command.take_snapshot",
        lambda root, folder, leave_out, packages: Snapshot(folder / "abc", "abc"),
    )
    return stand_in


def directives(text: str) -> dict[str, str]:
    """The #SBATCH options of a script."""
    words = [line[10:] for line in text.splitlines() if line.startswith("#SBATCH --")]
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def sweep(data: Path, sweep_dir: Path, *words: str) -> Outcome:
    """A sweep of three runs, if the words do not say otherwise."""
    given_words = ("sweep.seeds=[0,1,2]", "cluster=slurm", "cluster.time=30")
    resources = ("cluster.gpus_per_node=0", "cluster.cpus_per_task=1")
    places = (f"data={data}", f"sweep_dir={sweep_dir}")
    return call("launch/sweep.py", *places, *given_words, *resources, *words)


def job_of(task: str) -> TrainJob:
    return TrainJob(f"/runs/{task}")


def submit(
    base: Path, config: SlurmConfig, tasks: Sequence[str], **more: object
) -> list[JobRecord]:
    return submit_arrays(config, base, base / "code", "label", "train", tasks, job_of, **more)  # type: ignore[arg-type]


def names(num: int) -> list[str]:
    return [f"run{number}" for number in range(num)]


# The batch script


def test_the_batch_script_is_the_one_we_reviewed(cluster: Slurm, tmp_path: Path) -> None:
    """Every word of it decides whether a run survives its first preemption."""
    config = SlurmConfig(
        "slurm",
        partition="gpu",
        account="project",
        qos="long",
        constraint="a100",
        nodes=2,
        tasks_per_node=4,
        gpus_per_node=4,
        cpus_per_task=8,
        memory_gb=120.5,
        time="1-02:30:00",
        signal_before_s=90,
        setup=("module load cuda/13.0", 'export NCCL_SOCKET_IFNAME="ib0"'),
        options={"nice": 100, "exclude": "node[1-2]"},
        max_running=2,
    )
    base = tmp_path / "my sweep"
    (record,) = submit(base, config, names(3))
    (text,) = cluster.scripts()
    shown = text.replace(str(base), "@BASE@").replace(record.name, "@NAME@")
    assert shown.replace(sys.executable, "@PYTHON@") == GOLDEN.read_text()
    cut = ArrayCut(record.tasks, 2, None)
    dry = sbatch_text(config, base, base / "code", record.name, cut)
    assert dry == text


def test_a_single_run_is_no_array(cluster: Slurm, tmp_path: Path) -> None:
    (record,) = submit(tmp_path / "base", SlurmConfig("slurm"), names(1))
    lines = directives(cluster.scripts()[0])
    assert "array" not in lines
    assert (record.job_id, lines["job-name"]) == ("100", record.name)


@given(memory=st.floats(1e-6, 1e7))
def test_memory_is_asked_for_in_whole_numbers(memory: float) -> None:
    """sbatch refuses 120.5GB and reads no powers of ten."""
    cut = ArrayCut(("run0",), 1, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.which", lambda name: f"/bin/{name}")
        config = SlurmConfig("slurm", memory_gb=memory)
        lines = directives(sbatch_text(config, Path("/base"), Path("/code"), "name", cut))
    match = re.fullmatch(r"(\d+)M", lines["mem"])
    assert match is not None
    assert 0 <= int(match[1]) - 1024 * memory <= 1


def test_another_interpreter_runs_the_ranks_and_their_aftermath(
    cluster: Slurm, tmp_path: Path
) -> None:
    config = SlurmConfig("slurm", python="apptainer exec image.sif python")
    submit(tmp_path / "base", config, names(1))
    (text,) = cluster.scripts()
    assert sys.executable not in text
    assert '"$@"\' apptainer exec image.sif python -u -m submitit' in text
    assert "apptainer exec image.sif python -m launch.jobs.aftermath" in text


def test_sbatch_sees_nothing_of_the_job_one_is_in(
    cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_CPU_BIND", "SBATCH_PARTITION", "SLURM_CONF"):
        monkeypatch.setenv(name, "value")
    program = cluster.folder / "bin" / "sbatch"
    program.write_text(program.read_text().replace("cp ", "env >environment; cp "))
    submit(tmp_path / "base", SlurmConfig("slurm"), names(1))
    lines = (cluster.folder / "environment").read_text().splitlines()
    inherited = {line.partition("=")[0] for line in lines if re.match("SLURM|SBATCH|SRUN", line)}
    assert inherited == {"SLURM_CONF"}
    assert os.environ["SLURM_CPU_BIND"] == "value"


def test_the_script_for_one_run_asks_for_the_same(cluster: Slurm, tmp_path: Path) -> None:
    """slurm/train.sbatch and the launcher agree where they solve the same problem."""
    submit(tmp_path / "base", SlurmConfig("slurm", gpus_per_node=0, cpus_per_task=3), names(1))
    (text,) = cluster.scripts()
    by_hand = (REPOSITORY / "slurm" / "train.sbatch").read_text()
    ours, theirs = directives(text), directives(by_hand)
    assert set(theirs) <= set(ours)
    for key in ("requeue", "open-mode", "ntasks-per-node"):
        assert ours[key] == theirs[key]
    # By hand the batch shell (B:) passes the signal on; here the watchers of the ranks get it.
    assert theirs["signal"] == f"B:{ours['signal']}"
    # srun does not take the processors of a task from the job.
    assert '--cpus-per-task="$SLURM_CPUS_PER_TASK"' in by_hand
    (command,) = [line for line in text.splitlines() if line.startswith("srun ")]
    assert "--cpus-per-task=3" in command
    # Both bring a job back by itself: by hand in the script, here by the ranks or the aftermath.
    assert "scontrol requeue" in by_hand
    assert "-m launch.jobs.aftermath" in text


# Arrays


@given(
    num=st.integers(0, 60),
    limit=st.integers(1, 12),
    max_running=st.none() | st.integers(1, 15),
)
def test_arrays_hold_every_task_once_within_all_limits(
    num: int, limit: int, max_running: int | None
) -> None:
    cuts = cut_into_arrays(names(num), limit, max_running)
    assert [task for cut in cuts for task in cut.tasks] == names(num)
    assert len(cuts) == -(-num // limit)
    assert all(1 <= cut.num_parallel <= len(cut.tasks) <= limit for cut in cuts)
    waited_for = Counter(cut.after for cut in cuts if cut.after is not None)
    assert all(times == 1 for times in waited_for.values())
    assert all(cut.after < number for number, cut in enumerate(cuts) if cut.after is not None)
    if max_running is None:
        assert not waited_for
        assert all(cut.num_parallel == len(cut.tasks) for cut in cuts)
        return
    assert sum(cut.num_parallel for cut in cuts if cut.after is None) <= max_running
    # An array starts when the one before it has ended: a lane has one array at a time.
    lanes: dict[int, int] = {}
    lane_of: list[int] = []
    for number, cut in enumerate(cuts):
        lane_of.append(number if cut.after is None else lane_of[cut.after])
        lanes[lane_of[-1]] = max(lanes.get(lane_of[-1], 0), cut.num_parallel)
    assert sum(lanes.values()) <= max_running


@pytest.mark.parametrize(
    ("num", "configured", "of_slurm", "num_arrays"),
    [(1000, 100, "1001", 10), (60, 5000, "25", 3), (60, 60, "", 1)],
)
def test_a_thousand_tasks_are_few_calls(
    num: int, configured: int, of_slurm: str, num_arrays: int, cluster: Slurm, tmp_path: Path
) -> None:
    """As many as the configured limit and SLURM's own make necessary."""
    cluster.say("max_array_size", of_slurm)
    config = SlurmConfig("slurm", array_limit=configured)
    records = submit(tmp_path / "base", config, names(num))
    assert len(cluster.calls("sbatch")) == num_arrays
    assert [task for record in records for task in record.tasks] == names(num)
    assert [record.job_id for record in records] == [str(100 + i) for i in range(num_arrays)]
    assert sorted(map(str, records)) == sorted(map(str, read_records(tmp_path / "base")))
    for record, text in zip(records, cluster.scripts(), strict=True):
        last = len(record.tasks) - 1
        assert directives(text)["array"] == f"0-{last}%{len(record.tasks)}"


def test_where_arrays_are_switched_off_every_task_is_a_job(cluster: Slurm, tmp_path: Path) -> None:
    """A limit of 0, as SLURM says it, is no size to cut tasks by."""
    cluster.say("max_array_size", "0")
    records = submit(tmp_path / "base", SlurmConfig("slurm"), names(3))
    assert [record.tasks for record in records] == [(name,) for name in names(3)]
    assert all("array" not in directives(text) for text in cluster.scripts())


def test_arrays_wait_for_each_other_where_fewer_runs_may_go(cluster: Slurm, tmp_path: Path) -> None:
    config = SlurmConfig("slurm", array_limit=2, max_running=2)
    submit(tmp_path / "base", config, names(7))
    lines = [directives(text) for text in cluster.scripts()]
    waits = [line.get("dependency") for line in lines]
    assert waits == [None, None, "afterany:100", "afterany:101"]
    assert [line.get("array") for line in lines] == ["0-1%1"] * 3 + [None]


def test_a_job_may_wait_for_others_to_succeed(cluster: Slurm, tmp_path: Path) -> None:
    config = SlurmConfig("slurm", array_limit=1, max_running=1)
    submit(tmp_path / "base", config, names(2), after=["55", "56"], hold=True)
    first, second = (directives(text) for text in cluster.scripts())
    assert first["dependency"] == "afterok:55,afterok:56"
    assert second["dependency"] == "afterok:55,afterok:56,afterany:100"
    assert "hold" in first


# What is refused before anything is submitted


def untouched(cluster: Slurm, sweep_dir: Path) -> bool:
    return not cluster.calls("sbatch") and not sweep_dir.exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["cluster.partition=lo"], "cluster.partition=lo is not a partition here; there are: gpu,"),
        (
            ["cluster.time=61"],
            "cluster.time=61 is above the limit of the default partition, 60 min",
        ),
        (["cluster.partition=gpu", "cluster.time=2-0:01"], "above the limit of gpu, 2880 minutes"),
        (["cluster.nodes=3", "global_batch=30"], "cluster.nodes=3, but a job on the default part"),
        (["cluster.partition=gpu", "cluster.nodes=5", "global_batch=5"], "a job on gpu has 4"),
        (["cluster.gpus_per_node=1"], "gpus_per_node=1: the default partition has no GPUs"),
        (["cluster.nodes=3"], "global_batch=64 cannot be divided among 3 ranks"),
        (
            ["cluster.nodes=2", "accumulation=64"],
            "global_batch=64 / accumulation=64 cannot be divided among 2 ranks",
        ),
        (["cluster.account=theirs"], "cluster.account=theirs is not yours; yours: mine, ours"),
        (["cluster.node=2"], "unknown key 'cluster.node'; did you mean 'cluster.nodes'?"),
        (["optimizer.lerning_rate=1"], "did you mean 'optimizer.learning_rate'?"),
        (["cluster.time=soon"], "time=soon cannot be read"),
        (["cluster.signal_before_s=1800"], "signal_before_s=1800 is not below time=30"),
        (["cluster.tasks_per_node=2", "cluster.gpus_per_node=1"], "every rank has one GPU"),
        (["cluster.memory_gb=0"], "memory_gb=0.0 must be positive"),
        (["cluster.array_limit=0"], "array_limit=0 must be at least 1"),
        (["cluster.max_running=0"], "max_running=0 must be at least 1"),
        (["cluster.retry.max_faults=-1"], "max_faults=-1 must be at least 0"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    words: list[str], complaint: str, cluster: Slurm, digits_dir: Path, tmp_path: Path
) -> None:
    cluster.say("accounts", "mine\nours\n")
    line = sweep(digits_dir, tmp_path / "sweep", *words).error_line
    assert complaint in line
    assert line.startswith("sweep.py: ")
    assert untouched(cluster, tmp_path / "sweep")


def test_a_cluster_without_a_default_partition_wants_a_name(
    cluster: Slurm, digits_dir: Path, tmp_path: Path
) -> None:
    cluster.say("partitions", PARTITIONS.replace("Default=YES", "Default=NO"))
    line = sweep(digits_dir, tmp_path / "sweep").error_line
    assert "cluster.partition=NAME is needed, there is no default: gpu, low, old" in line
    assert untouched(cluster, tmp_path / "sweep")


def test_what_cannot_be_checked_is_said(cluster: Slurm, digits_dir: Path, tmp_path: Path) -> None:
    """Without accounting nobody knows the accounts; sbatch will."""
    words = ("cluster.account=theirs", "cluster.qos=long", "cluster.partition=old", "dry_run=true")
    done = sweep(digits_dir, tmp_path / "sweep", *words)
    assert done.code == 0, done.err
    said = [line for line in done.out.splitlines() if line.startswith("not checked: ")]
    assert [line.split()[2] for line in said] == ["old", "account:", "qos=long:"]
    assert untouched(cluster, tmp_path / "sweep")
    cluster.say("accounts", "theirs\n")
    assert "account:" not in sweep(digits_dir, tmp_path / "sweep", *words).out


def test_without_slurm_it_says_so(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = sweep(digits_dir, tmp_path / "sweep").error_line
    assert line == "sweep.py: no SLURM here: the command scontrol is missing"
    assert not (tmp_path / "sweep").exists()


def damaged(data: Path, copy: Path, how: str) -> Path:
    """A copy of a dataset without its manifest, with a shard cut short, or with a changed byte."""
    shutil.copytree(data, copy)
    shard = copy / read_manifest(copy).splits["val"].shards[0].file
    content = bytearray(shard.read_bytes())
    if how == "incomplete":
        (copy / MANIFEST_NAME).unlink()
    elif how == "shorter":
        shard.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("how", "words", "complaint"),
    [
        ("incomplete", [], "no complete dataset at"),
        ("shorter", [], "bytes, but the manifest says"),
        ("changed", ["verify=full"], "does not match its checksum"),
        ("changed", [], None),
    ],
)
def test_a_damaged_dataset_is_refused_before_a_thousand_jobs_find_out(
    how: str,
    words: list[str],
    complaint: str | None,
    cluster: Slurm,
    digits_dir: Path,
    tmp_path: Path,
) -> None:
    """Checksums are compared only where asked: a large dataset takes its time."""
    data = damaged(digits_dir, tmp_path / "data", how)
    done = sweep(data, tmp_path / "sweep", "dry_run=true", *words)
    if complaint is None:
        assert done.code == 0
    else:
        assert complaint in done.error_line
        assert complaint in sweep(data, tmp_path / "sweep", *words).error_line
    assert untouched(cluster, tmp_path / "sweep")


# Submissions


def test_a_sweep_is_submitted_once(cluster: Slurm, digits_dir: Path, tmp_path: Path) -> None:
    done = sweep(digits_dir, tmp_path / "sweep", "dry_run=true")
    assert "job arrays: 1" in done.out
    assert "requests at most: 0.0 GPU-hours, 1.5 core-hours" in done.out
    assert untouched(cluster, tmp_path / "sweep")
    done = sweep(digits_dir, tmp_path / "sweep")
    assert "submitted 3 runs: job 100" in done.out
    again = sweep(digits_dir, tmp_path / "sweep")
    assert "3 runs: 3 waiting\nto submit: 0\n" in again.out
    more = sweep(digits_dir, tmp_path / "sweep", "sweep.seeds=[0,1,2,3]")
    assert "4 runs: 3 waiting, 1 new\nto submit: 1\n" in more.out
    assert len(cluster.calls("sbatch")) == 2
    cluster.say("queue", "")
    lost = sweep(digits_dir, tmp_path / "sweep", "dry_run=true")
    assert "to submit: 3" in lost.out


def test_who_lost_the_directory_submits_nothing(
    cluster: Slurm, digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_dir = tmp_path / "sweep"

    def lose(root: Path, folder: Path, leave_out: object, packages: object) -> Snapshot:
        (sweep_dir / ".lock").write_text('{"pid": 77, "host": "node9"}')
        return Snapshot(folder / "abc", "abc")

    monkeypatch.setattr("launch.sweeps.command.take_snapshot", lose)
    done = sweep(digits_dir, sweep_dir)
    assert done.code == 1
    assert "taken over by process 77 on node9" in done.error_line
    assert cluster.scripts() == []
    assert not list((sweep_dir / "runs").glob("*"))


def test_a_submission_that_was_cut_off_is_found_by_its_name(
    cluster: Slurm, digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between sbatch and the note of the job's id, a kill must not lead to a second submission."""
    write = slurm_submission.write_record

    def dies_after_sbatch(base: Path, record: JobRecord) -> Path:
        if record.job_id is not None:
            raise KeyboardInterrupt
        return write(base, record)

    monkeypatch.setattr(slurm_submission, "write_record", dies_after_sbatch)
    assert sweep(digits_dir, tmp_path / "sweep").code == 130
    monkeypatch.setattr(slurm_submission, "write_record", write)
    (record,) = read_records(tmp_path / "sweep")
    assert record.job_id is None
    assert "3 runs: 3 waiting\nto submit: 0\n" in sweep(digits_dir, tmp_path / "sweep").out
    assert len(cluster.calls("sbatch")) == 1
    status = call("launch/status.py", str(tmp_path / "sweep"))
    assert (status.code, "3 runs: 3 waiting" in status.out) == (0, True)
    assert "cancelled 3 SLURM tasks" in call("launch/cancel.py", str(tmp_path / "sweep")).out
    assert cluster.calls("scancel") == ["100_0 100_1 100_2"]


def test_a_submission_that_slurm_refuses_half_way_goes_on_there(
    cluster: Slurm, digits_dir: Path, tmp_path: Path
) -> None:
    cluster.say("refuse", "101")
    words = ("cluster.array_limit=1",)
    line = sweep(digits_dir, tmp_path / "sweep", *words).error_line
    assert "sbatch refused: sbatch: error: Batch job submission failed: Invalid qos" in line
    (cluster.folder / "refuse").unlink()
    said = sweep(digits_dir, tmp_path / "sweep", *words).out
    assert "to submit: 2" in said
    assert len(cluster.scripts()) == 3


def test_nothing_is_submitted_while_slurm_does_not_answer(
    cluster: Slurm, digits_dir: Path, tmp_path: Path
) -> None:
    """Runs that train would be submitted a second time."""
    sweep(digits_dir, tmp_path / "sweep")
    cluster.say("no-answer", "")
    line = sweep(digits_dir, tmp_path / "sweep").error_line
    assert "cannot tell which runs are waiting or running: squeue failed" in line
    assert len(cluster.calls("sbatch")) == 1
    assert "cannot tell which jobs" in call("launch/cancel.py", str(tmp_path / "sweep")).error_line
    assert "not checked: squeue" in call("launch/status.py", str(tmp_path / "sweep")).out


def test_only_jobs_of_this_sweep_are_cancelled(
    cluster: Slurm, digits_dir: Path, tmp_path: Path
) -> None:
    """SLURM may have given the number of an ended job to somebody else's."""
    sweep(digits_dir, tmp_path / "sweep")
    sweep(digits_dir, tmp_path / "other")
    queue = (cluster.folder / "queue").read_text().splitlines()
    ours, others = queue[:3], queue[3:]
    stranger = ours[0].rpartition("|")[0] + "|somebody-elses"
    cluster.say("queue", "\n".join([stranger, *others]) + "\n")
    assert "nothing is waiting" in call("launch/cancel.py", str(tmp_path / "sweep")).out
    assert cluster.calls("scancel") == []
    call("launch/cancel.py", str(tmp_path / "other"))
    assert cluster.calls("scancel") == ["101"]
    marks = sorted((tmp_path / "other" / "runs").glob("*/cancelled.json"))
    assert len(marks) == 3
    assert not list((tmp_path / "sweep" / "runs").glob("*/cancelled.json"))


# What SLURM says


def test_every_state_of_a_living_job_counts(cluster: Slurm) -> None:
    lines = [f"7|{i}|9|{state}|None|name|x" for i, state in enumerate(sorted(slurm.LIVE_STATES))]
    ended = [f"8|N/A|8|{state}|None|n" for state in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")]
    cluster.say("queue", "\n".join([*lines, *ended]) + "\n")
    known = slurm.known_tasks()
    tasks = [task for task in known if task.state in slurm.LIVE_STATES]
    assert {task.state for task in tasks} == slurm.LIVE_STATES
    assert {(task.job_id, task.name) for task in tasks} == {("7", "name|x")}
    assert {task.job_id for task in known if task not in tasks} == {"8"}
    assert [task.index for task in tasks] == list(range(len(lines)))


def test_partitions_are_read(cluster: Slurm) -> None:
    found = slurm.partitions()
    assert found[""] == found["low"] == slurm.Partition(60, 2, None, False, True)
    assert found["gpu"] == slurm.Partition(2880, 16, 4, True, True)
    assert found["old"] == slurm.Partition(None, 1, None, False, False)


@given(days=st.integers(0, 400), hours=st.integers(0, 23), minutes=st.integers(0, 59))
def test_limits_are_read_as_slurm_prints_them(days: int, hours: int, minutes: int) -> None:
    clock = f"{hours:02d}:{minutes:02d}:00"
    text = f"{days}-{clock}" if days else clock
    assert slurm.minutes_of_limit(text) == (24 * days + hours) * 60 + minutes


def test_a_failing_command_is_one_line(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(slurm.SlurmError, match="sinfo failed: no reason given"):
        slurm.ask("sinfo")
    program = cluster.folder / "bin" / "sinfo"
    program.write_text(f"#!{BASH}\nexec sleep 3000\n")
    monkeypatch.setattr(slurm, "ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(slurm.SlurmError, match=r"sinfo did not answer within 0\.2 s"):
        slurm.ask("sinfo")


def test_many_jobs_are_cancelled_in_few_calls(cluster: Slurm) -> None:
    ids = [str(number) for number in range(450)]
    slurm.cancel(ids)
    assert [len(words.split()) for words in cluster.calls("scancel")] == [200, 200, 50]
    assert " ".join(cluster.calls("scancel")).split() == ids


def test_settings_of_a_run_are_those_of_the_cluster() -> None:
    config = SlurmConfig("slurm", nodes=3, tasks_per_node=4, gpus_per_node=4)
    assert config.num_ranks == 12
    assert replace(config, gpus_per_node=0, tasks_per_node=1).num_ranks == 3


@pytest.mark.parametrize("name", ["%j", "run%A", "100%a", "50%4t", "a:b", "x%%y"])
@pytest.mark.parametrize("kind", ["sweep", "local", "evaluate", "prepare", "search"])
def test_a_folder_whose_name_would_be_filled_in_is_refused(
    name: str, kind: str, cluster: Slurm, digits_dir: Path, tmp_path: Path
) -> None:
    """Jobs would look for their orders, and put their logs, elsewhere: the run would be lost."""
    folder = tmp_path / name
    if kind == "prepare":
        words = ("dataset=rotated_digits", f"out={folder}", "cluster=slurm")
        done = call("launch/prepare.py", *words, "cluster.gpus_per_node=0")
    elif kind == "evaluate":
        run = tmp_path / "run0"
        run.mkdir()
        (run / "config.yaml").touch()
        words = (f"runs={run}", f"jobs_dir={folder}", "cluster=local")
        done = call("launch/evaluate.py", *words)
    else:
        more = {"sweep": (), "local": ("cluster=local",), "search": ("sweep=optuna_search",)}[kind]
        if kind == "local":
            done = call("launch/sweep.py", f"data={digits_dir}", f"sweep_dir={folder}", *more)
        else:
            done = sweep(digits_dir, folder, *more)
    assert "choose another name" in done.error_line
    assert str(folder) in done.error_line
    assert not folder.exists()
    assert cluster.calls("sbatch") == []


def test_a_percent_sign_that_means_nothing_is_no_trouble(
    cluster: Slurm, digits_dir: Path, tmp_path: Path
) -> None:
    assert sweep(digits_dir, tmp_path / "50%_of it {0} $HOME", "dry_run=true").code == 0
