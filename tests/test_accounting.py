"""What a cluster's accounts say of jobs that SLURM itself has forgotten.

Protects that such runs are told by how their jobs ended, and that a cluster without accounts, with
slow ones or with those of other jobs is as good as none.
"""

import shutil
import time
from pathlib import Path

import pytest
from helpers.stand_in_slurm import StandInSlurm

from launch.cluster import accounting
from launch.cluster.accounting import Accounting, indices_of
from launch.cluster.submission import JobRecord, write_record
from launch.reports.status_table import read_status
from launch.sweeps.plan import SweepDirectory
from orbit.core.files.atomic import write_json

NAME = "orbit-tau-1"
TASKS = tuple(f"run{number}" for number in range(5))
ARRAY = JobRecord(NAME, "train", "slurm", TASKS, 1.0, "7")
SAID = f"""\
7_0|COMPLETED|{NAME}
7_1|OUT_OF_MEMORY|{NAME}
7_[2,4%2]|CANCELLED by 1001|{NAME}
7_3|RUNNING|{NAME}
"""


@pytest.fixture
def sacct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stand-in's calls; squeue knows no jobs, and sacct says what `said` says."""
    folder = tmp_path / "slurm"
    StandInSlurm(folder, monkeypatch)
    body = 'echo "$* $SLURM_BITSTR_LEN" >>"$STAND_INS/asked"\ncat "$STAND_INS/said"'
    write_program(folder, "sacct", body)
    (folder / "said").write_text(SAID)
    accounting.accounting.cache_clear()
    return folder


def write_program(folder: Path, name: str, body: str) -> None:
    program = folder / "bin" / name
    program.write_text(f"#!{shutil.which('bash')}\n{body}\n")
    program.chmod(0o755)


def num_asked(folder: Path) -> int:
    asked = folder / "asked"
    return len(asked.read_text().splitlines()) if asked.exists() else 0


def sweep_of(path: Path, record: JobRecord = ARRAY) -> Path:
    """A sweep whose first two runs have begun, and whose job is gone."""
    path.mkdir()
    SweepDirectory(path).write_plan({name: {} for name in record.tasks})
    write_record(path, record)
    for name in record.tasks:
        (path / "runs" / name).mkdir(parents=True)
        write_json(path / "runs" / name / "config.yaml", {})
    for name in record.tasks[:2]:
        write_json(path / "runs" / name / "heartbeat.json", {"time": 2.0, "step": 3})
    return path


def test_runs_whose_jobs_slurm_forgot_are_told_by_the_accounts(sacct: Path, tmp_path: Path) -> None:
    states = read_status(sweep_of(tmp_path / "sweep")).states
    assert {name: state.state for name, state in states.items()} == {
        "run0": "lost",  # it ended well for SLURM, but left no word: as without accounts
        "run1": "lost",
        "run2": "cancelled",
        "run3": "lost",
        "run4": "cancelled",
    }
    assert states["run0"].detail.startswith("ended without a word")
    assert states["run1"].detail.startswith("it used more memory than its job may")
    assert states["run2"].detail.startswith("by scancel")
    (call,) = (sacct / "asked").read_text().splitlines()
    assert "--jobs=7 " in call
    assert call.endswith(" 0"), "long lists of tasks would be cut"


def test_watching_asks_once_a_minute_at_most(
    sacct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path / "sweep")
    for _ in range(3):
        assert read_status(sweep).states["run2"].state == "cancelled"
    assert num_asked(sacct) == 1
    monkeypatch.setattr(accounting, "PAUSE_S", 0.0)
    (sacct / "said").write_text(SAID.replace("RUNNING", "NODE_FAIL"))
    assert read_status(sweep).states["run3"].detail.startswith("its node failed")
    assert num_asked(sacct) == 2
    # Now all are known.
    read_status(sweep)
    assert num_asked(sacct) == 2


@pytest.mark.parametrize(
    "body",
    [
        'echo >>"$STAND_INS/asked"; echo "Slurm accounting storage is disabled" >&2; exit 1',
        'echo >>"$STAND_INS/asked"; exec sleep 60',
        'echo >>"$STAND_INS/asked"; echo "no such words|"; echo "|||"',
        None,
    ],
    ids=["disabled", "slow", "nonsense", "missing"],
)
def test_without_accounts_nothing_is_known_and_nothing_fails(
    body: str | None, sacct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounting, "TIMEOUT_S", 0.5)
    if body is None:
        write_program(sacct, "squeue", "")
        (sacct / "bin" / "sacct").unlink()
        monkeypatch.setenv("PATH", str(sacct / "bin"))
    else:
        write_program(sacct, "sacct", body)
    sweep, start = sweep_of(tmp_path / "sweep"), time.monotonic()
    for _ in range(3):
        status = read_status(sweep)
        assert {state.state for state in status.states.values()} == {"lost"}
        assert status.unchecked is None
        assert "cancelled while it waited, perhaps" in status.states["run2"].detail
    assert time.monotonic() - start < 30, "it waited for what does not answer"
    assert num_asked(sacct) == (0 if body is None else 1)


def test_only_the_newest_job_of_a_task_counts_and_only_under_its_name(sacct: Path) -> None:
    """SLURM gives old ids to new jobs, perhaps to those of somebody else."""
    (sacct / "said").write_text("7_0|CANCELLED|other\n7_1|CANCELLED|orbit-tau-1\n9|TIMEOUT|later\n")
    later = JobRecord("later", "train", "slurm", ("run1",), 2.0, "9")
    assert Accounting().ended([later, ARRAY], TASKS) == {"run1": "TIMEOUT"}
    here = JobRecord("here", "train", "local", ("run1",), 3.0)
    assert Accounting().ended([here, later, ARRAY], TASKS) == {}
    assert num_asked(sacct) == 2


def test_nothing_is_asked_where_nothing_is_unclear(sacct: Path) -> None:
    assert Accounting().ended([ARRAY], ()) == {}
    assert Accounting().ended([JobRecord("a", "train", "slurm", TASKS, 1.0)], TASKS) == {}
    assert num_asked(sacct) == 0


def test_lists_of_tasks_are_read() -> None:
    assert list(indices_of("0,3-5,10-20:5")) == [0, 3, 4, 5, 10, 15, 20]
    assert list(indices_of("2-3,...")) == [2, 3]
    assert list(indices_of("")) == []
