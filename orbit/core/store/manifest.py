"""The manifest: the description of a dataset that its readers need, in one JSON file.

Its fields are the schema; `fingerprint` identifies the data by the checksums of
its shards, so that two directories with the same content have the same one.
"""

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orbit.core import plugins
from orbit.core.actions import ActionComponent
from orbit.core.config.schema import build
from orbit.core.files.atomic import parse_json, write_json
from orbit.core.store.earlier import upgraded
from orbit.core.store.facts import WorldFacts
from orbit.core.store.origin import Episodes, Orbits, Origin

SCHEMA_VERSION = 2
MANIFEST_NAME = "manifest.json"
SPLITS = ("train", "val", "test")
Values = Literal["continuous", "binary"]


@dataclass(frozen=True)
class FrameSpec:
    """Shape and value coding of every frame of a dataset.

    `shape` is (C, H, W) or (C, D, H, W). Stored values are mapped linearly from `stored_range` to
    `loaded_range` when loaded. `values` are `binary` if frames hold only the ends of the range,
    which show a shape. Raises ValueError for a range that is not two finite, ascending numbers that
    `dtype` can hold.
    """

    shape: tuple[int, ...]
    dtype: str
    stored_range: tuple[float, float]
    loaded_range: tuple[float, float]
    values: Values = "continuous"

    def __post_init__(self) -> None:
        if len(self.shape) not in (3, 4) or min(self.shape) < 1:
            raise ValueError(f"shape {self.shape} is neither (C, H, W) nor (C, D, H, W)")
        if self.dtype not in ("uint8", "float16"):
            raise ValueError(f"dtype {self.dtype} is not allowed; allowed: uint8, float16")
        least, greatest = (0.0, 255.0) if self.dtype == "uint8" else (-65504.0, 65504.0)
        low, high = self.stored_range
        if not least <= low < high <= greatest:
            raise ValueError(
                f"stored_range {list(self.stored_range)} is not a range of {self.dtype}, which"
                f" holds {least:g} to {greatest:g}"
            )
        low, high = self.loaded_range
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"loaded_range {list(self.loaded_range)} is not two rising numbers")

    def loading(self) -> tuple[float, float]:
        """Scale and shift: a stored value v is loaded as scale * v + shift."""
        stored_low, stored_high = self.stored_range
        loaded_low, loaded_high = self.loaded_range
        scale = (loaded_high - loaded_low) / (stored_high - stored_low)
        return scale, loaded_low - stored_low * scale


@dataclass(frozen=True)
class ColumnSpec:
    """A named array with one row per record, besides source, target, action and label."""

    dtype: str
    shape: tuple[int, ...]
    meaning: str


@dataclass(frozen=True)
class ShardInfo:
    """One shard file: path relative to the dataset, counts, size in bytes, checksum.

    Raises ValueError for a path that leaves the dataset and for counts below 0.
    """

    file: str
    num_frames: int
    num_records: int
    size: int
    sha256: str

    def __post_init__(self) -> None:
        normal = os.path.normpath(self.file)
        if os.path.isabs(normal) or normal.split(os.sep)[0] in ("..", "."):
            raise ValueError(f"file {self.file!r} is not a path below the dataset")
        if min(self.num_frames, self.num_records, self.size) < 0:
            raise ValueError(f"file {self.file!r} has a number below 0")


