"""A manifest in words."""

from data_prep.store.manifest import Manifest


def describe(manifest: Manifest) -> str:
    """A screenful about a dataset."""
    frames = manifest.frames
    lines = [
        f"{manifest.name}: pairs (x, g, g x) under {manifest.group}, seed {manifest.seed}",
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
        per_source = (
            f", {split.records_per_source} a source image" if split.records_per_source else ""
        )
        lines.append(
            f"{name:8} {split.num_records:,} records{per_source}, {split.num_frames:,} frames,"
            f" {len(split.shards)} shards, {size:.1f} MiB, mean {mean}, std {std}"
        )
    settings = ", ".join(f"{key}={value}" for key, value in manifest.generator.items())
    lines.append(f"made by  orbit {manifest.package_version}: {settings}")
    lines.append(f"fingerprint {manifest.fingerprint}")
    return "\n".join(lines)
