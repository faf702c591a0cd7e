"""The settings of training and debugging.

Another machine may continue the run; what it would decide itself does not matter then.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core import plugins
from orbit.core.config.limits import (
    Count,
    InnerShare,
    Limit,
    NotNegative,
    NotNegativeInt,
    Positive,
    PositiveInt,
    Share,
    limited,
)
from orbit.core.config.schema import FilePath
from orbit.core.plugins import Open
from pipeline.data.settings import BlocksConfig, LoaderConfig, Pairs
from pipeline.methods.table import TaskConfig

DEFAULT_PROFILE_AFTER = 10


@dataclass(frozen=True)
@limited
class DebugConfig:
    """All of this is off in a real run; `debug=overfit|fast|profile` sets keys that belong
    together.

    `single_batch` trains and validates on the first batch only. `num_steps` is the length of the
    run instead of `epochs`. `num_evaluation_batches` limits a validation or evaluation. `evaluate`
    runs `pipeline/evaluate.py` at the end, with its pictures. `profile_steps` steps are traced,
    after `profile_after` other steps.
    """

    single_batch: bool = False
    num_steps: Count | None = None
    num_evaluation_batches: Count | None = None
    evaluate: bool = False
    profile_steps: Count | None = None
    profile_after: Count = DEFAULT_PROFILE_AFTER

    def __post_init__(self) -> None:
        if self.profile_steps is None:
            if self.profile_after != DEFAULT_PROFILE_AFTER:
                raise ValueError("profile_after has no effect without profile_steps")
        elif (
            self.num_steps is not None and self.num_steps <= self.profile_after + self.profile_steps
        ):
            raise ValueError(
                f"num_steps={self.num_steps} must be above profile_after + profile_steps,"
                f" which is {self.profile_after + self.profile_steps}"
            )
        if self.single_batch and self.num_evaluation_batches is not None and not self.evaluate:
            raise ValueError("num_evaluation_batches has no effect: single_batch validates on one")


Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
NEEDS_A_GPU = "compile=cuda_graphs has no effect on a CPU; allowed: auto, true, false"


ONCE_EACH = Limit("must not name one twice", lambda names: len(set(names)) == len(names))
BETAS = Limit("must lie in [0, 1)", lambda betas: all(0 <= beta < 1 for beta in betas))


@dataclass(frozen=True)
@limited
class OptimizerConfig:
    """Adam as in the paper. `clip_norm` bounds the global gradient norm."""

    learning_rate: Positive = 1e-3
    betas: Annotated[tuple[float, float], BETAS] = (0.9, 0.999)
    weight_decay: NotNegative = 0.0
    clip_norm: Positive | None = None


@dataclass(frozen=True)
@limited
class ScheduleConfig:
    """Learning rate over the run: linear warm-up, then constant or a half cosine.

    `final_fraction` is the share of the learning rate left at the end of the cosine.
    """

    shape: Literal["constant", "cosine"] = "constant"
    warmup_steps: NotNegativeInt = 0
    final_fraction: Share | None = None

    def __post_init__(self) -> None:
        if self.shape == "constant" and self.final_fraction is not None:
            raise ValueError("final_fraction has no effect with schedule.shape=constant")


@dataclass(frozen=True)
@limited
class CollapseConfig:
    """What to do if the model has collapsed, from step `after_steps` on.

    `restart` starts again with another initialisation, at most `max_restarts` times.
    """

    action: Literal["stop", "restart", "warn"] = "stop"
    after_steps: Count = 300
    max_restarts: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.action != "restart" and self.max_restarts is not None:
            raise ValueError(f"max_restarts has no effect with collapse.action={self.action}")


@dataclass(frozen=True)
@limited
class RetentionConfig:
    """Which checkpoints are kept: the last `keep_last`, every `keep_every` steps, and the best."""

    keep_last: Count = 2
    keep_every: PositiveInt | None = None


@dataclass(frozen=True)
@limited
class TrainConfig:
    """All keys of a training run.

    `checkpoint_every` and `validate_every` count steps; null means once an epoch. `patience`
    ends the run after so many validations in a row whose selected metric is no better than the best
    one; null never does. `tail` says
    whether an epoch's last incomplete batch is dropped or carried into the next epoch. `precision`
    is the number format of the forward and backward pass: `fp16` scales gradients, `tf32` is for
    GPUs, and `auto` takes bf16 if every rank's processor or GPU has units for it and fp32
    otherwise; this is decided when the run starts and kept from then on. `compile=auto` compiles on
    a GPU and not on a CPU; `cuda_graphs` also makes the GPU replay recorded kernels instead of
    launching each again, which helps if they are short. `num_train_items` trains on the first
    records only (source frames, unless pairs are stored). `logger` lists where numbers go besides
    metrics.jsonl: `tensorboard`, `wandb`, `mlflow`, or a logger of a plug-in. `plugins` is filled
    in with the parts that come from other packages, each as `methods/NAME: PACKAGE VERSION`; if it
    is given, as in a sweep's jobs, other versions are refused. `deterministic` makes a GPU give the
    same bits each time, at some cost of speed; a CPU always does.
    """

    data: FilePath
    run_dir: FilePath
    task: Annotated[TaskConfig, Open("methods")]
    seed: NotNegativeInt = 0
    epochs: PositiveInt = 1
    global_batch: PositiveInt = 64
    accumulation: PositiveInt = 1
    pairs: Pairs = "stored"
    order: Literal["auto", "uniform", "blocks"] = "auto"
    blocks: BlocksConfig = BlocksConfig()
    tail: Literal["drop", "carry"] = "drop"
    num_train_items: PositiveInt | None = None
    precision: Precision = "fp32"
    compile: Literal["auto", "cuda_graphs"] | bool = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False
    num_threads: PositiveInt = 1
    resume: Literal["auto", "never"] = "auto"
    allow_changes: bool = False
    init_from: FilePath | None = None
    log_every: PositiveInt = 50
    logger: Annotated[tuple[str, ...], ONCE_EACH] = ("tensorboard",)
    validate_every: PositiveInt | None = None
    patience: PositiveInt | None = None
    validation_batch: PositiveInt | None = None
    checkpoint_every: PositiveInt | None = None
    ema_decay: InnerShare | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    collapse: CollapseConfig = CollapseConfig()
    retention: RetentionConfig = RetentionConfig()
    loader: LoaderConfig = LoaderConfig()
    debug: DebugConfig = DebugConfig()
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.global_batch % self.accumulation:
            raise ValueError(
                f"accumulation={self.accumulation} must divide global_batch={self.global_batch}"
            )
        if self.order == "uniform" and self.blocks != BlocksConfig():
            key = next(name for name, value in vars(self.blocks).items() if value is not None)
            raise ValueError(f"blocks.{key} has no effect with order=uniform")
        if self.order == "blocks" and self.loader.num_workers:
            raise ValueError(
                f"loader.num_workers={self.loader.num_workers} cannot go with order=blocks, which"
                " reads by threads: set loader.num_workers=0"
            )
        if self.device == "cpu" and self.precision == "tf32":
            raise ValueError("precision=tf32 has no effect on a CPU; allowed: fp32, bf16, fp16")
        if self.compile == "cuda_graphs":
            if self.device == "cpu":
                raise ValueError(NEEDS_A_GPU)
            if self.accumulation > 1:
                # The gradients of a part are in memory that the next part's kernels reuse.
                raise ValueError(
                    f"accumulation={self.accumulation} cannot go with compile=cuda_graphs;"
                    " allowed: accumulation=1, or compile=true"
                )


KEYS_FREE_TO_CHANGE = (
    "data",
    "run_dir",
    "resume",
    "allow_changes",
    "device",
    "num_threads",
    "logger",
    "validation_batch",
    "loader.num_workers",
    "loader.prefetch",
    "loader.num_readers",
)
"""Keys that may differ when a run is continued; data is compared by its fingerprint."""


def with_plugins(config: TrainConfig) -> TrainConfig:
    """The configuration with the packages of its plug-ins filled in.

    ValueError if it names them already and other versions are installed.
    """
    used = tuple(f"{name}: {origin}" for name, origin in plugins.used_by(config).items())
    if config.plugins and config.plugins != used:
        wanted, here = (", ".join(each) or "none" for each in (config.plugins, used))
        raise ValueError(f"this was configured with {wanted}; installed here: {here}")
    return dataclasses.replace(config, plugins=used)


DECIDED_ONCE = ("precision",)


def as_decided(config: TrainConfig, recorded: TrainConfig | None) -> TrainConfig:
    """The configuration with the recorded values instead of each `auto`.

    `recorded` is the configuration of the run directory, None if there is none yet.
    """
    if recorded is None:
        return config
    asked = [name for name in DECIDED_ONCE if getattr(config, name) == "auto"]
    return dataclasses.replace(config, **{name: getattr(recorded, name) for name in asked})


def decide_precision(config: TrainConfig, has_bf16: bool) -> TrainConfig:
    """The configuration with bf16 instead of `precision=auto` if all ranks have it, else fp32.

    `has_bf16` says whether every rank's device has units for bf16.
    """
    if config.precision != "auto":
        return config
    return dataclasses.replace(config, precision="bf16" if has_bf16 else "fp32")
