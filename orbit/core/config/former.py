"""Experiments that no longer exist, and the overrides that replace them.

A name that is gone is refused with what to write today, and what an earlier version made under it
still counts as made by the overrides of today.
"""

from collections.abc import Sequence

FORMER_EXPERIMENTS = {
    "reacher/ours": "reacher task.model.kind=ours",
    "reacher/full": "reacher task.model.kind=full",
    "reacher/none": "reacher task.model.kind=none",
    "reacher/none_matched": "reacher task.model.kind=none task.model.latent_size=32",
    "reacher/ours_small": "reacher_small task.model.kind=ours",
    "reacher/full_small": "reacher_small task.model.kind=full",
    "reacher/none_small": "reacher_small task.model.kind=none",
    "reacher/none_matched_small": "reacher_small task.model.kind=none task.model.latent_size=32",
    "blocks_3d/ours": "blocks_3d task.model.kind=ours",
    "blocks_3d/full": "blocks_3d task.model.kind=full",
    "blocks_3d/none": "blocks_3d task.model.kind=none",
    "blocks_3d/none_matched": "blocks_3d task.model.kind=none task.model.latent_size=8",
    "blocks_3d/ours_small": "blocks_3d_small task.model.kind=ours",
    "blocks_3d/full_small": "blocks_3d_small task.model.kind=full",
    "blocks_3d/none_small": "blocks_3d_small task.model.kind=none",
    "blocks_3d/none_matched_small": "blocks_3d_small task.model.kind=none task.model.latent_size=8",
    "rush_hour/ours": "rush_hour task.model.kind=ours",
    "rush_hour/full": "rush_hour task.model.kind=full",
    "rush_hour/none": "rush_hour task.model.kind=none",
    "rush_hour/none_matched": "rush_hour task.model.kind=none task.model.latent_size=8",
    "rush_hour/ours_small": "rush_hour_small task.model.kind=ours",
    "rush_hour/full_small": "rush_hour_small task.model.kind=full",
    "rush_hour/none_small": "rush_hour_small task.model.kind=none",
    "rush_hour/none_matched_small": "rush_hour_small task.model.kind=none task.model.latent_size=8",
    "shapes_2d/ours": "shapes_2d task.model.kind=ours",
    "shapes_2d/full": "shapes_2d task.model.kind=full",
    "shapes_2d/none": "shapes_2d task.model.kind=none",
    "shapes_2d/none_matched": "shapes_2d task.model.kind=none task.model.latent_size=8",
    "shapes_2d/ours_small": "shapes_2d_small task.model.kind=ours",
    "shapes_2d/full_small": "shapes_2d_small task.model.kind=full",
    "shapes_2d/none_small": "shapes_2d_small task.model.kind=none",
    "shapes_2d/none_matched_small": "shapes_2d_small task.model.kind=none task.model.latent_size=8",
    "shapes_2d/masked": "shapes_2d control=masked_latent",
    "teapot/ours": "teapot task.model.kind=ours",
    "teapot/none": "teapot task.model.kind=none",
    "teapot/homeomorphic_vae": "homeomorphic_vae/teapot",
    "shapes_2d/masked_small": "shapes_2d_small control=masked_latent",
    "teapot/ours_small": "teapot_small task.model.kind=ours",
    "teapot/none_small": "teapot_small task.model.kind=none",
    "teapot/homeomorphic_vae_small": "homeomorphic_vae/teapot_small",
    "homomorphism/arrows": "homomorphism/images",
    "homomorphism/squares": "homomorphism/images",
    "homomorphism/rotated_mnist": "homomorphism/images",
    "homomorphism/rotated_mnist_so2": "homomorphism/images",
    "homomorphism/rotated_blocked_mnist": "homomorphism/images task.num_steps=1",
    "neural_fourier/rotated_mnist": "neural_fourier/images",
    "neural_fourier/rotated_mnist_so2": "neural_fourier/images",
    "neural_fourier/rotated_blocked_mnist": "neural_fourier/images",
    "neural_fourier/arrows": "neural_fourier/low_frequencies",
    "neural_fourier/squares": "neural_fourier/low_frequencies",
    "neural_fourier/objects_views": "neural_fourier/low_frequencies",
    "neural_fourier/jin_rotated_mnist": "neural_fourier/jin",
    "neural_fourier/jin_rotated_mnist_so2": "neural_fourier/jin",
    "neural_fourier/jin_rotated_blocked_mnist": "neural_fourier/jin task.cycle=0.0",
    "squares": "arrows",
    "arrows/both": "arrows task.both_directions=true",
    "threediebench": "objects_views",
    "coloured_digits/meta_sequential": "coloured_digits",
    "coloured_digits/neural": "coloured_digits task.objective=neural",
    "coloured_digits/reconstruction": "coloured_digits task.objective=reconstruction",
    "coloured_digits/autoencoder": "coloured_digits task.objective=autoencoder",
    "checkerboard_digits/fixed": "checkerboard_digits",
    "checkerboard_digits/learned": (
        "checkerboard_digits task.operator=learned task.num_neighbours=1"
    ),
    "checkerboard_digits/none": "checkerboard_digits task.operator=none",
    "sequence_labelling/fc_conv": "sequence_labelling",
    "sequence_labelling/fc_only": "sequence_labelling task.model.name=fc_only",
    "reacher_planar/none": "reacher task.model.kind=none",
    "reacher_planar/none_small": "reacher_small task.model.kind=none",
    "reacher_planar/none_matched": "reacher task.model.kind=none task.model.latent_size=32",
    "reacher_planar/none_matched_small": (
        "reacher_small task.model.kind=none task.model.latent_size=32"
    ),
    "reacher_planar/full": "reacher task.model.kind=full",
    "reacher_planar/full_small": "reacher_small task.model.kind=full",
    "reacher_planar/ours": "reacher task.model.kind=ours",
    "reacher_planar/ours_small": "reacher_small task.model.kind=ours",
    "blocks_3d/none_limited": "blocks_3d task.model.kind=none",
    "blocks_3d/none_matched_limited": "blocks_3d task.model.kind=none task.model.latent_size=8",
    "blocks_3d/full_limited": "blocks_3d task.model.kind=full",
    "blocks_3d/ours_limited": "blocks_3d task.model.kind=ours",
    "reacher/none_limited": "reacher task.model.kind=none",
    "reacher/none_matched_limited": "reacher task.model.kind=none task.model.latent_size=32",
    "reacher/full_limited": "reacher task.model.kind=full",
    "reacher/ours_limited": "reacher task.model.kind=ours",
    "reacher_planar/none_limited": "reacher task.model.kind=none",
    "reacher_planar/none_matched_limited": "reacher task.model.kind=none task.model.latent_size=32",
    "reacher_planar/full_limited": "reacher task.model.kind=full",
    "reacher_planar/ours_limited": "reacher task.model.kind=ours",
    "blocks_3d/ours_change": "blocks_3d task.model.kind=ours task.loss.change_weight=1.0",
    "blocks_3d/ours_change_small": (
        "blocks_3d_small task.model.kind=ours task.loss.change_weight=1.0"
    ),
    "blocks_3d/ours_change_limited": "blocks_3d task.model.kind=ours task.loss.change_weight=1.0",
    "rush_hour/ours_change": "rush_hour task.model.kind=ours task.loss.change_weight=1.0",
    "rush_hour/ours_change_small": (
        "rush_hour_small task.model.kind=ours task.loss.change_weight=1.0"
    ),
    "rush_hour/none_change": "rush_hour task.model.kind=none task.loss.change_weight=1.0",
    "rush_hour/none_change_small": (
        "rush_hour_small task.model.kind=none task.loss.change_weight=1.0"
    ),
    "shapes_2d/ours_change": "shapes_2d task.model.kind=ours task.loss.change_weight=1.0",
    "shapes_2d/ours_change_small": (
        "shapes_2d_small task.model.kind=ours task.loss.change_weight=1.0"
    ),
}
"""By former name: the experiment of today, and overrides to go with it.

A kind is said even where it is the default: sizes go with it, so that the former name of one kind
does not stand for a run of another.
"""


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
