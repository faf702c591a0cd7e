"""From a search to its points. Pure functions."""

import itertools
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from launch.sweeps.settings import (
    Dimension,
    GridSearch,
    OptunaSearch,
    PointsSearch,
    RandomSearch,
)
from pipeline.training.settings import KEYS_FREE_TO_CHANGE

Point = dict[str, Any]
"""Values by dotted configuration key; a key that names a group holds a choice of it."""

RESERVED = {"run_dir": "the sweep sets it", "seed": "sweep.seeds lists the seeds"}
"""Keys that a sweep sets by itself, and how."""

WITHOUT_TRACE = frozenset(KEYS_FREE_TO_CHANGE) - {"data", *RESERVED}
"""Keys that a run's name does not hold: points that differ in nothing else would be one run."""


def expand(search: GridSearch | PointsSearch | RandomSearch) -> list[Point]:
    """All points in their order, without repetition.

    Raises ValueError for a key that a sweep cannot vary or a grid entry without values.
    """
    if isinstance(search, GridSearch):
        points = grid_points(flatten_grid(search.grid))
    elif isinstance(search, PointsSearch):
        points = [flatten_point(point) for point in search.points]
    else:
        points = [draw(search.space, search.seed, index) for index in range(search.num_points)]
    # 1, 1.0 and true are equal to Python, but not as values of a key.
    unique: dict[str, Point] = {}
    for point in points:
        _refuse_fixed(point)
        unique.setdefault(json.dumps(point, sort_keys=True, default=repr), point)
    return list(unique.values())


def check_space(search: OptunaSearch) -> None:
    """ValueError if the space holds a key that a sweep cannot vary."""
    _refuse_fixed(search.space)


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination; the last key varies fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def flatten_grid(grid: Mapping[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """Nested keys as dotted ones; ValueError where a key does not end in a list of values."""
    flat: dict[str, list[Any]] = {}
    for key, value in grid.items():
        name = prefix + str(key)
        if isinstance(value, Mapping):
            flat.update(flatten_grid(value, f"{name}."))
        elif isinstance(value, list | tuple) and value:
            flat[name] = list(value)
        else:
            raise ValueError(f"sweep.search.grid: {name} takes a list of values, not {value!r}")
    return flat


def flatten_point(point: Mapping[str, Any], prefix: str = "") -> Point:
    """Nested keys as dotted ones."""
    flat: Point = {}
    for key, value in point.items():
        if isinstance(value, Mapping):
            flat.update(flatten_point(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def draw(space: Mapping[str, Dimension], seed: int, index: int) -> Point:
    """Point `index`: each key's value is a function of (seed, index, key) alone."""
    point = {}
    for key, dimension in space.items():
        entropy = [seed, index, zlib.crc32(key.encode())]
        point[key] = value_at(dimension, np.random.default_rng(entropy).random())
    return point


def value_at(dimension: Dimension, quantile: float) -> Any:
    """The value of a dimension at a quantile in [0, 1); floats to six digits, for their names."""
    if dimension.choices is not None:
        return dimension.choices[int(quantile * len(dimension.choices))]
    assert dimension.low is not None
    assert dimension.high is not None
    low, high = dimension.low, dimension.high
    if dimension.integer:
        low, high = math.ceil(low), math.floor(high)
    end = high + 1 if dimension.integer else high
    if dimension.log:
        value = math.exp(math.log(low) + quantile * (math.log(end) - math.log(low)))
    else:
        value = low + quantile * (end - low)
    # Rounding may step over a bound, and so may the exponential of a logarithm.
    return min(max(int(value) if dimension.integer else float(f"{value:.6g}"), low), high)


def with_seeds(points: Sequence[Point], seeds: Sequence[int]) -> list[Point]:
    """Every point with every seed, points together."""
    return [{**point, "seed": seed} for point in points for seed in seeds]


def _refuse_fixed(keys: Mapping[str, Any]) -> None:
    for key, instead in RESERVED.items():
        if key in keys:
            raise ValueError(f"a sweep cannot vary {key}: {instead}")
    for key in sorted(WITHOUT_TRACE & set(keys)):
        raise ValueError(
            f"a sweep cannot vary {key}, which no run is told apart by: give it once for all"
            " runs, or use a sweep_dir for each value"
        )
