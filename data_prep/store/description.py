"""A manifest in words."""

from typing import Any

from data_prep.store.manifest import Manifest

TOLD_BY_SPLIT = ("num_episodes", "episode_length", "num_elements")
"""Of a world's settings, those that the lines of the splits tell."""
MAX_TEXT = 60
"""Characters of one setting."""


def describe(manifest: Manifest) -> str:
    """A screenful about a dataset."""
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
        for key, value in manifest.generator.items()
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
    generator, group = manifest.generator, manifest.group
    if "sequences" in generator:
        return f"pairs (sequence, labels of its maxima) under {group}"
    if "world" not in generator:
        return f"pairs (x, g, g x) under {group}"
    limited = generator.get("actions")
    only = f", training limited to {', '.join(limited)}" if limited else ""
    world = generator["world"]
    return f"transitions (s, a, s') of the world {world}, on which {group} acts{only}"


def _make_up(manifest: Manifest, split: str) -> str:
    """How the records of a split belong together, after a comma."""
    per_source = manifest.splits[split].records_per_source
    if per_source:
        return f", {per_source} a source image"
    if manifest.holds_sources_only(split):
        return ", sources only (for pairs=fresh)"
    if "world" not in manifest.generator:
        return ""
    num, length, num_elements = (manifest.generator[key][split] for key in TOLD_BY_SPLIT)
    twins = f", each with {num_elements - 1} transforms of it" if num_elements > 1 else ""
    return f" ({num:,} episodes of {length} step{'s' if length > 1 else ''}{twins})"
