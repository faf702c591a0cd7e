"""Two processes of a gloo group, for functions that ranks run together."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from helpers.programs import REPOSITORY
from helpers.waiting import PATIENCE_S

RUN = """
import importlib, os, sys
import torch, torch.distributed as dist
module, function, folder, rank, size = sys.argv[1:]
torch.set_num_threads(1)
dist.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=int(rank), world_size=int(size)
)
found = getattr(importlib.import_module(module), function)(int(rank), int(size))
torch.save(found, f"{folder}/rank_{rank}.pt")
dist.barrier()  # a rank that leaves while its peer still talks to it can abort in gloo's threads
dist.destroy_process_group()
os._exit(0)  # what is tested is over: no tear-down of the interpreter that could fail
"""


def run_on_ranks(module: str, function: str, folder: Path, num_ranks: int = 2) -> list[Any]:
    """What `module.function(rank, num_ranks)` returns on each rank: tensors in plain containers."""
    path = os.pathsep.join([str(REPOSITORY / "tests"), str(REPOSITORY)])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, module, function, str(folder), str(rank), str(num_ranks)],
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_ranks)
    ]
    for child in children:
        _, errors = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 0, errors
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(num_ranks)]
