"""From the configuration to the scene."""

from data_prep.scenes.blocked import BlockedScene
from data_prep.scenes.composite import CompositeScene
from data_prep.scenes.interface import Scene
from data_prep.scenes.plain import PlainScene
from data_prep.settings import (
    BlockedSceneConfig,
    CompositeSceneConfig,
    OrbitDatasetConfig,
    PrepareConfig,
)
from data_prep.sources import is_object_source, open_object_source, open_source


def make_scene(dataset: OrbitDatasetConfig, config: PrepareConfig) -> Scene:
    """Open the source and put it into its scene; raises what either raises."""
    scene = dataset.scene
    shows_objects = isinstance(scene, CompositeSceneConfig)
    if shows_objects != is_object_source(config.source):
        raise ValueError(
            f"dataset.scene.name={scene.name} cannot show source={config.source.name}:"
            f" it needs {'objects before backgrounds' if shows_objects else 'whole images'}"
        )
    if shows_objects:
        return CompositeScene(open_object_source(config, dataset.group), dataset.group)
    source = open_source(config)
    if isinstance(scene, BlockedSceneConfig):
        return BlockedScene(source, dataset.group, scene.side, config.seed)
    return PlainScene(source, dataset.group)
