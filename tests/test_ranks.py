"""One rank and two read the same records, compute the same losses and the same metrics."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import REPOSITORY
from helpers.training import make_config, never_stop, reproducible_lines
from helpers.waiting import PATIENCE_S

from pipeline.evaluation.evaluate_run import evaluate_run
from pipeline.settings import EvaluateConfig
from pipeline.training.run import train

pytestmark = pytest.mark.usefixtures("starts_are_warm")


def launch_two_ranks(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node=2", str(REPOSITORY / program), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def runs(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("ranks")
    found = {number: folder / f"ranks_{number}" for number in (1, 2)}
    words = ("log_every=1", "epochs=3", "global_batch=32")
    train(make_config(digits_dir, found[1], *words), never_stop())
    words = (f"config={found[1] / 'config.yaml'}", f"run_dir={found[2]}")
    done = launch_two_ranks("pipeline/train.py", *words)
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
    """With the analyses; the pictures are drawn by one rank alone."""
    words = {"batch": 50, "analysis_records": 40, "pictures": False}
    metrics = []
    for num_ranks in (1, 2):
        if num_ranks == 1:
            evaluate_run(EvaluateConfig(run_dir=str(runs[1]), device="cpu", **words))
        else:
            given = [f"{key}={str(value).lower()}" for key, value in words.items()]
            done = launch_two_ranks("pipeline/evaluate.py", f"run_dir={runs[1]}", *given)
            assert done.returncode == 0, done.stderr
        (file,) = (runs[1] / "evaluations").glob("*-test.json")
        metrics.append(json.loads(file.read_text())["metrics"])
        file.unlink()
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-6)


def test_a_batch_that_ranks_cannot_share_is_refused_once(digits_dir: Path, tmp_path: Path) -> None:
    words = (f"data={digits_dir}", f"run_dir={tmp_path / 'run'}", "global_batch=33")
    done = launch_two_ranks("pipeline/train.py", *words)
    assert done.returncode != 0
    assert done.stderr.count("global_batch=33 cannot be divided among 2 ranks") == 1
