"""All keys of `prepare.py`."""

from dataclasses import dataclass

from data_prep.settings.datasets import DatasetConfig
from data_prep.settings.sources import SourceConfig


@dataclass(frozen=True)
class PrepareConfig:
    """`num_samples` limits the source images of all splits together, or says how many to make."""

    dataset: DatasetConfig
    source: SourceConfig
    out: str
    seed: int = 0
    num_samples: int | None = None
    num_workers: int = 2
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")
        if self.num_samples is not None and self.num_samples < 3:
            raise ValueError(f"num_samples={self.num_samples} must be at least 3, one a split")
        if self.num_workers < 1:
            raise ValueError(f"num_workers={self.num_workers} must be at least 1")
