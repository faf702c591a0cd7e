"""From the configuration to the recipe."""

import dataclasses

from data_prep.recipes.orbits import Orbits
from data_prep.recipes.splits import assign_splits
from data_prep.settings import OrbitDatasetConfig, PrepareConfig
from data_prep.settings.sources import PATH_FIELDS, TableSourceConfig
from data_prep.store.recipe import Recipe

PLACES = ("name", "download", *PATH_FIELDS)
"""Settings of a source that say where it lies, not what it holds."""


def make_recipe(config: PrepareConfig) -> Recipe:
    """The recipe of a preparation; opens the source and raises what it raises."""
    dataset, source = config.dataset, config.source
    if isinstance(dataset, OrbitDatasetConfig):
        from data_prep.scenes import make_scene

        if isinstance(source, TableSourceConfig):
            raise ValueError(f"source=table is for dataset=pairs_table, not for {dataset.name}")
        scene = make_scene(dataset, config)
        splits = assign_splits(
            scene.num_images, scene.subjects, dataset, config.seed, config.num_samples
        )
        settings = {
            key: value for key, value in dataclasses.asdict(source).items() if key not in PLACES
        }
        return Orbits(
            dataset, scene, splits, config.seed, config.num_samples, source.name, settings
        )
    from data_prep.recipes.table import PairsTable

    if not isinstance(source, TableSourceConfig):
        raise ValueError(f"dataset={dataset.name} needs source=table, not source={source.name}")
    return PairsTable(dataset, source, config.seed, config.num_samples)
