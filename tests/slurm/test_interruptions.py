"""Preemption, time limits, killed ranks and lost nodes: the run goes on, and ends the same."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.launching import TINY, Launcher, Limited, attempts, logged_step, rank_process, run_dirs
from helpers.programs import REPOSITORY
from helpers.training import final_weights, reproducible_lines
from helpers.waiting import PATIENCE_S

NUM_PREEMPTIONS = 5
SLOW_RUN = ("epochs=20", "task.model.width=48", "validate_every=170", "checkpoint_every=170")
"""Steps slow enough that a run is not over before it was interrupted often enough."""
PREEMPTOR = ("--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")

NUM_SILENT = 3
SILENT_AT_FIRST = """#!/bin/sh
case "$*" in "--oneliner show job "*)
    echo "$*" >> {asked}
    if [ "$(wc -l < {asked})" -le {num} ]; then
        echo "Unable to contact slurm controller (connect failure)" >&2
        exit 1
    fi
esac
exec {real} "$@"
"""


@pytest.fixture
def asked(launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What jobs ask SLURM of themselves, a line each; the first answers are none."""
    asked = tmp_path / "asked"
    stand_in = tmp_path / "bin" / "scontrol"
    stand_in.parent.mkdir()
    real = shutil.which("scontrol")
    stand_in.write_text(SILENT_AT_FIRST.format(asked=asked, real=real, num=NUM_SILENT))
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(stand_in.parent), launcher.cluster.environment["PATH"]])
    monkeypatch.setitem(launcher.cluster.environment, "PATH", path)
    return asked


def test_preempted_five_times_ends_bit_identical(
    launcher: Launcher, tmp_path: Path, asked: Path
) -> None:
    """A controller that does not answer at once takes nothing from that: it is asked again."""
    reference = tmp_path / "reference"
    torchrun = [launcher.python, "-m", "torch.distributed.run", "--standalone"]
    words = ["experiment=rotated_digits", f"data={launcher.data}", *TINY, *SLOW_RUN]
    command = [*torchrun, "--nproc-per-node=2", str(REPOSITORY / "pipeline/train.py"), *words]
    # Beside the other run: that one waits for SLURM most of the time.
    undisturbed = subprocess.Popen(
        [*command, f"run_dir={reference}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    sweep_dir = tmp_path / "sweep"
    launcher.sweep(sweep_dir, *SLOW_RUN, "cluster.nodes=2")
    (run,) = run_dirs(sweep_dir)
    cluster = launcher.cluster
    for number in range(1, NUM_PREEMPTIONS + 1):
        cluster.wait_until(lambda number=number: len(attempts(run)) == number, every_s=0.1)
        if number in (1, 4):  # the others are preempted while they start
            before = attempts(run)[-1]["first_step"]
            cluster.wait_until(lambda before=before: logged_step(run) > before, every_s=0.1)
        print(f"preemption {number} after step {logged_step(run)}")
        cluster.sbatch(*PREEMPTOR)
    states = launcher.wait_for_end(sweep_dir)
    assert [state["state"] for state in states.values()] == ["finished"]
    assert undisturbed.wait(timeout=PATIENCE_S) == 0
    history = attempts(run)
    assert [attempt["restart"] for attempt in history] == list(range(NUM_PREEMPTIONS + 1))
    assert [attempt["reason"] for attempt in history[:-1]] == ["preempted"] * NUM_PREEMPTIONS
    told = [json.loads(file.read_text()) for file in run.glob("attempts/*/signal.json")]
    assert "preemption" in {each.get("by") for each in told}
    assert "cancelled" not in {each["reason"] for each in told}
    assert final_weights(run) == final_weights(reference)
    assert reproducible_lines(run) == reproducible_lines(reference)
    assert (run / "result.json").read_bytes() == (reference / "result.json").read_bytes()
    assert len(asked.read_text().splitlines()) > NUM_SILENT


def test_lost_rank_and_lost_node(launcher: Launcher, limited: Limited, tmp_path: Path) -> None:
    """A rank is killed, then a node dies; beside it another run goes on on the other node."""
    shaken = tmp_path / "shaken"
    launcher.sweep(shaken, *SLOW_RUN, "epochs=12", "cluster.nodes=2")
    cluster = launcher.cluster
    (run,) = run_dirs(shaken)

    cluster.wait_until(lambda: logged_step(run) > 0, every_s=0.1)
    os.kill(rank_process(run, 1), signal.SIGKILL)
    cluster.wait_until(lambda: len(attempts(run)) == 2)
    assert attempts(run)[0]["reason"] == "cluster_fault"

    log = run / "metrics.jsonl"
    before = log.stat().st_ino  # a start that goes on rewrites the file
    cluster.wait_until(lambda: log.stat().st_ino != before and logged_step(run) > 0, every_s=0.1)
    cluster.kill_node("node2")
    cluster.start_node("node2")
    states = launcher.wait_for_end(shaken)
    assert [state["state"] for state in states.values()] == ["finished"]
    history = attempts(run)
    assert len(history) >= 3
    assert {attempt["reason"] for attempt in history[:-1]} <= {None, "cluster_fault"}
