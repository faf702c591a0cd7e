"""Making a world from settings or from the manifest of a dataset; its module is imported on
demand."""

import typing
from dataclasses import dataclass
from typing import Annotated

from data_prep.settings.sources import NoSourceConfig, SourceConfig
from data_prep.settings.worlds import (
    Blocks3dWorldConfig,
    ReacherPlanarWorldConfig,
    ReacherWorldConfig,
    RushHourWorldConfig,
    Shapes2dWorldConfig,
    TeapotWorldConfig,
    WorldConfig,
)
from data_prep.worlds.interface import World
from orbit.core import plugins
from orbit.core.config.schema import build
from orbit.core.plugins import Open
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Episodes


@dataclass(frozen=True)
class _Recorded:
    world: Annotated[WorldConfig, Open("worlds")]
    actions: tuple[str, ...] | None


def make_world(
    config: WorldConfig,
    actions: tuple[str, ...] | None,
    source: SourceConfig,
    must_render: bool = False,
) -> World:
    """The world of these settings; `actions` are those from which a limited policy draws.

    For a plug-in (`orbit.worlds`) this calls `make(config, actions)`.

    Raises ValueError for unknown actions, for a source that it does not use, and with `must_render`
    if it cannot be drawn; also the errors of opening a source.
    """
    if isinstance(config, TeapotWorldConfig):
        from data_prep.worlds.teapot import Teapot, read_source

        return Teapot(config, actions, read_source(source))
    if not isinstance(source, NoSourceConfig):
        raise ValueError(f"source={source.name} has no effect: {config.name} is simulated")
    if not isinstance(config, WorldConfig):
        added: World = plugins.load("worlds", config.name).make(config, actions)
        return added
    match config:
        case Shapes2dWorldConfig():
            from data_prep.worlds.shapes_2d import shapes_2d

            board = shapes_2d(config, actions)
            if not config.num_backdrops:
                return board
            from data_prep.worlds.shapes_2d import BackdropWorld

            return BackdropWorld(board, config.num_backdrops)
        case Blocks3dWorldConfig():
            from data_prep.worlds.blocks_3d import blocks_3d

            return blocks_3d(actions)
        case RushHourWorldConfig():
            from data_prep.worlds.rush_hour import RushHour

            return RushHour(actions)
        case ReacherPlanarWorldConfig():
            from data_prep.worlds.planar_arm import PlanarArm
            from data_prep.worlds.reacher import Reacher

            return Reacher(config.name, PlanarArm(), config.size, actions)
        case ReacherWorldConfig():
            from data_prep.worlds.mujoco_arm import MujocoArm
            from data_prep.worlds.reacher import Reacher

            arm = MujocoArm()
            if must_render:
                arm.check_rendering()
            return Reacher(config.name, arm, config.size, actions)


def is_world_known(manifest: Manifest) -> bool:
    """Whether a dataset holds episodes of a world that can be simulated here.

    Raises ValueError with what to install if the world comes from a package that is missing.
    """
    options = typing.get_args(WorldConfig)
    names = [typing.get_args(typing.get_type_hints(option)["name"])[0] for option in options]
    if not isinstance(manifest.origin, Episodes):
        return False
    name = manifest.origin.world.name
    plugins.require([text for text in manifest.plugins if text.startswith("worlds/")])
    return name in names or name in plugins.installed("worlds")


def world_of(manifest: Manifest) -> World:
    """The world whose episodes a dataset holds; ValueError if it holds none."""
    origin = manifest.origin
    if not isinstance(origin, Episodes):
        raise ValueError(f"{manifest.name} holds no episodes of a world")
    settings = {"name": origin.world.name, **origin.world.settings}
    recorded = build(_Recorded, {"world": settings, "actions": origin.actions})
    solid = origin.facts.solid
    if solid is not None and solid.mesh and isinstance(recorded.world, TeapotWorldConfig):
        from data_prep.worlds.teapot import PackedMesh, Teapot

        return Teapot(recorded.world, recorded.actions, PackedMesh(solid.mesh))
    return make_world(recorded.world, recorded.actions, NoSourceConfig())
