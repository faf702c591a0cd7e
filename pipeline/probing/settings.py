"""Configuration of `pipeline/classify.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from orbit.core.config.limits import Count, at_least, limited

FeatureName = Literal[
    "z",
    "z_v",
    "z_i",
    "pooled_z",
    "pooled_z_v",
    "pooled_z_i",
    "pixels",
    "untrained_z",
    "untrained_pooled_z",
    "untrained_pooled_z_v",
]
LabelKind = Literal["upright", "rotated"]
ClassifierName = Literal["linear", "mlp"]


@dataclass(frozen=True)
@limited
class ClassifyConfig:
    """`checkpoint` is best, last or a step; `data` where the dataset lies, if it has moved.

    `labels` are the images that have labels in training: upright ones, or each moved by
    a random element. `max_train` bounds how many they are, fractions are of these.
    `overwrite=true` computes anew what a file holds already.
    """

    run_dir: str
    features: tuple[FeatureName, ...]
    labels: tuple[LabelKind, ...]
    fractions: tuple[float, ...]
    classifiers: tuple[ClassifierName, ...]
    seeds: tuple[int, ...]
    checkpoint: str | int = "best"
    data: str | None = None
    max_train: Annotated[int, at_least(2)] = 10_000
    batch: Count | None = None
    num_threads: Count = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("features", "labels", "fractions", "classifiers", "seeds"):
            _check_list(name, getattr(self, name))
        for fraction in self.fractions:
            if not 0 < fraction <= 1:
                raise ValueError(f"fractions: {fraction:g} must lie above 0 and not above 1")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds: {min(self.seeds)} must not be negative")

    def what_is_measured(self) -> dict[str, Any]:
        """The settings on which scores depend, as JSON holds them."""
        lists = ("features", "labels", "fractions", "classifiers", "seeds")
        return {**{name: list(getattr(self, name)) for name in lists}, "max_train": self.max_train}


def classification_file(step: int, other_dataset: str | None = None) -> str:
    """Name below `classification/`; another dataset than the run's own marks it."""
    suffix = f"-{other_dataset[:8]}" if other_dataset else ""
    return f"step_{step:08d}{suffix}.json"


def _check_list(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise ValueError(f"{name}=[] must name at least one")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} names one of {list(values)} twice")
