"""From points to configurations: one composition for each choice of groups, then copies."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.sweeps.naming import (
    HASH_LENGTH,
    LONG_HASH_LENGTH,
    content_hash,
    readable_name,
    short_keys,
)
from pipeline.config.compose import compose, group_options, set_dotted, split_word
from pipeline.config.places import PATH_KEYS, with_absolute_paths
from pipeline.config.schema import build
from pipeline.training.run_directory import RunDirectory
from pipeline.training.settings import TrainConfig


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep: its name below `runs/`, the varied values, the configuration."""

    name: str
    values: dict[str, Any]
    config: TrainConfig


class Resolver:
    """Composes configurations from the words that all points share and a point's own values."""

    def __init__(self, words: Sequence[str], runs: Path) -> None:
        self._words, self._runs = list(words), runs
        self._composed: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        self._fingerprints: dict[str, str] = {}
        # The hash decides: a run keeps its directory when a sweep comes to vary other keys.
        found = runs.iterdir() if runs.is_dir() else ()
        self._names = {path.name.rpartition("-")[2]: path.name for path in found}
        self._owners: dict[str, str] = {}

    def resolve(self, points: Sequence[Mapping[str, Any]]) -> list[PlannedRun]:
        """The runs of all points, in order; two points with the same configuration are one run.

        Raises ValueError naming the point that a key or value of is refused.
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
        groups = {key: str(value) for key, value in point.items() if _is_group(key)}
        try:
            values = copy.deepcopy(self._compose(groups))
            for key, value in point.items():
                if key not in groups:
                    set_dotted(values, key, _plain(value))
            config = build(TrainConfig, with_absolute_paths(values))
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
                # Nobody else has both the label and the hash.
                is_ours = name == f"{label}-{ending}"
                self._owners[ending] = digest if is_ours else self._owner(name, digest)
            if self._owners[ending] == digest:
                break
        return self._names[ending]

    def _owner(self, name: str, digest: str) -> str:
        """The hash of the run in a directory if its first digits are those of `digest`.

        Otherwise that itself: the directory holds what bore this name before a default changed.
        """
        from data_prep.store.manifest import read_manifest

        try:
            config = RunDirectory(self._runs / name).read_config()
            theirs = content_hash(config, read_manifest(Path(config.data)).fingerprint)
        except (FileNotFoundError, ValueError):
            return digest
        return theirs if theirs[:HASH_LENGTH] == digest[:HASH_LENGTH] else digest

    def _compose(self, groups: dict[str, str]) -> dict[str, Any]:
        key = tuple(sorted(groups.items()))
        if key not in self._composed:
            others = [word for word in self._words if split_word(word)[0] not in groups]
            words = [*(f"{group}={choice}" for group, choice in key), *others, "run_dir=-"]
            self._composed[key] = compose("train", words, PATH_KEYS)
        return self._composed[key]

    def _fingerprint(self, data: str) -> str:
        if data not in self._fingerprints:
            from data_prep.store.manifest import read_manifest

            self._fingerprints[data] = read_manifest(Path(data)).fingerprint
        return self._fingerprints[data]


def _is_group(key: str) -> bool:
    return "." not in key and bool(group_options(key))


def _plain(value: Any) -> Any:
    """YAML's lists, tuples in the dataclasses of a sweep, as lists again."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
