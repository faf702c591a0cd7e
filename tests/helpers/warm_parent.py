"""A process that has imported everything once and forks a child for each program it runs.

It stays single-threaded, so that a child is as a process of its own would be.
"""

import atexit
import gc
import importlib
import os
import pkgutil
import runpy
import sys
import threading
import traceback

from helpers.programs import REPOSITORY

LATE_IMPORTS = (
    "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.TiffImagePlugin",
    "hydra.core.override_parser.overrides_parser",
    "nibabel",
    "optuna",
    "pydicom",
    "trimesh",
    "torch.export",
    "torch.utils.tensorboard",
    "yaml",
)


def import_everything() -> None:
    """All modules of the package, what they import late, and the parser of configurations."""
    import torch

    torch.set_num_threads(1)
    for package in ("orbit", "pipeline", "data_prep", "launch"):
        folder = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(folder, f"{package}."):
            _import_if_there(module.name)
    for name in LATE_IMPORTS:
        _import_if_there(name)
    _compose_something()


def freeze() -> None:
    """Call once before the first fork: children shall not copy memory to look for garbage."""
    num_threads = len(os.listdir("/proc/self/task"))
    if num_threads != 1:
        raise RuntimeError(f"{num_threads} threads: children of this process could hang")
    gc.collect()
    gc.freeze()


def redirect(out: str, err: str) -> None:
    """Standard output and error of this process to files, and nothing to its input."""
    for descriptor, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def run_program(program: str, words: list[str]) -> int:
    """As the interpreter does it with a file: exit code, a traceback, what runs at the exit."""
    sys.argv = [str(REPOSITORY / program), *words]
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _import_if_there(name: str) -> None:
    try:
        importlib.import_module(name)
    except (ImportError, ValueError):
        pass  # An optional part of the package that is not installed.


def _compose_something() -> None:
    """The parser learns its grammar as it goes, which is most of what a start costs."""
    from orbit.core.config.compose import compose

    paths = frozenset({"data", "run_dir", "out", "source.root"})
    words = ["dataset=image_folder", "source.root=x", "out=x", "overwrite=true", "seed=1"]
    compose("prepare", words, paths, {"source": "dataset"})
    compose("train", ["experiment=image_folder", "data=x", "run_dir=x", "epochs=1"], paths)
    compose("evaluate", ["run_dir=x"], paths)
