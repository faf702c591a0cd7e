"""The settings of a reproduction (`configs/reproduction/*.yaml`), and the request of a call."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from launch.reports.papers import PaperColumn

Preset = Literal["small", "measured", "full"]
Split = Literal["train", "val", "test"]
PUBLISHED: tuple[Preset, ...] = ("small", "measured")
"""The presets whose results lie in docs/results and fill the tables of a paper's page."""

NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")
SET_BY_THE_PROGRAM = frozenset(
    {"seed", "data", "run_dir", "out", "source.root", "experiment", "split"}
)


def _check_names(what: str, names: Iterable[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{what}.{name}: names consist of a-z, 0-9, _ and .")


def _check_overrides(what: str, overrides: Iterable[str]) -> None:
    for override in overrides:
        key, separator, _ = override.partition("=")
        if not separator or not key:
            raise ValueError(f"{what}: {override!r} does not have the form key=value")
        if key in SET_BY_THE_PROGRAM:
            raise ValueError(f"{what}: {key} is set by the program")


@dataclass(frozen=True)
class PresetOverrides:
    """Overrides of one preset, added to those that hold for all presets.

    `experiment` and `seeds`, if given, replace those of the dataset and of the reproduction.
    `variants`, if given, lists all variants of the preset with their seeds.
    """

    prepare: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    classify: tuple[str, ...] = ()
    experiment: str | None = None
    seeds: tuple[int, ...] | None = None
    variants: dict[str, tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_seeds(self.seeds)
        for seeds in (self.variants or {}).values():
            check_seeds(seeds)
        if self.seeds is not None and self.variants is not None:
            raise ValueError("seeds has no effect with variants, which lists them by variant")
        _check_overrides("prepare", self.prepare)
        _check_overrides("train", self.train)
        _check_overrides("classify", self.classify)


@dataclass(frozen=True)
class PaperRows:
    """The position of a dataset's numbers in the paper: `table` is a caption, `rows` the names of
    rows by variant."""

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
    """One dataset: the overrides of `data_prep/prepare.py`, and the experiment that trains on it.

    `files` names the key of the command that gives the path of its images, null if they are drawn.
    `classify` replaces the reproduction's own overrides; an empty list classifies nothing.
    `tests` are further datasets, overrides of `data_prep/prepare.py` by
    name, on whose test splits runs are evaluated too: their metrics start with that name and a
    slash. The dataset's table has the columns of `leading`, then those of the paper's numbers to
    compare with, which `paper` names, then `columns`: metrics by name with heading and factor.
    `floors` do not depend on the method, and stand in a line below the table. `short` names columns
    of a small table, `DATASET/short`.
    `evaluate` and `reference` replace those of the reproduction: not every dataset can be measured
    as the others are. `splits` are those on which runs are evaluated:
    the metrics of the first are in the tables, those of further ones, without analyses, start with
    the split's name and a slash.

    A preset that is null has no runs on this dataset. Results of `small` and `measured` have the
    same files, so both presets must have the same overrides where a dataset has both.
    """

    experiment: str
    prepare: tuple[str, ...]
    small: PresetOverrides | None = PresetOverrides()
    measured: PresetOverrides | None = None
    full: PresetOverrides | None = PresetOverrides()
    files: Literal["mnist", "meshes"] | None = None
    classify: tuple[str, ...] | None = None
    evaluate: tuple[str, ...] | None = None
    tests: dict[str, tuple[str, ...]] = field(default_factory=dict)
    paper: PaperRows | None = None
    leading: dict[str, PaperColumn] = field(default_factory=dict)
    columns: dict[str, PaperColumn] = field(default_factory=dict)
    floors: tuple[PaperColumn, ...] = ()
    short: tuple[str, ...] = ()
    reference: str | None = None
    splits: tuple[Split, ...] = ("test",)

    def __post_init__(self) -> None:
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise ValueError(f"splits={list(self.splits)} must name at least one, and none twice")
        _check_overrides("prepare", self.prepare)
        _check_overrides("classify", self.classify or ())
        _check_overrides("evaluate", self.evaluate or ())
        _check_names("tests", self.tests)
        for name, overrides in self.tests.items():
            _check_overrides(f"tests.{name}", overrides)
        check_known("short", self.short, self.columns)
        both = [name for name in self.leading if name in self.columns]
        if both:
            raise ValueError(f"leading and columns both have {both[0]!r}")
        if self.small is None and self.measured is None and self.full is None:
            raise ValueError("small, measured and full are null: no preset has runs")
        small, measured = self.small, self.measured
        if small is not None and measured is not None:
            differing = [
                name
                for name in ("prepare", "train", "classify", "experiment")
                if getattr(small, name) != getattr(measured, name)
            ]
            if differing:
                raise ValueError(
                    f"small and measured differ in {', '.join(differing)}, and their results have"
                    " the same files: what is measured otherwise is a dataset of its own"
                )

    def experiment_of(self, preset: Preset) -> str:
        """The experiment that trains on this dataset."""
        own = self.preset(preset)
        return (own.experiment if own is not None else None) or self.experiment

    def preset(self, name: Preset) -> PresetOverrides | None:
        """The overrides of a preset; None if it has no runs on this dataset."""
        return {"small": self.small, "measured": self.measured, "full": self.full}[name]


@dataclass(frozen=True)
class VariantSettings:
    """The method or one of its controls: overrides of `pipeline/train.py`.

    `classify` are overrides added to those of the dataset, if it is classified. `datasets` null
    means all; `small_seeds` replaces the seeds under preset=small, unless the dataset lists seeds
    by variant; preset=small leaves out the datasets of `full_only`. `experiments` replace that of a
    dataset: an experiment, and overrides that only this dataset needs, with blanks between them.
    `{experiment}` in it stands for the dataset's own: `{experiment} task.model.latent_size=8`.
    """

    train: tuple[str, ...] = ()
    classify: tuple[str, ...] = ()
    datasets: tuple[str, ...] | None = None
    small_seeds: tuple[int, ...] | None = None
    full_only: tuple[str, ...] = ()
    experiments: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_overrides("train", self.train)
        _check_overrides("classify", self.classify)
        for dataset, words in self.experiments.items():
            if not words.split():
                raise ValueError(f"experiments.{dataset} is empty: name an experiment")
            _check_overrides(f"experiments.{dataset}", words.split()[1:])
        if self.small_seeds is not None:
            check_seeds(self.small_seeds)


@dataclass(frozen=True)
class ReproductionSettings:
    """Datasets x variants x seeds, and the tables that are made of them.

    `method` is the one whose metrics fill the tables of datasets without columns of their own.
    `train`, `evaluate` and `classify` are overrides of all runs. Nothing is classified if
    `classify` is empty and the dataset has no `classify` of its own. `tables` lists the rows of
    each table. `paper` is a file in docs/papers, for datasets that name one of its tables. `panels`
    are the panels of figures, for the metrics that a dataset's results have. `reference` is the
    variant with which the others are compared seed by seed, in the metrics of `panels`. `masks` are
    the variants whose masks are compared over seeds. `{seed}` in `classify` stands for the run's
    seed. With `guests`, result files of variants that are not listed here are rows too, if they
    were prepared and evaluated as a dataset says: methods of other packages join in this way.
    `also` are further texts of this repository with tables of this reproduction.
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
    method: str | None = None
    panels: tuple[Panel, ...] = ()
    reference: str | None = None
    masks: tuple[str, ...] = ()
    guests: bool = False
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_known("masks", self.masks, self.variants)
        titles = [panel.title for panel in self.panels]
        if len(set(titles)) < len(titles):
            raise ValueError(f"panels: two have one title: {', '.join(titles)}")
        _check_names("datasets", self.datasets)
        _check_names("variants", self.variants)
        _check_names("tables", self.tables)
        for name in ("train", "evaluate", "classify"):
            _check_overrides(name, getattr(self, name))
        check_seeds(self.seeds)
        for variant, settings in self.variants.items():
            check_known(f"variants.{variant}.datasets", settings.datasets or (), self.datasets)
            own_datasets = settings.datasets or self.datasets
            check_known(f"variants.{variant}.full_only", settings.full_only, own_datasets)
            check_known(f"variants.{variant}.experiments", settings.experiments, own_datasets)
        for table, rows in self.tables.items():
            check_known(f"tables.{table}", rows, self.variants)
        for dataset, own in self.datasets.items():
            for preset in get_args(Preset):
                listed = getattr(own.preset(preset), "variants", None) or ()
                there = [name for name in self.variants if self.has(dataset, name)]
                check_known(f"datasets.{dataset}.{preset}.variants", listed, there)
            if self.tables and self.method is None and not own.columns and own.paper is None:
                raise ValueError(f"datasets.{dataset} has no columns: give some, or method=NAME")
            if own.paper is not None and self.paper is None:
                raise ValueError(f"datasets.{dataset}.paper has no effect: paper is null")
            if own.reference is not None:
                known = [variant for variant in self.variants if self.has(dataset, variant)]
                check_known(f"datasets.{dataset}.reference", [own.reference], known)
        if self.reference is not None:
            check_known("reference", [self.reference], self.variants)

    def table_variants(self, table: str, dataset: str) -> list[str]:
        """The rows of a table that exist for a dataset."""
        return [name for name in self.tables[table] if self.has(dataset, name)]

    def presets_of(self, dataset: str, presets: Iterable[Preset]) -> list[Preset]:
        """Those of the presets that have runs on a dataset."""
        own = self.datasets[dataset]
        return [preset for preset in presets if own.preset(preset) is not None]

    def has(self, dataset: str, variant: str) -> bool:
        """Whether a variant is trained on a dataset."""
        datasets = self.variants[variant].datasets
        return datasets is None or dataset in datasets

    def experiment_of(self, dataset: str, variant: str, preset: Preset) -> tuple[str, ...]:
        """The experiment that trains a variant on a dataset, and the overrides that go with it."""
        usual = self.datasets[dataset].experiment_of(preset)
        own = self.variants[variant].experiments.get(dataset, usual)
        experiment, *overrides = own.replace("{experiment}", usual).split()
        return f"experiment={experiment}", *overrides

    def reference_of(self, dataset: str) -> str | None:
        """The variant with which others are compared on a dataset; None if it has none."""
        chosen = self.datasets[dataset].reference or self.reference
        return chosen if chosen is not None and self.has(dataset, chosen) else None


def check_seeds(seeds: tuple[int, ...]) -> None:
    """Raise ValueError unless there are seeds, all different and not negative."""
    if not seeds:
        raise ValueError("seeds=[] leaves nothing to run")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={list(seeds)} names one twice")
    if min(seeds) < 0:
        raise ValueError(f"seeds={list(seeds)} must not be negative")


def check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError for the first unknown name."""
    options = list(known)
    for name in names:
        if name not in options:
            raise ValueError(f"{what}: unknown {name!r}; known: {', '.join(options)}")


REPOSITORY = Path(__file__).resolve().parents[2]


def seconds_left(
    remaining: Sequence[str], seconds: Mapping[str, Sequence[float]], num_parallel: int
) -> float | None:
    """An estimate of the seconds for runs on the `remaining` datasets, from finished ones.

    A dataset without a finished run counts as the mean of the others; None while nothing is known.
    """
    known = {name: sum(values) / len(values) for name, values in seconds.items() if values}
    if not known:
        return None
    usual = sum(known.values()) / len(known)
    total = sum(known.get(name, usual) for name in remaining)
    return total / max(1, min(num_parallel, len(remaining)))


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3:05 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 100 else f"{minutes} min"
