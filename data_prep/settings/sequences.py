"""Sequences with labels."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SequenceDatasetConfig:
    """Sinusoids of `num_points` points and `num_periods` periods, whose maxima are labelled.

    Amplitudes are uniform within `amplitude`, phases on the circle. `num_samples` are for
    training.
    """

    kind: Literal["sequences"]
    name: str
    num_points: int
    num_periods: int
    amplitude: tuple[float, float]
    num_samples: int
    num_val_samples: int
    num_test_samples: int
    shard_mib: float

    def __post_init__(self) -> None:
        for name in ("num_samples", "num_val_samples", "num_test_samples"):
            if not 1 <= getattr(self, name) < 2**32:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1, and below 2^32")
        low, high = self.amplitude
        if not 0 < low <= high < 100:
            raise ValueError(f"amplitude=[{low},{high}] must ascend between 0 and 100")
        if self.num_periods < 1 or self.num_points % self.num_periods:
            raise ValueError(
                f"num_periods={self.num_periods} must divide num_points={self.num_points}, so that"
                " a shift by a point leads to a sinusoid again"
            )
        if self.num_points < 4 * self.num_periods:
            raise ValueError(f"num_points={self.num_points} must be at least four for each period")
        if self.shard_mib <= 0:
            raise ValueError(f"shard_mib={self.shard_mib} must be positive")
