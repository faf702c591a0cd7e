"""The runs of a paper's reproduction, and the rows of its tables. Pure functions."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from launch.reproduction.settings import (
    PUBLISHED,
    REPOSITORY,
    Preset,
    ReproductionSettings,
    check_known,
)
from orbit.core.config.former import former_spellings

SHORT = 8


@dataclass(frozen=True)
class PlannedRun:
    """One run: the overrides of its four programs, without paths.

    `classify` empty means that nothing is classified. `files` is the key of the command that gives
    the path of the dataset's images. `tests` are further datasets for evaluation, by name, with the
    overrides of their preparation. `has_bf16` says whether the machine has units for bf16. It is
    evaluated on each of `splits`. `former_classify` are the overrides of classification of earlier
    versions, if they differ.
    """

    dataset: str
    variant: str
    seed: int
    prepare: tuple[str, ...]
    train: tuple[str, ...]
    evaluate: tuple[str, ...]
    classify: tuple[str, ...]
    files: str | None = None
    tests: tuple[tuple[str, tuple[str, ...]], ...] = ()
    has_bf16: bool = True
    former_classify: tuple[str, ...] | None = None
    splits: tuple[str, ...] = ("test",)

    @property
    def train_here(self) -> tuple[str, ...]:
        """Overrides of training for this machine: fp32 instead of bf16 if bf16 is only slower."""
        if self.has_bf16:
            return self.train
        return tuple(
            "precision=fp32" if override == "precision=bf16" else override
            for override in self.train
        )

    @property
    def precision(self) -> str | None:
        """The precision of training on this machine; None if no override names it."""
        return precision_in(self.train_here)

    @property
    def digest(self) -> str:
        """Hex digest of all overrides on this machine: everything that determines the result,
        without paths."""
        return self._digest(self.train_here, self.classify)

    def made(self, result: Mapping[str, Any], any_classification: bool = False) -> bool:
        """Whether a result was made with these overrides, on a machine like this, or with
        equivalent ones of earlier versions.

        Earlier versions gave fp32 instead of bf16 the digest of bf16; the result's own overrides
        say which it was. With `any_classification` the probe may be one of an earlier version.
        """
        if precision_of(result) != self.precision:
            return False
        trains = [*former_spellings(self.train_here), *former_spellings(self.train)]
        classify = [self.classify]
        if any_classification and self.former_classify is not None:
            classify.append(self.former_classify)
        return result["digest"] in {self._digest(t, c) for t in trains for c in classify}

    def _digest(self, train: tuple[str, ...], classify: tuple[str, ...]) -> str:
        overrides: dict[str, object] = {
            "prepare": self.prepare,
            "train": train,
            "evaluate": self.evaluate,
            "classify": classify,
        }
        if self.tests:
            overrides["tests"] = self.tests
        if self.splits != ("test",):
            overrides["splits"] = self.splits
        return _digest(overrides)

    @property
    def name(self) -> str:
        """`planes/half_mask_seed1`."""
        return f"{self.dataset}/{self.variant}_seed{self.seed}"

    @property
    def result_name(self) -> str:
        """The path of its result file, without ending: its name, and `_fp32` for fp32 instead of
        bf16, so that results of both are kept side by side."""
        return f"{self.name}{FALLBACK}" if self.train_here != self.train else self.name

    @property
    def work_name(self) -> str:
        """Name of its run directory and log, which differs if the overrides of training differ."""
        return self.work_names[0]

    @property
    def work_names(self) -> list[str]:
        """`work_name`, and the names of the same run in earlier versions."""
        digests = [_digest([self.prepare, train]) for train in former_spellings(self.train_here)]
        return [f"{self.dataset}-{self.variant}_seed{self.seed}-{d[:SHORT]}" for d in digests]

    @property
    def datasets(self) -> tuple[tuple[str, ...], ...]:
        """Overrides of preparation of its own dataset, and of those on which it is also tested."""
        return (self.prepare, *(overrides for _, overrides in self.tests))


FALLBACK = "_fp32"


def precision_in(train: Sequence[str]) -> str | None:
    """The value of the last `precision=` among overrides of training."""
    named = [override for override in train if override.startswith("precision=")]
    return named[-1].removeprefix("precision=") if named else None


def precision_of(result: Mapping[str, Any]) -> str | None:
    """The precision in which a result was trained; None if its overrides do not name it."""
    return precision_in(result.get("words", {}).get("train", ()))


def data_name(prepare: tuple[str, ...]) -> str:
    """`shapes_2d-0a1b2c3d`, from the overrides of a dataset's preparation."""
    named = [
        override.removeprefix("dataset=") for override in prepare if override.startswith("dataset=")
    ]
    return f"{(named or ['data'])[0]}-{_digest(prepare)[:SHORT]}"


