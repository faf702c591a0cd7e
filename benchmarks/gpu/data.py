"""The data of a workload, made anew."""

import importlib
from pathlib import Path

from measuring import prepare
from synthetic import make_dataset

from gpu.plan import Workload, as_folder

HELD_OUT = 4
"""Images of validation and of test: a few, nothing here reads them."""


def data_of(workload: Workload, folder: Path) -> Path:
    """Where the data of a workload lies."""
    return folder / "data" / as_folder(workload.name)


def make_data(workload: Workload, folder: Path) -> None:
    """Noise in the shape of its frames with all quarter turns, or a world by the program.

    Raises ImportError where the program cannot be started for lack of a package.
    """
    out = data_of(workload, folder)
    if workload.frame is None:
        importlib.import_module("hydra")
        prepare(out, list(workload.prepare))
    else:
        make_dataset(out, workload.frame, workload.num_sources, HELD_OUT)
