"""Making a world from settings or from the manifest of a dataset."""

from dataclasses import dataclass
from typing import Annotated

from data_prep.settings.sources import NoSourceConfig, SourceConfig
from data_prep.settings.worlds import WorldConfig
from data_prep.worlds import (
    blocks_3d,
    coloured_digits,
    mujoco_arm,
    planar_arm,
    rush_hour,
    shapes_2d,
    teapot,
)
from data_prep.worlds.interface import Drawn, KindOfSource, World
from orbit.core import plugins
from orbit.core.config.schema import build
from orbit.core.plugins import Open
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Episodes

WORLDS = plugins.by_name(
    *(shapes_2d.WORLD, blocks_3d.WORLD, rush_hour.WORLD),
    *(planar_arm.WORLD, mujoco_arm.WORLD, teapot.WORLD, coloured_digits.WORLD),
)
"""`make` takes config, and the actions of the limited policy; a `KindOfSource` more."""


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

    Raises ValueError for unknown actions, for a source that it does not use, and with `must_render`
    if it cannot be drawn; also the errors of opening a source.
    """
    kind = plugins.kind_of("worlds", WORLDS, config)
    if isinstance(kind, KindOfSource):
        world: World = kind.make(config, actions, kind.read(source, config))
    elif isinstance(source, NoSourceConfig):
        world = kind.make(config, actions)
    else:
        raise ValueError(f"source={source.name} has no effect: {config.name} is simulated")
    if must_render and isinstance(world, Drawn):
        world.check_rendering()
    return world


def is_world_known(manifest: Manifest) -> bool:
    """Whether a dataset holds episodes of a world that can be simulated here.

    Raises ValueError with what to install if the world comes from a package that is missing.
    """
    if not isinstance(manifest.origin, Episodes):
        return False
    name = manifest.origin.world.name
    plugins.require([text for text in manifest.plugins if text.startswith("worlds/")])
    return name in WORLDS or name in plugins.installed("worlds")


def world_of(manifest: Manifest) -> World:
    """The world whose episodes a dataset holds; ValueError if it holds none."""
    origin = manifest.origin
    if not isinstance(origin, Episodes):
        raise ValueError(f"{manifest.name} holds no episodes of a world")
    settings = {"name": origin.world.name, **origin.world.settings}
    recorded = build(_Recorded, {"world": settings, "actions": origin.actions})
    kind = plugins.kind_of("worlds", WORLDS, recorded.world)
    if not isinstance(kind, KindOfSource):
        return make_world(recorded.world, recorded.actions, NoSourceConfig())
    world: World = kind.make(recorded.world, recorded.actions, kind.recorded(origin.facts))
    return world
