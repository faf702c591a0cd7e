"""The description of a dataset, for the unfinished build and for the manifest.

Everything that the manifest will need is checked before the first shard is made.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from data_prep.building.recipe import BadInputError, Recipe
from orbit import __version__
from orbit.core import plugins
from orbit.core.store.manifest import SCHEMA_VERSION, Manifest, SplitInfo
from orbit.core.store.origin import Episodes, Orbits, Origin, Sequences

TOLD_BY_SPLIT = ("num_episodes", "episode_length", "num_elements")
"""Settings of a world that the lines of the splits show already."""
MAX_TEXT = 60
"""The most characters of one setting that are shown."""


def describe(manifest: Manifest) -> str:
    """A description of a dataset that fits on a screen."""
    frames = manifest.frames
    lines = [
        f"{manifest.name}: {_what_records_are(manifest)}, seed {manifest.seed}",
        f"frames   {' x '.join(map(str, frames.shape))} {frames.dtype},"
        f" {list(frames.stored_range)} loaded as {list(frames.loaded_range)}",
        f"label    {manifest.label_meaning}",
    ]
    for component in manifest.action:
        lines.append(
            f"action   {component.name}: {component.meaning}, in {component.unit}s"
            f" from {component.minimum:g} to {component.maximum:g}"
        )
    for name, spec in manifest.columns.items():
        lines.append(f"column   {name} {spec.dtype} {list(spec.shape)}: {spec.meaning}")
    for name, split in manifest.splits.items():
        size = sum(shard.size for shard in split.shards) / 2**20
        mean = ", ".join(f"{value:.4f}" for value in split.statistics.mean)
        std = ", ".join(f"{value:.4f}" for value in split.statistics.std)
        lines.append(
            f"{name:8} {split.num_records:,} records{_make_up(manifest, name)},"
            f" {split.num_frames:,} frames,"
            f" {len(split.shards)} shards, {size:.1f} MiB, mean {mean}, std {std}"
        )
    settings = ", ".join(
        f"{key}={_shortened(value)}"
        for key, value in manifest.origin.flat().items()
        if key not in TOLD_BY_SPLIT
    )
    lines.append(f"made by  orbit {manifest.package_version}: {settings}")
    lines.append(f"fingerprint {manifest.fingerprint}")
    return "\n".join(lines)


def _shortened(value: Any) -> Any:
    """A setting without the long texts that it may hold, such as a mesh."""
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items()}
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[:MAX_TEXT]}..."
    return value


def _what_records_are(manifest: Manifest) -> str:
    origin, group = manifest.origin, manifest.group
    if isinstance(origin, Sequences):
        return f"pairs (sequence, labels of its maxima) under {group}"
    if not isinstance(origin, Episodes):
        return f"pairs (x, g, g x) under {group}"
    only = f", training limited to {', '.join(origin.actions)}" if origin.actions else ""
    return f"transitions (s, a, s') of the world {origin.world.name}, on which {group} acts{only}"


def _make_up(manifest: Manifest, split: str) -> str:
    """A clause that says how the records of a split are grouped."""
    per_source = manifest.splits[split].records_per_source
    if per_source:
        return f", {per_source} a source image"
    if manifest.holds_sources_only(split):
        return ", sources only (for pairs=fresh)"
    origin = manifest.origin
    if not isinstance(origin, Episodes):
        return ""
    num, length, num_elements = (getattr(origin, key)[split] for key in TOLD_BY_SPLIT)
    twins = f", each with {num_elements - 1} transforms of it" if num_elements > 1 else ""
    return f" ({num:,} episodes of {length} step{'s' if length > 1 else ''}{twins})"


KEYS = ("name", "group", "seed", "action", "frames", "columns", "origin", "source_checksums")
"""The keys in which two datasets must agree to have the same shards."""


def make_manifest(recipe: Recipe, splits: dict[str, SplitInfo]) -> Manifest:
    """The manifest of a recipe's dataset."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=recipe.name,
        group=recipe.group,
        action=recipe.action_components,
        frames=recipe.frames,
        label_meaning=recipe.label_meaning,
        target_is_action_on_source=recipe.target_is_action_on_source,
        columns=dict(recipe.columns),
        splits=splits,
        seed=recipe.seed,
        origin=recipe.origin(),
        source_checksums=recipe.source_checksums(),
        package_version=__version__,
        plugins=_plugins(recipe.group, recipe.origin()),
    )


def _plugins(group: str, origin: Origin) -> tuple[str, ...]:
    """The parts of a dataset that come from other packages."""
    named = [("groups", group)]
    if isinstance(origin, Orbits):
        named.append(("sources", origin.source.name))
    if isinstance(origin, Episodes):
        named.append(("worlds", origin.world.name))
    return plugins.recorded(named)


def description_of(manifest: Manifest) -> dict[str, Any]:
    """The values that determine the records, as plain values."""
    plain = json.loads(json.dumps(dataclasses.asdict(manifest)))
    return {key: plain[key] for key in KEYS}


def description_of_recipe(recipe: Recipe) -> dict[str, Any]:
    """The same for a dataset that does not exist yet.

    Raises BadInputError naming a value that a manifest cannot hold: a name that is not UTF-8, a
    number that is not finite.
    """
    manifest = make_manifest(recipe, {})
    for key, value in dataclasses.asdict(manifest).items():
        fault = _fault_of(value, key)
        if fault is not None:
            raise BadInputError(f"{recipe.name} cannot be described in a manifest: {fault}")
    return description_of(manifest)


def refuse_difference(out: Path, state: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise ValueError naming the keys in which the dataset in `out` differs."""
    differing = _differing(found, wanted)
    if differing:
        raise ValueError(
            f"{out} holds a{'n' if state[0] in 'aeiou' else ''} {state} dataset made with another"
            f" configuration (differing: {', '.join(differing)}):"
            " choose another directory, or set overwrite=true"
        )


def _differing(found: dict[str, Any], wanted: dict[str, Any], place: str = "") -> list[str]:
    """The dotted keys in which two mappings differ."""
    differing = []
    for key in dict.fromkeys((*wanted, *(sorted(found) if place else ()))):
        one, other = found.get(key), wanted.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            differing += _differing(one, other, f"{place}{key}.")
        elif one != other:
            differing.append(f"{place}{key}")
    return differing


def _fault_of(value: Any, place: str) -> str | None:
    """Why and where a value cannot be written as JSON; None if it can."""
    if isinstance(value, dict):
        parts = [(key, f"a name in {place}") for key in value]
        parts += [(each, f"{place}.{_shown(str(key))}") for key, each in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(each, place) for each in value]
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{place}={value} is not a finite number"
    elif isinstance(value, str) and _shown(value) != value:
        return f"{place}, '{_shown(value)}', is not UTF-8: rename the file or folder"
    else:
        return None
    return next((fault for part, where in parts if (fault := _fault_of(part, where))), None)


def _shown(text: str) -> str:
    """The same text, with escapes for bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
