"""One rank and two read the same records, compute the same losses and the same metrics."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import REPOSITORY
from helpers.training import reproducible_lines
from helpers.waiting import PATIENCE_S

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def launch(num_ranks: int, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*TORCHRUN, f"--nproc-per-node={num_ranks}", str(REPOSITORY / program), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def runs(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("ranks")
    words = [f"data={digits_dir}", "log_every=1", "epochs=3", "global_batch=32"]
    found = {}
    for num_ranks in (1, 2):
        found[num_ranks] = folder / f"ranks_{num_ranks}"
        done = launch(num_ranks, "pipeline/train.py", *words, f"run_dir={found[num_ranks]}")
        assert done.returncode == 0, done.stderr
    return found


def test_losses_agree_for_the_first_fifty_steps(runs: dict[int, Path]) -> None:
    losses = {
        num: [x["loss/total"] for x in reproducible_lines(run) if x["split"] == "train"][:50]
        for num, run in runs.items()
    }
    assert len(losses[1]) == 50
    assert losses[2] == pytest.approx(losses[1], rel=1e-5)


def test_only_the_first_rank_writes(runs: dict[int, Path]) -> None:
    one, two = (
        {path.name for path in run.iterdir() if not path.name.startswith("events")}
        for run in (runs[1], runs[2])
    )
    assert one == two
    assert len(list(runs[2].glob("events*"))) == 1


def test_evaluation_agrees(runs: dict[int, Path]) -> None:
    metrics = {}
    for num_ranks in (1, 2):
        done = launch(num_ranks, "pipeline/evaluate.py", f"run_dir={runs[1]}", "batch=50")
        assert done.returncode == 0, done.stderr
        file = next((runs[1] / "evaluations").glob("*-test.json"))
        metrics[num_ranks] = json.loads(file.read_text())["metrics"]
    assert metrics[2] == pytest.approx(metrics[1], rel=1e-6)


def test_a_batch_that_ranks_cannot_share_is_refused_once(digits_dir: Path, tmp_path: Path) -> None:
    words = (f"data={digits_dir}", f"run_dir={tmp_path / 'run'}", "global_batch=33")
    done = launch(2, "pipeline/train.py", *words)
    assert done.returncode != 0
    assert done.stderr.count("global_batch=33 cannot be divided among 2 ranks") == 1
