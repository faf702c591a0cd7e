"""Search spaces for Optuna: dimensions, values of a trial, the fixed settings of a study.

Pure functions; Optuna itself is in `study.py`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from launch.sweeps.expansion import Point, off_default, value_at
from launch.sweeps.settings import Dimension, OptunaSearch
from pipeline.training.run_directory import flatten
from pipeline.training.settings import KEYS_FREE_TO_CHANGE, TrainConfig


def whole_range(dimension: Dimension) -> tuple[int, int]:
    """The first and the last integer of an integer dimension."""
    assert dimension.low is not None
    assert dimension.high is not None
    return math.ceil(dimension.low), math.floor(dimension.high)


def choice_labels(dimension: Dimension) -> list[Any]:
    """The label that a study stores for each choice: the choice, or the JSON text of a list or
    mapping."""
    assert dimension.choices is not None
    if all(
        choice is None or isinstance(choice, bool | int | float | str)
        for choice in dimension.choices
    ):
        return list(dimension.choices)
    return [json.dumps(choice, sort_keys=True) for choice in dimension.choices]


def point_of(space: Mapping[str, Dimension], params: Mapping[str, Any]) -> Point:
    """The values with which a trial trains: floats to six significant digits, inside their
    range."""
    return {key: _value(dimension, params[key]) for key, dimension in space.items()}


def example_points(space: Mapping[str, Dimension]) -> list[Point]:
    """The low end, the middle and the high end of every dimension at once."""
    points = [
        {key: value_at(dimension, quantile) for key, dimension in space.items()}
        for quantile in (0.0, 0.5, 1 - 1e-9)
    ]
    return [point for index, point in enumerate(points) if point not in points[:index]]


def describe_search(
    search: OptunaSearch, seeds: Sequence[int], base: TrainConfig, dataset: str
) -> dict[str, Any]:
    """All settings that must not change, so that the trials of a study are comparable, by dotted
    key.

    `base` is the configuration at one point, `dataset` the fingerprint; keys at their
    default are left out.
    """
    fixed = {
        key: value
        for key, value in flatten(off_default(base)).items()
        if key not in (*KEYS_FREE_TO_CHANGE, "seed") and not _is_searched(key, search.space)
    }
    description: dict[str, Any] = {
        "direction": search.direction,
        "metric": search.metric,
        "seeds": list(seeds),
        **{f"space.{key}": off_default(dimension) for key, dimension in search.space.items()},
        **fixed,
        "dataset": dataset,
    }
    plain: dict[str, Any] = json.loads(json.dumps(description))
    return plain


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """'old -> new' by key for all differences."""
    return {
        key: f"{_show(before, key)} -> {_show(now, key)}"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    }


def _value(dimension: Dimension, stored: Any) -> Any:
    if dimension.choices is not None:
        return dimension.choices[choice_labels(dimension).index(stored)]
    if dimension.integer:
        return int(stored)
    assert dimension.low is not None
    assert dimension.high is not None
    return min(max(float(f"{stored:.6g}"), dimension.low), dimension.high)


def _is_searched(key: str, space: Mapping[str, Dimension]) -> bool:
    """Whether a key, or the group it belongs to, is varied."""
    return any(key == varied or key.startswith(f"{varied}.") for varied in space)


def _show(description: Mapping[str, Any], key: str) -> str:
    return json.dumps(description[key]) if key in description else "(default)"
