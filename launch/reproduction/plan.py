"""The runs of a paper's reproduction, and the rows of its tables. Pure functions."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.reproduction.settings import REPOSITORY, Preset, ReproductionSettings, check_known
from orbit.core.config.former import former_spellings

SHORT = 8


@dataclass(frozen=True)
class PlannedRun:
    """One run: the overrides of its four programs, without paths.

    `classify` empty means that nothing is classified. `files` is the key of the command that gives
    the path of the dataset's images. `tests` are further datasets for evaluation, by name, with the
    overrides of their preparation. `has_bf16` says whether the machine has units for bf16.
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
    def digest(self) -> str:
        """Hex digest of all overrides: everything that determines the result, without paths.

        bf16 also stands for fp32 on machines without bf16 units.
        """
        return self._digest(self.train)

    @property
    def digests(self) -> list[str]:
        """The digest, and those of equivalent overrides of earlier versions."""
        return [self._digest(train) for train in former_spellings(self.train)]

    def _digest(self, train: tuple[str, ...]) -> str:
        overrides: dict[str, object] = {
            "prepare": self.prepare,
            "train": train,
            "evaluate": self.evaluate,
            "classify": self.classify,
        }
        return _digest({**overrides, "tests": self.tests} if self.tests else overrides)

    @property
    def name(self) -> str:
        """`planes/half_mask_seed1`, which is also the path of its result file."""
        return f"{self.dataset}/{self.variant}_seed{self.seed}"

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
    """The seeds of a variant on a dataset under a preset; empty if only the other preset has it."""
    chosen = settings.variants[variant]
    if preset == "small" and dataset in chosen.full_only:
        return ()
    if preset == "small" and chosen.small_seeds is not None:
        return chosen.small_seeds
    return settings.datasets[dataset].preset(preset).seeds or settings.seeds


def plan_run(
    settings: ReproductionSettings, preset: Preset, dataset: str, variant: str, seed: int
) -> PlannedRun:
    """One run of a dataset and variant."""
    data = settings.datasets[dataset]
    overrides = data.preset(preset)
    chosen = settings.variants[variant]
    classify = settings.classify if data.classify is None else data.classify
    return PlannedRun(
        dataset=dataset,
        variant=variant,
        seed=seed,
        prepare=(*data.prepare, *overrides.prepare),
        train=(
            f"experiment={data.experiment_of(chosen.network or variant, preset)}",
            *settings.train,
            *overrides.train,
            *chosen.train,
            f"seed={seed}",
        ),
        evaluate=settings.evaluate,
        classify=(*classify, *overrides.classify, *chosen.classify) if classify else (),
        files=data.files,
        tests=tuple(data.tests.items()),
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _unique(values: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(values))


Result = dict[str, Any]
NOT_RUN = "not run"
NOT_PLANNED = "`preset=full` only"


@dataclass(frozen=True)
class Rows:
    """Results of one dataset by variant, with the seeds that are planned for each."""

    results: Mapping[str, Sequence[Result]]
    planned: Mapping[str, Sequence[int]]

    def finished(self, variant: str) -> list[Result]:
        """Results that have metrics."""
        return [result for result in self.results[variant] if result["state"] == "finished"]

    def num_planned(self, variant: str) -> int:
        """The number of runs of a full row."""
        seeds = {result["seed"] for result in self.results[variant]}
        return len(seeds | set(self.planned[variant]))

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
    """The rows of some variants."""
    chosen = {name: [r for r in results if r["variant"] == name] for name in variants}
    planned = {name: planned_seeds(settings, preset, dataset, name) for name in variants}
    return Rows(chosen, planned)


def runs_cell(rows: Rows, variant: str) -> str:
    """The number of runs of a row, and how the others ended."""
    results = rows.results[variant]
    if not results:
        return NOT_RUN if rows.planned[variant] else NOT_PLANNED
    num_finished, num = len(rows.finished(variant)), rows.num_planned(variant)
    parts = [f"{num_finished} of {num}" if num_finished < num else str(num)]
    for state, text in (("collapsed", "collapsed"), ("non_finite", "loss not finite")):
        count = sum(result["state"] == state for result in results)
        parts += [f"{count} {text}"] if count else []
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
    for name, prepare in run.tests:
        # Pictures are of the run's own dataset.
        overrides = (*run.evaluate, "pictures=false", f"data={places.data(prepare)}", where)
        steps.append(Step(f"evaluate_{name}", (python, str(programs.evaluate), *overrides)))
    if run.classify:
        # The overrides may be new for a run that is not.
        classify = (python, str(programs.classify), *run.classify, "overwrite=true", where)
        steps.append(Step("classify", classify))
    return steps