@dataclass(frozen=True)
class FrameStatistics:
    """Mean and standard deviation per channel, in loaded units, over all frames of a split.

    Raises ValueError if their numbers differ, and for deviations below 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or min(self.std, default=0.0) < 0:
            raise ValueError(f"mean {list(self.mean)} and std {list(self.std)} belong to no frames")


@dataclass(frozen=True)
class SplitInfo:
    """One split.

    `records_per_source` is set if records come in runs of that length that share a source frame and
    hold its orbit; on-line pairing needs it. Raises ValueError unless its numbers are the sums of
    its shards' numbers and multiples of the run.
    """

    num_frames: int
    num_records: int
    records_per_source: int | None
    statistics: FrameStatistics
    shards: tuple[ShardInfo, ...]

    def __post_init__(self) -> None:
        for name in ("num_frames", "num_records"):
            stated, held = getattr(self, name), sum(getattr(each, name) for each in self.shards)
            if stated != held:
                raise ValueError(f"{name} {stated} where the shards hold {held}")
        run = self.records_per_source
        if run is not None and (run < 1 or self.num_records % run):
            raise ValueError(f"records_per_source {run} does not divide {self.num_records} records")


@dataclass(frozen=True)
class Manifest:
    """Description of a complete dataset.

    `plugins` lists the parts that come from other packages, each as `groups/NAME: PACKAGE VERSION`.
    """

    schema_version: int
    name: str
    group: str
    action: tuple[ActionComponent, ...]
    frames: FrameSpec
    label_meaning: str
    target_is_action_on_source: bool
    columns: dict[str, ColumnSpec]
    splits: dict[str, SplitInfo]
    seed: int
    origin: Origin
    source_checksums: dict[str, str]
    package_version: str
    plugins: tuple[str, ...] = ()
    fingerprint: str = field(default="")

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version {self.schema_version} cannot be read by this package,"
                f" which reads versions up to {SCHEMA_VERSION}"
            )
        for name, split in self.splits.items():
            if len(split.statistics.mean) != self.frames.shape[0]:
                raise ValueError(
                    f"splits.{name}.statistics speaks of {len(split.statistics.mean)} channels,"
                    f" frames have {self.frames.shape[0]}"
                )
        state = self.columns.get("state")
        self.facts.check(len(self.action), state.shape[0] if state and state.shape else 0)
        object.__setattr__(self, "fingerprint", _fingerprint(self))

    def split(self, name: str) -> SplitInfo:
        """One split; ValueError with the known ones otherwise."""
        if name not in self.splits:
            raise ValueError(f"no split {name!r} in this dataset; known: {', '.join(self.splits)}")
        return self.splits[name]

    @property
    def facts(self) -> WorldFacts:
        """What the dataset's world declares; empty facts if there is no world."""
        return self.origin.facts if isinstance(self.origin, Episodes) else WorldFacts()

    def holds_sources_only(self, split: str) -> bool:
        """Whether the split stores images without targets, for `pairs=fresh`."""
        return isinstance(self.origin, Orbits) and self.origin.pairs.get(split) == "sources"

    def check_has_targets(self, split: str, use: str, instead: str) -> None:
        """Raise ValueError if the split holds sources only, and `use` needs targets."""
        if self.holds_sources_only(split):
            raise ValueError(
                f"{use} needs stored targets, but the {split} split of {self.name} holds sources"
                f" only (dataset.train_pairs=sources): set {instead}"
            )


def as_plain(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain values, as its file holds them."""
    values = dataclasses.asdict(manifest)
    if not manifest.plugins:
        del values["plugins"]
    return values


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest, which marks the dataset as complete."""
    write_json(root / MANIFEST_NAME, as_plain(manifest))


def read_manifest(root: Path) -> Manifest:
    """Read a dataset's manifest, also one that an earlier version wrote.

    Raises FileNotFoundError if there is no complete dataset, and ValueError for a manifest that
    cannot be read.
    """
    path = root / MANIFEST_NAME
    if not root.is_dir():
        raise FileNotFoundError(f"no dataset at {root}: there is no such directory")
    if not path.is_file():
        raise FileNotFoundError(f"no complete dataset at {root}: {MANIFEST_NAME} is missing")
    return read_manifest_file(path)


def read_manifest_file(path: Path) -> Manifest:
    """A manifest by itself, such as the one that a run keeps of its dataset.

    Raises FileNotFoundError where there is none, ValueError for one that cannot be read.
    """
    try:
        values = parse_json(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("it holds no keys")
        recorded = values.get("fingerprint")
        manifest = build(Manifest, upgraded(values))
        plugins.require([text for text in manifest.plugins if text.startswith("groups/")])
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if recorded != manifest.fingerprint:
        raise ValueError(f"{path} was changed after it was written: its fingerprint differs")
    return manifest


def _fingerprint(manifest: Manifest) -> str:
    """Hash of what determines the records: layout, group and shard checksums."""
    frames = dataclasses.asdict(manifest.frames)
    if frames["values"] == "continuous":
        del frames["values"]  # Older manifests do not have it.
    content = {
        "frames": frames,
        "group": manifest.group,
        "action": [dataclasses.asdict(component) for component in manifest.action],
        "splits": {
            name: [split.records_per_source, [shard.sha256 for shard in split.shards]]
            for name, split in manifest.splits.items()
        },
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
