"""What can be said about slurm/ without SLURM: the scripts parse, promise what they should, and
complain in one line."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.dev_cluster import SCRIPT, DevCluster, dev_cluster_reason
from helpers.programs import REPOSITORY
from helpers.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.usefixtures("starts_are_warm")

FOLDER = REPOSITORY / "slurm"
BATCH_SCRIPTS = ("train.sbatch", "prepare.sbatch", "evaluate.sbatch")
BASH = shutil.which("bash") or "/bin/bash"


def directives(name: str) -> dict[str, str]:
    """The active #SBATCH lines of a script."""
    lines = (FOLDER / name).read_text().splitlines()
    options = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH --")]
    return {key: value for key, _, value in (option.partition("=") for option in options)}


def cluster_script(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, str(SCRIPT), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def only_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, f"not one line: {text}"
    return lines[0]


@pytest.mark.parametrize("name", [*BATCH_SCRIPTS, "dev_cluster.sh"])
def test_scripts_parse(name: str) -> None:
    subprocess.run([BASH, "-n", str(FOLDER / name)], check=True, timeout=PATIENCE_S)
    assert (FOLDER / name).read_text().startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("name", BATCH_SCRIPTS)
def test_batch_scripts_keep_their_output_and_may_be_requeued(name: str) -> None:
    lines = directives(name)
    assert {"job-name", "nodes", "cpus-per-task", "time", "requeue", "output"} <= lines.keys()
    assert lines["ntasks-per-node"] == "1"
    assert lines["open-mode"] == "append"


@pytest.mark.parametrize("name", BATCH_SCRIPTS)
def test_directives_come_before_the_first_command(name: str) -> None:
    """SLURM reads no directive after it."""
    lines = (FOLDER / name).read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first_command:])


def test_training_is_warned_before_the_time_limit_and_gives_srun_its_cpus() -> None:
    name, _, seconds = directives("train.sbatch")["signal"].partition("@")
    assert name == "B:USR2"
    assert int(seconds) >= 60
    assert '--cpus-per-task="$SLURM_CPUS_PER_TASK"' in (FOLDER / "train.sbatch").read_text()


# Stand-ins for SLURM's commands. They write their calls into files of the submission folder and
# take the job's state, and how srun goes on, from other files there.
STAND_INS = {
    "srun": """
        [[ ${@: -1} != true ]] || { [[ ! -e lost-node ]]; exit; }
        printf '%s\\n' "$@" >srun.words
        until [[ -e srun.code ]]; do sleep 0.05; done
        exit "$(cat srun.code)" """,
    "scontrol": """
        if [[ -e silence ]] && (( $(cat silence) > 0 )); then
            echo $(( $(cat silence) - 1 )) >silence
            echo 'Unable to contact slurm controller (connect failure)' >&2
            exit 1
        fi
        case $* in
            'show hostnames'*) echo node7 ;;
            *'show job'*) echo "JobId=5 JobState=$(cat job.state) PreemptTime=$(cat job.preempt)" ;;
            *) echo "$*" >>scontrol.calls ;;
        esac""",
    "scancel": 'echo "$*" >>scancel.calls; echo 1 >srun.code',
    "sleep": 'echo "$*" >>sleep.calls; exec /bin/sleep 0.05',
}


