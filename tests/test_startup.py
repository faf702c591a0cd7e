"""Protects the start of a run: what the first step does not need is not imported before it."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.programs import start_python
from helpers.waiting import PATIENCE_S

LATER = (
    "torch._dynamo",
    "torch._inductor",
    "torch.utils.tensorboard",
    "tensorboard",
    "matplotlib",
    "scipy",
    "sklearn",
    "torchvision",
    "torchmetrics",
    "pandas",
    "PIL",
    "submitit",
    "optuna",
)
"""Compilers, plotting, TensorBoard and what only evaluation, preparation or sweeps use."""

FIRST_STEP = """
import json, os, sys
from pipeline.training.trainer import Trainer

step = Trainer._train_step

def first_step(self, batch):
    step(self, batch)
    print(json.dumps(sorted(sys.modules)), flush=True)
    os._exit(0)

Trainer._train_step = first_step
from pipeline.train import main
main(sys.argv[1:])
"""


def test_nothing_needless_is_imported_before_the_first_step(
    digits_dir: Path, tmp_path: Path
) -> None:
    words = ("experiment=rotated_mnist", f"data={digits_dir}", f"run_dir={tmp_path / 'run'}")
    process = start_python(FIRST_STEP, *words, "device=cpu")
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    imported = set(json.loads(out.splitlines()[-1]))
    assert {"torch", "h5py", "hydra", "nvidia.dali"} <= imported
    assert not imported & set(LATER)


IN_THE_PROGRAM = """
import sys
from {module} import main
try:
    main(sys.argv[1:])
finally:
    assert "launch.{room}" in sys.modules
    print("torch" in sys.modules, flush=True)
"""


@pytest.mark.parametrize(
    ("program", "room"), [("status", "reports.status_table"), ("sweep", "sweeps.command")]
)
def test_who_looks_after_runs_does_not_wait_for_torch(
    program: str, room: str, digits_dir: Path, digits_run: Path, tmp_path: Path
) -> None:
    """A node's launcher and whoever asks how a sweep stands: neither trains."""
    sweep_dir = tmp_path / "sweep"
    words = ["experiment=rotated_mnist", f"data={digits_dir}", f"sweep_dir={sweep_dir}"]
    words += ["sweep=single", "cluster=local", "dry_run=true"]
    if program == "status":
        shutil.copytree(digits_run, sweep_dir / "runs" / "one")
        words = [str(sweep_dir)]
    code = IN_THE_PROGRAM.format(module=f"launch.{program}", room=room)
    process = start_python(code, *words)
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert out.splitlines()[-1] == "False"


def test_a_job_starts_its_ranks_before_it_could_have_imported_torch() -> None:
    rooms = ("launch.jobs.train_job", "launch.evaluation.command", "launch.sweeps.search_command")
    imports = "\n".join(f"import {room}" for room in rooms)
    process = start_python(f"{imports}\nimport sys\nprint('torch' in sys.modules)")
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert out.split() == ["False"]
