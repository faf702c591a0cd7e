"""Configuration of `pipeline/export.py`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportConfig:
    """`run_dir` is the trained run, `out` the folder to be made, RUN_DIR/export if null.

    `checkpoint` is best, last or a step; `data` is where the run's dataset lies, if it has
    moved. `overwrite` replaces an earlier export in `out`. What was exported must agree with
    the model to `tolerance`, on images with values 0 to 1. `num_threads` is for this check.
    """

    run_dir: str
    checkpoint: str | int = "best"
    data: str | None = None
    out: str | None = None
    overwrite: bool = False
    tolerance: float = 1e-5
    num_threads: int = 1

    @property
    def out_dir(self) -> Path:
        """The folder to be made."""
        return Path(self.run_dir) / "export" if self.out is None else Path(self.out)

    def __post_init__(self) -> None:
        if self.num_threads < 1:
            raise ValueError(f"num_threads={self.num_threads} must be at least 1")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance} must lie between 0 and 1")
