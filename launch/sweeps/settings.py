"""The settings of sweeps: `configs/sweep/*.yaml`."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from orbit.core.config.limits import Count, NotNegativeInt, Positive, limited


@dataclass(frozen=True)
class Dimension:
    """One key of a search space: `choices`, or a range from `low` to `high`.

    `log` draws uniformly in the logarithm; `integer` gives integers.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if self.choices is not None:
            if (self.low, self.high, self.log, self.integer) != (None, None, False, False):
                raise ValueError("choices leaves low, high, log and integer without effect")
            if not self.choices:
                raise ValueError("choices=[] leaves nothing to choose")
            return
        if self.low is None or self.high is None:
            raise ValueError("a range needs low and high; or give choices")
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log=true needs a positive low, not {self.low}")
        if self.integer and math.ceil(self.low) > math.floor(self.high):
            raise ValueError(f"low={self.low} to high={self.high} holds no whole number")

    def holds(self, value: Any) -> bool:
        """Whether a value may be chosen: a choice, or a number of the range."""
        if self.choices is not None:
            return any(value == one and type(value) is type(one) for one in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high and (not self.integer or value == int(value))


@dataclass(frozen=True)
class GridSearch:
    """Every combination of the listed values."""

    name: Literal["grid"]
    grid: dict[str, Any]


@dataclass(frozen=True)
class PointsSearch:
    """The listed points."""

    name: Literal["points"]
    points: tuple[dict[str, Any], ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("points=[] leaves nothing to run")


@dataclass(frozen=True)
@limited
class RandomSearch:
    """`num_points` points drawn from a space; point i depends on `seed` and i alone."""

    name: Literal["random"]
    space: dict[str, Dimension]
    num_points: Count
    seed: NotNegativeInt = 0

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError("space={} leaves nothing to draw")


@dataclass(frozen=True)
@limited
class OptunaSearch:
    """Points proposed by Optuna's TPE from the results so far.

    `metric` is a validation metric of metrics.jsonl, averaged over the seeds; for a finished run
    its value at the best step is used. The pruner ends trials whose metric falls behind after
    `pruner_warmup_steps` (for hyperband: its smallest resource). Until `num_startup_trials` are
    done, points are drawn at random and the median pruner prunes none.
    The first trials are the points of `start`, each with some or all keys of the space; the missing
    ones are drawn. A run that crashed is started again from its newest checkpoint, `num_retries`
    times for each trial; one that diverged or collapsed would do so again, and its trial fails.
    """

    name: Literal["optuna"]
    space: dict[str, Dimension]
    num_trials: Count
    num_parallel: Count = 4
    metric: str = "loss/total"
    direction: Literal["minimize", "maximize"] = "minimize"
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["none", "median", "hyperband"] = "median"
    pruner_warmup_steps: NotNegativeInt = 0
    num_startup_trials: Count = 10
    poll_s: Positive = 20.0
    seed: NotNegativeInt = 0
    start: tuple[dict[str, Any], ...] = ()
    num_retries: NotNegativeInt = 1

    def __post_init__(self) -> None:
        for number, point in enumerate(self.start):
            for key, value in point.items():
                if key not in self.space:
                    raise ValueError(f"start[{number}] has {key}, which space lacks")
                if not self.space[key].holds(value):
                    raise ValueError(f"start[{number}] has {key}={value}, which space leaves out")
        if len(self.start) > self.num_trials:
            raise ValueError(f"start has {len(self.start)} points, num_trials={self.num_trials}")
        if self.pruner == "none" and self.pruner_warmup_steps:
            raise ValueError("pruner_warmup_steps has no effect with pruner=none")
        if not self.space:
            raise ValueError("space={} leaves nothing to search")


@dataclass(frozen=True)
class SweepConfig:
    """A search over configuration keys, each point with every seed."""

    search: GridSearch | PointsSearch | RandomSearch | OptunaSearch
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds=[] leaves nothing to run")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} names one twice")
