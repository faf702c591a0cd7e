"""From settings to runs: names, words, digests. Pure functions."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launch.reproduction.settings import Preset, ReproductionSettings, check_known

SHORT = 8


@dataclass(frozen=True)
class PlannedRun:
    """One run: the words of its four programs, without paths.

    `classify` empty means that nothing is classified. `files` is the key of the command
    that says where the dataset's images lie.
    """

    dataset: str
    variant: str
    seed: int
    prepare: tuple[str, ...]
    train: tuple[str, ...]
    evaluate: tuple[str, ...]
    classify: tuple[str, ...]
    files: str | None = None

    @property
    def digest(self) -> str:
        """Hex digest of all words: whatever decides the result, and no path."""
        return _digest(
            {
                "prepare": self.prepare,
                "train": self.train,
                "evaluate": self.evaluate,
                "classify": self.classify,
            }
        )

    @property
    def name(self) -> str:
        """`planes/half_mask_seed1`, also the place of its result file."""
        return f"{self.dataset}/{self.variant}_seed{self.seed}"

    @property
    def work_name(self) -> str:
        """Name of its run directory and log: other words of training, another place."""
        digest = _digest([self.prepare, self.train])
        return f"{self.dataset}-{self.variant}_seed{self.seed}-{digest[:SHORT]}"

    @property
    def data_name(self) -> str:
        """Name of its dataset's directory: other words of preparation, another place."""
        return f"{self.dataset}-{_digest(self.prepare)[:SHORT]}"


def make_plan(
    settings: ReproductionSettings,
    preset: Preset,
    only: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[PlannedRun]:
    """The runs that are asked for; a first seed of everything comes before a second one.

    None means all. Seeds given here hold for every variant. Raises ValueError for an unknown
    dataset or variant, or if nothing is left to run.
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
                chosen = planned_seeds(settings, preset, variant) if seeds is None else seeds
                runs += [plan_run(settings, preset, dataset, variant, seed) for seed in chosen]
    if not runs:
        raise ValueError("nothing to run: only and controls have no run in common")
    rank = {seed: number for number, seed in enumerate(_unique(run.seed for run in runs))}
    return sorted(runs, key=lambda run: rank[run.seed])


def planned_seeds(settings: ReproductionSettings, preset: Preset, variant: str) -> tuple[int, ...]:
    """The seeds of a variant under a preset."""
    own = settings.variants[variant].small_seeds
    return own if own is not None and preset == "small" else settings.seeds


def plan_run(
    settings: ReproductionSettings, preset: Preset, dataset: str, variant: str, seed: int
) -> PlannedRun:
    """One run of a dataset and variant."""
    data = settings.datasets[dataset]
    words = data.preset(preset)
    chosen = settings.variants[variant]
    classify = settings.classify if data.classify is None else data.classify
    return PlannedRun(
        dataset=dataset,
        variant=variant,
        seed=seed,
        prepare=(*data.prepare, *words.prepare),
        train=(
            f"experiment={data.experiment_of(variant)}",
            *settings.train,
            *words.train,
            *chosen.train,
            f"seed={seed}",
        ),
        evaluate=settings.evaluate,
        classify=(*classify, *words.classify, *chosen.classify) if classify else (),
        files=data.files,
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _unique(values: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(values))
