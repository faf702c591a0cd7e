"""Which ways of pairing a dataset's training split allows."""

from data_prep.store.manifest import Manifest
from pipeline.data.batches import Pairs


def check_pairs(manifest: Manifest, pairs: Pairs) -> None:
    """Raise ValueError for pairs that the training split cannot give, naming those it can."""
    if pairs != "fresh":
        manifest.check_has_targets("train", f"pairs={pairs}", "pairs=fresh")
        return
    has_orbits = manifest.split("train").records_per_source is not None
    allowed = "stored, online" if has_orbits else "stored"
    stays = what_stays(manifest)
    if stays is not None:
        raise ValueError(
            f"pairs=fresh moves whole frames, but in {manifest.name} {stays}; allowed: {allowed}"
        )
    held_out = manifest.generator.get("train_bins")
    if held_out is not None:
        raise ValueError(
            f"pairs=fresh draws from all of {manifest.group}, but training on {manifest.name} keeps"
            f" to dataset.train_bins={list(held_out)}; allowed: {allowed}"
        )


def what_stays(manifest: Manifest) -> str | None:
    """Why a target of this dataset is not the group's action on its whole source, as a
    sentence; None if it is."""
    generator = manifest.generator
    if "world" in generator:
        return f"the actions are those of the world {generator['world']}"
    if "sequences" in generator:
        return "labels stand in the place of the targets"
    if generator.get("source") == "table":
        return "the targets are the user's own files (source=table)"
    if manifest.target_is_action_on_source:
        return None
    scene = generator.get("scene", "plain")
    parts = {
        "blocked": "a block stays in its place",
        "composite": "the background stays in its place",
        "views": "the object is turned before it is drawn",
    }.get(str(scene), "parts of the frame stay")
    return f"{parts} (dataset.scene.name={scene})"
