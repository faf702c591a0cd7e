"""Configuration of the programs that use a run: evaluate, classify, apply, export."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from orbit.core.config.limits import Count, InnerShare, Percentiles, at_least, limited
from orbit.core.config.schema import FilePath


@dataclass(frozen=True)
@limited
class EvaluateConfig:
    """`checkpoint` is best, last or a step; `data` is the dataset's path, if it has moved.

    `analyses=false` measures only the metrics of training; otherwise each analysis reads up to
    `analysis_records` records (for worlds: episodes); null is the method's own choice.
    `pictures=false` draws no pictures. `referee=true` also takes the measures that all methods
    with a latent share, on views of the same objects, which takes a minute or more.
    """

    run_dir: FilePath
    checkpoint: str | int = "best"
    data: FilePath | None = None
    split: Literal["train", "val", "test"] = "test"
    batch: Count | None = None
    num_threads: Count = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False
    pictures: bool = True
    analyses: bool = True
    analysis_records: Count | None = None
    referee: bool = False

    def __post_init__(self) -> None:
        if not self.analyses and self.analysis_records is not None:
            raise ValueError("analysis_records has no effect with analyses=false")


def evaluation_file(step: int, split: str, other_dataset: str | None = None) -> str:
    """Name of an evaluation below `evaluations/`; another dataset than the run's own marks it."""
    suffix = f"-{other_dataset[:8]}" if other_dataset else ""
    return f"step_{step:08d}-{split}{suffix}.json"


def curves_file(evaluation: str) -> str:
    """Name of the file of an evaluation's curves, in the same folder."""
    return evaluation.removesuffix(".json") + "-curves.json"


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
    "orbit_z",
    "orbit_pooled_z",
    "orbit_pixels",
    "untrained_orbit_z",
    "untrained_orbit_pooled_z",
]
LabelKind = Literal["upright", "rotated"]
ClassifierName = Literal["linear", "mlp"]


@dataclass(frozen=True)
@limited
class ClassifyConfig:
    """`checkpoint` is best, last or a step; `data` is the dataset's path, if it has moved.

    `labels` says how labelled training images are posed: upright, or each moved by a random
    element. Features with `orbit_` in their names are means over all elements of a finite group;
    they do not depend on the pose if it acts on whole frames. `max_train` limits the number of
    labelled images, and `fractions` are shares of it. `scored=val` takes validation images that no
    fit uses, for choices that must not depend on test images. `overwrite=true` measures again and
    replaces the file.
    """

    run_dir: FilePath
    features: tuple[FeatureName, ...]
    labels: tuple[LabelKind, ...]
    fractions: tuple[float, ...]
    classifiers: tuple[ClassifierName, ...]
    seeds: tuple[int, ...]
    checkpoint: str | int = "best"
    data: FilePath | None = None
    scored: Literal["test", "val"] = "test"
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
        return {
            **{name: list(getattr(self, name)) for name in lists},
            "max_train": self.max_train,
            "scored": self.scored,
        }


def classification_file(step: int, other_dataset: str | None = None) -> str:
    """Name below `classification/`; another dataset than the run's own marks it."""
    suffix = f"-{other_dataset[:8]}" if other_dataset else ""
    return f"step_{step:08d}{suffix}.json"


def _check_list(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise ValueError(f"{name}=[] must name at least one")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} names one of {list(values)} twice")


Resize = Literal["as_prepared", "none", "crop", "pad"]
"""How a file is brought to the model's size."""


@dataclass(frozen=True)
@limited
class ApplyConfig:
    """`images` is a file or a folder of files; `element` names the elements that act.

    `run_dir` is the trained run, `checkpoint` is best, last or a step, `data` is its dataset's
    path, if it has moved. Results go to `out`, RUN_DIR/applied if null; `overwrite` lets them
    replace files there, and `sheet` adds a contact sheet. `element` is one, a list [90,180], `all`
    or `examples`.

    `resize=none` accepts only files of the model's own size; `crop` cuts the largest square or cube
    about the centre, `pad` pads with black to a square or cube, and both then resample.
    `as_prepared` does what the preparation of the dataset did. `percentiles` of a volume's grey
    values become black and white; null takes those of the dataset. `to_grey` converts coloured
    pictures for a grey model.

    Pictures larger than `max_megapixels`, in millions of pixels, are refused: decoding takes
    memory. The model processes `batch` images at a time (null chooses by their size and the batch
    of training), on `device` with `num_threads` threads.
    """

    run_dir: FilePath
    images: FilePath
    element: str
    checkpoint: str | int = "best"
    data: FilePath | None = None
    out: FilePath | None = None
    resize: Resize = "as_prepared"
    to_grey: bool = False
    percentiles: Percentiles | None = None
    max_megapixels: Count = 90
    sheet: bool = True
    overwrite: bool = False
    batch: Count | None = None
    num_threads: Count = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def out_dir(self) -> Path:
        """The folder of the results."""
        return Path(self.run_dir) / "applied" if self.out is None else Path(self.out)


@dataclass(frozen=True)
@limited
class ExportConfig:
    """`run_dir` is the trained run, `out` the folder to write, RUN_DIR/export if null.

    `checkpoint` is best, last or a step; `data` is the path of the run's dataset, if it has moved.
    `overwrite` replaces an earlier export in `out`. Exported programs must agree with the model
    within `tolerance`, on images with values 0 to 1. `num_threads` is for this check.
    """

    run_dir: FilePath
    checkpoint: str | int = "best"
    data: FilePath | None = None
    out: FilePath | None = None
    overwrite: bool = False
    tolerance: InnerShare = 1e-5
    num_threads: Count = 1

    @property
    def out_dir(self) -> Path:
        """The folder to write."""
        return Path(self.run_dir) / "export" if self.out is None else Path(self.out)


LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")


@dataclass(frozen=True)
@limited
class ShareConfig:
    """`run_dir` is the trained run, `out` the folder to write.

    `checkpoint` is best, last or a step. `name` is the model's name in its card, by default the
    directory's name; `license` is an identifier such as mit or cc-by-4.0, null leaves it unknown.
    `pictures=false` leaves out the pictures, which show records of the dataset. If the run has no
    evaluation, the metrics of `describe` are measured for the card, on the dataset at `data` if it
    has moved. `overwrite` replaces a folder that was shared before.
    """

    run_dir: FilePath
    out: FilePath
    checkpoint: str | int = "best"
    name: str | None = None
    license: str | None = None
    pictures: bool = True
    data: FilePath | None = None
    overwrite: bool = False
    num_threads: Count = 1

    def __post_init__(self) -> None:
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise ValueError(f"license={self.license} is no identifier, such as mit or cc-by-4.0")