class SubmittedJob:
    """train.sbatch as SLURM would start it, in a folder with stand-ins for what it calls."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.folder = folder
        for file in ("pipeline/train.py", ".venv/bin/activate"):
            (folder / file).parent.mkdir(parents=True)
            (folder / file).touch()
        (folder / "bin").mkdir()
        for name, body in STAND_INS.items():
            (folder / "bin" / name).write_text(f"#!{BASH}\n{body}\n")
            (folder / "bin" / name).chmod(0o755)
        self.state("RUNNING")
        job = {
            "SLURM_SUBMIT_DIR": str(folder),
            "SLURM_JOB_ID": "5",
            "SLURM_JOB_NODELIST": "node[7-8]",
            "SLURM_NNODES": "2",
            "SLURM_CPUS_PER_TASK": "3",
        }
        path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
        self.process = subprocess.Popen(
            [BASH, str(FOLDER / "train.sbatch"), *words],
            env={**os.environ, **job, **environment, "PATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def state(self, state: str, preempt_time: str = "None") -> None:
        (self.folder / "job.state").write_text(state)
        (self.folder / "job.preempt").write_text(preempt_time)

    def srun_words(self) -> list[str]:
        """The words that srun was started with; waits for them."""
        file = self.folder / "srun.words"
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
        return file.read_text().splitlines()

    def end(self, srun_code: int | None = None) -> int:
        """Let srun end, unless it was stopped; the exit code of the batch script."""
        if srun_code is not None:
            (self.folder / "srun.code").write_text(str(srun_code))
        return self.process.wait(timeout=PATIENCE_S)

    def calls(self, program: str) -> list[str]:
        file = self.folder / f"{program}.calls"
        return file.read_text().splitlines() if file.exists() else []


def test_training_starts_one_torchrun_a_node_and_keeps_the_arguments(tmp_path: Path) -> None:
    words = ["experiment=rotated_mnist", "data=/with space, and=more", "run_dir=$HOME/*", "x='a'"]
    job = SubmittedJob(tmp_path, *words, RANKS_PER_NODE="4", SLURM_RESTART_COUNT="2")
    srun_words = job.srun_words()
    assert job.end(0) == 0
    assert srun_words[-5:] == ["pipeline/train.py", *words]
    torchrun = srun_words.index("slurm/torchrun.py")
    assert "--cpus-per-task=3" in srun_words[:torchrun]
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-id=5.2"} <= set(srun_words[torchrun:])
    assert f"--rdzv-endpoint=node7:{20000 + 5 * 7 + 2}" in srun_words
    assert job.calls("scontrol") == []


def test_a_run_that_fails_by_itself_is_not_requeued(tmp_path: Path) -> None:
    job = SubmittedJob(tmp_path)
    job.srun_words()
    assert job.end(1) == 1
    assert job.calls("scontrol") == []


def test_a_run_that_lost_a_node_is_requeued(tmp_path: Path) -> None:
    job = SubmittedJob(tmp_path)
    job.srun_words()
    (tmp_path / "lost-node").touch()
    assert job.end(1) == 1
    assert job.calls("scontrol") == ["requeue 5"]


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_stop_reaches_the_steps_and_requeues_once(tmp_path: Path, number: int) -> None:
    job = SubmittedJob(tmp_path)
    job.srun_words()
    job.process.send_signal(number)
    job.end()
    assert job.calls("scancel") == ["--signal=TERM 5"]
    assert job.calls("scontrol") == ["requeue 5"]


def test_a_preempted_job_is_requeued_without_a_second_signal(tmp_path: Path) -> None:
    job = SubmittedJob(tmp_path)
    job.srun_words()
    job.state("RUNNING", "2026-01-01T00:00:00")
    job.end(1)
    assert job.calls("scancel") == []
    assert job.calls("scontrol") == ["requeue 5"]


def test_a_job_that_slurm_ends_is_left_alone(tmp_path: Path) -> None:
    """A cancelled job would come back to life by a requeue."""
    job = SubmittedJob(tmp_path)
    job.srun_words()
    job.state("COMPLETING")
    job.process.send_signal(signal.SIGTERM)
    job.end(1)
    assert job.calls("scancel") == []
    assert job.calls("scontrol") == []


@pytest.mark.parametrize("num_unanswered", [1, 5])
def test_a_run_is_not_dropped_because_slurm_was_silent(tmp_path: Path, num_unanswered: int) -> None:
    job = SubmittedJob(tmp_path)
    job.srun_words()
    job.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: job.calls("scancel"))
    (tmp_path / "silence").write_text(str(num_unanswered))
    job.end(1)
    assert job.calls("scontrol") == ["requeue 5"]


def test_a_stop_reaches_the_steps_though_slurm_is_silent(tmp_path: Path) -> None:
    """There is no time to ask twice, and the ranks can be told in any case."""
    job = SubmittedJob(tmp_path)
    job.srun_words()
    (tmp_path / "silence").write_text("1")
    job.process.send_signal(signal.SIGUSR2)
    job.end()
    assert job.calls("scancel") == ["--signal=TERM 5"]
    assert job.calls("scontrol") == ["requeue 5"]


def test_a_preemption_that_slurm_tells_late_is_not_taken_for_a_failure(tmp_path: Path) -> None:
    job = SubmittedJob(tmp_path)
    job.srun_words()
    job.state("RUNNING", "2026-01-01T00:00:00")
    (tmp_path / "silence").write_text("3")
    job.end(1)
    assert job.calls("scontrol") == ["requeue 5"]


def test_ranks_have_the_time_between_the_signal_and_the_limit(tmp_path: Path) -> None:
    """torchrun kills them 30 s after the signal unless it is told otherwise."""
    lead = int(directives("train.sbatch")["signal"].partition("@")[2])
    for number, (given, environment) in enumerate([(None, {}), ("280", {"GRACE_S": "280"})]):
        job = SubmittedJob(tmp_path / str(number), **environment)
        words = job.srun_words()
        seconds = int(words[words.index("slurm/torchrun.py") + 1])
        assert seconds == int(given or seconds)
        assert given or 30 < seconds < lead
        job.end(0)


SLOW_RANK = """
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def save(*_):
    time.sleep(3)
    (folder / "saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
(folder / "ready").touch()
while True:
    time.sleep(0.1)
"""


@pytest.mark.parametrize(("seconds", "is_saved"), [("60", True), ("1", False)])
@pytest.mark.parametrize("is_old_torch", [False, True])
def test_torchrun_waits_for_a_rank_that_saves(
    seconds: str, is_saved: bool, is_old_torch: bool, tmp_path: Path
) -> None:
    """Also where torch has no setting for it: there the time that ranks are given is fixed."""
    (tmp_path / "rank.py").write_text(SLOW_RANK)
    old = f"""
import runpy, sys
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing.api import PContext
if {is_old_torch}:
    def shut_down(self, death_sig=15, timeout=0):
        if self._pcontext:
            self._pcontext.close(death_sig, 1)
    LocalElasticAgent._shutdown = shut_down
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
    words = ["--nnodes=1", "--nproc-per-node=1", "--standalone", str(tmp_path / "rank.py")]
    process = subprocess.Popen(
        [sys.executable, "-c", old, str(FOLDER / "torchrun.py"), seconds, *words, str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=PATIENCE_S)
    assert (tmp_path / "saved").exists() == is_saved


def test_an_array_task_calls_itself_by_its_index(tmp_path: Path) -> None:
    """The plain job id of an array's last task is that of the whole array."""
    job = SubmittedJob(tmp_path, SLURM_ARRAY_JOB_ID="5", SLURM_ARRAY_TASK_ID="0")
    job.srun_words()
    job.process.send_signal(signal.SIGUSR2)
    job.end()
    assert job.calls("scancel") == ["--signal=TERM 5_0"]
    assert job.calls("scontrol") == ["requeue 5_0"]


def test_outside_of_the_repository_a_batch_script_says_so(tmp_path: Path) -> None:
    for name in BATCH_SCRIPTS:
        done = subprocess.run(
            [BASH, str(FOLDER / name)],
            env={**os.environ, "SLURM_SUBMIT_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 1
        assert "submit from the root of the repository" in done.stderr.splitlines()[-1]


def test_the_template_promises_what_the_cluster_tests_rely_on() -> None:
    text = (FOLDER / "dev_cluster.conf.in").read_text()
    settings = dict(
        line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z][A-Za-z]+=\S+$", line)
    )
    promised = {
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SlurmdParameters": "config_overrides",
        "SelectTypeParameters": "CR_CPU",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "EnforcePartLimits": "ALL",
        "MaxArraySize": "101",
        "JobRequeue": "1",
        "SlurmdTimeout": "15",
        "KillWait": "5",
        "ReturnToService": "2",
    }
    assert promised.items() <= settings.items()
    partitions = dict(re.findall(r"^PartitionName=(\w+) (.*)$", text, re.MULTILINE))
    assert partitions.keys() == {"low", "high"}
    assert "Default=YES" in partitions["low"]
    assert "GraceTime=20" in partitions["low"]
    assert all("MaxTime=1:00:00" in partition for partition in partitions.values())


def test_the_script_fills_in_every_word_of_the_template() -> None:
    words = set(re.findall(r"@[A-Z0-9_]+@", (FOLDER / "dev_cluster.conf.in").read_text()))
    assert words
    assert words <= set(re.findall(r"@[A-Z0-9_]+@", SCRIPT.read_text()))


@pytest.mark.parametrize("command", ["start", "status"])
def test_missing_packages_are_named_in_one_line(command: str, tmp_path: Path) -> None:
    done = cluster_script(command, "--state", str(tmp_path / "state"), PATH=str(tmp_path))
    assert done.returncode == 1
    line = only_line(done.stderr)
    assert "slurmctld" in line
    assert "--install" in line
    assert not (tmp_path / "state").exists()


def test_without_a_cluster_status_says_no_and_stop_is_content(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert cluster_script("status", "--state", str(state)).returncode == 1
    assert cluster_script("stop", "--state", str(state)).returncode == 0
    assert not state.exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "usage"),
        (("begin",), "usage"),
        (("start", "again"), "usage"),
        (("kill-node",), "usage"),
        (("kill-node", "node3"), "unknown node node3"),
        (("status", "--state"), "--state needs a folder"),
    ],
)
def test_a_wrong_call_is_one_line(words: tuple[str, ...], complaint: str) -> None:
    done = cluster_script(*words)
    assert done.returncode == 1
    assert complaint in only_line(done.stderr)


@pytest.mark.skipif(dev_cluster_reason() is not None, reason="needs root and SLURM's packages")
def test_a_relative_state_folder_is_refused(tmp_path: Path) -> None:
    done = cluster_script("start", "--state", "with space")
    assert done.returncode == 1
    assert "with space" in only_line(done.stderr)


def test_the_helper_says_why_there_is_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in (dev_cluster_reason() or "")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("helpers.dev_cluster.SYSTEM_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "munged, slurmctld, slurmd, sbatch" in (dev_cluster_reason() or "")


def test_the_helper_hides_an_outer_job_from_its_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "other")
    environment = DevCluster().environment
    assert not {"SLURM_JOB_ID", "SBATCH_PARTITION"} & environment.keys()
