"""From the configuration to the recipe."""

import dataclasses

from data_prep.building.recipe import Recipe
from data_prep.recipes.orbits import Orbits
from data_prep.recipes.splits import assign_splits
from data_prep.settings import (
    EpisodeDatasetConfig,
    OrbitDatasetConfig,
    PosedViewsDatasetConfig,
    PrepareConfig,
    SequenceDatasetConfig,
    TableDatasetConfig,
)
from data_prep.settings.sources import (
    LATER_FIELDS,
    NoSourceConfig,
    TableSourceConfig,
    ThreeDIEBenchSourceConfig,
)
from orbit.core.config.schema import path_keys
from orbit.core.store.origin import Named

NOT_WHAT_IT_HOLDS = frozenset({"name", "download", "max_megapixels"})
"""Settings of a source that, beside its paths, say what may be read."""


def make_recipe(config: PrepareConfig) -> Recipe:
    """The recipe of a preparation; opens the source and raises its errors."""
    match config.dataset:
        case OrbitDatasetConfig():
            return _orbits(config, config.dataset)
        case TableDatasetConfig():
            return _table(config, config.dataset)
        case PosedViewsDatasetConfig():
            return _posed_views(config, config.dataset)
        case EpisodeDatasetConfig():
            return _episodes(config, config.dataset)
        case SequenceDatasetConfig():
            return _sequences(config, config.dataset)


def _orbits(config: PrepareConfig, dataset: OrbitDatasetConfig) -> Recipe:
    from data_prep.scenes import make_scene

    source = config.source
    if isinstance(source, TableSourceConfig):
        raise ValueError(f"source=table is for dataset=pairs_table, not for {dataset.name}")
    scene = make_scene(dataset, config)
    splits = assign_splits(
        scene.num_images, scene.subjects, dataset, config.seed, config.num_samples
    )
    settings = {
        key: value
        for key, value in dataclasses.asdict(source).items()
        if key not in NOT_WHAT_IT_HOLDS | path_keys(type(source))
        and not (key in LATER_FIELDS and value == LATER_FIELDS[key])
    }
    made = {**settings, **scene.counts()}
    return Orbits(dataset, scene, splits, config.seed, config.num_samples, Named(source.name, made))


def _table(config: PrepareConfig, dataset: TableDatasetConfig) -> Recipe:
    from data_prep.recipes.pairs_table import PairsTable

    source = config.source
    if not isinstance(source, TableSourceConfig):
        raise ValueError(f"dataset={dataset.name} needs source=table, not source={source.name}")
    return PairsTable(dataset, source, config.seed, config.num_samples)


def _posed_views(config: PrepareConfig, dataset: PosedViewsDatasetConfig) -> Recipe:
    from data_prep.recipes.posed_views import PosedViews

    source = config.source
    if not isinstance(source, ThreeDIEBenchSourceConfig):
        raise ValueError(
            f"dataset={dataset.name} needs source=threediebench, not source={source.name}"
        )
    return PosedViews(dataset, source, config.seed, config.num_samples)


def _episodes(config: PrepareConfig, dataset: EpisodeDatasetConfig) -> Recipe:
    from data_prep.recipes.episodes import Episodes, episode_sizes
    from data_prep.worlds.make import make_world
    from orbit.core.groups import make_group

    actions = dataset.limited_actions
    world = make_world(dataset.world, actions, config.source, must_render=True)
    sizes = episode_sizes(config, dataset, make_group(world.group))
    return Episodes(dataset.name, world, sizes, actions, dataset.shard_mib, config.seed)


def _sequences(config: PrepareConfig, dataset: SequenceDatasetConfig) -> Recipe:
    from data_prep.recipes.sequences import Sequences

    if not isinstance(config.source, NoSourceConfig):
        raise ValueError(f"source={config.source.name} has no effect: {dataset.name} is drawn")
    return Sequences(dataset, config.seed, config.num_samples)
