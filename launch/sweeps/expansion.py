"""From the overrides of a sweep to its runs: every point, composed and named by its settings."""

import copy
import dataclasses
import hashlib
import itertools
import json
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launch.sweeps.settings import (
    Dimension,
    GridSearch,
    OptunaSearch,
    PointsSearch,
    RandomSearch,
)
from orbit.core.config.compose import compose, set_dotted, split_override
from orbit.core.config.roots import is_group, take_configs
from orbit.core.config.schema import build, path_keys, with_paths
from pipeline.training.run_directory import RunDirectory, flatten
from pipeline.training.settings import KEYS_FREE_TO_CHANGE, TrainConfig

HASH_LENGTH, LONG_HASH_LENGTH = 8, 16
MAX_LABEL = 80


def content_hash(config: TrainConfig, dataset: str) -> str:
    """Hash of everything that determines a run's results: keys that differ from their defaults, and
    the dataset.

    A run's name contains the first `HASH_LENGTH` digits, or `LONG_HASH_LENGTH` if other runs have
    the same ones. `dataset` is the fingerprint. Keys at their default are left out, so that a key
    added later does not rename existing runs.
    """
    values = {
        key: value
        for key, value in flatten(off_default(config)).items()
        if key not in KEYS_FREE_TO_CHANGE
    }
    text = json.dumps({"dataset": dataset, **values}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def off_default(config: Any) -> dict[str, Any]:
    """Fields of a dataclass that differ from their default or have none, also nested ones."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            inner = off_default(value)
            if inner:
                found[field.name] = inner
        elif field.default is dataclasses.MISSING or value != field.default:
            found[field.name] = value
    return found


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The shortest unique ends of dotted keys."""
    short = {}
    for key in keys:
        parts = key.split(".")
        for length in range(1, len(parts) + 1):
            end = parts[-length:]
            if sum(other.split(".")[-length:] == end for other in keys) == 1:
                break
        short[key] = ".".join(end)
    return short


def readable_name(point: Mapping[str, Any], short: Mapping[str, str]) -> str:
    """`control-half-mask_tau0.3_seed1` for {control: half_mask, task.tau: 0.3, seed: 1}."""
    parts = [f"{short[key]}{_between(point[key])}{_safe(point[key])}" for key in point]
    return "_".join(parts)[:MAX_LABEL].strip("._-") or "run"


def _between(value: Any) -> str:
    return "-" if isinstance(value, str) else ""


def _safe(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if text.startswith(("/", "./", "../", "~")):
        text = text.rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-")


Point = dict[str, Any]
"""Values by dotted configuration key; for a key that names a group, the chosen file."""

RESERVED = {"run_dir": "the sweep sets it", "seed": "sweep.seeds lists the seeds"}
"""Keys that a sweep sets itself, and how."""

WITHOUT_TRACE = frozenset(KEYS_FREE_TO_CHANGE) - {"data", *RESERVED}
"""Keys that are not part of a run's name: points that differ only in these would be the same
run."""


def expand(search: GridSearch | PointsSearch | RandomSearch) -> list[Point]:
    """All points in order, without repetition.

    Raises ValueError for a key that a sweep cannot vary or a grid entry without values.
    """
    if isinstance(search, GridSearch):
        points = grid_points(flatten_grid(search.grid))
    elif isinstance(search, PointsSearch):
        points = [flatten_point(point) for point in search.points]
    else:
        points = [draw(search.space, search.seed, index) for index in range(search.num_points)]
    # Python treats 1, 1.0 and true as equal, but they are different values of a key.
    unique: dict[str, Point] = {}
    for point in points:
        _refuse_fixed(point)
        unique.setdefault(json.dumps(point, sort_keys=True, default=repr), point)
    return list(unique.values())


def check_space(search: OptunaSearch) -> None:
    """Raise ValueError if the space holds a key that a sweep cannot vary."""
    _refuse_fixed(search.space)


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination; the last key varies fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def flatten_grid(grid: Mapping[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """Nested keys as dotted ones; ValueError if a key does not end in a list of values."""
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
    """Draw point `index`: each key's value is a function of (seed, index, key) alone."""
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
    """Every point with every seed; the seeds of a point are consecutive."""
    return [{**point, "seed": seed} for point in points for seed in seeds]


def _refuse_fixed(keys: Mapping[str, Any]) -> None:
    for key, instead in RESERVED.items():
        if key in keys:
            raise ValueError(f"a sweep cannot vary {key}: {instead}")
    for key in sorted(WITHOUT_TRACE & set(keys)):
        raise ValueError(
            f"a sweep cannot vary {key}, which is not part of the names of runs: give it once for"
            " all runs, or use a sweep_dir for each value"
        )


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep: its name below `runs/`, the varied values, the configuration."""

    name: str
    values: dict[str, Any]
    config: TrainConfig


class Resolver:
    """Composes configurations from the common overrides and a point's own values."""

    def __init__(self, overrides: Sequence[str], runs: Path) -> None:
        self._overrides, self._runs = take_configs(overrides), runs
        self._composed: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        self._fingerprints: dict[str, str] = {}
        # The hash identifies a run, which keeps its directory if the sweep varies other keys later.
        found = runs.iterdir() if runs.is_dir() else ()
        self._names = {path.name.rpartition("-")[2]: path.name for path in found}
        self._owners: dict[str, str] = {}

    def resolve(self, points: Sequence[Mapping[str, Any]]) -> list[PlannedRun]:
        """The runs of all points, in order; two points with the same configuration are one run.

        Raises ValueError naming a point with a key or value that is refused.
        """
        short = short_keys(list({key: None for point in points for key in point}))
        runs: dict[str, PlannedRun] = {}
        for point in points:
            run = self._resolve_one(point, short)
            runs.setdefault(run.name, run)
        return list(runs.values())

    def datasets(self) -> list[str]:
        """The dataset directories that the resolved points read."""
        return list(self._fingerprints)

    def _resolve_one(self, point: Mapping[str, Any], short: Mapping[str, str]) -> PlannedRun:
        groups = {key: str(value) for key, value in point.items() if is_group(key)}
        # Values of a file may depend on a kind: `by_kind`.
        kinds = {key: str(value) for key, value in point.items() if key.endswith(".kind")}
        try:
            values = copy.deepcopy(self._compose(groups, kinds))
            for key, value in point.items():
                if key not in groups:
                    set_dotted(values, key, _plain(value))
            config = with_paths(build(TrainConfig, values), os.path.abspath)
        except ValueError as error:
            raise ValueError(f"point {dict(point)}: {error}") from None
        fingerprint = self._fingerprint(config.data)
        digest = content_hash(config, fingerprint)
        name = self._name(digest, readable_name(point, short))
        config = dataclasses.replace(config, run_dir=str(self._runs / name))
        return PlannedRun(name, dict(point), config)

    def _name(self, digest: str, label: str) -> str:
        """The name of the run with this hash; a longer one if another run has its first digits."""
        for length in (HASH_LENGTH, LONG_HASH_LENGTH, len(digest)):
            ending = digest[:length]
            if ending not in self._owners:
                name = self._names.setdefault(ending, f"{label}-{ending}")
                # No other run has both the label and the hash.
                is_ours = name == f"{label}-{ending}"
                self._owners[ending] = digest if is_ours else self._owner(name, digest)
            if self._owners[ending] == digest:
                break
        return self._names[ending]

    def _owner(self, name: str, digest: str) -> str:
        """The hash of the run in a directory if its first digits are those of `digest`.

        Otherwise `digest` itself: the run in the directory had this name before a default changed.
        """
        from orbit.core.store.manifest import read_manifest

        try:
            config = RunDirectory(self._runs / name).read_config()
            theirs = content_hash(config, read_manifest(Path(config.data)).fingerprint)
        except (FileNotFoundError, ValueError):
            return digest
        return theirs if theirs[:HASH_LENGTH] == digest[:HASH_LENGTH] else digest

    def _compose(self, groups: dict[str, str], kinds: dict[str, str]) -> dict[str, Any]:
        key = tuple(sorted({**groups, **kinds}.items()))
        if key not in self._composed:
            others = [
                override
                for override in self._overrides
                if split_override(override)[0] not in dict(key)
            ]
            overrides = [*(f"{name}={choice}" for name, choice in key), *others, "run_dir=-"]
            self._composed[key] = compose("train", overrides, path_keys(TrainConfig))
        return self._composed[key]

    def _fingerprint(self, data: str) -> str:
        if data not in self._fingerprints:
            from orbit.core.store.manifest import read_manifest

            self._fingerprints[data] = read_manifest(Path(data)).fingerprint
        return self._fingerprints[data]


def _plain(value: Any) -> Any:
    """Tuples in the dataclasses of a sweep as lists, as in YAML."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
