"""What a reproduction is: `configs/reproduction/*.yaml`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from launch.reports.papers import PaperColumn

Preset = Literal["small", "full"]

NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")
SET_BY_THE_PROGRAM = frozenset({"seed", "data", "run_dir", "out", "source.root", "experiment"})


def _check_names(what: str, names: Iterable[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{what}.{name}: names consist of a-z, 0-9, _ and .")


def _check_words(what: str, words: Iterable[str]) -> None:
    for word in words:
        key, separator, _ = word.partition("=")
        if not separator or not key:
            raise ValueError(f"{what}: {word!r} does not have the form key=value")
        if key in SET_BY_THE_PROGRAM:
            raise ValueError(f"{what}: {key} is set by the program")


@dataclass(frozen=True)
class PresetWords:
    """Words of one preset, after those that hold for both.

    `experiment` and `seeds`, if given, replace those of the dataset and of the reproduction.
    """

    prepare: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    classify: tuple[str, ...] = ()
    experiment: str | None = None
    seeds: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_seeds(self.seeds)
        _check_words("prepare", self.prepare)
        _check_words("train", self.train)
        _check_words("classify", self.classify)


@dataclass(frozen=True)
class PaperRows:
    """Where a dataset's numbers stand in the paper: `table` by its caption, and of its `rows`
    the name by variant."""

    table: str
    rows: dict[str, str]


@dataclass(frozen=True)
class Panel:
    """A panel of the figures: `metric` times `factor` under `title`, with `log` on a
    logarithmic axis."""

    title: str
    metric: str
    factor: float = 1.0
    log: bool = False


@dataclass(frozen=True)
class DatasetSettings:
    """One dataset: the words of `data_prep/prepare.py`, and the experiment that trains on it.

    `files` names the key of the command that says where its images lie, null if it draws
    them. `classify` replaces the reproduction's own words; an empty list classifies nothing.
    `{variant}` in `experiment` stands for the variant's name, or its `network`:
    `blocks_3d/{variant}`.
    `tests` are further datasets, words of `data_prep/prepare.py` by name, on whose test splits
    runs are evaluated too: their metrics have that name and a slash before them. `paper` says
    which of the paper's numbers stand beside; its columns come first in the dataset's table,
    then `columns`, metrics by name with heading and factor.
    """

    experiment: str
    prepare: tuple[str, ...]
    small: PresetWords = PresetWords()
    full: PresetWords = PresetWords()
    files: Literal["mnist", "meshes"] | None = None
    classify: tuple[str, ...] | None = None
    tests: dict[str, tuple[str, ...]] = field(default_factory=dict)
    paper: PaperRows | None = None
    columns: dict[str, PaperColumn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_words("prepare", self.prepare)
        _check_words("classify", self.classify or ())
        _check_names("tests", self.tests)
        for name, words in self.tests.items():
            _check_words(f"tests.{name}", words)

    def experiment_of(self, network: str, preset: Preset) -> str:
        """The experiment that trains a variant's network on this dataset."""
        chosen = self.preset(preset).experiment or self.experiment
        return chosen.replace("{variant}", network)

    def preset(self, name: Preset) -> PresetWords:
        """The words of a preset."""
        return self.small if name == "small" else self.full


@dataclass(frozen=True)
class VariantSettings:
    """The method or one of its controls: words of `pipeline/train.py`.

    `classify` are words after those of the dataset, where anything is classified.
    `datasets` null means all; `small_seeds` replaces the seeds under preset=small, which
    leaves out the datasets of `full_only`. `network` is what `{variant}` in an experiment stands
    for; null means the variant's name.
    """

    train: tuple[str, ...] = ()
    classify: tuple[str, ...] = ()
    datasets: tuple[str, ...] | None = None
    small_seeds: tuple[int, ...] | None = None
    full_only: tuple[str, ...] = ()
    network: str | None = None

    def __post_init__(self) -> None:
        _check_words("train", self.train)
        _check_words("classify", self.classify)
        if self.small_seeds is not None:
            check_seeds(self.small_seeds)


@dataclass(frozen=True)
class ReproductionSettings:
    """Datasets x variants x seeds, and the tables that are made of them.

    `train`, `evaluate` and `classify` are words of all runs; with `classify` empty and no
    words of the dataset's own, nothing is classified. `tables` lists the rows of each table.
    `paper` is a file in docs/papers, for datasets that name a table of it. `panels` are what
    the figures show, as far as a dataset's results have it.
    """

    name: str
    seeds: tuple[int, ...]
    datasets: dict[str, DatasetSettings]
    variants: dict[str, VariantSettings]
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    train: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    classify: tuple[str, ...] = ()
    paper: str | None = None
    panels: tuple[Panel, ...] = ()

    def __post_init__(self) -> None:
        titles = [panel.title for panel in self.panels]
        if len(set(titles)) < len(titles):
            raise ValueError(f"panels: two have one title: {', '.join(titles)}")
        _check_names("datasets", self.datasets)
        _check_names("variants", self.variants)
        _check_names("tables", self.tables)
        for name in ("train", "evaluate", "classify"):
            _check_words(name, getattr(self, name))
        check_seeds(self.seeds)
        for variant, settings in self.variants.items():
            check_known(f"variants.{variant}.datasets", settings.datasets or (), self.datasets)
            own_datasets = settings.datasets or self.datasets
            check_known(f"variants.{variant}.full_only", settings.full_only, own_datasets)
        for table, rows in self.tables.items():
            check_known(f"tables.{table}", rows, self.variants)
        for dataset, own in self.datasets.items():
            if own.paper is not None and self.paper is None:
                raise ValueError(f"datasets.{dataset}.paper has no effect: paper is null")

    def table_variants(self, table: str, dataset: str) -> list[str]:
        """Rows of a table that exist for a dataset."""
        return [name for name in self.tables[table] if self.has(dataset, name)]

    def has(self, dataset: str, variant: str) -> bool:
        """Whether a variant is run on a dataset."""
        datasets = self.variants[variant].datasets
        return datasets is None or dataset in datasets


def check_seeds(seeds: tuple[int, ...]) -> None:
    """ValueError unless seeds are there, differ and are not negative."""
    if not seeds:
        raise ValueError("seeds=[] leaves nothing to run")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={list(seeds)} names one twice")
    if min(seeds) < 0:
        raise ValueError(f"seeds={list(seeds)} must not be negative")


def check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """ValueError for the first name that is not known."""
    options = list(known)
    for name in names:
        if name not in options:
            raise ValueError(f"{what}: unknown {name!r}; known: {', '.join(options)}")
