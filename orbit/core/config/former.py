"""Experiments that no longer exist, and the overrides that replace them: for old results."""

from collections.abc import Sequence

FORMER_EXPERIMENTS = {
    "reacher_planar/none": "reacher/none",
    "reacher_planar/none_small": "reacher/none_small",
    "reacher_planar/none_matched": "reacher/none_matched",
    "reacher_planar/none_matched_small": "reacher/none_matched_small",
    "reacher_planar/full": "reacher/full",
    "reacher_planar/full_small": "reacher/full_small",
    "reacher_planar/ours": "reacher/ours",
    "reacher_planar/ours_small": "reacher/ours_small",
    "blocks_3d/none_limited": "blocks_3d/none",
    "blocks_3d/none_matched_limited": "blocks_3d/none_matched",
    "blocks_3d/full_limited": "blocks_3d/full",
    "blocks_3d/ours_limited": "blocks_3d/ours",
    "reacher/none_limited": "reacher/none",
    "reacher/none_matched_limited": "reacher/none_matched",
    "reacher/full_limited": "reacher/full",
    "reacher/ours_limited": "reacher/ours",
    "reacher_planar/none_limited": "reacher/none",
    "reacher_planar/none_matched_limited": "reacher/none_matched",
    "reacher_planar/full_limited": "reacher/full",
    "reacher_planar/ours_limited": "reacher/ours",
    "blocks_3d/ours_change": "blocks_3d/ours task.loss.change_weight=1.0",
    "blocks_3d/ours_change_small": "blocks_3d/ours_small task.loss.change_weight=1.0",
    "blocks_3d/ours_change_limited": "blocks_3d/ours task.loss.change_weight=1.0",
    "rush_hour/ours_change": "rush_hour/ours task.loss.change_weight=1.0",
    "rush_hour/ours_change_small": "rush_hour/ours_small task.loss.change_weight=1.0",
    "rush_hour/none_change": "rush_hour/none task.loss.change_weight=1.0",
    "rush_hour/none_change_small": "rush_hour/none_small task.loss.change_weight=1.0",
    "shapes_2d/ours_change": "shapes_2d/ours task.loss.change_weight=1.0",
    "shapes_2d/ours_change_small": "shapes_2d/ours_small task.loss.change_weight=1.0",
}
"""By former name: the experiment of today, and overrides to go with it."""


def overrides_instead(override: str) -> str | None:
    """The overrides that replace `experiment=NAME`; None if NAME was never an experiment."""
    key, _, name = override.partition("=")
    found = FORMER_EXPERIMENTS.get(name) if key == "experiment" else None
    return None if found is None else f"experiment={found}"


def former_spellings(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides, then every equivalent list in terms of earlier versions, in the same order."""
    spellings = [tuple(overrides)]
    for name, found in FORMER_EXPERIMENTS.items():
        experiment, *others = f"experiment={found}".split()
        if {experiment, *others} <= set(overrides):
            left = [override for override in overrides if override not in others]
            old = (
                f"experiment={name}" if override == experiment else override for override in left
            )
            spellings.append(tuple(old))
    return spellings
