"""All keys of `prepare.py`."""

from dataclasses import dataclass
from pathlib import Path

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
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed} must not be negative, and below 2^63")
        if self.num_samples is not None and self.num_samples < 3:
            raise ValueError(f"num_samples={self.num_samples} must be at least 3, one a split")
        if self.num_workers < 1:
            raise ValueError(f"num_workers={self.num_workers} must be at least 1")
        _check_apart(self.out, getattr(self.source, "root", None))


def _check_apart(out: str, root: str | None) -> None:
    """What is written must not come to lie among the user's files, nor around them."""
    if root is None:
        return
    try:
        written, read = Path(out).resolve(), Path(root).resolve()
    except ValueError:  # No path at all; opening it says so.
        return
    if read.is_relative_to(written) or (read.is_dir() and written.is_relative_to(read)):
        raise ValueError(f"out={out} and source.root={root} must not lie in one another")
