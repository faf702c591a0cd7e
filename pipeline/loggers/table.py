"""The loggers that come with this package, by their names, and those of others."""

import importlib.util
from collections.abc import Callable, Sequence

from orbit.core import plugins
from orbit.core.config.schema import suggestion
from pipeline.loggers.interface import Start, Tracker

TENSORBOARD = "tensorboard"
"""Writes files beside metrics.jsonl; it has no thread here, as it has one of its own."""


def _open_wandb(start: Start) -> Tracker:
    from pipeline.loggers.weights_and_biases import WandbTracker

    return WandbTracker(start)


def _open_mlflow(start: Start) -> Tracker:
    from pipeline.loggers.mlflow_runs import MlflowTracker

    return MlflowTracker(start)


TRACKERS: dict[str, Callable[[Start], Tracker]] = {"wandb": _open_wandb, "mlflow": _open_mlflow}
NEEDED = ("wandb", "mlflow")
"""Those that need the package of their name, which the extra of that name installs."""


def check_loggers(names: Sequence[str]) -> None:
    """ValueError for a name that nobody offers, or one whose package is not installed."""
    known = [TENSORBOARD, *TRACKERS, *plugins.installed("loggers")]
    for name in names:
        if name not in known:
            raise ValueError(f"unknown logger {name!r}{suggestion(name, known)}")
        if name in NEEDED and importlib.util.find_spec(name) is None:
            raise ValueError(
                f"logger={name} needs the package {name}: pip install 'orbit-group-actions[{name}]'"
            )


def tracker_opener(name: str) -> Callable[[Start], Tracker]:
    """What opens a logger's run; a package's (`orbit.loggers`) is `make(start)` of a Kind."""

    def open_of_package(start: Start) -> Tracker:
        kind = plugins.load("loggers", name)
        if kind is None:
            raise ValueError(f"no package that is installed offers the logger {name!r}")
        tracker: Tracker = kind.make(start)
        return tracker

    return TRACKERS.get(name, open_of_package)
