"""What a reproduction is (`configs/reproduction/*.yaml`), and what was asked of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from launch.reports.papers import PaperColumn
from orbit.core.config.compose import compose, group_options, split_word
from orbit.core.config.limits import Count, limited
from orbit.core.config.roots import is_installed, take_configs
from orbit.core.config.schema import build, suggestion

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

    `method` is the one whose metrics fill the tables of datasets without columns of their own.
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
    method: str | None = None
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
            if self.tables and self.method is None and not own.columns and own.paper is None:
                raise ValueError(f"datasets.{dataset} has no columns: give some, or method=NAME")
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


PATH_KEYS = frozenset({"work", "mnist", "meshes", "results", "document"})
LIST_KEYS = ("only", "controls", "seeds")
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
@limited
class ReproductionRequest:
    """All keys of the command. `only`, `controls` and `seeds` null mean all."""

    reproduction: ReproductionSettings
    work: str | None = None
    mnist: str | None = None
    meshes: str | None = None
    preset: Preset = "small"
    only: tuple[str, ...] | None = None
    controls: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    num_parallel: Count = 2
    results: str | None = None
    document: str | None = None
    dry_run: bool = False
    tables: bool = False

    def __post_init__(self) -> None:
        if self.seeds is not None:
            check_seeds(self.seeds)
        if self.dry_run and self.tables:
            raise ValueError("dry_run=true has no effect with tables=true: it runs nothing")
        if self.preset != "small" and self.results is None and not self.dry_run:
            raise ValueError(
                f"preset={self.preset} needs results=DIR: docs/results/{self.reproduction.name}"
                " holds those of preset=small"
            )
        if self.results is None and is_installed():
            raise ValueError(
                "give results=DIR, a folder for result files: the published ones, docs/results,"
                " are part of the source repository"
            )
        if self.work is None and not (self.dry_run or self.tables):
            raise ValueError("give work=DIR, a folder for datasets, runs and logs")

    @property
    def results_dir(self) -> Path:
        """Folder of the result files."""
        if self.results is not None:
            return Path(self.results).absolute()
        return REPOSITORY / "docs" / "results" / self.reproduction.name

    @property
    def document_file(self) -> Path | None:
        """The text with the tables; None for results elsewhere that no document was named for."""
        if self.document is not None:
            return Path(self.document).absolute()
        return REPOSITORY / f"docs/{self.reproduction.name}.md" if self.results is None else None

    def files(self, key: str | None) -> str | None:
        """The folder that the command names for `mnist` or `meshes`, absolute."""
        folder: str | None = getattr(self, key) if key is not None else None
        return None if folder is None else str(Path(folder).absolute())


def read_request(words: Sequence[str]) -> ReproductionRequest:
    """The request of the command's words, of which the first is the reproduction's name.

    Raises ValueError with one line.
    """
    words = take_configs(words)
    known = group_options("reproduction")
    if not words or "=" in words[0]:
        raise ValueError(f"give the name of a reproduction first; known: {', '.join(known)}")
    name, *others = words
    if name not in known:
        raise ValueError(f"unknown reproduction {name!r}{suggestion(name, known)}")
    given = [f"reproduction={name}", *map(as_list_word, others)]
    return build(ReproductionRequest, compose("reproduce", given, PATH_KEYS))


def as_list_word(word: str) -> str:
    """`only=a,b` as `only=[a,b]`; every other word as it is."""
    key, value = split_word(word)
    is_bare = key in LIST_KEYS and value != "null" and not value.startswith("[")
    return f"{key}=[{value}]" if is_bare else word


def seconds_left(
    remaining: Sequence[str], seconds: Mapping[str, Sequence[float]], num_parallel: int
) -> float | None:
    """Seconds for runs on the `remaining` datasets, from those of finished ones by dataset.

    A dataset of which no run finished yet counts as the mean of the others; None while
    nothing is known.
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
