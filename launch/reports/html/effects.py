"""What each varied key does to a metric, all others as they come. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from launch.reports.collecting import show

MAX_LEVELS = 12
"""A numeric key with more values than this is told by its rank correlation."""


@dataclass(frozen=True)
class Level:
    """The runs that share one value of a key; `std` None for one run."""

    value: Any
    mean: float
    std: float | None
    num_runs: int


@dataclass(frozen=True)
class Effect:
    """A key, its levels (none where it takes many numbers) and how much it tells.

    `explained` is the share of the metric's variance over all runs that lies between the
    levels, from 0 to 1; `correlation` is Spearman's, from -1 to 1. One of them is None.
    """

    key: str
    levels: tuple[Level, ...]
    explained: float | None
    correlation: float | None
    num_runs: int

    @property
    def strength(self) -> float:
        """Between 0 and 1, for sorting."""
        if self.correlation is not None:
            return self.correlation**2
        return self.explained or 0.0


def make_effects(
    keys: Sequence[str], settings: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> list[Effect]:
    """The effect of each key on finite values (N,), the strongest first.

    `settings` are those of the N runs. A key that takes one value among them has none.
    """
    usable = [
        (own, value)
        for own, value in zip(settings, values, strict=True)
        if value is not None and math.isfinite(value)
    ]
    effects = [_effect(key, [(own[key], v) for own, v in usable if key in own]) for key in keys]
    found = [effect for effect in effects if effect is not None]
    return sorted(found, key=lambda effect: -effect.strength)


def _effect(key: str, pairs: list[tuple[Any, float]]) -> Effect | None:
    groups: dict[str, tuple[Any, list[float]]] = {}
    for level, value in pairs:
        groups.setdefault(show(level), (level, []))[1].append(value)
    if len(groups) < 2:
        return None
    is_numeric = all(_is_number(level) for level, _ in groups.values())
    if is_numeric and len(groups) > MAX_LEVELS:
        x, y = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
        return Effect(key, (), None, spearman(x, y), len(pairs))
    ordered = sorted(groups.values(), key=lambda group: _order(group[0], is_numeric))
    levels = [_level(level, values) for level, values in ordered]
    return Effect(key, tuple(levels), explained([v for _, v in ordered]), None, len(pairs))


def explained(groups: Sequence[Sequence[float]]) -> float:
    """Share of the variance of all values that lies between groups; 0 where none varies."""
    everything = np.concatenate([np.asarray(group, np.float64) for group in groups])
    mean = everything.mean()
    total = float(((everything - mean) ** 2).sum())
    between = sum(len(group) * (float(np.mean(group)) - mean) ** 2 for group in groups)
    return min(1.0, float(between) / total) if total > 0 else 0.0


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the ranks of two rows (N,), ties at their mean; 0 where one is constant."""
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: np.ndarray = (ends - counts + ends - 1) / 2
    return middle[inverse]


def _level(value: Any, values: list[float]) -> Level:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Level(value, float(np.mean(values)), std, len(values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _order(level: Any, is_numeric: bool) -> tuple[float, str]:
    return (float(level), "") if is_numeric else (0.0, show(level))