def make_plan(
    settings: ReproductionSettings,
    preset: Preset,
    only: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[PlannedRun]:
    """The requested runs; the first seed of everything comes before a second one.

    None means all. Given seeds apply to every variant that the preset has. Raises ValueError for an
    unknown dataset or variant, or if nothing is left to run.
    """
    check_known("only", only or (), settings.datasets)
    check_known("controls", variants or (), settings.variants)
    runs = []
    for dataset in settings.datasets:
        for variant in settings.variants:
            is_chosen = (only is None or dataset in only) and (
                variants is None or variant in variants
            )
            if is_chosen and settings.has(dataset, variant):
                planned = planned_seeds(settings, preset, dataset, variant)
                chosen = planned if seeds is None or not planned else seeds
                runs += [plan_run(settings, preset, dataset, variant, seed) for seed in chosen]
    if not runs:
        raise ValueError(f"nothing to run: only and controls have no run of preset={preset}")
    rank = {seed: number for number, seed in enumerate(_unique(run.seed for run in runs))}
    return sorted(runs, key=lambda run: rank[run.seed])


def planned_seeds(
    settings: ReproductionSettings, preset: Preset, dataset: str, variant: str
) -> tuple[int, ...]:
    """The seeds of a variant on a dataset under a preset; empty if only other presets have it."""
    chosen, own = settings.variants[variant], settings.datasets[dataset].preset(preset)
    if own is None or (preset == "small" and dataset in chosen.full_only):
        return ()
    if own.variants is not None:
        return own.variants.get(variant, ())
    if preset == "small" and chosen.small_seeds is not None:
        return chosen.small_seeds
    return own.seeds or settings.seeds


def shown_presets(preset: Preset) -> tuple[Preset, ...]:
    """The presets whose results share the tables of a preset."""
    return PUBLISHED if preset in PUBLISHED else (preset,)


def shown_seeds(
    settings: ReproductionSettings, preset: Preset, dataset: str, variant: str
) -> tuple[int, ...]:
    """The seeds that are planned for a row of a table."""
    presets = shown_presets(preset)
    seeds = (planned_seeds(settings, name, dataset, variant) for name in presets)
    return tuple(sorted({seed for some in seeds for seed in some}))


def plan_run(
    settings: ReproductionSettings, preset: Preset, dataset: str, variant: str, seed: int
) -> PlannedRun:
    """One run of a dataset and variant."""
    data = settings.datasets[dataset]
    overrides = data.preset(preset)
    assert overrides is not None, "a preset without runs on a dataset plans none"
    chosen = settings.variants[variant]
    classify = settings.classify if data.classify is None else data.classify
    probe = (*classify, *overrides.classify, *chosen.classify) if classify else ()
    evaluate = settings.evaluate if data.evaluate is None else data.evaluate
    return PlannedRun(
        dataset=dataset,
        variant=variant,
        seed=seed,
        prepare=(*data.prepare, *overrides.prepare),
        train=(
            *settings.experiment_of(dataset, variant, preset),
            *settings.train,
            *overrides.train,
            *chosen.train,
            f"seed={seed}",
        ),
        evaluate=(f"split={data.splits[0]}", *evaluate),
        classify=tuple(override.replace("{seed}", str(seed)) for override in probe),
        files=data.files,
        tests=tuple(data.tests.items()),
        # Earlier versions drew the labels of all runs from seed 0.
        former_classify=tuple(override.replace("{seed}", "0") for override in probe),
        splits=data.splits,
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _unique(values: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(values))


Result = dict[str, Any]
NOT_RUN = "not run"
DIRTY = "-dirty"
"""The end of a commit's name if the code had changes that were not committed."""
NOT_PLANNED = "`preset=full` only"


class Row(NamedTuple):
    """A row of a table: a variant, and its precision if that is not the planned one."""

    variant: str
    precision: str | None = None

    def __str__(self) -> str:
        return self.variant if self.precision is None else f"{self.variant} ({self.precision})"

    @property
    def code(self) -> str:
        """As `str`, with the variant as code in Markdown."""
        return str(self).replace(self.variant, f"`{self.variant}`", 1)


@dataclass(frozen=True)
class Rows:
    """Results of one dataset by row, with the seeds that are planned for each variant."""

    results: Mapping[Row, Sequence[Result]]
    planned: Mapping[str, Sequence[int]]

    def finished(self, row: Row) -> list[Result]:
        """Results that have metrics."""
        return [result for result in self.results[row] if result["state"] == "finished"]

    def num_planned(self, row: Row) -> int:
        """The number of runs of a full row."""
        seeds = {result["seed"] for result in self.results[row]}
        return len(seeds | set(self.planned[row.variant]))

    def all(self) -> list[Result]:
        """All results of the table."""
        return [result for results in self.results.values() for result in results]


def select(
    settings: ReproductionSettings,
    preset: Preset,
    dataset: str,
    results: Sequence[Result],
    variants: Sequence[str],
) -> Rows:
    """The rows of some variants; runs of one variant in different precisions are different rows."""
    planned = {name: shown_seeds(settings, preset, dataset, name) for name in variants}
    presets = settings.presets_of(dataset, shown_presets(preset))
    rows: dict[Row, list[Result]] = {}
    for name in variants:
        plans = [plan_run(settings, each, dataset, name, 0) for each in presets[:1]]
        usual = plans[0].precision if plans else None
        own = [result for result in results if result["variant"] == name]
        found = {precision_of(result) for result in own}
        precisions = sorted(found, key=lambda each: (each != usual, str(each))) or [usual]
        for each in precisions:
            row = Row(name, None if each == usual else each or "other precision")
            rows[row] = [result for result in own if precision_of(result) == each]
    return Rows(rows, planned)


def runs_cell(rows: Rows, row: Row) -> str:
    """The number of runs of a row, how the others ended, and how many code that is not committed
    made."""
    results = rows.results[row]
    if not results:
        return NOT_RUN if rows.planned[row.variant] else NOT_PLANNED
    num_finished, num = len(rows.finished(row)), rows.num_planned(row)
    parts = [f"{num_finished} of {num}" if num_finished < num else str(num)]
    for state, text in (("collapsed", "collapsed"), ("non_finite", "loss not finite")):
        count = sum(result["state"] == state for result in results)
        parts += [f"{count} {text}"] if count else []
    num_dirty = sum(str(result.get("commit", "")).endswith(DIRTY) for result in results)
    parts += [f"{num_dirty} dirty"] if num_dirty else []
    return ", ".join(parts)


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    rule = ["---"] * len(headings)
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]


@dataclass(frozen=True)
class Programs:
    """The files that are run, with the interpreter that runs them."""

    python: str = sys.executable
    prepare: Path = REPOSITORY / "data_prep" / "prepare.py"
    train: Path = REPOSITORY / "pipeline" / "train.py"
    evaluate: Path = REPOSITORY / "pipeline" / "evaluate.py"
    classify: Path = REPOSITORY / "pipeline" / "classify.py"


@dataclass(frozen=True)
class Step:
    """One program of a run. The step is skipped if `product` exists."""

    name: str
    command: tuple[str, ...]
    product: Path | None = None


@dataclass(frozen=True)
class Places:
    """Folders below the `work` of the command.

    work/data/DATASET-DIGEST, work/runs/DATASET-VARIANT_seedK-DIGEST, work/logs/NAME.txt
    """

    work: Path

    def data(self, prepare: tuple[str, ...]) -> Path:
        """The dataset that is prepared with these overrides."""
        return self.work / "data" / data_name(prepare)

    def run_dir(self, run: PlannedRun) -> Path:
        """The run directory, which an earlier version may have started."""
        folders = [self.work / "runs" / name for name in run.work_names]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def log(self, name: str) -> Path:
        """Output of the programs; `NAME.json` beside it holds how long they took."""
        return self.work / "logs" / f"{name}.txt"


def preparation_steps(
    prepare: tuple[str, ...], places: Places, programs: Programs, root: str | None
) -> list[Step]:
    """The steps that prepare a dataset of a run; `root` is the path of its images."""
    overrides = [*prepare, *([] if root is None else [f"source.root={root}"])]
    out = places.data(prepare)
    command = (programs.python, str(programs.prepare), *overrides, "num_workers=1", f"out={out}")
    return [Step("prepare", command, out / "manifest.json")]


def run_steps(run: PlannedRun, places: Places, programs: Programs) -> list[Step]:
    """The steps of training, evaluation (also on further datasets) and classification."""
    run_dir = places.run_dir(run)
    where = f"run_dir={run_dir}"
    train = [*run.train_here, f"data={places.data(run.prepare)}", where]
    python = programs.python
    steps = [
        Step("train", (python, str(programs.train), *train), run_dir / "result.json"),
        Step("evaluate", (python, str(programs.evaluate), *run.evaluate, where)),
    ]
    for split in run.splits[1:]:
        lean = ("pictures=false", "analyses=false")
        overrides = (f"split={split}", *run.evaluate[1:], *lean, where)
        steps.append(Step(f"evaluate_{split}", (python, str(programs.evaluate), *overrides)))
    for name, prepare in run.tests:
        # Pictures are of the run's own dataset.
        overrides = (*run.evaluate, "pictures=false", f"data={places.data(prepare)}", where)
        steps.append(Step(f"evaluate_{name}", (python, str(programs.evaluate), *overrides)))
    if run.classify:
        # The overrides may be new for a run that is not.
        classify = (python, str(programs.classify), *run.classify, "overwrite=true", where)
        steps.append(Step("classify", classify))
    return steps
