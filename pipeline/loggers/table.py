"""The built-in loggers, and those of other packages, by name."""

import importlib.util
from collections.abc import Callable, Sequence

from orbit.core import plugins
from orbit.core.config.schema import suggestion
from pipeline.loggers.interface import Start, Tracker

TENSORBOARD = "tensorboard"
"""TensorBoard writes files next to metrics.jsonl. It needs no thread here, because it has its
own."""


def _open_wandb(start: Start) -> Tracker:
    from pipeline.loggers.weights_and_biases import WandbTracker

    return WandbTracker(start)


def _open_mlflow(start: Start) -> Tracker:
    from pipeline.loggers.mlflow_runs import MlflowTracker

    return MlflowTracker(start)


TRACKERS: dict[str, Callable[[Start], Tracker]] = {"wandb": _open_wandb, "mlflow": _open_mlflow}
NEEDED = ("wandb", "mlflow")
"""Loggers that need the package with their name; the extra with this name installs it."""


def check_loggers(names: Sequence[str]) -> None:
    """Raise ValueError for an unknown name, or one whose package is not installed."""
    known = [TENSORBOARD, *TRACKERS, *plugins.installed("loggers")]
    for name in names:
        if name not in known:
            raise ValueError(f"unknown logger {name!r}{suggestion(name, known)}")
        if name in NEEDED and importlib.util.find_spec(name) is None:
            raise ValueError(
                f"logger={name} needs the package {name}: pip install 'orbit-group-actions[{name}]'"
            )


def tracker_opener(name: str) -> Callable[[Start], Tracker]:
    """The function that opens a logger's run. For a package's logger (`orbit.loggers`) it is
    `make(start)` of its Kind."""

    def open_of_package(start: Start) -> Tracker:
        kind = plugins.load("loggers", name)
        if kind is None:
            raise ValueError(f"no installed package offers the logger {name!r}")
        tracker: Tracker = kind.make(start)
        return tracker

    return TRACKERS.get(name, open_of_package)
