"""Protects the start of a run: what the first step does not need is not imported before it."""

import json
from pathlib import Path

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
