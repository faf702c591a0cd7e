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
    that says where the dataset's images lie. `tests` are further datasets to be evaluated on,
    name and words of preparation. `has_bf16`: whether the machine computes in bf16.
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
        """Words of training for this machine: float32 for bf16 where bf16 is only slower."""
        if self.has_bf16:
            return self.train
        return tuple("precision=fp32" if word == "precision=bf16" else word for word in self.train)

    @property
    def digest(self) -> str:
        """Hex digest of all words: whatever decides the result, and no path.

        bf16 stands for itself and for the float32 of machines without it."""
        words: dict[str, object] = {
            "prepare": self.prepare,
            "train": self.train,
            "evaluate": self.evaluate,
            "classify": self.classify,
        }
        return _digest({**words, "tests": self.tests} if self.tests else words)

    @property
    def name(self) -> str:
        """`planes/half_mask_seed1`, also the place of its result file."""
        return f"{self.dataset}/{self.variant}_seed{self.seed}"

    @property
    def work_name(self) -> str:
        """Name of its run directory and log: other words of training, another place."""
        digest = _digest([self.prepare, self.train_here])
        return f"{self.dataset}-{self.variant}_seed{self.seed}-{digest[:SHORT]}"

    @property
    def datasets(self) -> tuple[tuple[str, ...], ...]:
        """Words of preparation of its own dataset, and of those that it is also tested on."""
        return (self.prepare, *(words for _, words in self.tests))


def data_name(prepare: tuple[str, ...]) -> str:
    """`shapes_2d-0a1b2c3d`, from the words of a dataset's preparation."""
    named = [word.removeprefix("dataset=") for word in prepare if word.startswith("dataset=")]
    return f"{(named or ['data'])[0]}-{_digest(prepare)[:SHORT]}"


def make_plan(
    settings: ReproductionSettings,
    preset: Preset,
    only: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[PlannedRun]:
    """The runs that are asked for; a first seed of everything comes before a second one.

    None means all. Seeds given here hold for every variant that the preset has. Raises
    ValueError for an unknown dataset or variant, or if nothing is left to run.
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
    """The seeds of a variant on a dataset under a preset; none where only the other has it."""
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
    words = data.preset(preset)
    chosen = settings.variants[variant]
    classify = settings.classify if data.classify is None else data.classify
    return PlannedRun(
        dataset=dataset,
        variant=variant,
        seed=seed,
        prepare=(*data.prepare, *words.prepare),
        train=(
            f"experiment={data.experiment_of(variant, preset)}",
            *settings.train,
            *words.train,
            *chosen.train,
            f"seed={seed}",
        ),
        evaluate=settings.evaluate,
        classify=(*classify, *words.classify, *chosen.classify) if classify else (),
        files=data.files,
        tests=tuple(data.tests.items()),
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _unique(values: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(values))
