"""Configuration of `pipeline/evaluate.py`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EvaluateConfig:
    """`checkpoint` is best, last or a step; `data` where the dataset lies, if it has moved.

    `pictures=false` leaves orbits.png as it is.
    """

    run_dir: str
    checkpoint: str | int = "best"
    data: str | None = None
    split: Literal["train", "val", "test"] = "test"
    batch: int = 256
    num_threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False
    pictures: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "num_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
