"""From settings, or from the manifest of a dataset, to the world. Worlds are imported when asked
for."""

import typing
from dataclasses import dataclass

from data_prep.settings.sources import NoSourceConfig, SourceConfig
from data_prep.settings.worlds import (
    Blocks3dWorldConfig,
    RushHourWorldConfig,
    Shapes2dWorldConfig,
    WorldConfig,
)
from data_prep.store.manifest import Manifest
from data_prep.worlds.interface import World
from pipeline.config.schema import build

GRID_WORLDS = (Shapes2dWorldConfig, Blocks3dWorldConfig, RushHourWorldConfig)


@dataclass(frozen=True)
class _Recorded:
    world: WorldConfig
    actions: tuple[str, ...] | None


def make_world(config: WorldConfig, actions: tuple[str, ...] | None, source: SourceConfig) -> World:
    """The world of these settings; `actions` are those that a limited policy draws from.

    Raises ValueError for actions that it does not have and for a source that it does not read.
    """
    if isinstance(config, GRID_WORLDS) and not isinstance(source, NoSourceConfig):
        raise ValueError(f"source={source.name} has no effect: {config.name} is simulated")
    match config:
        case Shapes2dWorldConfig():
            from data_prep.worlds.shapes_2d import shapes_2d

            return shapes_2d(config, actions)
        case Blocks3dWorldConfig():
            from data_prep.worlds.blocks_3d import blocks_3d

            return blocks_3d(actions)
        case RushHourWorldConfig():
            from data_prep.worlds.rush_hour import RushHour

            return RushHour(actions)


def is_world_known(manifest: Manifest) -> bool:
    """Whether a dataset holds episodes of a world that this package can simulate."""
    options = typing.get_args(WorldConfig)
    names = [typing.get_args(typing.get_type_hints(option)["name"])[0] for option in options]
    return manifest.generator.get("world") in names


def world_of(manifest: Manifest) -> World:
    """The world whose episodes a dataset holds; ValueError if it holds none."""
    generator = manifest.generator
    if "world" not in generator:
        raise ValueError(f"{manifest.name} holds no episodes of a world")
    settings = {"name": generator["world"], **generator["settings"]}
    recorded = build(_Recorded, {"world": settings, "actions": generator["actions"]})
    return make_world(recorded.world, recorded.actions, NoSourceConfig())
