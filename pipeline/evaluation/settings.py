"""Configuration of `pipeline/evaluate.py`."""

from dataclasses import dataclass
from typing import Literal

from orbit.core.config.limits import Count, limited


@dataclass(frozen=True)
@limited
class EvaluateConfig:
    """`checkpoint` is best, last or a step; `data` where the dataset lies, if it has moved.

    `analyses=false` measures what is measured during training and no more; otherwise
    each analysis reads up to `analysis_records` records (of worlds: so many episodes); null
    is the task's own choice. `pictures=false` leaves all pictures as they are.
    """

    run_dir: str
    checkpoint: str | int = "best"
    data: str | None = None
    split: Literal["train", "val", "test"] = "test"
    batch: Count | None = None
    num_threads: Count = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False
    pictures: bool = True
    analyses: bool = True
    analysis_records: Count | None = None

    def __post_init__(self) -> None:
        if not self.analyses and self.analysis_records is not None:
            raise ValueError("analysis_records has no effect with analyses=false")


def evaluation_file(step: int, split: str, other_dataset: str | None = None) -> str:
    """Name of an evaluation below `evaluations/`; another dataset than the run's own marks it."""
    suffix = f"-{other_dataset[:8]}" if other_dataset else ""
    return f"step_{step:08d}-{split}{suffix}.json"


def curves_file(evaluation: str) -> str:
    """Where the curves of an evaluation go: beside it."""
    return evaluation.removesuffix(".json") + "-curves.json"
