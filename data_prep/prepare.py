"""Prepare a dataset of pairs (x, g, g x), or of episodes, as HDF5 shards with a manifest.

Examples:
  python data_prep/prepare.py dataset=rotated_mnist source.root=DIR out=DIR
  python data_prep/prepare.py dataset=blocks_3d num_episodes=1000 episode_length=100 out=DIR

Keys: out (where to write), seed, num_samples, num_workers, overwrite, dataset.*, source.*; worlds
also have num_episodes and episode_length. A killed preparation continues when run again. With
overwrite=true the old dataset is kept until the new one is complete. print_config=true only prints
all keys and where each value came from.
"""

import time
from pathlib import Path

from orbit.core.config.program import run_program, take_switch
from orbit.core.printing import say

GROUPS = ("dataset", "source")
DEPENDENT = {"source": "dataset"}


def main(arguments: list[str]) -> None:
    from data_prep.settings import PrepareConfig
    from orbit.core.config.compose import compose
    from orbit.core.config.roots import take_configs
    from orbit.core.config.schema import build, path_keys

    is_asked = take_switch(arguments, "print_config")
    arguments = take_configs(arguments)
    paths = path_keys(PrepareConfig)
    config = build(PrepareConfig, compose("prepare", arguments, paths, DEPENDENT))
    if is_asked:
        from orbit.core.config.origins import print_text

        say(print_text(config, "prepare", arguments, DEPENDENT))
        return

    from data_prep.building.builder import build_dataset
    from data_prep.recipes import make_recipe
    from orbit.core.progress import Progress

    started, recipe = time.monotonic(), make_recipe(config)
    num_records = sum(plan.layout.num_records for plan in recipe.plans())
    with Progress(num_records, "records", recipe.name) as progress:
        manifest = build_dataset(
            recipe,
            Path(config.out),
            config.num_workers,
            config.overwrite,
            lambda plan: progress.advance(plan.layout.num_records),
        )
    for name, split in manifest.splits.items():
        say(f"{name:5} {split.num_records:>9,} records  {split.num_frames:>9,} frames")
    say(f"{recipe.name} is complete in {config.out} ({time.monotonic() - started:.1f} s)")


if __name__ == "__main__":
    run_program(main, __doc__, GROUPS)
