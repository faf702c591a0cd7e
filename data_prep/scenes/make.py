"""From the configuration to the scene."""

from data_prep.scenes.blocked import BlockedScene
from data_prep.scenes.composite import CompositeScene
from data_prep.scenes.interface import Scene
from data_prep.scenes.plain import PlainScene
from data_prep.scenes.views import ViewsScene
from data_prep.settings import (
    BlockedSceneConfig,
    CompositeSceneConfig,
    OrbitDatasetConfig,
    PrepareConfig,
    ViewsSceneConfig,
)
from data_prep.sources import open_object_source, open_source, open_view_source, what_is_brought
from data_prep.sources.interface import IMAGES, OBJECTS, VIEWS

NEEDS = {"composite": OBJECTS, "views": VIEWS}
"""What scenes show that do not show whole images."""


def make_scene(dataset: OrbitDatasetConfig, config: PrepareConfig) -> Scene:
    """Open the source and put it into its scene; raises what either raises."""
    scene = dataset.scene
    needed = NEEDS.get(scene.name, IMAGES)
    if what_is_brought(config.source) != needed:
        raise ValueError(
            f"dataset.scene.name={scene.name} cannot show source={config.source.name}:"
            f" it needs {needed}"
        )
    if isinstance(scene, CompositeSceneConfig):
        return CompositeScene(open_object_source(config, dataset.group), dataset.group)
    if isinstance(scene, ViewsSceneConfig):
        return ViewsScene(open_view_source(config, dataset.group), dataset.group)
    source = open_source(config)
    if isinstance(scene, BlockedSceneConfig):
        return BlockedScene(source, dataset.group, scene.side, config.seed)
    return PlainScene(source, dataset.group)
