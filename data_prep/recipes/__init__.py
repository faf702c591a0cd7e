"""Recipes: how each dataset is made from its source."""

from data_prep.recipes.orbit_images import OrbitImages
from data_prep.settings import PrepareConfig
from data_prep.sources import open_source
from data_prep.store.recipe import Recipe


def make_recipe(config: PrepareConfig) -> Recipe:
    """The recipe of a preparation; opens the source and raises what it raises."""
    return OrbitImages(
        config.dataset, open_source(config), config.source.name, config.seed, config.num_samples
    )
