"""Configuration of `data_prep/prepare.py`."""

from dataclasses import dataclass
from typing import Literal

Pairing = Literal["orbit", "one", "all_pairs"]


@dataclass(frozen=True)
class DigitsSourceConfig:
    """The digits inside scikit-learn."""

    name: Literal["sklearn"]


@dataclass(frozen=True)
class MnistSourceConfig:
    """MNIST below `root` in torchvision's layout; `download` lets torchvision fetch it."""

    name: Literal["torchvision"]
    root: str | None = None
    download: bool = False


@dataclass(frozen=True)
class OrbitDatasetConfig:
    """Images paired with their transforms under a finite group.

    `val_fraction` and `test_fraction` are shares of the images that have no
    official split; null where the source brings one. The pairs of a split are, for
    each image, `orbit`: the image as source of every element; `one`: of one drawn
    element; `all_pairs`: every member of its orbit as source of every element.
    """

    name: str
    group: str
    val_fraction: float
    test_fraction: float | None
    train_pairs: Pairing
    val_pairs: Pairing
    test_pairs: Pairing
    shard_mib: float

    def __post_init__(self) -> None:
        taken = self.val_fraction + (self.test_fraction or 0.0)
        if not (0 < self.val_fraction < 1 and 0 < taken < 1):
            raise ValueError("val_fraction and test_fraction must leave images for training")
        if self.shard_mib <= 0:
            raise ValueError(f"shard_mib={self.shard_mib} must be positive")


@dataclass(frozen=True)
class PrepareConfig:
    """All keys of `prepare.py`. `num_samples` limits the source images of all splits together."""

    dataset: OrbitDatasetConfig
    source: DigitsSourceConfig | MnistSourceConfig
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
