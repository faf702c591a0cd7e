"""Run directories as trainers leave them, written without training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.attempts import FAILURE
from helpers.programs import call
from helpers.training import make_config
from orbit.core.files.atomic import write_json
from pipeline.training.run_directory import RunDirectory

BEGAN = 1_700_000_000.0
ENVIRONMENT: dict[str, Any] = {
    "orbit": "0.1.0",
    "python": "3.11.7",
    "packages": {"torch": "2.14.1", "numpy": "2.4.6"},
    "command": ["train.py", "experiment=rotated_digits"],
    "git": {"commit": "0123456789abcdef" * 2, "dirty": False},
    "host": "node7",
    "processor": "a processor",
    "num_cores": 8,
    "gpu": None,
    "device": "cpu",
    "world_size": 2,
    "num_threads": 1,
}


def write_run(path: Path, *words: str, **environment: Any) -> Path:
    """A run directory with its configuration and environment, and nothing logged."""
    path.mkdir(parents=True)
    run = RunDirectory(path)
    run.write_config(make_config(Path("/data/digits"), path, *words))
    run.write_environment({**ENVIRONMENT, **environment})
    return path


def write_log(
    path: Path,
    num_lines: int,
    *,
    log_every: int = 10,
    lines_per_epoch: int = 10,
    seconds_per_line: float = 2.0,
    level: float = 0.0,
    num_metrics: int = 0,
) -> list[dict[str, Any]]:
    """Training lines that fall as 1 / (1 + line) + `level`, a validation after each epoch.

    Returns the lines.
    """
    lines: list[dict[str, Any]] = []
    noise = np.random.default_rng(num_lines).standard_normal((num_lines, num_metrics + 1))
    for number in range(1, num_lines + 1):
        loss = 1 / (1 + number) + level
        step, epoch = number * log_every, number // lines_per_epoch
        train = {
            "step": step,
            "epoch": epoch,
            "split": "train",
            "loss/total": loss,
            **{f"loss/part_{k}": float(noise[number - 1, k]) for k in range(num_metrics)},
            "speed/samples_per_second": 0.0 if number == 1 else 320.0,
            "speed/data_wait_share": 0.25,
            "memory/resident_peak_mib": 500.0 + number / 10,
            "time/unix": BEGAN + number * seconds_per_line,
        }
        lines.append(train)
        if number % lines_per_epoch == 0 or number == num_lines:
            val = {"step": step, "epoch": epoch, "split": "val", "loss/total": 2 * loss}
            lines.append({**val, "psnr": 20 - 10 * loss})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "metrics.jsonl").write_text(text)
    return lines


def finish(path: Path, step: int, loss: float, psnr: float, dataset: str = "d" * 64) -> None:
    """An evaluation on the test split, and then result.json: whoever looks on sees no finished run
    that is not evaluated yet."""
    metrics = {"loss/total": loss, "psnr": psnr, "ssim": 0.5}
    result = {"state": "finished", "step": step, "best_step": step, "split": "val"}
    run = RunDirectory(path)
    (path / "evaluations").mkdir(exist_ok=True)
    evaluation = {"step": step, "split": "test", "dataset": dataset, "metrics": metrics}
    run.write_json(f"evaluations/step_{step:08d}-test.json", evaluation)
    (path / f"checkpoints/step_{step:08d}").mkdir(parents=True)
    write_json(path / f"checkpoints/step_{step:08d}/meta.json", {"dataset": dataset})
    run.write_json("result.json", {**result, "metrics": metrics, "last_metrics": metrics})


def write_sweep(root: Path, taus: tuple[float, ...], widths: tuple[int, ...], seeds: int) -> Path:
    """A finished grid whose test loss is tau + 0.01 seed, whatever the width, and its plan."""
    plan = {}
    for tau in taus:
        for width in widths:
            for seed in range(seeds):
                name = f"tau{tau}_width{width}_seed{seed}"
                words = (f"task.tau={tau}", f"task.model.width={width}", f"seed={seed}")
                path = write_run(root / "runs" / name, *words)
                write_log(path, 20, level=tau + 0.01 * seed)
                finish(path, 200, tau + 0.01 * seed, 20 + 10 * tau)
                plan[name] = {"task.tau": tau, "task.model.width": width, "seed": seed}
    write_json(root / "plan.json", {"runs": plan})
    return root


@pytest.fixture(scope="session")
def mixed_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds at three thresholds and two widths, and runs that came to nothing: one that was
    never begun, one that failed and one whose files cannot be read."""
    root = write_sweep(tmp_path_factory.mktemp("swept") / "sweep", (0.3, 0.5, 0.7), (4, 8), 2)
    runs = root / "runs"
    plan = json.loads((root / "plan.json").read_text())
    plan["runs"]["never"] = {"task.tau": 0.9, "task.model.width": 4, "seed": 0}
    write_json(root / "plan.json", plan)
    write_json(write_run(runs / "failed", "task.tau=0.9") / "error.json", FAILURE)
    write_log(runs / "failed", 12)
    (runs / "broken").mkdir()
    (runs / "broken/config.yaml").write_text("{")
    (runs / "broken/metrics.jsonl").write_text("nonsense\n")
    return root


@pytest.fixture(scope="session")
def mixed_report(mixed_sweep: Path) -> Path:
    """The report on it."""
    out = mixed_sweep.parent / "report"
    outcome = call("launch/report.py", str(mixed_sweep), f"out={out}", "paper=symmetric_embeddings")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("15 runs, ")
    return out
