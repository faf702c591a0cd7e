"""Small training runs inside the test process."""

from pathlib import Path
from typing import Any

from orbit.core.config.compose import compose
from orbit.core.config.schema import build, path_keys
from orbit.core.signals import StopRequest
from pipeline.run_files.reading import read_metrics, without_wall_clock
from pipeline.training.settings import TrainConfig

PATH_KEYS = path_keys(TrainConfig)


def make_config(data: Path, run_dir: Path, *words: str) -> TrainConfig:
    """A run of 3 epochs of 17 steps on a narrow model, in the float32 that every machine has.

    `words` are further `key=value` words, which win.
    """
    defaults = (
        *("epochs=3", "global_batch=32", "task.model.width=8", "log_every=5"),
        "precision=fp32",
    )
    given = [f"data={data}", f"run_dir={run_dir}", *defaults, *words]
    return build(TrainConfig, compose("train", given, PATH_KEYS))


class StopAfter(StopRequest):
    """Asks to stop after `num_steps` steps, as a signal would."""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self._left = num_steps

    def install(self) -> None:
        """Leave the test process's own signal handlers alone."""

    @property
    def signal_name(self) -> str | None:
        self._left -= 1
        return "SIGTERM" if self._left <= 0 else None

    @signal_name.setter
    def signal_name(self, name: str | None) -> None:
        pass


def never_stop() -> StopRequest:
    """A request that leaves the signal handlers of the test process alone."""
    return StopAfter(10**9)


def reproducible_lines(run_dir: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock."""
    return [without_wall_clock(line) for line in read_metrics(run_dir / "metrics.jsonl")]


def final_weights(run_dir: Path) -> bytes:
    """The bytes of the newest checkpoint's weights."""
    newest = max((run_dir / "checkpoints").glob("step_????????"))
    return (newest / "model.safetensors").read_bytes()
