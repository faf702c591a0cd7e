"""Fixtures that several test files share: tiny datasets, made once a session.

`digits_dir`, `volume_dir` and `episode_dir` are complete datasets of several shards,
`digits_run` is a short run: read them, and copy one before changing it.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.attempts import run_dir, scontrol, sleeps  # noqa: F401, for all tests
from helpers.idx import write_mnist
from helpers.pages import browser, quiet, shown_report, shown_sweep  # noqa: F401, likewise
from helpers.recipes import EpisodeRecipe, VolumeRecipe
from helpers.reporting import mixed_report, mixed_sweep  # noqa: F401, likewise
from helpers.training import make_config, never_stop
from helpers.warm_python import WarmPython
from hypothesis import settings

from data_prep.building.builder import build_dataset
from data_prep.recipes import make_recipe
from data_prep.settings import PrepareConfig
from orbit.core.config.compose import compose
from orbit.core.config.roots import VARIABLE
from orbit.core.config.schema import build

NUM_DIGITS = 200

SLOW_FILES = (
    "test_world_model_training",
    "test_ranks",
    "test_export",
    "test_wheel",
    "test_bad_inputs",
    "test_benchmarks",
    "test_documents",
    "test_reproduction",
    "test_resume",
    "test_fault_injection",
)
"""Begun first, so that no process of the suite waits for another at the end."""

# What a shell says of its own terminal must not decide what tests see of theirs.
for variable in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
    os.environ.pop(variable, None)

# A shell in the background ignores Ctrl-C, and programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, no files left, and no failure because a machine is slow.
settings.register_profile("house", derandomize=True, database=None, deadline=None)
settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    items.sort(key=lambda item: item.path.stem not in SLOW_FILES)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def own_configs() -> Iterator[None]:
    """The folders that a program called in this process was told of are forgotten after it."""
    before = os.environ.get(VARIABLE)
    yield
    if before is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = before


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The path of an interpreter that starts in no time: see `helpers.warm_python`."""
    with WarmPython(tmp_path_factory.mktemp("warm")) as python:
        yield str(python.executable)


@pytest.fixture(scope="module")
def starts_are_warm(warm_python: str) -> Iterator[None]:
    """What a file's tests start by `sys.executable`, workers too, is the warm interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm_python)
        multiprocessing.set_executable(warm_python)
        yield
    multiprocessing.set_executable(sys.executable)


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`rotated_digits` of 200 images: 140 in all poses, 30, 30; two training shards."""
    out = tmp_path_factory.mktemp("digits") / "dataset"
    words = [f"out={out}", f"num_samples={NUM_DIGITS}", "dataset.shard_mib=0.1"]
    values = compose("prepare", words, frozenset({"out"}), {"source": "dataset"})
    build_dataset(make_recipe(build(PrepareConfig, values)), out)
    return out


@pytest.fixture(scope="session")
def volume_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Orbits of 9, 3 and 3 float16 volumes 1x8x8x8; three training shards."""
    out = tmp_path_factory.mktemp("volumes") / "dataset"
    build_dataset(VolumeRecipe(), out)
    return out


@pytest.fixture(scope="session")
def episode_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rollouts of 10 steps with their turned twins: 6, 2 and 2 episodes; three training shards."""
    out = tmp_path_factory.mktemp("episodes") / "dataset"
    build_dataset(EpisodeRecipe(), out)
    return out


@pytest.fixture(scope="session")
def digits_run(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on `digits_dir`, not evaluated: copy it before changing it."""
    from pipeline.training.run import train

    out = tmp_path_factory.mktemp("runs") / "digits"
    train(make_config(digits_dir, out, "epochs=1", "collapse.action=warn"), never_stop())
    return out


@pytest.fixture
def mnist_root(tmp_path: Path) -> Path:
    """A fresh folder in torchvision's layout with 50 training and 20 test images of noise."""
    write_mnist(tmp_path / "mnist")
    return tmp_path / "mnist"
